"""A cluster in three minutes: what goes in through one node is there through all of them, before, during and after one
fault. Which fault it is changes from day to day.

With `--endpoints` it runs only the operations, against a cluster that runs already.
"""
import argparse
import datetime
import hashlib
import http.client
import itertools
import os
import random
import shutil
import sys
import tempfile
import threading
import time
import uuid

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from lib import network
from lib.cluster import Cluster, ClusterError, KafkaError
from lib.faults import FAULTS
from lib.server import ACCESS_KEY, SECRET_KEY

PASSED = 0
WRITERS = 4
# A writer rests so long after each object: what it wrote is read again through every node at the end.
REST = 0.05
PART_BYTES = 5 << 20
# Whoever asks under a fault waits so long, and then does not know.
PATIENCE = 15


def check(condition, what):
    global PASSED
    if not condition:
        raise ClusterError(what)
    PASSED += 1


def client(url, keys):
    # One attempt: a repeated conditional write would lose against itself.
    config = Config(signature_version="s3v4", retries={"total_max_attempts": 1}, max_pool_connections=32,
                    connect_timeout=3, read_timeout=PATIENCE)
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config,
                        aws_access_key_id=keys[0], aws_secret_access_key=keys[1])


def code_of(call, **arguments):
    """The error code that a call is answered with, or None."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def body_of(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def keys_of(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 100})
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def operations(nodes, bucket):
    """Every write through one node, every look through all of them."""
    nodes[0].create_bucket(Bucket=bucket)
    for s3 in nodes:
        check(bucket in [found["Name"] for found in s3.list_buckets()["Buckets"]], "every node knows the bucket")
    put_and_get(nodes, bucket)
    race(nodes, bucket)
    swap(nodes, bucket)
    multipart(nodes, bucket)
    delete(nodes, bucket)


def put_and_get(nodes, bucket):
    bodies = {f"put/{number:02}": os.urandom(size) for number, size in enumerate([0, 1, 4000, 70_000, 300_000, 2_000_000] * 2)}
    for (key, body), s3 in zip(bodies.items(), itertools.cycle(nodes)):
        s3.put_object(Bucket=bucket, Key=key, Body=body, Metadata={"key": key})
        for other in nodes:
            got = other.get_object(Bucket=bucket, Key=key)
            check(got["Body"].read() == body and got["Metadata"] == {"key": key}, f"{key} is there through every node")
    for s3 in nodes:
        check(keys_of(s3, bucket) == sorted(bodies), "every node lists all keys")


def race(nodes, bucket):
    """Of writers that each want to be the first, at different nodes at the same time, one is."""
    for number in range(8):
        key, won, lost = f"race/{number}", [], []
        start = threading.Barrier(2 * len(nodes))

        def write(s3, name):
            start.wait()
            code = code_of(s3.put_object, Bucket=bucket, Key=key, Body=name, IfNoneMatch="*")
            (lost if code else won).append(code or name)

        together([lambda s3=s3, name=f"writer {place}".encode(): write(s3, name) for place, s3 in enumerate(nodes * 2)])
        check(len(won) == 1, f"one writer wins the race for {key}, not {len(won)}")
        check(set(lost) <= {"PreconditionFailed", "ConditionalRequestConflict"}, f"the others are told so: {lost}")
        for s3 in nodes:
            check(body_of(s3, bucket, key) == won[0], f"{key} holds what the winner wrote")


def swap(nodes, bucket):
    """A counter that all nodes raise under a condition: no step is lost and none is done twice."""
    nodes[0].put_object(Bucket=bucket, Key="counter", Body=b"0")
    steps = 5

    def raise_by_one(s3):
        done = 0
        while done < steps:
            got = s3.get_object(Bucket=bucket, Key="counter")
            number = int(got["Body"].read())
            code = code_of(s3.put_object, Bucket=bucket, Key="counter", Body=str(number + 1).encode(), IfMatch=got["ETag"])
            check(code in [None, "PreconditionFailed", "ConditionalRequestConflict"], f"a swap is refused with {code}")
            done += code is None

    together([lambda s3=s3: raise_by_one(s3) for s3 in nodes])
    for s3 in nodes:
        check(body_of(s3, bucket, "counter") == str(steps * len(nodes)).encode(), "the counter counted every step once")


def together(calls):
    """Runs calls side by side; what one of them raises is raised here."""
    raised = []

    def run(call):
        try:
            call()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


def multipart(nodes, bucket):
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
        check(body_of(s3, bucket, "large") == b"".join(parts), "the parts are one object through every node")
        middle = s3.get_object(Bucket=bucket, Key="large", Range=f"bytes={PART_BYTES - 3}-{PART_BYTES + 3}")["Body"].read()
        check(middle == parts[0][-3:] + parts[1][:4], "a range over two parts")


def delete(nodes, bucket):
    for key, s3 in zip(keys_of(nodes[0], bucket), itertools.cycle(nodes)):
        s3.delete_object(Bucket=bucket, Key=key)
        for other in nodes:
            check(code_of(other.get_object, Bucket=bucket, Key=key) == "NoSuchKey", f"{key} is gone through every node")
    for s3 in nodes:
        check(keys_of(s3, bucket) == [], "nothing is listed any more")
    nodes[-1].delete_bucket(Bucket=bucket)
    for s3 in nodes:
        check(code_of(s3.head_bucket, Bucket=bucket) == "404", "the bucket is gone through every node")


class Writer(threading.Thread):
    """Writes objects of its own, each once, and reads each through another node as soon as it is acknowledged."""

    def __init__(self, nodes, bucket, number, seed):
        super().__init__(daemon=True)
        self.nodes, self.bucket, self.number = nodes, bucket, number
        self.chance = random.Random(f"{seed} {number}")
        self.acknowledged = {}  # key -> digest
        self.unknown = {}       # the same, where no answer came, or one that promises nothing
        self.reads = 0
        self.stopping = threading.Event()
        self.wrong = None

    def run(self):
        for number in itertools.count():
            if self.stopping.wait(REST) or self.wrong:
                return
            writer, reader = self.chance.sample(self.nodes, 2) if len(self.nodes) > 1 else self.nodes * 2
            key, body = f"{self.number}/{number:06}", self.chance.randbytes(self.chance.choice([10, 3000, 50_000, 400_000]))
            try:
                self.step(writer, reader, key, body)
            except Exception as error:
                self.wrong = f"{key}: {error!r}"

    def step(self, writer, reader, key, body):
        digest = hashlib.sha256(body).hexdigest()
        self.unknown[key] = digest
        if not self.answered(lambda: writer.put_object(Bucket=self.bucket, Key=key, Body=body)):
            return
        self.acknowledged[key] = self.unknown.pop(key)
        found = []
        if self.answered(lambda: found.append(body_of(reader, self.bucket, key))):
            self.reads += 1
            if hashlib.sha256(found[0]).hexdigest() != digest:
                self.wrong = f"{key} is read with other bytes than were written"

    def answered(self, call):
        """Whether a call succeeded. A fault excuses no answer and a 5xx; anything else is wrong."""
        try:
            call()
            return True
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                raise
        except (BotoCoreError, HTTPClientError, OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
        return False


def befall(cluster, name, seed):
    """One fault under writers; then everything acknowledged must be there, through every node."""
    bucket, chance = "fault", random.Random(seed)
    nodes = [client(url, (ACCESS_KEY, SECRET_KEY)) for url in cluster.endpoints]
    nodes[0].create_bucket(Bucket=bucket)
    writers = [Writer(nodes, bucket, number, seed) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    time.sleep(2)
    fault = FAULTS[name]
    victim = fault.victim(cluster, chance)
    lasts = min(max(fault.shortest, 6), fault.longest)
    print(f"{name}: {victim.name}, for {lasts} s", flush=True)
    with fault.harm(victim):
        time.sleep(lasts)
    cluster.wait_whole()
    time.sleep(2)
    for writer in writers:
        writer.stopping.set()
    for writer in writers:
        writer.join(4 * PATIENCE)
        check(not writer.is_alive(), "a writer comes to an end")
        check(writer.wrong is None, f"what writers see holds: {writer.wrong}")
    verify(nodes, bucket, writers)


def verify(nodes, bucket, writers):
    acknowledged = {key: digest for writer in writers for key, digest in writer.acknowledged.items()}
    unknown = {key: digest for writer in writers for key, digest in writer.unknown.items()}
    check(acknowledged, "something was acknowledged")
    for s3 in nodes:
        listed = set(keys_of(s3, bucket))
        check(acknowledged.keys() <= listed, f"acknowledged and not listed: {sorted(acknowledged.keys() - listed)[:5]}")
        check(listed <= acknowledged.keys() | unknown.keys(), f"never written: {sorted(listed - acknowledged.keys() - unknown.keys())[:5]}")
        for key in sorted(listed):
            found = hashlib.sha256(body_of(s3, bucket, key)).hexdigest()
            check(found == {**unknown, **acknowledged}[key], f"{key} has other bytes than were written")
    reads = sum(writer.reads for writer in writers)
    print(f"{len(acknowledged)} writes acknowledged, {reads} read at once through another node, none lost; "
          f"{len(unknown)} of unknown outcome, {len(listed - acknowledged.keys())} of them there", flush=True)


def fault_of(seed, lacking):
    """The day's fault, or the next one that this machine allows."""
    names = sorted(FAULTS)
    for name in names[seed % len(names):] + names:
        if not (FAULTS[name].needs_network and lacking):
            return name
        print(f"SKIPPED: {name}: {lacking}", flush=True)


