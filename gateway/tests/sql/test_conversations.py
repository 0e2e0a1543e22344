"""The PostgreSQL endpoint under conversations that no honest client has, see `lib/conversations.py`.

Held all the while: no query runs before its login has finished, S3 answers beside all this, the process lives and its
memory is bounded. Of a build with the feature `ingest/mutants`, SILTSTONE_MUTANT=QueryBeforeLogin must fail here.
"""
import http.client
import random
import socket
import struct
import threading
import time

import pytest

from lib.conversations import (
    MARK,
    NESTED,
    TYPES,
    cast_to,
    converse,
    one_type,
    torn,
    unfinished,
)
from lib.server import ACCESS_KEY, free_port
from lib.wire import Talk, code, kinds, message, query, startup

pytestmark = pytest.mark.serial

# A debug build on a machine that does other things as well.
PROBE_SECONDS = 2.0
MEMORY_MORE = 512 << 20


class Probe(threading.Thread):
    """A small request of S3's beside all conversations: how long it takes at most."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.times, self.trouble = server, threading.Event(), [], None

    def run(self):
        while not self.stop.is_set():
            began = time.monotonic()
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=30)
                connection.request("GET", "/")
                connection.getresponse().read()
                connection.close()
            except OSError as error:
                self.trouble = error
            self.times.append(time.monotonic() - began)
            time.sleep(0.005)

    def told(self):
        times = sorted(self.times)
        return f"S3 beside it: {len(times)} requests, median {times[len(times) // 2] * 1000:.1f} ms, p99 {times[len(times) * 99 // 100] * 1000:.1f} ms, worst {times[-1] * 1000:.0f} ms"


@pytest.fixture(scope="module")
def port():
    """The port of the PostgreSQL endpoint."""
    return free_port()


@pytest.fixture(scope="module")
def server(serve, port):
    server = serve("--postgres", f"127.0.0.1:{port}", "--sql-seconds", "10", "--sql-slow-seconds", "0")
    server.client().create_bucket(Bucket="asked")
    Talk(port).log_in().__exit__()
    return server


@pytest.fixture(scope="module")
def resting(server):
    """Bytes of memory before any conversation."""
    return server.resident()


@pytest.fixture(autouse=True)
def nobody_is_harmed(server, resting):
    """S3 answers beside a test, the memory is bounded, and no query runs without a login."""
    probe = Probe(server)
    probe.start()
    yield
    probe.stop.set()
    probe.join()
    assert probe.trouble is None, f"S3 beside it: {probe.trouble}"
    assert max(probe.times) < PROBE_SECONDS, probe.told()
    assert server.resident() - resting < MEMORY_MORE, f"{(server.resident() - resting) >> 20} MiB more than at rest"
    assert MARK not in server.log_text(), "the log tells of a query without a login"
    assert "panicked" not in server.log_text(), server.log_end()


def queries(server):
    """Queries that have run, with any outcome."""
    return server.metric("siltstone_sql_queries_total")


def test_logins_that_fail_run_no_query(server, port, sizes, seed, tell):
    chance, before = random.Random(f"{seed} logins"), queries(server)
    for _ in range(sizes.conversations // 2):
        unfinished(port, chance)
        torn(port, chance)
    # A query that was begun comes to its end: honest queries behind it do.
    for _ in range(3):
        server.sql("SELECT 1")
    time.sleep(2)
    assert queries(server) == before + 3, f"queries run without a login: {queries(server) - before - 3:.0f}"
    tell(f"{sizes.conversations // 2 * 2} logins that fail")


@pytest.mark.parametrize("kind", TYPES)
def test_a_type_is_answered(server, port, kind):
    one_type(port, cast_to(kind))
    one_type(port, cast_to(kind, "NULL"), extended_too=False)


@pytest.mark.parametrize("text", NESTED)
def test_a_nested_or_extreme_value_is_answered(server, port, text):
    one_type(port, text)


@pytest.mark.parametrize(("text", "wanted"), [
    ("SELECT arrow_cast(1.5, 'Float16')", b"1.5"), ("SELECT map(['a'], [1])", b'{"a":"1"}'), ("SELECT arrow_cast('1', 'Decimal256(70, 1)')", b"1.0")])
def test_a_value_that_postgresql_has_no_type_for_is_a_text(server, port, text, wanted):
    with Talk(port).log_in() as talk:
        talk.send(query(text))
        rows = [body[6:] for kind, body in talk.until([b"Z"]) if kind == b"D"]
    assert rows == [wanted], f"{text}: {rows}"


def test_portals_without_end_are_refused_and_the_connection_goes_on(server, port):
    with Talk(port).log_in() as talk:
        talk.send(b"".join(message(b"P", b"s%d\0SELECT 1\0\0\0" % number) + message(b"S", b"") for number in range(20)))
        for _ in range(20):
            talk.until([b"Z"])
        # A portal is cheap to make: no query is planned for it.
        made, refused = 0, None
        for start in range(0, 1200, 100):
            talk.send(b"".join(message(b"B", b"p%d\0s1\0\0\0\0\0\0\0" % number) + message(b"S", b"") for number in range(start, start + 100)))
            for _ in range(100):
                got = talk.until([b"Z"])
                made += kinds(got) == "2Z"
                refused = refused or code(got)
        assert (made, refused) == (980, "54000"), f"portals beyond the bound: {made} {refused}"
        talk.send(query("DISCARD ALL"))
        assert kinds(talk.until([b"Z"])) == "CZ", "all is let go of"
        talk.send(message(b"P", b"again\0SELECT 1\0\0\0") + message(b"B", b"p\0again\0\0\0\0\0\0\0") + message(b"S", b""))
        assert kinds(talk.until([b"Z"])) == "12Z", "then there is room again"


def test_portals_are_bounded_in_bytes(server, port):
    with Talk(port).log_in() as talk:
        told = None
        value = b"x" * (900 << 10)
        talk.send(message(b"P", b"s\0SELECT $1\0\0\0") + message(b"S", b""))
        talk.until([b"Z"])
        for number in range(80):
            bind = b"p%d\0s\0\0\0\0\x01" % number + struct.pack("!i", len(value)) + value + b"\0\0"
            talk.send(message(b"B", bind) + message(b"S", b""))
            told = code(talk.until([b"Z"])) or told
        assert told == "53200", f"80 MB of portals: {told}"


def test_clients_that_send_the_slowest_texts_and_go_harm_nobody(server, port):
    """Eight clients send the longest and slowest texts there are, and go at once."""
    for _ in range(8):
        talk = Talk(port).log_in()
        talk.send(query("SELECT " + ",".join(["1"] * 32000)))
        talk.socket.close()
    honest_client(port)


def test_connections_that_say_nothing_keep_nobody_out_and_are_closed(server, port):
    held = [socket.create_connection(("127.0.0.1", port)) for _ in range(200)]
    began = time.monotonic()
    for _ in range(5):
        Talk(port).log_in().__exit__()
    took = time.monotonic() - began
    assert took < 30, f"logins beside 200 silent connections: {took:.1f} s"
    half = Talk(port)
    half.send(startup(ACCESS_KEY)[:7])
    for one in [*held, half.socket]:
        one.settimeout(40)
        try:
            while one.recv(4096):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            pytest.fail("a silent connection is not closed")
        one.close()
    assert time.monotonic() - began < 45, "silent connections are closed"


def honest_client(port):
    with Talk(port).log_in() as talk:
        talk.send(query("SELECT 1 AS one"))
        assert kinds(talk.until([b"Z"])) == "TDCZ", "an honest client afterwards"


def test_conversations_by_chance_leave_the_server_well(server, port, resting, sizes, seed, tell):
    chance, most = random.Random(f"{seed} conversations"), 0
    for number in range(sizes.conversations):
        converse(port, chance)
        most = max(most, server.resident())
        assert server.process.poll() is None, f"the server has ended after conversation {number}"
    honest_client(port)
    assert most - resting < MEMORY_MORE, f"{(most - resting) >> 20} MiB more than at rest"
    tell(f"{sizes.conversations} conversations; memory: {resting >> 20} MiB at rest, at most {most >> 20}")
