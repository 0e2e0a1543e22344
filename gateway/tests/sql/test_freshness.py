"""A row is visible to the query that starts after its write was answered: SQL and listings, while others write and cuts are
made. One miss is one too many."""
import collections
import http.client
import json
import random
import statistics
import threading
import time

import pytest

from lib.server import basic

WRITERS = 8
BUCKET = "fresh"


class Sql:
    """Queries over one connection that stays open."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
        self.headers, self.seconds = basic(server.own_keys()), []

    def rows(self, query):
        begun = time.monotonic()
        self.connection.request("POST", "/sql", query, self.headers)
        answer = self.connection.getresponse()
        text = answer.read()
        self.seconds.append(time.monotonic() - begun)
        assert answer.status == 200, f"{query}: {answer.status} {text.decode()}"
        return json.loads(text)


class Load(threading.Thread):
    """Writes, overwrites and deletes beside the pairs, under keys between theirs."""

    def __init__(self, server, number, seed):
        super().__init__(daemon=True)
        self.s3, self.number = server.client(), number
        self.random = random.Random(f"{seed} {number}")
        self.stopping = threading.Event()
        self.operations = 0
        self.error = None

    def run(self):
        try:
            while not self.stopping.is_set():
                key = f"key/{self.random.randrange(2_000):04}/load-{self.number}"
                if self.random.random() < 0.2:
                    self.s3.delete_object(Bucket=BUCKET, Key=key)
                else:
                    size = self.random.choice([1, 100, 4_000, 4_000, 30_000, 300_000])
                    self.s3.put_object(Bucket=BUCKET, Key=key, Body=self.random.randbytes(size))
                self.operations += 1
        except Exception as error:
            self.error = error


class Cuts(threading.Thread):
    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stopping, self.done, self.error = server, threading.Event(), 0, None

    def run(self):
        try:
            while not self.stopping.wait(0.5):
                self.server.cut()
                self.done += 1
        except Exception as error:
            self.error = error


class Pairs:
    """A write, then at once a question about it; what the answer lacks is a miss."""

    def __init__(self, server, seed):
        self.s3, self.sql = server.client(), Sql(server)
        self.random = random.Random(seed)
        self.counts = collections.Counter()
        self.misses = []

    def note(self, kind, holds, what):
        self.counts[kind] += 1
        if not holds:
            self.misses.append(f"{kind}: {what}")

    def step(self, number):
        key = f"key/{self.random.randrange(2_000):04}/pair-{number}"
        etag = self.put_then_query("put, then SQL", key)
        self.list_then(key, etag)
        if number % 3 == 0:
            self.put_then_query("overwrite, then SQL", key)
        if number % 2 == 0:
            self.delete_then_query(key)

    def put_then_query(self, kind, key):
        body = self.random.randbytes(self.random.choice([1, 10, 2_000, 20_000, 300_000]))
        etag = self.s3.put_object(Bucket=BUCKET, Key=key, Body=body)["ETag"].strip('"')
        found = self.sql.rows(f"SELECT size, etag FROM objects WHERE bucket = '{BUCKET}' AND key = '{key}'")
        self.note(kind, found == [{"size": len(body), "etag": etag}], f"{key}, {etag}: {found}")
        return etag

    def list_then(self, key, etag):
        page = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=key)
        found = [(one["Key"], one["ETag"].strip('"')) for one in page.get("Contents", []) if one["Key"] == key]
        self.note("put, then list", found == [(key, etag)], f"{key}: {found}")

    def delete_then_query(self, key):
        self.s3.delete_object(Bucket=BUCKET, Key=key)
        found = self.sql.rows(f"SELECT count(*) AS n FROM objects WHERE bucket = '{BUCKET}' AND key = '{key}'")
        self.note("delete, then SQL", found == [{"n": 0}], f"{key}: {found}")
        page = self.s3.list_objects_v2(Bucket=BUCKET, Prefix=key)
        gone = all(one["Key"] != key for one in page.get("Contents", []))
        self.note("delete, then list", gone, key)


@pytest.fixture(scope="module")
def server(serve):
    server = serve("--bulk-file-bytes", "20000000")
    server.client().create_bucket(Bucket=BUCKET)
    return server


def test_a_query_and_a_listing_see_every_write_before_them(server, sizes, seed, tell):
    """While others write and cuts are made."""
    others = [Load(server, number, seed) for number in range(WRITERS)] + [Cuts(server)]
    for other in others:
        other.start()
    pairs, begun = Pairs(server, seed), time.monotonic()
    try:
        for number in range(sizes.pairs):
            pairs.step(number)
    finally:
        seconds = time.monotonic() - begun
        for other in others:
            other.stopping.set()
        for other in others:
            other.join(60)
    errors = [repr(other.error) for other in others if other.error]
    assert not errors, f"requests beside the pairs were refused: {errors}"
    operations, cuts = sum(load.operations for load in others[:WRITERS]), others[-1].done
    tell(f"{sizes.pairs} keys in {seconds:.1f} s, meanwhile {operations} writes of others and {cuts} cuts")
    tell(", ".join(f"{count} of {kind}" for kind, count in pairs.counts.items()))
    times = sorted(pairs.sql.seconds)
    tell(f"{len(times)} queries: median {statistics.median(times) * 1000:.1f} ms, 99 % within {times[len(times) * 99 // 100] * 1000:.1f} ms")
    assert not pairs.misses and cuts, f"{len(pairs.misses)} misses, {cuts} cuts\n" + "\n".join(pairs.misses)


def test_a_count_sees_rows_that_are_not_folded_yet(server):
    """More of them than a scan takes at a time."""
    def put(s3, numbers):
        for number in numbers:
            s3.put_object(Bucket=BUCKET, Key=f"whole/{number:05}", Body=b"x")

    count, sql = 2_600, Sql(server)
    threads = [threading.Thread(target=put, args=(server.client(), range(first, count, WRITERS))) for first in range(WRITERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for when in ("before a cut", "after a cut"):
        found = sql.rows(f"SELECT count(*) AS n, sum(size) AS bytes FROM objects WHERE bucket = '{BUCKET}' AND key LIKE 'whole/%'")
        assert found == [{"n": count, "bytes": count}], f"{count} keys {when}: {found}"
        server.cut()
