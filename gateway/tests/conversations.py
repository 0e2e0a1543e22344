"""Conversations with PostgreSQL's door that no honest client has, made from a seed.

Usage: conversations.py BINARY [--conversations N] [--seed N]

Logins that fail, are cut short, come twice or in another order, with queries sent ahead of them or right behind; messages
that are torn, too long or malformed; every type of Arrow's as an answer; texts that are too large; what is prepared without
end. Held all the while: no query runs before its login has finished, S3 answers beside all this, the process lives and its
memory is bounded. Of a build with the feature `ingest/mutants`, SILTSTONE_MUTANT=QueryBeforeLogin must fail here.
"""
import argparse
import http.client
import os
import pathlib
import random
import socket
import struct
import sys
import tempfile
import threading
import time
import urllib.request

from lib.server import ACCESS_KEY, Server, free_port
from lib.wire import WRONG, Talk, code, extended, first_of_scram, kinds, message, proof_of_scram, query, startup

PASSED = 0
# A debug build on a machine that does other things as well.
PROBE_SECONDS = 2.0
MEMORY_MORE = 512 << 20
TYPES = ["Null", "Boolean", "Int8", "Int16", "Int32", "Int64", "UInt8", "UInt16", "UInt32", "UInt64", "Float16", "Float32", "Float64",
         "Decimal32(5, 1)", "Decimal64(10, 2)", "Decimal128(38, 10)", "Decimal256(70, 10)", "Date32", "Date64", "Time32(Second)", "Time32(Millisecond)",
         "Time64(Microsecond)", "Time64(Nanosecond)", "Timestamp(Second, None)", "Timestamp(Millisecond, Some(\"UTC\"))", "Timestamp(Microsecond, None)",
         "Timestamp(Nanosecond, Some(\"+02:00\"))", "Duration(Second)", "Duration(Millisecond)", "Duration(Microsecond)", "Duration(Nanosecond)",
         "Interval(YearMonth)", "Interval(DayTime)", "Interval(MonthDayNano)", "Utf8", "LargeUtf8", "Utf8View", "Binary", "LargeBinary", "BinaryView",
         "FixedSizeBinary(1)", "Dictionary(Int32, Utf8)", "Dictionary(Int8, Float16)", "List(Int64)", "LargeList(Utf8)", "FixedSizeList(1, Float32)", "List(Float16)"]
NESTED = ["SELECT map(['a'], [1])", "SELECT map([1], [['a']])", "SELECT named_struct('a', 1, 'b', [1, 2])", "SELECT [[1, 2], [3]]", "SELECT [NULL]",
          "SELECT NULL", "SELECT [map(['a'], ['b'])]", "SELECT named_struct('m', map(['a'], [named_struct('x', 1.5)]))", "SELECT make_date(9999, 1, 1)",
          "SELECT TIMESTAMP '9999-12-31'", "SELECT INTERVAL '1000000' YEAR", "SELECT arrow_cast(9223372036854775807, 'Timestamp(Microsecond, None)')",
          "SELECT to_timestamp_seconds(9223372036854775)", "SELECT [arrow_cast(1.5, 'Float16')]", "SELECT named_struct('h', arrow_cast(1.5, 'Float16'))",
          "SELECT arrow_cast(value, 'Float16') FROM generate_series(1, 100000)", "SELECT repeat('x', 1000000) FROM generate_series(1, 20)"]


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


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


class Door:
    """What conversations need, and what they must not change."""

    def __init__(self, server, port, chance):
        self.server, self.port, self.chance = server, port, chance

    def queries(self):
        """Queries that have run, whatever became of them."""
        with urllib.request.urlopen(self.server.admin + "/metrics", timeout=30) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith("siltstone_sql_queries_total"))

    def resident(self):
        [line] = [line for line in pathlib.Path(f"/proc/{self.server.process.pid}/status").read_text().splitlines() if line.startswith("RssAnon:")]
        return int(line.split()[1]) << 10


# What is asked without a login. Its mark is looked for in the server's log of queries.
MARK = "not_authenticated"


def stolen(chance):
    text = f"SELECT count(*) AS {MARK} FROM generate_series(1, {chance.randrange(1, 1000)})"
    return chance.choice([query(text), extended(text), extended(text, b"s", b"p"), query(text) + query(text), message(b"S", b"") + query(text),
                          message(b"H", b"") + extended(text), message(b"Q", b"\0") + query(text), query("BEGIN") + query(text)])


