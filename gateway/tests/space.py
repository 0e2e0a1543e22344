"""Space that nobody needs comes back: of uploads that are announced and given up, refused, or cut off by `kill -9`;
and a client that stops reading keeps its own files only."""
import argparse
import http.client
import os
import pathlib
import socket
import sys
import tempfile
import time
import urllib.request

from lib.server import Server
from lib.signing import sign

MIB = 1 << 20
# What the log and one step of an upload may take beside what is kept.
SLACK = 4 * MIB


def taken(server):
    """Bytes that the bulk files take on the device."""
    files = pathlib.Path(server.data, "p0000", "bulk").glob("*.bulk")
    return sum(file.stat().st_blocks * 512 for file in files)


def until(what, is_so, seconds=60):
    for _ in range(seconds * 10):
        if is_so():
            return
        time.sleep(0.1)
    sys.exit(f"FAILED: {what}: not within {seconds} s")


def announce(server, key, length, body):
    """Sends the head of a PUT and the beginning of its body."""
    head, *_ = sign("PUT", f"/space/{key}", {"host": f"127.0.0.1:{server.port}"}, "UNSIGNED-PAYLOAD")
    connection = socket.create_connection(("127.0.0.1", server.port))
    lines = [f"PUT /space/{key} HTTP/1.1", *[f"{name}: {value}" for name, value in head.items()],
             f"content-length: {length}", "", ""]
    connection.sendall("\r\n".join(lines).encode() + body)
    return connection


def settles(server, kept, what):
    until(f"{what}: {taken(server) / MIB:.1f} MiB are taken, {kept / MIB:.1f} are kept",
          lambda: taken(server) <= kept + SLACK)


def abandoned(server, s3, rounds):
    kept = 0
    for number in range(rounds):
        s3.put_object(Bucket="space", Key=f"live{number}", Body=os.urandom(MIB))
        kept += MIB
        sent = [0, 1, 100_000, 3 * MIB][number % 4]
        held = [announce(server, f"gone{number}-{i}", 300 * MIB, b"x" * sent) for i in range(3)]
        time.sleep(0.3)
        most = kept + 3 * (3 * sent + 2 * MIB) + SLACK
        if taken(server) > most:
            sys.exit(f"FAILED: {taken(server) / MIB:.1f} MiB are taken for {sent} bytes that came")
        for connection in held:
            connection.close()
    settles(server, kept, "uploads were given up")
    return kept


def refused(server, s3, kept):
    for number in range(4):
        connection = http.client.HTTPConnection("127.0.0.1", server.port)
        head, *_ = sign("PUT", "/space/live0", {"host": f"127.0.0.1:{server.port}", "if-none-match": "*"},
                        "UNSIGNED-PAYLOAD")
        connection.request("PUT", "/space/live0", body=os.urandom(20 * MIB), headers=head)
        status = connection.getresponse().status
        if status != 412:
            sys.exit(f"FAILED: the condition was answered {status}")
        connection.close()
    settles(server, kept, "writes were refused by their condition")


def killed(server, s3, kept):
    held = [announce(server, f"cut{i}", 300 * MIB, b"x" * 100_000) for i in range(8)]
    until("announced uploads take their first step", lambda: taken(server) > kept + 4 * MIB)
    server.kill()
    for connection in held:
        connection.close()
    server.start()
    settles(server, kept, "uploads were cut off by a kill")
    for number in range(4):
        body = s3.get_object(Bucket="space", Key=f"live{number}")["Body"].read()
        if len(body) != MIB:
            sys.exit(f"FAILED: live{number} has {len(body)} bytes")


def stalled(server, s3):
    """Each object in a file of its own: the one that is being read stays, the others go."""
    size = 24 * MIB
    content = os.urandom(size)
    for number in range(4):
        s3.put_object(Bucket="space", Key=f"large{number}", Body=content)
    before = taken(server)
    head, *_ = sign("GET", "/space/large0", {"host": f"127.0.0.1:{server.port}"}, "UNSIGNED-PAYLOAD")
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", server.port))
    lines = ["GET /space/large0 HTTP/1.1", *[f"{name}: {value}" for name, value in head.items()], "", ""]
    reader.sendall("\r\n".join(lines).encode())
    got = reader.recv(1000)
    for number in range(4):
        s3.delete_object(Bucket="space", Key=f"large{number}")
    # The last file takes reservations still: this one takes them over.
    s3.put_object(Bucket="space", Key="last", Body=content)
    server.cut()
    urllib.request.urlopen(urllib.request.Request(server.admin + "/merge", method="POST"), timeout=60).read()
    until("the files of deleted objects go", lambda: taken(server) <= before - 2 * size + SLACK)
    runs = list(pathlib.Path(server.data, "p0000", "runs").glob("*.keys"))
    if len(runs) != 1:
        sys.exit(f"FAILED: a reader keeps runs: {runs}")
    while piece := reader.recv(1 << 20):
        got += piece
        if len(got) > size:
            break
    body = got.partition(b"\r\n\r\n")[2]
    if body != content[:len(body)] or len(body) != size:
        sys.exit(f"FAILED: the reader got {len(body)} bytes of {size}, or others")
    reader.close()
    until("what was read goes", lambda: taken(server) <= before - 3 * size + SLACK)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--rounds", type=int, default=8)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        server = Server(asked.binary, f"{folder}/data", "--cut-seconds", "3600",
                        "--bulk-file-bytes", str(32 * MIB)).start()
        s3 = server.client()
        s3.create_bucket(Bucket="space")
        kept = abandoned(server, s3, asked.rounds)
        refused(server, s3, kept)
        killed(server, s3, kept)
        stalled(server, s3)
        server.stop()
        server.fsck()
    print("space: all came back")


main()
