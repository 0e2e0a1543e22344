"""Acknowledged means durable, as the system calls of the real binary show it.

The page cache survives a kill, so kill -9 cannot tell a synced write from one that was not. Here the server
runs under strace while clients write, a program reads the trace, and for every good answer to a request that
changes something it looks for the syncs that must stand before it: of the payload, of the record, of the names
of their files. `trace_model.py` states the rules.

A checker that finds nothing proves little, so the recorded trace is then spoiled in many ways (a sync left
out, an answer given too early), and the checker must complain about each.
"""
import argparse
import collections
import dataclasses
import os
import random
import re
import secrets
import shutil
import sys
import tempfile
import threading
import time

from lib import trace_events
from lib.server import Server
from lib.trace_model import Checker, tail_of

CONNECTIONS = 8
BUCKET = "traced"
# The largest batch is of one small payload for each connection. What strace prints must hold all of it.
SMALL_BYTES_MAX = 16_000
PRINTED_BYTES = 400_000
FLAGS = ["--bulk-file-bytes", "3000000", "--log-file-bytes", "16777216"]


class Sizes(dict):
    """The payloads that were sent: token to length. A payload is its token again and again, so that any
    stretch of it tells whose it is."""

    def payload(self, size):
        token = "payload-" + secrets.token_hex(12)
        self[token] = size
        return (token * (size // len(token) + 1))[:size].encode()


class Writer(threading.Thread):
    """Requests of every kind that changes something, one after the other, on a connection of its own."""

    def __init__(self, server, number, requests, sizes, seed):
        super().__init__(daemon=True)
        self.s3, self.name = server.client(), f"writer-{number}"
        self.left, self.sizes = requests, sizes
        self.random = random.Random(f"{seed} {number}")
        self.keys = []
        self.made = 0
        self.error = None

    def run(self):
        steps = [self.small] * 7 + [self.large] * 3 + [self.tag] * 2 + [self.delete] * 2 + \
            [self.delete_many, self.upload, self.upload_and_abort, self.copy]
        try:
            while self.left > 0:
                self.random.choice(steps)()
        except Exception as error:
            self.error = error

    def key(self):
        self.made += 1
        return f"{self.name}/{self.made:05}"

    def ask(self, operation, **arguments):
        self.left -= 1
        return getattr(self.s3, operation)(Bucket=BUCKET, **arguments)

    def put(self, size):
        key = self.key()
        self.ask("put_object", Key=key, Body=self.sizes.payload(size))
        self.keys.append(key)

    def small(self):
        self.put(self.random.choice([40, 1_000, SMALL_BYTES_MAX]))

    def large(self):
        self.put(self.random.choice([270_000, 400_000, 1_200_000]))

    def known(self):
        return self.keys[self.random.randrange(len(self.keys))] if self.keys else None

    def tag(self):
        if key := self.known():
            self.ask("put_object_tagging", Key=key, Tagging={"TagSet": [{"Key": "k", "Value": str(self.left)}]})

    def delete(self):
        if key := self.known():
            self.keys.remove(key)
            self.ask("delete_object", Key=key)

    def delete_many(self):
        gone, self.keys = self.keys[:3], self.keys[3:]
        if gone:
            self.ask("delete_objects", Delete={"Objects": [{"Key": key} for key in gone]})

    def copy(self):
        if key := self.known():
            self.ask("copy_object", Key=self.key(), CopySource=f"{BUCKET}/{key}")

    def parts(self, key, *sizes):
        upload = self.ask("create_multipart_upload", Key=key)["UploadId"]
        done = []
        for number, size in enumerate(sizes, 1):
            put = self.ask("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=self.sizes.payload(size))
            done.append({"PartNumber": number, "ETag": put["ETag"]})
        return upload, done

    def upload(self):
        key = self.key()
        upload, done = self.parts(key, *self.random.choice([(900,), (300_000,), (5 << 20, 700)]))
        self.ask("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": done})
        self.keys.append(key)

    def upload_and_abort(self):
        key = self.key()
        upload, _ = self.parts(key, 300_000)
        self.ask("abort_multipart_upload", Key=key, UploadId=upload)


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
        if writer.error and not kill:
            sys.exit(f"FAILED: a request was not answered well: {writer.error!r}")


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
    sys.exit(f"the trace {trace} has no end")


def record(binary, scratch, requests, seed):
    """Runs a server twice, killed the first time and stopped the second; gives both traces as one."""
    server = Server(binary, f"{scratch}/data", *FLAGS)
    sizes, events, place = Sizes(), [], 0
    for life in (1, 2):
        trace = f"{scratch}/trace-{life}"
        # -D: the server stays our child, to be killed as such.
        server.under = ["strace", "-D", "-f", "-yy", "-ttt", "--seccomp-bpf", "-s", str(PRINTED_BYTES), "-e", "signal=SIGKILL",
                        "-e", f"trace={trace_events.CALLS}", "-o", trace]
        server.start(60)
        try:
            if life == 1:
                server.client().create_bucket(Bucket=BUCKET)
                write(server, requests // 2, sizes, seed, kill=True)
            else:
                write(server, requests, sizes, seed + 1)
                server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()
        await_end(trace, server.process)
        print(f"life {life}: a trace of {os.path.getsize(trace) >> 20} MiB", flush=True)
        more, place = trace_events.read(trace, place)
        events += more
    server.under = []
    server.fsck()
    return events, server, sizes


class Spoiler:
    """Makes traces that must not pass out of one that does."""

    def __init__(self, checker, chance):
        self.checker, self.events, self.chance = checker, checker.events, chance
        # Answers with the batch that holds their record.
        self.acknowledged = [(request, answer, checker.batches_of(request, answer)[-1]) for request, answer in checker.answers]

    def without(self, gone):
        gone = {event.begin for event in gone}
        assert gone, "there is something to leave out"
        return [event for event in self.events if event.begin not in gone]

    def syncs(self, path, after, before):
        return [sync for sync in self.checker.syncs[path] if sync.begin > after and sync.end < before]

    def any_answer(self, wanted=lambda request: True):
        return self.chance.choice([one for one in self.acknowledged if wanted(one[0])])

    def any_large(self):
        return self.any_answer(lambda request: request.token and self.checker.payload[request.token])

    def payload_writes(self, request, batch):
        writes = [write.event for write in self.checker.payload[request.token]]
        return [event for event in writes if request.begin < event.begin < batch.event.begin]

    def record_sync_left_out(self):
        _, answer, batch = self.any_answer()
        return self.without(self.syncs(batch.event.path, batch.event.end, answer.begin))

    def record_sync_failed(self):
        _, answer, batch = self.any_answer()
        failed = {sync.begin for sync in self.syncs(batch.event.path, batch.event.end, answer.begin)}
        return [dataclasses.replace(event, result=-1) if event.begin in failed else event for event in self.events]

    def record_write_left_out(self):
        _, _, batch = self.any_answer()
        return self.without([batch.event])

    def answer_before_sync(self):
        _, answer, batch = self.any_answer()
        sync = self.syncs(batch.event.path, batch.event.end, answer.begin)[0]
        early = sync.end - 0.5
        return sorted((dataclasses.replace(event, begin=early, end=early) if event is answer else event for event in self.events),
                      key=lambda event: event.begin)

    def log_folder_sync_left_out(self):
        file = self.chance.choice(sorted({batch.event.path for _, _, batch in self.acknowledged}))
        first = min(answer.begin for _, answer, batch in self.acknowledged if batch.event.path == file)
        made = self.checker.names[file][-1]
        return self.without(self.syncs(os.path.dirname(file), made.end, first))

    def payload_sync_left_out(self):
        request, _, batch = self.any_large()
        last = self.payload_writes(request, batch)[-1]
        return self.without(self.syncs(last.path, last.end, batch.event.begin))

    def payload_write_left_out(self):
        request, _, batch = self.any_large()
        return self.without([self.chance.choice(self.payload_writes(request, batch))])

    def record_before_payload_sync(self):
        request, _, batch = self.any_large()
        last = self.payload_writes(request, batch)[-1]
        early = self.syncs(last.path, last.end, batch.event.begin)[0].end - 0.5
        moved = dataclasses.replace(batch.event, begin=early, end=early)
        return sorted((moved if event is batch.event else event for event in self.events), key=lambda event: event.begin)

    def bulk_folder_sync_left_out(self):
        request, _, batch = self.any_large()
        path = self.payload_writes(request, batch)[0].path
        return self.without(self.syncs(os.path.dirname(path), self.checker.names[path][-1].end, batch.event.begin))

    def any_catalog(self):
        return self.chance.choice([catalog for catalog in self.checker.catalogs if catalog.files])

    def sealed_file(self):
        """A file that a generation is the first to name."""
        catalog = self.any_catalog()
        root = os.path.dirname(os.path.dirname(catalog.event.to))
        before = set().union(*(other.files for other in self.checker.catalogs if other.generation < catalog.generation))
        new = sorted(catalog.files - before)
        return (f"{root}/{self.chance.choice(new)}", catalog) if new else self.sealed_file()

    def sealed_file_sync_left_out(self):
        path, catalog = self.sealed_file()
        return self.without(self.syncs(path, 0, catalog.event.begin))

    def sealed_folder_sync_left_out(self):
        path, catalog = self.sealed_file()
        return self.without(self.syncs(os.path.dirname(path), self.checker.names[path][-1].end, catalog.event.begin))

    def catalog_sync_left_out(self):
        catalog = self.any_catalog()
        made = max(made.begin for made in self.checker.names[catalog.event.path] if made.begin < catalog.event.begin)
        return self.without(self.syncs(catalog.event.path, made, catalog.event.begin))

    def catalog_folder_sync_left_out(self):
        """The former generation is removed next, so the sync between must be missed."""
        catalog = self.chance.choice([catalog for catalog in self.checker.catalogs if catalog.generation > 1])
        removed = [event for event in self.checker.removals if re.fullmatch(r"catalog/\d+\.[ab]", tail_of(event.path))]
        next_removed = min(event.begin for event in removed if event.begin > catalog.event.end)
        return self.without(self.syncs(os.path.dirname(catalog.event.to), catalog.event.end, next_removed))

    def log_file_reused_too_early(self):
        """As if the file with the newest records had been renamed over."""
        _, _, batch = self.any_answer()
        place = batch.event.end + 0.5
        taken = trace_events.Event(place, place, "rename", batch.event.path, batch.event.path.replace(".log", "9.log"), "", 0)
        return sorted([*self.events, taken], key=lambda event: event.begin)

    def named_file_removed(self):
        catalog = self.any_catalog()
        root = os.path.dirname(os.path.dirname(catalog.event.to))
        path = f"{root}/{self.chance.choice(sorted(catalog.files))}"
        place = catalog.event.end + 0.5
        removed = trace_events.Event(place, place, "unlink", path, "", "", 0)
        return sorted([*self.events, removed], key=lambda event: event.begin)


SPOILED = [name for name in vars(Spoiler) if name.endswith(("_left_out", "_failed", "_sync", "_early", "_removed"))]


def spoil(checker, again, rounds, seed):
    """Every way to spoil the trace, some times each; exits at the first that passes."""
    spoiler = Spoiler(checker, random.Random(seed))
    caught = collections.Counter()
    for name in SPOILED:
        for _ in range(rounds):
            if not again(getattr(spoiler, name)()):
                sys.exit(f"FAILED: the checker finds nothing wrong with a trace with {name.replace('_', ' ')}, seed {seed}")
            caught[name] += 1
    return caught


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--requests", type=int, default=600)
    arguments.add_argument("--rounds", type=int, default=3, help="how often the trace is spoiled in each way")
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments.add_argument("--keep", help="a folder where the traces stay")
    arguments = arguments.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    if not shutil.which("strace"):
        sys.exit("strace is missing: bash deploy/setup --test")
    with tempfile.TemporaryDirectory() as scratch:
        scratch = os.path.realpath(arguments.keep or scratch)
        os.makedirs(scratch, exist_ok=True)
        events, server, sizes = record(os.path.abspath(arguments.binary), scratch, arguments.requests, arguments.seed)
    data = server.data
    checker = Checker(events, data, server.port, sizes)
    wrong = checker.check()
    for sentence in wrong[:20]:
        print("FAILED:", sentence)
    if wrong:
        sys.exit(f"{len(wrong)} rules are broken; --keep keeps the traces")
    syncs = sum(len(found) for found in checker.syncs.values())
    print(f"{len(events)} calls, {syncs} syncs, {len(checker.batches)} log writes, {len(checker.catalogs)} generations, "
          f"{len(checker.removals)} removals, {sum(event.path.endswith('.log') for event in checker.renames)} log files reused")
    for kind, count in sorted(checker.kinds.items()):
        print(f"  {kind:18} {count:5} acknowledged and durable")
    caught = spoil(checker, lambda spoiled: Checker(spoiled, data, server.port, sizes).check(), arguments.rounds, arguments.seed)
    for name, count in caught.items():
        print(f"  {name.replace('_', ' '):32} caught {count} times")
    print(f"{sum(checker.kinds.values())} acknowledgements checked, {sum(caught.values())} spoiled traces caught")
    print(f"{sum(checker.kinds.values()) + sum(caught.values())} passed, 0 failed")


main()
