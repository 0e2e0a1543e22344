"""Space that nobody needs comes back: of uploads that are announced and given up, refused, or cut off by `kill -9`; and a
client that stops reading keeps its own files only."""
import http.client
import os
import pathlib
import socket
import time

import pytest

from lib.requests import head
from lib.signing import sign
from lib.sockets import slow_reader

MIB = 1 << 20
# What the log and one step of an upload may take beside what is kept.
SLACK = 4 * MIB


@pytest.fixture
def server(serve):
    """A server of a test's own: what its bulk files take is measured."""
    return serve("--cut-seconds", "3600", "--bulk-file-bytes", str(32 * MIB))


@pytest.fixture
def s3(server):
    s3 = server.client()
    s3.create_bucket(Bucket="space")
    return s3


def taken(server):
    """Bytes that the bulk files take on the device."""
    files = pathlib.Path(server.data, "p0000", "bulk").glob("*.bulk")
    return sum(file.stat().st_blocks * 512 for file in files)


def until(what, is_so, seconds=60):
    for _ in range(seconds * 10):
        if is_so():
            return
        time.sleep(0.1)
    pytest.fail(f"{what}: not within {seconds} s")


def settles(server, kept, what):
    until(f"{what}: {taken(server) / MIB:.1f} MiB are taken, {kept / MIB:.1f} are kept", lambda: taken(server) <= kept + SLACK)


def announce(server, key, length, body):
    """Sends the head of a PUT and the beginning of its body."""
    signed, *_ = sign("PUT", f"/space/{key}", {"host": server.address}, "UNSIGNED-PAYLOAD")
    connection = socket.create_connection(("127.0.0.1", server.port))
    connection.sendall(head("PUT", f"/space/{key}", {**signed, "content-length": str(length)}) + body)
    return connection


def put_live(s3, number):
    """Puts objects of a mebibyte that stay; returns their bytes."""
    for one in range(number):
        s3.put_object(Bucket="space", Key=f"live{one}", Body=os.urandom(MIB))
    return number * MIB


def test_announced_uploads_take_what_came_and_give_it_back(server, s3, sizes):
    kept = 0
    for number in range(sizes.rounds):
        s3.put_object(Bucket="space", Key=f"live{number}", Body=os.urandom(MIB))
        kept += MIB
        sent = [0, 1, 100_000, 3 * MIB][number % 4]
        held = [announce(server, f"gone{number}-{i}", 300 * MIB, b"x" * sent) for i in range(3)]
        time.sleep(0.3)
        most = kept + 3 * (3 * sent + 2 * MIB) + SLACK
        assert taken(server) <= most, f"{taken(server) / MIB:.1f} MiB are taken for {sent} bytes that came"
        for connection in held:
            connection.close()
    settles(server, kept, "uploads were given up")


def test_a_write_that_its_condition_refuses_takes_nothing(server, s3):
    kept = put_live(s3, 1)
    for _ in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        signed, *_ = sign("PUT", "/space/live0", {"host": server.address, "if-none-match": "*"}, "UNSIGNED-PAYLOAD")
        connection.request("PUT", "/space/live0", body=os.urandom(20 * MIB), headers=signed)
        status = connection.getresponse().status
        assert status == 412, f"the condition was answered {status}"
        connection.close()
    settles(server, kept, "writes were refused by their condition")


def test_uploads_that_a_kill_cuts_off_take_nothing(server, s3):
    kept = put_live(s3, 4)
    held = [announce(server, f"cut{i}", 300 * MIB, b"x" * 100_000) for i in range(8)]
    until("announced uploads take their first step", lambda: taken(server) > kept + 4 * MIB)
    server.kill()
    for connection in held:
        connection.close()
    server.start()
    settles(server, kept, "uploads were cut off by a kill")
    for number in range(4):
        body = s3.get_object(Bucket="space", Key=f"live{number}")["Body"].read()
        assert len(body) == MIB, f"live{number} has {len(body)} bytes"


def test_a_client_that_stops_reading_keeps_its_own_file_only(server, s3):
    """Each object is in a file of its own: the one that is being read stays, the others go."""
    size = 24 * MIB
    content = os.urandom(size)
    for number in range(4):
        s3.put_object(Bucket="space", Key=f"large{number}", Body=content)
    before = taken(server)
    reader = slow_reader(server.port)
    reader.sendall(head("GET", "/space/large0", sign("GET", "/space/large0", {"host": server.address}, "UNSIGNED-PAYLOAD")[0]))
    got = reader.recv(1000)
    for number in range(4):
        s3.delete_object(Bucket="space", Key=f"large{number}")
    # The last file takes reservations still: this one takes them over.
    s3.put_object(Bucket="space", Key="last", Body=content)
    server.cut()
    server.post("/merge")
    until("the files of deleted objects go", lambda: taken(server) <= before - 2 * size + SLACK)
    runs = list(pathlib.Path(server.data, "p0000", "runs").glob("*.keys"))
    assert len(runs) == 1, f"a reader keeps runs: {runs}"
    # From here on the client reads as fast as it can.
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * MIB)
    while piece := reader.recv(1 << 20):
        got += piece
        if len(got) > size:
            break
    body = got.partition(b"\r\n\r\n")[2]
    assert body == content[:len(body)] and len(body) == size, f"the reader got {len(body)} bytes of {size}, or others"
    reader.close()
    until("what was read goes", lambda: taken(server) <= before - 3 * size + SLACK)
