"""Statements as deep, long and wide as the grammar allows: at every bound and above it, by all doors, the server lives.

Usage: deep.py BINARY [--doors http,s3,simple,prepared] [--only NAME] [--long] [--verbose]

Each production of `productions.py` is repeated as often as the bounds on a text allow, and then once more. How much stack
the threads of queries have used is read from the system: a quarter of what they have is the most that may be needed.
Beside it S3 answers.
"""
import argparse
import base64
import hashlib
import os
import pathlib
import re
import sys
import tempfile
import time
import urllib.error
import urllib.request

from lib.productions import PRODUCTIONS
from lib.server import Server, basic, free_port
from lib.signing import sign
from lib.wire import Talk, code, extended, kinds, query

PASSED = 0
TEXT_BYTES_MAX = 64 << 10
STACK_BYTES = 256 << 20
SECONDS = 60


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def posted(url, body, headers):
    """The status and text of an answer."""
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Doors:
    """Ways to ask; each gives whether the statement was too complex, and what was told."""

    def __init__(self, server, port):
        self.server, self.port = server, port

    def http(self, text):
        status, told = posted(self.server.admin + "/sql", text.encode(), basic(self.server.own_keys()))
        return told if status == 400 else None, f"{status} {told[:100]}"

    def s3(self, text):
        body = text.encode()
        signed, *_ = sign("POST", "/-/sql", {"host": f"127.0.0.1:{self.server.port}"}, hashlib.sha256(body).hexdigest())
        status, told = posted(self.server.url + "/-/sql", body, signed)
        return told if status == 400 else None, f"{status} {told[:100]}"

    def asked(self, data):
        with Talk(self.port, SECONDS).log_in() as talk:
            talk.send(data)
            got = talk.until([b"Z"])
        check(got and got[-1][0] == b"Z", f"no end of an answer: {kinds(got)[:50]}")
        errors = [body.decode(errors="replace") for kind, body in got if kind == b"E"]
        return errors[0] if errors else None, f"{kinds(got)[:20]} {code(got)} {errors[:1]}"[:140]

    def simple(self, text):
        return self.asked(query(text))

    def prepared(self, text):
        return self.asked(extended(text))


def stacks(server):
    """The most that any thread of queries has used of its stack."""
    used, size = [0], 0
    for line in pathlib.Path(f"/proc/{server.process.pid}/smaps").read_text().splitlines():
        if line.startswith("Size:"):
            size = int(line.split()[1]) << 10
        elif line.startswith("Rss:") and 0 <= size - STACK_BYTES < 1 << 20:
            used.append(int(line.split()[1]) << 10)
    return max(used)


def most(make, ask):
    """How often a production may be repeated: by the bound on links, which refusals count, and by that on bytes."""
    def links(n):
        told, _ = ask(make(n))
        found = re.search(r"has (\d+) operators", told or "")
        return int(found[1]) if found else None
    by_bytes = 1
    while by_bytes < 1 << 17 and len(make(by_bytes)) <= TEXT_BYTES_MAX:
        by_bytes *= 2
    low, high = by_bytes // 2, by_bytes
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if len(make(middle)) <= TEXT_BYTES_MAX else (low, middle)
    many = links(low)
    fewer = links(low - 20) if many else None
    if many and fewer and many > fewer:
        each = (many - fewer) / 20
        return low - int(-(-(many - 2000) // each))
    return low


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--doors", default="http,s3,simple,prepared")
    parser.add_argument("--only", default="")
    parser.add_argument("--long", action="store_true", help="many numbers of repetitions below the bound as well")
    parser.add_argument("--verbose", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        port = free_port()
        server = Server(os.path.abspath(arguments.binary), scratch + "/data", "--postgres", f"127.0.0.1:{port}", "--sql-seconds", "30")
        server.start()
        try:
            server.client().create_bucket(Bucket="asked")
            doors, deepest = Doors(server, port), 0
            for name, make in PRODUCTIONS.items():
                if arguments.only not in name:
                    continue
                try:
                    count = most(make, doors.http)
                    before = stacks(server)
                    for door in arguments.doors.split(","):
                        for n in sorted({1, 16, 60, 100, 200, 254, count, count + 1} if arguments.long else {count, count + 1}):
                            began = time.monotonic()
                            told, shown = getattr(doors, door)(make(n))
                            took = time.monotonic() - began
                            if arguments.verbose or took > 5:
                                print(f"{name}, {door}, {n}: {took:.1f} s, {shown!r}", flush=True)
                            if n > count:
                                check(told is not None, f"{name}, {door}, {n} times, above every bound: {shown}")
                            check(server.process.poll() is None, f"{name}, {door}, {n} times")
                except (OSError, urllib.error.URLError) as error:
                    time.sleep(1)
                    ended = server.process.poll() is not None
                    sys.exit(f"FAILED: {name}, {count} at most: {error!r}; " + (server.log_text()[-300:] if ended else "the server lives"))
                used = stacks(server)
                if used > before:
                    print(f"{name}, {count} times at most: {used / (1 << 20):.1f} MiB of stack", flush=True)
                deepest = max(deepest, used)
            check(deepest * 4 <= STACK_BYTES, f"{deepest >> 20} MiB of stack are needed, of {STACK_BYTES >> 20}")
            check("panicked" not in server.log_text(), "the log tells of a panic")
            server.stop()
            print(f"{PASSED} passed, 0 failed; {deepest / (1 << 20):.1f} MiB of stack at most")
        finally:
            if server.process.poll() is None:
                server.process.kill()


main()