def unfinished(door, chance):
    """A login that fails or never ends, with queries before, between and behind its messages."""
    with Talk(door.port) as talk:
        user = chance.choice([ACCESS_KEY] * 9 + ["nobody", "", ACCESS_KEY.lower()])
        steps = [startup(user), first_of_scram(), WRONG]
        way = chance.randrange(9)
        if way == 0:
            # All at once.
            talk.send(b"".join(steps) + stolen(chance))
        elif way == 1:
            # In turn, and the query in one write with the wrong proof.
            for step in steps[:2]:
                talk.send(step)
                talk.next()
            talk.send(WRONG + stolen(chance))
        elif way == 2:
            # In turn, and the query once the error has been read.
            for step in steps:
                talk.send(step)
                talk.next()
            talk.send(stolen(chance))
        elif way == 3:
            # Cut short somewhere, and the query there.
            count = chance.randrange(len(steps))
            for step in steps[:count]:
                talk.send(step)
                talk.next()
            talk.send(steps[count][:chance.randrange(len(steps[count]))] + stolen(chance))
        elif way == 4:
            # In another order, each perhaps more than once.
            order = [chance.choice(steps[1:] + [stolen(chance)]) for _ in range(chance.randrange(1, 6))]
            talk.send(startup(user) + b"".join(order) + stolen(chance))
        elif way == 5:
            # Another mechanism, or none.
            name = chance.choice([b"SCRAM-SHA-256-PLUS", b"OAUTHBEARER", b"PLAIN", b""])
            talk.send(startup(user))
            talk.next()
            talk.send(message(b"p", name + b"\0" + struct.pack("!i", 13) + b"n,,n=,r=abcde") + WRONG + stolen(chance))
        elif way == 6:
            # An honest first message, a proof with another's secret key.
            talk.send(startup(ACCESS_KEY))
            talk.next()
            talk.send(first_of_scram())
            asked = talk.next()
            talk.send((proof_of_scram(asked[1][4:], "wrong") if asked else WRONG) + stolen(chance))
        elif way == 7:
            # Encryption is asked for, then everything; or a second startup message.
            ssl = struct.pack("!ii", 8, chance.choice([80877103, 80877104]))
            talk.send(ssl * chance.randrange(1, 4) + startup(user) + startup(ACCESS_KEY) + b"".join(steps) + stolen(chance))
        else:
            # A flipped byte or two.
            data = bytearray(b"".join(steps) + stolen(chance))
            for _ in range(chance.randrange(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            talk.send(bytes(data))
        if chance.random() < 0.3:
            return
        if chance.random() < 0.5:
            try:
                talk.socket.shutdown(socket.SHUT_WR)
            except OSError:
                pass
        talk.rest(0.3)


def torn(door, chance):
    """Bytes that are no protocol, or break off."""
    with Talk(door.port) as talk:
        data = [lambda: chance.randbytes(chance.randrange(1, 300)),
                lambda: startup(ACCESS_KEY)[:chance.randrange(1, 30)],
                lambda: struct.pack("!ii", chance.choice([0, 4, 7, 8, 9999, 10001, 2**31 - 1, -1]), chance.choice([196608, 196610, 131072, 80877103])),
                lambda: struct.pack("!iiii", 16, 80877102, chance.randrange(200000), chance.randrange(2**31)),
                lambda: struct.pack("!ii", 8, 80877102),
                lambda: startup("x" * 9000),
                lambda: startup(ACCESS_KEY) + bytes([chance.choice(b"QPBDESHCFdcfp")]) + struct.pack("!i", chance.choice([0, 3, 2**20, 2**30, 2**31 - 1, -5])) + chance.randbytes(40)]
        talk.send(chance.choice(data)())
        talk.rest(0.2)


def ends_well(door, talk, what):
    """After whatever was asked, the connection goes on, or has been closed with an error."""
    if talk.send(query("SELECT 1")):
        got = talk.until([b"Z"])
        check(not got or got[-1][0] == b"Z", f"{what}: {kinds(got)}")


def one_type(door, text, extended_too=True):
    """One answer, by both ways of asking; none wedges its connection."""
    with Talk(door.port).log_in() as talk:
        for asked in [query(text), extended(text)][:1 + extended_too]:
            talk.send(asked)
            got = talk.until([b"Z"])
            check(got and got[-1][0] == b"Z", f"{text}: {kinds(got)[:40]}")
            check(set(kinds(got)) & {"C", "E"}, f"{text}: neither an end nor an error: {kinds(got)[:40]}")
    return got


def mangled(door, chance):
    """After an honest login, messages with flipped bytes, in any order."""
    messages = [message(b"P", b"s\0SELECT $1::int + size FROM objects WHERE key = $2\0\0\0"), message(b"B", b"p\0s\0\0\0\0\x02\0\0\0\x011\0\0\0\x01k\0\0"),
                message(b"D", b"Pp\0"), message(b"E", b"p\0\0\0\0\x05"), message(b"S", b""), message(b"C", b"Pp\0"), message(b"H", b""), query("SELECT 1"),
                query("BEGIN"), query("DISCARD ALL"), message(b"p", b"n,,n=,r=x")]
    with Talk(door.port).log_in() as talk:
        for _ in range(chance.randrange(1, 12)):
            one = bytearray(chance.choice(messages))
            for _ in range(chance.randrange(3)):
                if len(one) > 5:
                    one[chance.randrange(5, len(one))] = chance.randrange(256)
            talk.send(bytes(one))
        if chance.random() < 0.5:
            talk.rest(0.1)


def large(door, chance):
    """Texts at and above every bound, simple and prepared."""
    with Talk(door.port).log_in() as talk:
        count = chance.choice([1000, 1999, 2001, 5000, 30000])
        text = chance.choice([lambda: "SELECT 1" + "+1" * count, lambda: "SELECT " + ",".join(["1"] * count), lambda: "SELECT '" + "x" * count * 30 + "'",
                              lambda: "SELECT 1" + "::int" * count, lambda: "SELECT " + "(" * count + "1" + ")" * count,
                              lambda: "SELECT 1 /*" + "x" * (1 << 20), lambda: ";" * count + "SELECT 1",
                              lambda: " UNION ALL ".join(["SELECT 1"] * count)])()
        talk.send(chance.choice([query, extended])(text))
        got = talk.until([b"Z"])
        told = code(got)
        # A message beyond 1 MiB ends the connection, told so; otherwise it goes on.
        if told == "54000":
            check(talk.next() is None, "a connection goes on behind a message that is too long")
            return
        check(got and got[-1][0] == b"Z", f"{text[:40]}: {kinds(got)[:40]} {told}")
        check(told is None or len(told) == 5, f"{text[:40]}: {told}")
        if len(text) > 64 << 10 and "-" not in text:
            check(told == "54001", f"{text[:40]}, {len(text)} bytes: {told}")


def hoard(door, chance):
    """Statements and portals without end are refused, and the connection goes on."""
    with Talk(door.port).log_in() as talk:
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
        check((made, refused) == (980, "54000"), f"portals beyond the bound: {made} {refused}")
        talk.send(query("DISCARD ALL"))
        check(kinds(talk.until([b"Z"])) == "CZ", "all is let go of")
        talk.send(message(b"P", b"again\0SELECT 1\0\0\0") + message(b"B", b"p\0again\0\0\0\0\0\0\0") + message(b"S", b""))
        check(kinds(talk.until([b"Z"])) == "12Z", "then there is room again")


def prepared_bytes(door):
    """What is prepared is bounded in bytes, too."""
    with Talk(door.port).log_in() as talk:
        told = None
        value = b"x" * (900 << 10)
        talk.send(message(b"P", b"s\0SELECT $1\0\0\0") + message(b"S", b""))
        talk.until([b"Z"])
        for number in range(80):
            bind = b"p%d\0s\0\0\0\0\x01" % number + struct.pack("!i", len(value)) + value + b"\0\0"
            talk.send(message(b"B", bind) + message(b"S", b""))
            told = code(talk.until([b"Z"])) or told
        check(told == "53200", f"80 MB of portals: {told}")


def silent(door):
    """Connections that say nothing keep nobody out, and are closed."""
    held = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(200)]
    began = time.monotonic()
    for _ in range(5):
        Talk(door.port).log_in().__exit__()
    took = time.monotonic() - began
    check(took < 30, f"logins beside 200 silent connections: {took:.1f} s")
    half = Talk(door.port)
    half.send(startup(ACCESS_KEY)[:7])
    for one in [*held, half.socket]:
        one.settimeout(40)
        try:
            while one.recv(4096):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            sys.exit("FAILED: a silent connection is not closed")
        one.close()
    check(time.monotonic() - began < 45, "silent connections are closed")


def slow_texts(door):
    """Eight clients send the longest and slowest texts there are, and go at once."""
    for _ in range(8):
        talk = Talk(door.port).log_in()
        talk.send(query("SELECT " + ",".join(["1"] * 32000)))
        talk.socket.close()


def converse(door, chance, number):
    """One conversation; gives whether it may have run queries."""
    kind = chance.random()
    if kind < 0.6:
        unfinished(door, chance)
    elif kind < 0.75:
        torn(door, chance)
    elif kind < 0.85:
        mangled(door, chance)
        return True
    elif kind < 0.93:
        text = chance.choice(NESTED + [f"SELECT arrow_cast('1', '{kind}') AS x" for kind in TYPES])
        one_type(door, text)
        return True
    else:
        large(door, chance)
        return True
    return False


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--conversations", type=int, default=400)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SILTSTONE_SEED", "0")) or random.randrange(1 << 32))
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        server = Server(os.path.abspath(arguments.binary), scratch + "/data", "--postgres", f"127.0.0.1:{port}", "--sql-seconds", "10", "--sql-slow-seconds", "0")
        server.start()
        try:
            server.client().create_bucket(Bucket="asked")
            door = Door(server, port, chance)
            Talk(port).log_in().__exit__()
            probe = Probe(server)
            probe.start()
            # Logins alone, first: not one query runs.
            before = door.queries()
            for _ in range(arguments.conversations // 2):
                unfinished(door, chance)
                torn(door, chance)
            # What was begun, if anything was, comes to its end: honest queries behind it do.
            for _ in range(3):
                server.sql("SELECT 1")
            time.sleep(2)
            check(door.queries() == before + 3, f"queries run without a login: {door.queries() - before - 3:.0f}")
            check(MARK not in server.log_text(), "the log tells of a query without a login")
            print("logins that fail: ok", flush=True)
            resting, most = door.resident(), 0
            for kind in TYPES:
                one_type(door, f"SELECT arrow_cast('1', '{kind}') AS x")
                one_type(door, f"SELECT arrow_cast(NULL, '{kind}') AS x", extended_too=False)
            for text in NESTED:
                one_type(door, text)
            for text, wanted in [("SELECT arrow_cast(1.5, 'Float16')", b"1.5"), ("SELECT map(['a'], [1])", b'{"a":"1"}'), ("SELECT arrow_cast('1', 'Decimal256(70, 1)')", b"1.0")]:
                with Talk(port).log_in() as talk:
                    talk.send(query(text))
                    rows = [body[6:] for kind, body in talk.until([b"Z"]) if kind == b"D"]
                    check(rows == [wanted], f"{text}: {rows}")
            print("every type as an answer: ok", flush=True)
            hoard(door, chance)
            prepared_bytes(door)
            slow_texts(door)
            silent(door)
            print("what is kept, and who says nothing: ok", flush=True)
            for number in range(arguments.conversations):
                converse(door, chance, number)
                most = max(most, door.resident())
                check(server.process.poll() is None, f"the server has ended: {server.log_text()[-2000:]}")
            # What is under way comes to its end; then the mark tells.
            with Talk(port).log_in() as talk:
                talk.send(query("SELECT 1 AS one"))
                check(kinds(talk.until([b"Z"])) == "TDCZ", "an honest client afterwards")
            check(MARK not in server.log_text(), "the log tells of a query without a login")
            check("panicked" not in server.log_text(), "the log tells of a panic")
            probe.stop.set()
            probe.join()
            check(probe.trouble is None, f"S3 beside it: {probe.trouble}")
            print(probe.told(), flush=True)
            check(max(probe.times) < PROBE_SECONDS, probe.told())
            check(most - resting < MEMORY_MORE, f"{(most - resting) >> 20} MiB more than at rest")
            print(f"memory: {resting >> 20} MiB, at most {most >> 20}", flush=True)
            server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()
    print(f"{PASSED} passed, 0 failed")


main()
