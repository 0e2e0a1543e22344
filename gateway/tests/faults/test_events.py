"""Events through kills of server and receiver: each write's event comes at least once, those of a key in order, and the
lag is told."""
import random
import threading
import time

import botocore.exceptions
import pytest

from lib.receiver import check_order, key_of
from lib.server import write_destinations

WRITERS = 8
KEYS = 50
HOOK = "arn:siltstone:sqs::hook:webhook"


class Writer(threading.Thread):
    """Puts and deletes under keys of its own; notes the versions that were answered."""

    def __init__(self, server, number, seed, writes):
        super().__init__(daemon=True)
        self.server, self.number, self.writes = server, number, writes
        self.random = random.Random(seed * 100 + number)
        self.done = []   # (key, version) of each acknowledged write, in order
        self.stopping = threading.Event()

    def run(self):
        s3 = self.server.client()
        while len(self.done) < self.writes and not self.stopping.is_set():
            key = f"writer-{self.number}/{self.random.randrange(KEYS)}"
            try:
                if self.random.random() < 0.1:
                    answer = s3.delete_object(Bucket="events", Key=key)
                else:
                    answer = s3.put_object(Bucket="events", Key=key, Body=self.random.randbytes(100))
                self.done.append((key, answer["VersionId"]))
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError, botocore.exceptions.ClientError, ConnectionError):
                # The server was killed; it comes back on the same port.
                time.sleep(0.1)
                s3 = self.server.client()


@pytest.fixture(scope="module")
def server(serve, receiver, tmp_path_factory):
    flags = write_destinations(tmp_path_factory.mktemp("settings") / "siltstone.toml", [
        {"name": "hook", "kind": "webhook", "url": receiver.url},
        {"name": "dead", "kind": "webhook", "url": "http://127.0.0.1:9/", "waiting_bytes_max": "64KiB"},
    ])
    return serve(*flags, "--cut-bytes", "1000000", "--cut-seconds", "1", "--log-file-bytes", "16777216")


def report_to(s3, bucket, arn):
    rules = [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": rules})


def wait_until(condition, wait):
    deadline = time.monotonic() + wait
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.1)
    return condition()


def test_every_write_is_reported_in_order_through_kills_of_server_and_receiver(server, receiver, sizes, seed, tell, count):
    chance, s3 = random.Random(seed), server.client()
    s3.create_bucket(Bucket="events")
    s3.put_bucket_versioning(Bucket="events", VersioningConfiguration={"Status": "Enabled"})
    report_to(s3, "events", HOOK)
    writers = [Writer(server, number, seed, sizes.events // WRITERS) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    kills, lag = 0, 0
    while any(writer.is_alive() for writer in writers):
        time.sleep(chance.uniform(0.5, 2.5))
        kind = chance.randrange(3)
        if kind != 0:
            receiver.kill()
        if kind != 1:
            server.kill()
        time.sleep(chance.uniform(0, 0.5))
        if kind != 1:
            server.fsck()
            server.start()
        if kind != 0:
            lag = max(lag, server.metric("siltstone_events_waiting"))
            receiver.start()
        kills += 1
    for writer in writers:
        writer.join()
    assert wait_until(lambda: server.metric("siltstone_events_waiting") == 0, 60 + sizes.events / 100)
    records = receiver.records()
    check_order(records)
    came = {(key_of(record), record["s3"]["object"]["versionId"]) for record in records}
    done = {write for writer in writers for write in writer.done}
    assert len(done) >= sizes.events // WRITERS * WRITERS
    assert not done - came, f"{len(done - came)} of {len(done)} acknowledged writes were never reported"
    # Beyond the acknowledged there is only what was under way at a kill.
    there = set()
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="events"):
        there |= {(one["Key"], one["VersionId"]) for one in page.get("Versions", []) + page.get("DeleteMarkers", [])}
    assert came == there
    assert server.metric("siltstone_events_dropped_total") == 0
    assert server.metric("siltstone_events_delivered_total") == len(there)
    count("kills", kills)
    tell(f"{kills} kills, {len(there)} writes, {len(records) - len(there)} events twice, at most {lag:.0f} seen waiting")


def test_a_receiver_that_is_gone_costs_a_bounded_space_and_is_told(server):
    s3 = server.client()
    s3.create_bucket(Bucket="dead")
    report_to(s3, "dead", "arn:siltstone:sqs::dead:webhook")
    for number in range(600):
        s3.put_object(Bucket="dead", Key=f"{number:04}", Body=b"x")
    dropped = lambda: server.metric("siltstone_events_dropped_total")
    assert wait_until(lambda: dropped() > 0, 60)
    assert wait_until(lambda: server.metric("siltstone_events_waiting_bytes") <= 64 << 10, 60)
    assert dropped() + server.metric("siltstone_events_waiting") == 600
    assert server.metric("siltstone_events_failures_total") > 0
    assert "events are lost without delivery" in server.log_text()
    assert server.log_text().count("events could not be delivered") < 60
    status = server.status()
    [queue] = [one for one in status["events"] if one["destination"] == "dead"]
    assert queue["dropped"] == dropped() and queue["oldest_seconds"] > 0 and "connect" in queue["error"]
