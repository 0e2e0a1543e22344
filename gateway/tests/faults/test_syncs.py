"""Acknowledged means durable, as the system calls of the real binary show it.

The page cache survives a kill, so kill -9 cannot tell a synced write from one that was not. Here the server
runs under strace while clients write, a program reads the trace, and for every good answer to a request that
changes something it looks for the syncs that must stand before it: of the payload, of the record, of the names
of their files. `lib/trace_model.py` states the rules.

A checker that finds nothing proves little, so the recorded trace is then spoiled in many ways, see `lib/trace_spoiler.py`,
and the checker must complain about each.
"""
import os
import random
import re
import shutil
import time

import pytest

from lib import trace_events
from lib.server import Server
from lib.trace_model import Checker
from lib.trace_spoiler import SPOILED, Spoiler
from lib.trace_writer import BUCKET, Sizes, Writer

CONNECTIONS = 8
# Bytes of a call that strace prints: all of the largest batch must fit.
PRINTED_BYTES = 400_000
FLAGS = ["--bulk-file-bytes", "3000000", "--log-file-bytes", "16777216"]


def write(server, requests, sizes, seed, kill=False):
    """Lets the writers run while cuts are made, with a kill in the middle if asked for."""
    writers = [Writer(server, number, requests // CONNECTIONS, sizes, seed) for number in range(CONNECTIONS)]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        if kill and sum(writer.left for writer in writers) < requests // 3:
            server.kill()
            break
        server.cut()
        time.sleep(0.1)
    for writer in writers:
        writer.join(60)
        assert writer.error is None or kill, f"a request was not answered well: {writer.error!r}"


def await_end(trace, process):
    """The tracer writes on for a moment when the server has ended."""
    end = re.compile(rf"^{process.pid} +[0-9.]+ \+\+\+ ", re.M)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with open(trace, "rb") as file:
            file.seek(max(0, os.path.getsize(trace) - 100_000))
            if end.search(file.read().decode("latin-1")):
                return
        time.sleep(0.1)
    pytest.fail(f"the trace {trace} has no end")


class Trace:
    """The system calls of a server that ran twice, killed the first time and stopped the second."""

    def __init__(self, siltstone, scratch, requests, seed):
        self.server, self.sizes, self.events = Server(siltstone, f"{scratch}/data", *FLAGS), Sizes(), []
        place = 0
        for life in (1, 2):
            path = f"{scratch}/trace-{life}"
            self.run(path, life, requests, seed)
            await_end(path, self.server.process)
            more, place = trace_events.read(path, place)
            self.events += more
        self.server.under = []
        self.server.fsck()

    def run(self, path, life, requests, seed):
        # -D: the server stays our child, to be killed as such.
        self.server.under = ["strace", "-D", "-f", "-yy", "-ttt", "--seccomp-bpf", "-s", str(PRINTED_BYTES), "-e", "signal=SIGKILL",
                             "-e", f"trace={trace_events.CALLS}", "-o", path]
        self.server.start(60)
        try:
            if life == 1:
                self.server.client().create_bucket(Bucket=BUCKET)
                write(self.server, requests // 2, self.sizes, seed, kill=True)
            else:
                write(self.server, requests, self.sizes, seed + 1)
                self.server.stop()
        finally:
            if self.server.is_running():
                self.server.kill()

    def checker(self, events):
        return Checker(events, self.server.data, self.server.port, self.sizes)


@pytest.fixture(scope="module")
def trace(siltstone, sizes, seed, tmp_path_factory):
    assert shutil.which("strace"), "strace is missing: bash deploy/setup --test"
    return Trace(siltstone, os.path.realpath(tmp_path_factory.mktemp("trace")), sizes.requests, seed)


@pytest.fixture(scope="module")
def checked(trace):
    """The checker of the trace as it was recorded, and the rules that are broken."""
    checker = trace.checker(trace.events)
    return checker, checker.check()


def test_every_acknowledgement_comes_after_its_syncs(trace, checked, tell, count):
    checker, wrong = checked
    assert not wrong, f"{len(wrong)} rules are broken:\n" + "\n".join(wrong[:20])
    syncs = sum(len(found) for found in checker.syncs.values())
    tell(f"{len(trace.events)} calls, {syncs} syncs, {len(checker.batches)} log writes, {len(checker.catalogs)} generations, "
         f"{len(checker.removals)} removals, {sum(event.path.endswith('.log') for event in checker.renames)} log files reused")
    tell(", ".join(f"{number} {kind}" for kind, number in sorted(checker.kinds.items())))
    count("acknowledgements after their syncs", sum(checker.kinds.values()))


@pytest.mark.parametrize("name", SPOILED)
def test_a_spoiled_trace_is_found_wrong(trace, checked, sizes, seed, count, name):
    spoiler = Spoiler(checked[0], random.Random(f"{seed} {name}"))
    for _ in range(sizes.spoils):
        assert trace.checker(getattr(spoiler, name)()).check(), f"the checker finds nothing wrong with a trace with {name.replace('_', ' ')}"
    count("spoiled traces found wrong", sizes.spoils)
