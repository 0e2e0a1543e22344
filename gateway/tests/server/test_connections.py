"""Strangers, mistaken clients and slow ones: who is refused can read why, and who stands still is cut off."""
import http.client
import re
import signal
import socket
import threading
import time

import pytest

from lib.requests import head
from lib.server import Server, basic
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


UNREADABLE = [(b"GET / HTTP/1.1\r\nhost\r\n\r\n", 400), (b"\0\r\n\r\n", 400), (b"GET / HTTP/1.1\r\n\r\n", 400), (b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
              (b"GET / HTTP/1.1\r\nhost: a\r\nx: " + b"x" * (1 << 20) + b"\r\n\r\n", 431), (b"GET / HTTP/1.1\r\nhost: a\r\n" + b"a: b\r\n" * 300 + b"\r\n", 431),
              (b"PUT / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n", 501)]


def test_only_the_first_answer_of_a_connection_is_replaced(server):
    """The object has the bytes of an answer of the server itself, which a client must get as it stored them."""
    text = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\ndate: Mon, 30 Nov 2026 00:00:00 GMT\r\n\r\n"
    s3 = server.client()
    s3.put_object(Bucket="bucket", Key="answer", Body=text)
    assert s3.get_object(Bucket="bucket", Key="answer")["Body"].read() == text
    ask = head("GET", "/bucket/answer", signed(server, "GET", "/bucket/answer"))
    for behind in (b"", b"\0\r\n\r\n", ask):
        answer = send(server.port, ask + behind, timeout=2)
        assert answer.partition(b"\r\n\r\n")[2].startswith(text)


@pytest.mark.parametrize(("request_bytes", "status"), UNREADABLE, ids=range(len(UNREADABLE)))
def test_requests_that_cannot_be_read_are_counted(server, request_bytes, status):
    """They never come to a handler. An attack or a broken proxy that sends nothing else must be seen all the same."""
    series = f'siltstone_requests_total{{method="other",status="{status}",operation="Unknown"}}'

    def count():
        found = re.search(re.escape(series) + r" (\d+)", server.metrics())
        return int(found.group(1)) if found else 0

    before = count()
    head, _, text = send(server.port, request_bytes).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    code = {400: b"<Code>BadRequest<|<Code>InvalidRequest<", 431: b"<Code>RequestHeaderSectionTooLarge<", 501: b"<Code>NotImplemented<"}[status]
    assert re.search(code, text) and f"content-length: {len(text)}".encode() in head.lower()
    deadline = time.monotonic() + 10
    while count() == before and time.monotonic() < deadline:
        time.sleep(0.05)
    assert count() == before + 1


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


# The last request of a connection, the bound on connections, and a stop.


@pytest.fixture(scope="module")
def narrow(serve):
    """A server with four connections of five requests each."""
    server = serve("--connections", "4", "--requests-per-connection", "5", "--stall-seconds", str(STALL))
    s3 = server.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    s3.close()
    return server


def test_a_connection_says_that_its_last_request_was_the_last(narrow):
    connection = http.client.HTTPConnection("127.0.0.1", narrow.port, timeout=30)
    for number in range(1, 11):
        connection.request("GET", "/bucket/small", headers=signed(narrow, "GET", "/bucket/small"))
        answer = connection.getresponse()
        assert answer.read() == b"small", f"request {number}"
        assert answer.will_close == (number % 5 == 0), f"request {number}: {answer.getheaders()}"
    connection.close()


def upload(server, size=1 << 20, first=1 << 19):
    """A connection in an upload of which the first bytes have been sent."""
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(head("PUT", "/bucket/slow", {**signed(server, "PUT", "/bucket/slow"), "content-length": str(size)}) + b"u" * first)
    return client


def whole_answer(client):
    answer = http.client.HTTPResponse(client)
    answer.begin()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


class Steady:
    """Uploads that go on: each makes progress, so that none is closed for another connection."""

    def __init__(self, server, count):
        self.clients = [upload(server, 1 << 30, 1) for _ in range(count)]
        self.ends = threading.Event()
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        # Until their heads have been read: a connection without a request would be closed for another.
        time.sleep(1)

    def run(self):
        while not self.ends.wait(0.05):
            for client in self.clients:
                client.sendall(b"u" * 16384)

    def close(self):
        self.ends.set()
        self.thread.join()
        for client in self.clients:
            client.close()


@pytest.mark.serial
def test_who_finds_no_place_is_told_to_try_again_and_holds_up_nobody(narrow):
    """Those who may wait get a place as soon as there is one; all others learn at once that they should come later."""
    steady = Steady(narrow, 4)
    try:
        began = time.monotonic()
        newcomers = [socket.create_connection(("127.0.0.1", narrow.port), timeout=30) for _ in range(12)]
        ask = head("GET", "/bucket/small", signed(narrow, "GET", "/bucket/small"))
        took = []
        for client in newcomers:
            try:
                client.sendall(ask)
            except OSError:
                # Refused before the request; the answer can be read all the same.
                pass
            status, headers, body = whole_answer(client)
            took.append(time.monotonic() - began)
            assert (status, headers["retry-after"], headers["connection"]) == (503, "1", "close") and b"SlowDown" in body, f"{status} {headers} {body}"
        assert took[-1] < 6, f"twelve connections that wait one after the other: {took}"
    finally:
        steady.close()
    for _ in range(50):
        # The places of the uploads are free once their ends were seen.
        if http_get(narrow) == 200:
            return
        time.sleep(0.1)
    raise AssertionError("no place is free when the others have gone")


def http_get(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    try:
        connection.request("GET", "/bucket/small", headers=signed(server, "GET", "/bucket/small"))
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def test_a_stop_ends_idle_connections_and_answers_requests_under_way(serve):
    server = serve()
    server.client().create_bucket(Bucket="bucket")
    idle = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    idle.request("GET", "/", headers=signed(server, "GET", "/"))
    idle.getresponse().read()
    client = upload(server)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGTERM)
    assert idle.sock.recv(1) == b"", "an idle connection is closed"
    refused = False
    for _ in range(50):
        try:
            socket.create_connection(("127.0.0.1", server.port), timeout=5).close()
        except ConnectionRefusedError:
            refused = True
            break
        time.sleep(0.1)
    assert refused, "new connections come in while the server stops"
    client.sendall(b"u" * (1 << 19))
    status, headers, _ = whole_answer(client)
    assert (status, headers.get("connection")) == (200, "close"), f"{status} {headers}"
    assert client.recv(1) == b"" and server.process.wait(timeout=30) == 0, "the server ends after its last request"
    Server.running.discard(server)
    server.start()
    got = server.client().get_object(Bucket="bucket", Key="slow")["Body"].read()
    assert got == b"u" * (1 << 20), "what was acknowledged while the server stopped"
