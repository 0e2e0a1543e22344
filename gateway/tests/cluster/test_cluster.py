"""Three nodes on three brokers: what goes in through one node is there through all of them, before, during and after one
fault. Which fault it is changes from day to day.

With `--endpoints` only the operations are tried, on a cluster that runs already.
"""
import hashlib
import http.client
import itertools
import os
import random
import re
import threading
import time
import uuid

import pytest

from lib import network
from lib.cluster import Cluster
from lib.cluster_writer import (
    PATIENCE,
    Writer,
    body_of,
    client,
    code_of,
    keys_of,
    together,
)
from lib.faults import FAULTS
from lib.server import ROOT_KEYS

pytestmark = pytest.mark.serial

WRITERS = 4
PART_BYTES = 5 << 20


def fault_of(seed, lacking):
    """The day's fault, or the next one that this machine allows."""
    names = sorted(FAULTS)
    for name in names[seed % len(names):] + names:
        if not (FAULTS[name].needs_network and lacking):
            return name
        print(f"left out: {name}: {lacking}")


@pytest.fixture(scope="module")
def fault(sizes, seed_of_day):
    """The name of the fault of this run."""
    lacking = network.lacking()
    name = sizes.fault or fault_of(seed_of_day, lacking)
    assert name in FAULTS, f"no such fault; there are {', '.join(sorted(FAULTS))}"
    assert not (FAULTS[name].needs_network and lacking), f"{name} is asked for, and {lacking}"
    return name


@pytest.fixture(autouse=True)
def repeatable(request, seed_of_day):
    request.node.user_properties.append(("seed", seed_of_day))


@pytest.fixture(scope="module")
def cluster(siltstone, sizes, fault, tmp_path_factory):
    """A cluster that is stopped and checked at the end."""
    if sizes.endpoints:
        pytest.skip("only the operations are tried on a cluster that runs already")
    folder = tmp_path_factory.mktemp("cluster")
    with Cluster(siltstone, folder, namespaces=FAULTS[fault].needs_network, flags=["--cut-bytes", "4000000", "--cut-seconds", "2"]) as cluster:
        yield cluster
        cluster.stop()
        cluster.fsck()


@pytest.fixture(scope="module")
def nodes(request, sizes):
    """A client of each node."""
    if sizes.endpoints:
        keys = os.environ["SILTSTONE_ACCESS_KEY"], os.environ["SILTSTONE_SECRET_KEY"]
        return [client(url, keys) for url in sizes.endpoints.split(",")]
    return [client(url, ROOT_KEYS) for url in request.getfixturevalue("cluster").endpoints]


@pytest.fixture
def bucket(nodes):
    """A new bucket, which every node must know, and which goes with the test."""
    bucket = f"smoke-{uuid.uuid4()}"
    nodes[0].create_bucket(Bucket=bucket)
    for s3 in nodes:
        assert bucket in [found["Name"] for found in s3.list_buckets()["Buckets"]], "every node knows the bucket"
    yield bucket
    for key in keys_of(nodes[0], bucket):
        nodes[0].delete_object(Bucket=bucket, Key=key)
    nodes[0].delete_bucket(Bucket=bucket)


def test_a_second_init_succeeds_and_does_nothing(cluster):
    cluster.init()


def test_an_object_is_there_through_every_node(nodes, bucket):
    bodies = {f"put/{number:02}": os.urandom(size) for number, size in enumerate([0, 1, 4000, 70_000, 300_000, 2_000_000] * 2)}
    for (key, body), s3 in zip(bodies.items(), itertools.cycle(nodes)):
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"key": key})
        for other in nodes:
            got = other.get_object(Bucket=bucket, Key=key)
            assert got["Body"].read() == body and got["Metadata"] == {"key": key}, f"{key} is there through every node"
    for s3 in nodes:
        assert keys_of(s3, bucket) == sorted(bodies), "every node lists all keys"


def barriers(node):
    """The barriers that a node has appended to the log so far."""
    found = re.search(r"^siltstone_log_barriers_total(?:\{.*\})? (\d+)", node.must("/metrics"), re.MULTILINE)
    return int(found.group(1))


