"""Strangers, mistaken clients and slow ones: who is refused can read why, and who stands still is cut off."""
import http.client
import re
import socket
import time

import pytest

from lib.requests import head
from lib.server import basic
from lib.signing import sign
from lib.sockets import send, slow_reader

STALL = 2
ODD = ["BREW", "get", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "X" * 60, "A!#$%&'*+-.^_`|~9", *[f"M{n}" for n in range(200)], "Y" * 60_000]
BIG = 24 << 20


@pytest.fixture(scope="module")
def server(serve):
    server = serve("--stall-seconds", str(STALL))
    s3 = server.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    return server


def signed(server, method, path, **headers):
    return sign(method, path, {"host": server.address, **headers}, "UNSIGNED-PAYLOAD")[0]


def test_no_metric_remembers_an_odd_method(server):
    """Whatever word a client takes for a method."""
    for method in ODD:
        target = "x:1" if method == "CONNECT" else "/"
        answer = send(server.port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        assert re.match(rb"HTTP/1.1 4\d\d ", answer), f"{method[:20]}: {answer[:60]}"
    text = server.metrics()
    labels = set(re.findall(r'siltstone_requests_total\{method="([^"]*)"', text))
    assert labels <= {"GET", "HEAD", "PUT", "POST", "DELETE", "other"} and "other" in labels, f"methods: {labels}"
    series = [line for line in text.splitlines() if line.startswith("siltstone_requests_total")]
    assert len(series) < 100, f"{len(series)} series"


def without_signature(server):
    return {"host": server.address}, "/bucket/key"


def without_bucket(server):
    return signed(server, "PUT", "/absent/key"), "/absent/key"


def with_refused_header(server):
    return signed(server, "PUT", "/bucket/key", **{"x-amz-acl": "public-read"}), "/bucket/key"


@pytest.mark.parametrize("size", [0, 1, 1000, 100_000, 5 << 20, 32 << 20])
@pytest.mark.parametrize(("make", "status", "code"), [
    (with_refused_header, 501, b"NotImplemented"), (without_signature, 403, b"AccessDenied"), (without_bucket, 404, b"NoSuchBucket")],
    ids=lambda value: value.__name__ if callable(value) else "")
def test_a_client_that_is_refused_before_its_body_was_read_can_read_why(server, make, status, code, size):
    """The next request works, too."""
    for _ in range(3):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        headers, path = make(server)
        connection.request("PUT", path, body=b"x" * size, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == status and code in body, f"{size} bytes: {answer.status} {body[:200]}"
        # The client learns whether the connection goes on; if it does, it works.
        connection.request("GET", "/bucket/small", headers=signed(server, "GET", "/bucket/small"))
        assert connection.getresponse().read() == b"small", f"{size} bytes: the next request"


def test_a_connection_goes_on_after_a_body_that_was_read_to_its_end(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("PUT", "/bucket/small", body=b"small", headers=signed(server, "PUT", "/bucket/small", **{"if-none-match": "*"}))
        assert (connection.getresponse().read() and connection.sock) is first, "a connection goes on after a 412"


def test_a_refused_client_that_sends_for_ever_is_cut_off(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head("PUT", "/bucket/key", {"host": "x", "content-length": str(1 << 40)}))
        began, sent = time.monotonic(), 0
        try:
            while time.monotonic() - began < 60:
                sent += client.send(b"x" * 65536)
        except OSError:
            pass
        assert sent <= 256 << 20 and time.monotonic() - began < 50, f"{sent >> 20} MiB were taken of a refused body"


def drippers(server):
    """Connections with a request whose body is announced and hardly comes, by name."""
    made = {}
    for name, path in [("a body", "/bucket/slow"), ("a document", "/bucket?versioning")]:
        made[name] = socket.create_connection(("127.0.0.1", server.port))
        made[name].sendall(head("PUT", path, {**signed(server, "PUT", path), "content-length": "1000000"}))
    made["a query"] = socket.create_connection(("127.0.0.1", server.admin_port))
    made["a query"].sendall(head("POST", "/sql", {"host": f"127.0.0.1:{server.admin_port}", **basic(server.own_keys()), "content-length": "100000"}))
    return made


def is_cut_off(client):
    """Sends one byte more."""
    client.settimeout(0.01)
    try:
        client.send(b" ")
        # An answer, or the end.
        client.recv(65536)
        return True
    except TimeoutError:
        return False
    except OSError:
        return True


@pytest.mark.serial
def test_drops_are_not_enough_and_a_client_that_takes_its_time_is_left_alone(server, tell):
    """In either direction: bodies that hardly come, an answer that nobody reads."""
    began = time.monotonic()
    server.client().put_object(Bucket="bucket", Key="big", Body=b"b" * BIG)
    dripping, ended = drippers(server), {}
    reader = slow_reader(server.port)
    reader.sendall(head("GET", "/bucket/big", signed(server, "GET", "/bucket/big")))
    # One that takes its time, but takes: 24 MiB in some 4 s.
    steady = http.client.HTTPConnection("127.0.0.1", server.port)
    steady.request("GET", "/bucket/big", headers=signed(server, "GET", "/bucket/big"))
    taken, answer = 0, steady.getresponse()
    while time.monotonic() - began < 4 * STALL:
        taken += len(answer.read(BIG // 40))
        for name, client in list(dripping.items()):
            if is_cut_off(client):
                ended[name] = time.monotonic() - began
                dripping.pop(name).close()
        time.sleep(0.05)
    assert not dripping, f"still open after {4 * STALL} s: {list(dripping)}"
    while taken < BIG and (piece := answer.read(1 << 20)):
        taken += len(piece)
    assert taken == BIG, f"a client that takes its answer got {taken} of {BIG}"
    assert drained(reader) < BIG, "a client that stopped reading got everything"
    tell(f"slow clients ended after { {name: round(took, 1) for name, took in ended.items()} } s")


def drained(reader):
    """Reads to the end of what was under way; returns how many bytes came."""
    got = 0
    try:
        while piece := reader.recv(1 << 20):
            got += len(piece)
    except OSError:
        pass
    reader.close()
    return got
