"""Starts that a node refuses: an unsafe topic, another cluster's or another kind of data directory, an id that is taken. Each
refusal says what to do, and leaves everything as it was."""
import hashlib
import pathlib
import re
import subprocess

import pytest

from kafka import java  # In the path since `lib.cluster` was imported.
from lib.cluster import NAME, Cluster, free_ports
from lib.server import Server

pytestmark = pytest.mark.serial

GOOD = {"min.insync.replicas": "2", "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete",
        "unclean.leader.election.enable": "false", "message.timestamp.type": "LogAppendTime"}


@pytest.fixture(scope="module")
def cluster(siltstone, tmp_path_factory):
    """One node on three brokers."""
    with Cluster(siltstone, tmp_path_factory.mktemp("cluster"), nodes=1, partitions=2) as cluster:
        cluster.nodes[0].client().create_bucket(Bucket="kept")
        yield cluster


@pytest.fixture
def running(cluster):
    """The node, while it runs."""
    if not cluster.nodes[0].is_running():
        cluster.nodes[0].start()
    return cluster.nodes[0]


@pytest.fixture
def stopped(cluster):
    """The node, while it is stopped."""
    if cluster.nodes[0].is_running():
        cluster.nodes[0].stop()
    return cluster.nodes[0]


def topic_tool(cluster, *arguments):
    command = java("-Xmx128m", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", cluster.kafka.bootstrap, *arguments)
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


def create_topic(cluster, name, replicas, settings):
    config = [word for key, value in settings.items() for word in ("--config", f"{key}={value}")]
    topic_tool(cluster, "--create", "--topic", f"siltstone-{name}", "--partitions", "2", "--replication-factor", str(replicas), *config)


def fingerprint(folder):
    """Every byte of a data directory that outlives a process."""
    seen = hashlib.sha256()
    for path in sorted(pathlib.Path(folder).rglob("*")):
        name = path.relative_to(folder)
        if path.is_file() and name.parts[0] not in {"LOCK", "spool"}:
            seen.update(str(name).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()


def run(cluster, data, *flags, wait=60):
    """Starts a node that is expected to give up; its exit code and what it said."""
    port = free_ports(2)
    command = [cluster.binary, "server", "--data", str(data), "--listen", f"127.0.0.1:{port}",
               "--admin", f"127.0.0.1:{port + 1}", "--reserve-bytes", "0", *flags]
    try:
        done = subprocess.run(command, env=cluster.environment(), capture_output=True, text=True, timeout=wait)
    except subprocess.TimeoutExpired as still:
        return None, ((still.stdout or b"") + (still.stderr or b"")).decode()
    return done.returncode, done.stdout + done.stderr


def refused(cluster, data, words, *flags, name=NAME, node=1):
    """A start is refused with these words and changes nothing."""
    data = pathlib.Path(data)
    before = fingerprint(data) if data.exists() else None
    code, said = run(cluster, data, "--log", "kafka", "--bootstrap", cluster.kafka.bootstrap, "--cluster", name,
                     "--node-id", str(node), *flags)
    print(said.strip().splitlines()[-1][:300] if said.strip() else "")
    assert code == 1, f"exit {code}: {said[-600:]}"
    missing = [word for word in words if not re.search(word, said)]
    assert not missing, f"{missing} not in: {said[-900:]}"
    assert before is None or fingerprint(data) == before, "the data directory has changed"


@pytest.mark.parametrize(("name", "replicas", "wrong", "word"), [
    ("one-replica", 1, {"min.insync.replicas": "1"}, "replica"),
    ("unclean", 3, {"unclean.leader.election.enable": "true"}, "unclean"),
    ("retention", 3, {"retention.ms": "86400000"}, "retention"),
    ("in-sync-one", 3, {"min.insync.replicas": "1"}, "insync"),
    ("compacted", 3, {"cleanup.policy": "compact"}, "cleanup"),
    ("create-time", 3, {"message.timestamp.type": "CreateTime"}, "LogAppendTime")])
def test_an_unsafe_topic_is_refused(cluster, tmp_path, name, replicas, wrong, word):
    create_topic(cluster, name, replicas, {**GOOD, **wrong})
    refused(cluster, tmp_path / name, ["not safe", word], name=name)
    assert not (tmp_path / name / "identity.a").exists(), "no identity was made"


def test_a_topic_that_is_not_there_is_refused(cluster, tmp_path):
    refused(cluster, tmp_path / "none", ["init"], name="never-made")


def test_a_topic_without_identity_is_refused(cluster, tmp_path):
    create_topic(cluster, "no-init", 3, GOOD)
    refused(cluster, tmp_path / "no-init", ["init"], name="no-init")


@pytest.mark.parametrize(("text", "words"), [
    pytest.param('sasl_mechanism = "SCRAM-SHA-256"\nuser = "somebody"\npassword = "wrong"\n', ["authenticat|SASL|answers|security"], id="credentials that nobody asked for"),
    pytest.param('sasl_mechanism = "SCRAM-SHA-256"\nuser = "somebody"\n', ["password"], id="a mechanism without a password"),
    pytest.param('ca_file = "/nonexistent"\n', ["/nonexistent"], id="an authority that cannot be read")])
def test_credentials_that_cannot_work_are_refused(cluster, tmp_path, text, words):
    config = tmp_path / "kafka.toml"
    config.write_text("[kafka]\n" + text)
    refused(cluster, tmp_path / "data", words, "--config", str(config))


def test_a_directory_of_embedded_mode_is_refused(cluster, stopped, tmp_path):
    embedded = Server(cluster.binary, str(tmp_path / "embedded")).start()
    embedded.stop()
    refused(cluster, tmp_path / "embedded", ["log of its own", "another data directory"])


def test_another_nodes_directory_is_refused(cluster, stopped):
    refused(cluster, stopped.data, ["copy of node 1"], node=2)


def test_another_clusters_directory_is_refused(cluster, stopped):
    subprocess.run([cluster.binary, "init", "--bootstrap", cluster.kafka.bootstrap, "--cluster", "other",
                    "--partitions", str(cluster.partitions)], check=True, capture_output=True, timeout=60)
    refused(cluster, stopped.data, ["belongs to another log", "another cluster"], name="other")


def test_a_nodes_directory_without_kafka_is_refused(cluster, stopped):
    code, said = run(cluster, stopped.data)
    assert code == 1 and "--log kafka" in said, said[-600:]


def test_a_node_id_without_kafka_is_refused(cluster, stopped, tmp_path):
    code, said = run(cluster, tmp_path / "loose", "--node-id", "1")
    assert code == 1 and "--log kafka" in said, said[-600:]


def test_an_id_that_is_taken_is_refused_and_its_holder_goes_on(cluster, running, tmp_path):
    refused(cluster, tmp_path / "twin", ["id 1 is in use", "id of its own"])
    assert running.is_ready(), running.log_end()
    running.client().put_object(Bucket="kept", Key="after", Body=b"x")


def test_a_topic_that_is_changed_or_made_anew_is_refused(cluster, running):
    """The last test of this cluster: its topic does not come back."""
    running.cut()
    running.stop()
    topic_tool(cluster, "--alter", "--topic", f"siltstone-{NAME}", "--partitions", str(cluster.partitions + 1))
    refused(cluster, running.data, ["partition"])
    topic_tool(cluster, "--delete", "--topic", f"siltstone-{NAME}")
    refused(cluster, running.data, ["no topic|init"])
    cluster.init()
    refused(cluster, running.data, ["made anew"])
