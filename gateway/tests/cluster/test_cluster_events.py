"""Events of a cluster: one node delivers each queue, another one takes over when it is gone, and a topic of Kafka gets
each event with its key."""
import json
import threading
import time

import botocore.exceptions
import pytest

from lib.cluster import Cluster, tool
from lib.receiver import check_order, key_of
from lib.server import ROOT_KEYS, write_destinations

pytestmark = pytest.mark.serial

TOPIC = "bucket-events"
WRITES = 400


@pytest.fixture(scope="module")
def cluster(siltstone, receiver, tmp_path_factory):
    """A cluster that is stopped and checked at the end."""
    folder = tmp_path_factory.mktemp("cluster")
    settings = folder / "siltstone.toml"
    cluster = Cluster(siltstone, folder, partitions=2, flags=["--config", str(settings), "--cut-seconds", "2"])
    write_destinations(settings, [
        {"name": "hook", "kind": "webhook", "url": receiver.url},
        {"name": "lake", "kind": "kafka", "brokers": cluster.kafka.bootstrap, "topic": TOPIC},
    ])
    with cluster:
        create = ["--create", "--topic", TOPIC, "--partitions", "3", "--replication-factor", "3"]
        tool(cluster, "org.apache.kafka.tools.TopicCommand", *create)
        yield cluster
        cluster.stop()
        cluster.fsck()


def waiting(cluster):
    """Events that wait in any queue, as some node that runs tells."""
    for node in cluster.nodes:
        if node.is_running():
            status = json.loads(node.must("/status"))
            return sum(queue["waiting"] for queue in status["events"])
    raise AssertionError("no node runs")


def wait_until_delivered(cluster, within):
    deadline = time.monotonic() + within
    while waiting(cluster) > 0:
        assert time.monotonic() < deadline, [node.must("/status") for node in cluster.nodes if node.is_running()]
        time.sleep(0.5)


def consume(cluster):
    """The messages of the topic: partition, key, value."""
    flags = ["--topic", TOPIC, "--from-beginning", "--timeout-ms", "10000"]
    flags += [word for name in ["print.key", "print.partition"] for word in ["--formatter-property", f"{name}=true"]]
    text = tool(cluster, "org.apache.kafka.tools.consumer.ConsoleConsumer", *flags)
    rows = [line.split("\t") for line in text.splitlines() if line.count("\t") == 2]
    return [(partition, key, json.loads(value)) for partition, key, value in rows]


class Writer(threading.Thread):
    """Puts objects through all nodes, one after the other; notes the versions that were answered."""

    def __init__(self, cluster, bucket, number):
        super().__init__(daemon=True)
        self.cluster, self.bucket, self.number, self.done = cluster, bucket, number, []

    def run(self):
        clients = [node.client(ROOT_KEYS) for node in self.cluster.nodes]
        for number in range(WRITES):
            key = f"writer-{self.number}/{number % 20}"
            try:
                answer = clients[number % len(clients)].put_object(Bucket=self.bucket, Key=key, Body=b"x")
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError, botocore.exceptions.ClientError):
                continue
            self.done.append((key, answer["VersionId"]))


def reporting(cluster, bucket, arn):
    s3 = cluster.nodes[0].client(ROOT_KEYS)
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    rules = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=rules)


def write(cluster, bucket, meanwhile=lambda: None):
    writers = [Writer(cluster, bucket, number) for number in range(3)]
    for writer in writers:
        writer.start()
    meanwhile()
    for writer in writers:
        writer.join()
    return {write for writer in writers for write in writer.done}


def of_bucket(records, bucket):
    records = [record for record in records if record["s3"]["bucket"]["name"] == bucket]
    check_order(records)
    return records, {(key_of(record), record["s3"]["object"]["versionId"]) for record in records}


def test_each_event_comes_once_while_no_node_fails(cluster, receiver):
    reporting(cluster, "calm", "arn:siltstone:sqs::hook:webhook")
    done = write(cluster, "calm")
    wait_until_delivered(cluster, 120)
    records, came = of_bucket(receiver.records(), "calm")
    assert came == done and len(records) == len(done)


def test_another_node_takes_over_when_the_one_that_delivers_is_gone(cluster, receiver, tell):
    reporting(cluster, "kills", "arn:siltstone:sqs::hook:webhook")

    def kill_each():
        for node in cluster.nodes:
            time.sleep(2)
            node.kill()
            time.sleep(3)
            node.start()

    done = write(cluster, "kills", kill_each)
    # The last one that delivered stays away: another one must take over without it.
    began = time.monotonic()
    cluster.nodes[0].kill()
    wait_until_delivered(cluster, 240)
    tell(f"all events were delivered {time.monotonic() - began:.0f} s after the last kill")
    records, came = of_bucket(receiver.records(), "kills")
    assert not done - came
    tell(f"{len(done)} writes, {len(records) - len(came)} events twice")
    cluster.nodes[0].start()
    cluster.compare()


def test_a_topic_gets_each_event_with_its_key(cluster, tell):
    reporting(cluster, "lake", "arn:siltstone:sqs::lake:kafka")
    done = write(cluster, "lake", lambda: (time.sleep(1), cluster.brokers[0].restart()))
    wait_until_delivered(cluster, 240)
    messages = consume(cluster)
    records = [record for _, _, value in messages for record in value["Records"]]
    records, came = of_bucket(records, "lake")
    assert not done - came
    places = {}
    for partition, key, value in messages:
        [record] = value["Records"]
        assert key == f"lake/{key_of(record)}"
        places.setdefault(key, set()).add(partition)
    assert all(len(partitions) == 1 for partitions in places.values())
    tell(f"{len(done)} writes, {len(records) - len(came)} events twice")
