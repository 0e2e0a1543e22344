"""Crowds of connections that do nothing, or next to nothing: a client with a sensible request is served all the same.

The server may open 1,024 files. From the address that everybody else comes from, too, a process makes a crowd, see
`lib/crowd.py`. Meanwhile small objects are written and read, over one connection and over new ones, and all of it must go
well. How much slower that gets is printed, and bounded generously: machines that run tests are busy.
"""
import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
import urllib.request

import pytest

from lib import ROOT
from lib.signing import sign

pytestmark = pytest.mark.serial

FILES = 1024
KINDS = ["idle", "heads", "bodies", "readers"]
# The growth of a server's memory that is allowed: connections, and what is on its way to clients that do not read.
GROWTH = 256 << 20
BIG = 8 << 20


class Client:
    """A client with work to do: writes and reads small objects and knows how long each took."""

    def __init__(self, port):
        self.port, self.kept, self.times, self.repeats, self.failures = port, None, [], [], []

    def ask(self, connection, method, key, body=None):
        path = f"/bucket/{key}"
        headers, *_ = sign(method, path, {"host": f"127.0.0.1:{self.port}"}, "UNSIGNED-PAYLOAD")
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()

    def round(self, number):
        """A write and a read; every fourth over a new connection. What fails is tried once more, as S3's clients do."""
        began = time.monotonic()
        if (failure := self.attempt(number, number % 4 == 3)) is not None:
            self.repeats.append(failure)
            # As they do it: not in the same moment in which there was no place. Their first wait is random, of up to a second.
            time.sleep(0.25)
            if (failure := self.attempt(number, True)) is not None:
                self.failures.append(failure)
        self.times.append(time.monotonic() - began)

    def attempt(self, number, is_new):
        body = f"object {number}".encode() * 40
        try:
            if is_new or self.kept is None:
                connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
            else:
                connection = self.kept
            written, _ = self.ask(connection, "PUT", f"k{number % 100}", body)
            read, got = self.ask(connection, "GET", f"k{number % 100}")
            if (written, read, got) != (200, 200, body):
                raise OSError(f"{written} {read} {got[:100]}")
            if is_new:
                connection.close()
            else:
                self.kept = connection
        except (OSError, http.client.HTTPException) as error:
            self.kept = None
            return f"round {number}, {'new' if is_new else 'kept'}: {error!r}"
        return None

    def work(self, seconds):
        self.times, self.repeats, self.failures = [], [], []
        began, number = time.monotonic(), 0
        while time.monotonic() - began < seconds:
            self.round(number)
            number += 1
            time.sleep(0.005)
        self.times.sort()
        return self.times[len(self.times) // 2], self.times[len(self.times) * 99 // 100], self.times[-1]


def milliseconds(times):
    return " / ".join(f"{time * 1000:.1f}" for time in times)


@pytest.fixture(scope="module")
def server(serve):
    server = serve(under=("prlimit", f"--nofile={FILES}:{FILES}"))
    s3 = server.client()
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="big", Body=os.urandom(BIG))
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")
    return server


@pytest.fixture(scope="module")
def client(server):
    return Client(server.port)


@contextlib.contextmanager
def crowd_of(server, wanted):
    """A crowd that comes, stays and goes at the end."""
    command = [sys.executable, "-m", "lib.crowd", str(server.port), json.dumps(wanted)]
    crowd = subprocess.Popen(command, cwd=ROOT / "gateway/tests", stdout=subprocess.PIPE, text=True)
    try:
        yield crowd
    finally:
        crowd.kill()
        crowd.wait()


@pytest.mark.parametrize("kinds", [*[[kind] for kind in KINDS], KINDS], ids="-".join)
def test_a_client_is_served_beside_a_crowd(server, client, sizes, tell, kinds):
    wanted = {kind: getattr(sizes, kind) if kind in kinds else 0 for kind in KINDS}
    quiet = client.work(sizes.crowd_seconds / 2)
    assert not client.failures, f"quiet: {client.failures[:3]}"
    before = server.resident()
    with crowd_of(server, wanted) as crowd:
        # First while they come, then while they stay.
        client.work(2)
        coming, failed = client.times, client.failures
        assert not failed, f"while {wanted} come: {len(failed)} of {len(coming)} rounds failed: {failed[:3]}"
        assert crowd.stdout.readline(), "the crowd did not come"
        # The kept connection was idle meanwhile, and may have made room.
        client.kept = None
        crowded = client.work(sizes.crowd_seconds)
        assert not client.failures, f"beside {wanted}: {len(client.failures)} of {len(client.times)} rounds failed: {client.failures[:3]}"
        repeats = client.repeats
        grown, handles = server.resident() - before, len(os.listdir(f"/proc/{server.process.pid}/fd"))
        displaced = server.metric("siltstone_connections_displaced_total")
        # The admin address has places of its own.
        with urllib.request.urlopen(server.admin + "/health/ready", timeout=10) as answer:
            assert answer.status == 200, "ready beside a crowd"
        server.cut()
    tell(f"p50 / p99 / most in ms: {milliseconds(quiet)} quiet, {milliseconds(crowded)} crowded; {grown >> 20} MiB more, {handles} files open, "
         f"{displaced:.0f} made room, {len(repeats)} of {len(client.times)} rounds repeated")
    assert len(repeats) <= max(2, len(client.times) // 50), f"rounds that had to be repeated: {repeats[:3]}"
    assert grown <= GROWTH, f"{grown >> 20} MiB more"
    assert handles <= FILES * 3 // 4, f"{handles} files are open: the engine's are not kept aside"
    assert crowded[1] <= max(10 * quiet[1], 0.5), f"p99 of {crowded[1]:.3f} s, {quiet[1]:.3f} s when quiet"
    began = time.monotonic()
    client.round(3)
    client.kept = None
    client.round(0)
    assert not client.failures and time.monotonic() - began < 5, f"when they have gone: {client.failures}"


def test_the_store_is_well_after_all_crowds(server, s3):
    for name in ["damaged_runs", "quarantined", "stopped"]:
        assert server.metric(f"siltstone_{name}") == 0, name
    assert s3.get_object(Bucket="bucket", Key="big")["ContentLength"] == BIG, "what they requested is still there"
    log = server.log_text()
    assert not any(word in log for word in ["corrupt", "panicked", "Too many open files"]), log[-2000:]
