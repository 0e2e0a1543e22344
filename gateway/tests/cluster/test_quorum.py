"""A cluster that has lost too much, and one that has not: with two of three brokers down nothing is acknowledged and nothing
is half done, reads say that they cannot know, and service returns by itself; with one node down the others serve everything.
"""
import concurrent.futures
import hashlib
import os
import time

import pytest
from botocore.exceptions import ClientError

from lib.cluster import Cluster

pytestmark = [pytest.mark.long, pytest.mark.serial]

BUCKET = "quorum"
# The longest wait of a request in seconds, as the documents state it. The SDK asks twice, and the way takes a little.
WRITE_WAIT, READ_WAIT = 2 * 15 + 5, 2 * 10 + 5
KINDS = {"put": "small", "large put": "large", "delete": "gone"}


@pytest.fixture(scope="module")
def cluster(siltstone, tmp_path_factory):
    """Three nodes and three brokers beside a controller of its own; all is compared and checked at the end."""
    with Cluster(siltstone, tmp_path_factory.mktemp("cluster"), own_controller=True) as cluster:
        yield cluster
        cluster.compare()
        cluster.stop()
        cluster.fsck()


def status_of(call):
    """HTTP status, error code and seconds of a call."""
    began = time.monotonic()
    try:
        call()
        return 200, "", time.monotonic() - began
    except ClientError as error:
        meta = error.response["ResponseMetadata"]
        return meta["HTTPStatusCode"], error.response["Error"]["Code"], time.monotonic() - began


class Outage:
    """Two of three brokers down, and up again: what was asked meanwhile, and how it was answered."""

    def __init__(self, cluster):
        self.cluster, self.clients = cluster, [node.client(read_timeout=60) for node in cluster.nodes]
        # Bodies by key: before the outage, and as they were asked to be during it; none for a delete.
        self.before, self.wanted = {}, {}
        self.clients[0].create_bucket(Bucket=BUCKET)
        for number, client in enumerate(self.clients):
            for kind in KINDS.values():
                self.before[f"{kind}-{number}"] = os.urandom(1000)
                client.put_object(Bucket=BUCKET, Key=f"{kind}-{number}", Body=self.before[f"{kind}-{number}"])
        for broker in cluster.brokers[:2]:
            broker.kill()
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            jobs = [(what, limit, pool.submit(status_of, call)) for what, limit, call in self.calls()]
        # Request -> longest wait allowed, status, code, seconds.
        self.answers = {what: (limit, *job.result()) for what, limit, job in jobs}
        self.health = {node.name: node.ask("/health/cluster")[0] for node in cluster.nodes}
        for broker in cluster.brokers[:2]:
            broker.start()
        self.back = self.wait_back()
        cluster.wait_whole()

    def calls(self):
        for number, client in enumerate(self.clients):
            through = f"through node {number + 1}"
            self.wanted |= {f"small-{number}": os.urandom(3000), f"large-{number}": os.urandom(2 << 20), f"gone-{number}": None}
            for what, kind in KINDS.items():
                key = f"{kind}-{number}"
                yield f"{what} {through}", WRITE_WAIT, self.write(client, key, self.wanted[key])
            yield f"get {through}", READ_WAIT, lambda client=client: client.get_object(Bucket=BUCKET, Key="small-0")
            yield f"list {through}", READ_WAIT, lambda client=client: client.list_objects_v2(Bucket=BUCKET)

    def write(self, client, key, body):
        if body is None:
            return lambda: client.delete_object(Bucket=BUCKET, Key=key)
        return lambda: client.put_object(Bucket=BUCKET, Key=key, Body=body)

    def wait_back(self):
        """Seconds after which a write succeeds again, or None."""
        began = time.monotonic()
        while time.monotonic() - began < 90:
            if status_of(lambda: self.clients[0].put_object(Bucket=BUCKET, Key="back", Body=b"back"))[0] == 200:
                return time.monotonic() - began
        return None

    def found(self, key):
        """Digests or error codes of a key through all nodes."""
        found = set()
        for client in self.clients:
            try:
                found.add(hashlib.sha256(client.get_object(Bucket=BUCKET, Key=key)["Body"].read()).hexdigest())
            except ClientError as error:
                found.add(error.response["Error"]["Code"])
        return found

    def allowed(self, key):
        body = self.wanted[key]
        return {hashlib.sha256(self.before[key]).hexdigest(), "NoSuchKey" if body is None else hashlib.sha256(body).hexdigest()}


@pytest.fixture(scope="module")
def outage(cluster):
    return Outage(cluster)


def test_requests_without_a_quorum_are_answered_503_in_time(outage, tell):
    wrong = []
    for what, (limit, status, code, seconds) in outage.answers.items():
        tell(f"{what}: {status} {code} after {seconds:.1f} s")
        wrong += [f"{what} is answered {status} {code}, not 503"] if status != 503 else []
        wrong += [f"{what} is answered after {seconds:.1f} s, not within {limit} s"] if seconds > limit else []
    assert len(outage.answers) == 15 and not wrong, "\n".join(wrong)


def test_nodes_without_a_quorum_say_so(outage):
    assert set(outage.health.values()) == {503}, outage.health


def test_service_returns_by_itself(outage, tell):
    assert outage.back is not None, "no write succeeds within 90 s"
    tell(f"writes again {outage.back:.1f} s after the brokers were ready")


def test_no_request_is_half_done(outage):
    """Each key is as before or as asked, the same everywhere."""
    wrong = []
    for key in outage.wanted:
        found = outage.found(key)
        wrong += [f"{key}: {found}"] if len(found) != 1 or not found <= outage.allowed(key) else []
    assert len(outage.wanted) == 9 and not wrong, "\n".join(wrong)


@pytest.fixture
def others(cluster, outage):
    """The nodes that are left when one is down."""
    cluster.nodes[0].kill()
    yield cluster.nodes[1:]
    cluster.nodes[0].start()


def test_without_a_node_the_others_serve_everything(others):
    for node in others:
        client = node.client()
        client.create_bucket(Bucket=f"made-by-{node.number}")
        for bucket in [BUCKET, f"made-by-{node.number}"]:
            body = os.urandom(700_000)
            client.put_object(Bucket=bucket, Key="one-less", Body=body)
            for other in others:
                assert other.client().get_object(Bucket=bucket, Key="one-less")["Body"].read() == body, f"{bucket} through {other.name}"
        listed = client.list_objects_v2(Bucket=BUCKET)["Contents"]
        assert len(listed) >= 8, f"a listing through {node.name} has {len(listed)} keys"
        assert node.ask("/health/cluster")[0] == 200, f"{node.name} sees a cluster that answers"
