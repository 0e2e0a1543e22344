"""Conversations with the PostgreSQL endpoint that no honest client has, made by chance.

Logins that fail, are cut short, come twice or in another order, with queries sent ahead of them or right behind; messages
that are torn, too long or malformed; every type of Arrow's as an answer; texts that are too large.
"""
import socket
import struct

from lib.server import ACCESS_KEY
from lib.wire import (
    WRONG,
    Talk,
    code,
    extended,
    first_of_scram,
    kinds,
    message,
    proof_of_scram,
    query,
    startup,
)

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

# Stands in queries that are sent without a login, and is looked for in the server's log of queries.
MARK = "not_authenticated"


def stolen(chance):
    text = f"SELECT count(*) AS {MARK} FROM generate_series(1, {chance.randrange(1, 1000)})"
    return chance.choice([query(text), extended(text), extended(text, b"s", b"p"), query(text) + query(text), message(b"S", b"") + query(text),
                          message(b"H", b"") + extended(text), message(b"Q", b"\0") + query(text), query("BEGIN") + query(text)])


def unfinished(port, chance):
    """A login that fails or never ends, with queries before, between and behind its messages."""
    with Talk(port) as talk:
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


def torn(port, chance):
    """Bytes that are no protocol, or break off."""
    with Talk(port) as talk:
        data = [lambda: chance.randbytes(chance.randrange(1, 300)),
                lambda: startup(ACCESS_KEY)[:chance.randrange(1, 30)],
                lambda: struct.pack("!ii", chance.choice([0, 4, 7, 8, 9999, 10001, 2**31 - 1, -1]), chance.choice([196608, 196610, 131072, 80877103])),
                lambda: struct.pack("!iiii", 16, 80877102, chance.randrange(200000), chance.randrange(2**31)),
                lambda: struct.pack("!ii", 8, 80877102),
                lambda: startup("x" * 9000),
                lambda: startup(ACCESS_KEY) + bytes([chance.choice(b"QPBDESHCFdcfp")]) + struct.pack("!i", chance.choice([0, 3, 2**20, 2**30, 2**31 - 1, -5])) + chance.randbytes(40)]
        talk.send(chance.choice(data)())
        talk.rest(0.2)


def cast_to(kind, value="'1'"):
    """The query for a value of one of the types."""
    return f"SELECT arrow_cast({value}, '{kind}') AS x"


def one_type(port, text, extended_too=True):
    """One answer, by both ways of asking; none wedges its connection."""
    with Talk(port).log_in() as talk:
        for asked in [query(text), extended(text)][:1 + extended_too]:
            talk.send(asked)
            got = talk.until([b"Z"])
            assert got and got[-1][0] == b"Z", f"{text}: {kinds(got)[:40]}"
            assert set(kinds(got)) & {"C", "E"}, f"{text}: neither an end nor an error: {kinds(got)[:40]}"
    return got


def mangled(port, chance):
    """After an honest login, messages with flipped bytes, in any order."""
    messages = [message(b"P", b"s\0SELECT $1::int + size FROM objects WHERE key = $2\0\0\0"), message(b"B", b"p\0s\0\0\0\0\x02\0\0\0\x011\0\0\0\x01k\0\0"),
                message(b"D", b"Pp\0"), message(b"E", b"p\0\0\0\0\x05"), message(b"S", b""), message(b"C", b"Pp\0"), message(b"H", b""), query("SELECT 1"),
                query("BEGIN"), query("DISCARD ALL"), message(b"p", b"n,,n=,r=x")]
    with Talk(port).log_in() as talk:
        for _ in range(chance.randrange(1, 12)):
            one = bytearray(chance.choice(messages))
            for _ in range(chance.randrange(3)):
                if len(one) > 5:
                    one[chance.randrange(5, len(one))] = chance.randrange(256)
            talk.send(bytes(one))
        if chance.random() < 0.5:
            talk.rest(0.1)


def large(port, chance):
    """Texts at and above every bound, simple and prepared."""
    with Talk(port).log_in() as talk:
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
            assert talk.next() is None, "a connection goes on behind a message that is too long"
            return
        assert got and got[-1][0] == b"Z", f"{text[:40]}: {kinds(got)[:40]} {told}"
        assert told is None or len(told) == 5, f"{text[:40]}: {told}"
        if len(text) > 64 << 10 and "-" not in text:
            assert told == "54001", f"{text[:40]}, {len(text)} bytes: {told}"


def converse(port, chance):
    """One conversation."""
    kind = chance.random()
    if kind < 0.6:
        unfinished(port, chance)
    elif kind < 0.75:
        torn(port, chance)
    elif kind < 0.85:
        mangled(port, chance)
    elif kind < 0.93:
        one_type(port, chance.choice(NESTED + [cast_to(kind) for kind in TYPES]))
    else:
        large(port, chance)
