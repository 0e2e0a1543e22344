"""Statements as deep, long and wide as the grammar allows: at every bound and above it, at all endpoints, the server lives.

Each production of `lib/productions.py` is repeated as often as the bounds on a text allow, and then once more. How much stack
the threads of queries have used is read from the system: a quarter of what they have is the most that may be needed.
"""
import hashlib
import pathlib
import re
import time
import urllib.error
import urllib.request

import pytest

from lib.productions import PRODUCTIONS
from lib.server import basic, free_port
from lib.signing import sign
from lib.wire import Talk, code, extended, kinds, query

pytestmark = pytest.mark.serial

TEXT_BYTES_MAX = 64 << 10
STACK_BYTES = 256 << 20
SECONDS = 60
# Repetitions below the bound, for `--every-depth`.
DEPTHS = {1, 16, 60, 100, 200, 254}


def posted(url, body, headers):
    """The status and text of an answer."""
    try:
        request = urllib.request.Request(url, data=body, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


class Endpoints:
    """Ways to send a statement; each returns the refusal, if the statement was refused, and a short text of the answer."""

    def __init__(self, server, port):
        self.server, self.port = server, port

    def http(self, text):
        status, told = posted(self.server.admin + "/sql", text.encode(), basic(self.server.own_keys()))
        return told if status == 400 else None, f"{status} {told[:100]}"

    def s3(self, text):
        body = text.encode()
        signed, *_ = sign("POST", "/-/sql", {"host": self.server.address}, hashlib.sha256(body).hexdigest())
        status, told = posted(self.server.url + "/-/sql", body, signed)
        return told if status == 400 else None, f"{status} {told[:100]}"

    def conversation(self, data):
        with Talk(self.port, SECONDS).log_in() as talk:
            talk.send(data)
            got = talk.until([b"Z"])
        assert got and got[-1][0] == b"Z", f"no end of an answer: {kinds(got)[:50]}"
        errors = [body.decode(errors="replace") for kind, body in got if kind == b"E"]
        return errors[0] if errors else None, f"{kinds(got)[:20]} {code(got)} {errors[:1]}"[:140]

    def simple(self, text):
        return self.conversation(query(text))

    def prepared(self, text):
        return self.conversation(extended(text))


@pytest.fixture(scope="module")
def port():
    """The port of the PostgreSQL endpoint."""
    return free_port()


@pytest.fixture(scope="module")
def server(serve, port):
    server = serve("--postgres", f"127.0.0.1:{port}", "--sql-seconds", "30")
    server.client().create_bucket(Bucket="asked")
    return server


@pytest.fixture
def endpoints(server, port):
    """The endpoints of a server that runs, also after a statement that ended it."""
    if not server.is_running():
        server.start()
    return Endpoints(server, port)


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
    """The number of repetitions that the bounds allow: that on links, which refusals count, and that on bytes."""
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


@pytest.mark.parametrize("name", PRODUCTIONS)
def test_a_production_is_repeated_to_its_bound_and_refused_above(server, endpoints, sizes, tell, name):
    make = PRODUCTIONS[name]
    count, before = most(make, endpoints.http), stacks(server)
    for endpoint in [endpoints.http, endpoints.s3, endpoints.simple, endpoints.prepared] if sizes.every_depth else [endpoints.http]:
        for n in sorted({*(DEPTHS if sizes.every_depth else ()), count, count + 1}):
            attempt(server, endpoint, make(n), f"{name}, {endpoint.__name__}, {n} of {count} times", n > count)
    used = stacks(server)
    if used > before:
        tell(f"{count} times at most, {used / (1 << 20):.1f} MiB of stack")
    assert used * 4 <= STACK_BYTES, f"{used >> 20} MiB of stack are needed, of {STACK_BYTES >> 20}"


def attempt(server, endpoint, text, what, is_above):
    """Sends one statement; one above every bound must be refused, and none may end the server."""
    began = time.monotonic()
    try:
        told, shown = endpoint(text)
    except OSError as error:
        # A process that is about to end needs a moment.
        time.sleep(1)
        pytest.fail(f"{what}: {error!r}; the server {'lives' if server.is_running() else 'has ended'}")
    if (took := time.monotonic() - began) > 5:
        print(f"{what}: {took:.1f} s, {shown!r}")
    assert told is not None or not is_above, f"{what}, above every bound: {shown}"
    assert server.is_running(), what