def test_strangers_append_no_barriers(cluster, nodes, bucket):
    """Anybody may ask for a page of a website. Only who may read it may cost the log a record."""
    nodes[0].put_object(Bucket=bucket, Key="index.html", Body=b"page")
    for configuration in ({"IndexDocument": {"Suffix": "index.html"}}, {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "index.html"}}):
        nodes[0].put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)
        for node, s3 in zip(cluster.nodes, nodes):
            s3.get_object(Bucket=bucket, Key="index.html")["Body"].read()
            before = barriers(node)
            for target in ["/", "/index.html", "/none", "/none/", "/folder"] * 5:
                connection = http.client.HTTPConnection(node.host, node.port, timeout=60)
                connection.request("GET", target, headers={"host": f"{bucket}.s3-website.localhost"})
                assert connection.getresponse().status == 403, "the bucket and its website are known"
                connection.close()
            assert barriers(node) == before, node.name
            s3.get_object(Bucket=bucket, Key="index.html")["Body"].read()
            assert barriers(node) > before, "a reader gets a fresh snapshot"


def test_one_writer_wins_a_race(nodes, bucket):
    """One of several writers that want to be the first, at different nodes at the same time."""
    for number in range(8):
        key, won, lost = f"race/{number}", [], []
        start = threading.Barrier(2 * len(nodes))

        def write(s3, name):
            start.wait()
            code = code_of(s3.put_object, Bucket=bucket, Key=key, Body=name, IfNoneMatch="*")
            (lost if code else won).append(code or name)

        together([lambda s3=s3, name=f"writer {place}".encode(): write(s3, name) for place, s3 in enumerate(nodes * 2)])
        assert len(won) == 1, f"one writer wins the race for {key}, not {len(won)}"
        assert set(lost) <= {"PreconditionFailed", "ConditionalRequestConflict"}, f"the others are told so: {lost}"
        for s3 in nodes:
            assert body_of(s3, bucket, key) == won[0], f"{key} holds what the winner wrote"


def test_a_counter_counts_every_step_once(nodes, bucket):
    """A counter that all nodes raise under a condition: no step is lost and none is done twice."""
    nodes[0].put_object(Bucket=bucket, Key="counter", Body=b"0")
    steps = 5

    def raise_by_one(s3):
        done = 0
        while done < steps:
            got = s3.get_object(Bucket=bucket, Key="counter")
            number = int(got["Body"].read())
            code = code_of(s3.put_object, Bucket=bucket, Key="counter", Body=str(number + 1).encode(), IfMatch=got["ETag"])
            assert code in [None, "PreconditionFailed", "ConditionalRequestConflict"], f"a swap is refused with {code}"
            done += code is None

    together([lambda s3=s3: raise_by_one(s3) for s3 in nodes])
    for s3 in nodes:
        assert body_of(s3, bucket, "counter") == str(steps * len(nodes)).encode(), "the counter counted every step once"


def test_parts_that_come_through_different_nodes_are_one_object(nodes, bucket):
    """20 MiB whose parts come in through different nodes."""
    first, second, *_ = nodes * 2
    parts = [os.urandom(PART_BYTES) for _ in range(4)]
    upload = first.create_multipart_upload(Bucket=bucket, Key="large")["UploadId"]
    named = []
    for (number, part), s3 in zip(enumerate(parts, 1), itertools.cycle(nodes)):
        put = s3.upload_part(Bucket=bucket, Key="large", UploadId=upload, PartNumber=number, Body=part)
        named.append({"PartNumber": number, "ETag": put["ETag"]})
    second.complete_multipart_upload(Bucket=bucket, Key="large", UploadId=upload, MultipartUpload={"Parts": named})
    for s3 in nodes:
        assert body_of(s3, bucket, "large") == b"".join(parts), "the parts are one object through every node"
        middle = s3.get_object(Bucket=bucket, Key="large", Range=f"bytes={PART_BYTES - 3}-{PART_BYTES + 3}")["Body"].read()
        assert middle == parts[0][-3:] + parts[1][:4], "a range over two parts"


def test_an_object_that_is_deleted_through_one_node_is_gone_through_all(nodes, bucket):
    for number in range(22):
        nodes[0].put_object(Bucket=bucket, Key=f"gone/{number:02}", Body=os.urandom(1000))
    for key, s3 in zip(keys_of(nodes[0], bucket), itertools.cycle(nodes)):
        s3.delete_object(Bucket=bucket, Key=key)
        for other in nodes:
            assert code_of(other.get_object, Bucket=bucket, Key=key) == "NoSuchKey", f"{key} is gone through every node"
    for s3 in nodes:
        assert keys_of(s3, bucket) == [], "nothing is listed any more"