def log_as_table(cluster):
    """The retained log says the same through every node, and tells of every object that is listed."""
    asked = 'SELECT partition, "offset", operation, bucket, key, size, principal FROM changes ORDER BY partition, "offset"'
    told = [node.sql(asked) for node in cluster.nodes]
    check(all(one == told[0] for one in told), f"every node tells the same of the log: {[len(one) for one in told]} rows")
    put = {(row["bucket"], row["key"], row["size"]) for row in told[0] if row["operation"] == "PutObject"}
    listed = {(row["bucket"], row["key"], row["size"]) for row in cluster.nodes[1].sql("SELECT bucket, key, size FROM objects")}
    check(listed and listed <= put, f"{len(put)} puts in the log, {len(listed)} objects, of which {list(listed - put)[:3]} were never put")
    middle = told[0][len(told[0]) // 2]
    behind = f"FROM changes WHERE partition = {middle['partition']} AND offset > {middle['offset']} ORDER BY offset LIMIT 3"
    wanted = [row["offset"] for row in told[0] if row["partition"] == middle["partition"] and row["offset"] > middle["offset"]][:3]
    page = [row["offset"] for row in cluster.nodes[2].sql(f"SELECT offset {behind}")]
    check(page == wanted, f"a page behind {middle}: {page}, not {wanted}")


def smoke(arguments):
    lacking = network.lacking()
    name = arguments.fault or fault_of(arguments.seed, lacking)
    if FAULTS[name].needs_network and lacking:
        raise ClusterError(f"{name} is asked for, and {lacking}")
    print(f"seed {arguments.seed}", flush=True)
    begun, scratch = time.monotonic(), tempfile.mkdtemp(prefix="cluster-smoke-")
    try:
        cluster = Cluster(arguments.binary, scratch, namespaces=FAULTS[name].needs_network,
                          flags=["--cut-bytes", "4000000", "--cut-seconds", "2"])
        with cluster:
            print(f"3 brokers and 3 nodes are up after {time.monotonic() - begun:.0f} s", flush=True)
            cluster.init()  # a second time
            operations([client(url, (ACCESS_KEY, SECRET_KEY)) for url in cluster.endpoints], "smoke")
            befall(cluster, name, arguments.seed)
            counted = [node.sql("SELECT bucket, count(*) AS n FROM objects GROUP BY bucket ORDER BY bucket") for node in cluster.nodes]
            check(counted[0] and all(one == counted[0] for one in counted), f"SQL counts the same everywhere: {counted}")
            log_as_table(cluster)
            digests = cluster.compare()
            check(digests, "digests are there")
            print(f"{len(digests)} partitions have the same digest on every node", flush=True)
            cluster.stop()
            cluster.fsck()
    except BaseException:
        print(f"logs and data are kept in {scratch}", flush=True)
        raise
    shutil.rmtree(scratch)
    print(f"{time.monotonic() - begun:.0f} s")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary", nargs="?")
    parser.add_argument("--endpoints", help="only the operations, against these URLs; keys are SILTSTONE_ACCESS_KEY and _SECRET_KEY")
    parser.add_argument("--seed", type=int, default=datetime.date.today().timetuple().tm_yday, help="default: the day of the year")
    parser.add_argument("--fault", choices=sorted(FAULTS), help="this one, and not the seed's")
    arguments = parser.parse_args()
    if (arguments.binary is None) == (arguments.endpoints is None):
        parser.error("give a binary or --endpoints")
    try:
        if arguments.endpoints:
            keys = os.environ["SILTSTONE_ACCESS_KEY"], os.environ["SILTSTONE_SECRET_KEY"]
            operations([client(url, keys) for url in arguments.endpoints.split(",")], f"smoke-{uuid.uuid4()}")
        else:
            smoke(arguments)
    except (ClusterError, KafkaError, ClientError, BotoCoreError) as error:
        sys.exit(f"FAILED: {error}")
    print(f"{PASSED} passed, 0 failed")


if __name__ == "__main__":
    main()