def test_a_bucket_that_is_deleted_through_one_node_is_gone_through_all(nodes):
    bucket = f"smoke-{uuid.uuid4()}"
    nodes[0].create_bucket(Bucket=bucket)
    nodes[-1].delete_bucket(Bucket=bucket)
    for s3 in nodes:
        assert code_of(s3.head_bucket, Bucket=bucket) == "404", "the bucket is gone through every node"


@pytest.fixture(scope="module")
def befallen(cluster, nodes, fault, seed_of_day):
    """The writers that wrote before, during and after the fault of this run."""
    bucket, chance = "fault", random.Random(seed_of_day)
    nodes[0].create_bucket(Bucket=bucket)
    writers = [Writer(nodes, bucket, number, seed_of_day) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(2)
    victim = FAULTS[fault].victim(cluster, chance)
    lasts = min(max(FAULTS[fault].shortest, 6), FAULTS[fault].longest)
    print(f"{fault}: {victim.name}, for {lasts} s")
    with FAULTS[fault].harm(victim):
        time.sleep(lasts)
    cluster.wait_whole()
    time.sleep(2)
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join(4 * PATIENCE)
    return writers


def test_a_fault_loses_nothing_that_was_acknowledged(nodes, fault, befallen, tell):
    """Through every node, and nothing else is there."""
    for writer in befallen:
        assert not writer.is_alive(), "a writer comes to an end"
        assert writer.wrong is None, f"what writers see holds: {writer.wrong}"
    acknowledged = {key: digest for writer in befallen for key, digest in writer.acknowledged.items()}
    unknown = {key: digest for writer in befallen for key, digest in writer.unknown.items()}
    assert acknowledged, "something was acknowledged"
    for s3 in nodes:
        listed = set(keys_of(s3, "fault"))
        assert acknowledged.keys() <= listed, f"acknowledged and not listed: {sorted(acknowledged.keys() - listed)[:5]}"
        assert listed <= acknowledged.keys() | unknown.keys(), f"never written: {sorted(listed - acknowledged.keys() - unknown.keys())[:5]}"
        for key in sorted(listed):
            found = hashlib.sha256(body_of(s3, "fault", key)).hexdigest()
            assert found == {**unknown, **acknowledged}[key], f"{key} has other bytes than were written"
    reads = sum(writer.reads for writer in befallen)
    tell(f"{fault}: {len(acknowledged)} writes acknowledged, {reads} read at once through another node, none lost; "
         f"{len(unknown)} of unknown outcome, {len(listed - acknowledged.keys())} of them there")


def test_sql_counts_the_same_on_every_node(cluster, befallen):
    counted = [node.sql("SELECT bucket, count(*) AS n FROM objects GROUP BY bucket ORDER BY bucket") for node in cluster.nodes]
    assert counted[0] and all(one == counted[0] for one in counted), f"SQL counts the same everywhere: {counted}"


def test_the_log_is_the_same_table_on_every_node(cluster, befallen):
    """The retained log has every object that is listed."""
    asked = 'SELECT partition, "offset", operation, bucket, key, size, principal FROM changes ORDER BY partition, "offset"'
    told = [node.sql(asked) for node in cluster.nodes]
    assert all(one == told[0] for one in told), f"every node tells the same of the log: {[len(one) for one in told]} rows"
    put = {(row["bucket"], row["key"], row["size"]) for row in told[0] if row["operation"] == "PutObject"}
    listed = {(row["bucket"], row["key"], row["size"]) for row in cluster.nodes[1].sql("SELECT bucket, key, size FROM objects")}
    assert listed and listed <= put, f"{len(put)} puts in the log, {len(listed)} objects, of which {list(listed - put)[:3]} were never put"
    middle = told[0][len(told[0]) // 2]
    behind = f"FROM changes WHERE partition = {middle['partition']} AND offset > {middle['offset']} ORDER BY offset LIMIT 3"
    wanted = [row["offset"] for row in told[0] if row["partition"] == middle["partition"] and row["offset"] > middle["offset"]][:3]
    page = [row["offset"] for row in cluster.nodes[2].sql(f"SELECT offset {behind}")]
    assert page == wanted, f"a page behind {middle}: {page}, not {wanted}"


def test_digests_are_the_same_on_every_node(cluster, befallen, tell):
    digests = cluster.compare()
    assert digests, "digests are there"
    tell(f"{len(digests)} partitions have the same digest on every node")
