"""What a node refuses: an unsafe topic, another cluster's or another kind of data directory, an id that is taken. Each
refusal says what to do, and leaves everything as it was.
"""
import hashlib
import pathlib
import re
import subprocess
import sys
import tempfile

from lib.cluster import NAME, Cluster, free_ports
from kafka import java
from lib.server import Server

passed = failed = 0


def check(what, holds, detail=""):
    global passed, failed
    if holds:
        passed += 1
        return
    failed += 1
    print(f"FAILED {what}: {detail}", flush=True)


def topic_tool(cluster, *arguments):
    command = java("-Xmx128m", "org.apache.kafka.tools.TopicCommand", "--bootstrap-server", cluster.kafka.bootstrap,
                   *arguments)
    subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)


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


def refused(what, cluster, data, words, *flags, name=NAME, node=1):
    """A start is refused with these words and changes nothing."""
    data = pathlib.Path(data)
    before = fingerprint(data) if data.exists() else None
    code, said = run(cluster, data, "--log", "kafka", "--bootstrap", cluster.kafka.bootstrap, "--cluster", name,
                     "--node-id", str(node), *flags)
    check(what, code == 1, f"exit {code}: {said[-600:]}")
    missing = [word for word in words if not re.search(word, said)]
    check(f"{what}, in words", not missing, f"{missing} not in: {said[-900:]}")
    if before is not None:
        check(f"{what}, and changes nothing", fingerprint(data) == before, "the data directory has changed")
    print(f"{what}: {said.strip().splitlines()[-1][:300] if said.strip() else ''}", flush=True)


def unsafe_topics(cluster, folder):
    good = {"min.insync.replicas": "2", "retention.ms": "-1", "retention.bytes": "-1", "cleanup.policy": "delete",
            "unclean.leader.election.enable": "false", "message.timestamp.type": "LogAppendTime"}
    cases = [("one-replica", 1, {"min.insync.replicas": "1"}, ["replica"]),
             ("unclean", 3, {"unclean.leader.election.enable": "true"}, ["unclean"]),
             ("retention", 3, {"retention.ms": "86400000"}, ["retention"]),
             ("in-sync-one", 3, {"min.insync.replicas": "1"}, ["insync"]),
             ("compacted", 3, {"cleanup.policy": "compact"}, ["cleanup"]),
             ("create-time", 3, {"message.timestamp.type": "CreateTime"}, ["LogAppendTime"])]
    for name, replicas, wrong, words in cases:
        settings = [part for key, value in {**good, **wrong}.items() for part in ("--config", f"{key}={value}")]
        topic_tool(cluster, "--create", "--topic", f"siltstone-{name}", "--partitions", "2",
                   "--replication-factor", str(replicas), *settings)
        data = folder / name
        refused(f"topic {name}", cluster, data, ["not safe", *words], name=name)
        check(f"topic {name}, no identity was made", not (data / "identity.a").exists())
    refused("no topic", cluster, folder / "none", ["init"], name="never-made")
    topic_tool(cluster, "--create", "--topic", "siltstone-no-init", "--partitions", "2", "--replication-factor", "3",
               *[part for key, value in good.items() for part in ("--config", f"{key}={value}")])
    refused("a topic without identity", cluster, folder / "no-init", ["init"], name="no-init")


def credentials(cluster, folder):
    config = folder / "sasl.toml"
    config.write_text('[kafka]\nsasl_mechanism = "SCRAM-SHA-256"\nuser = "somebody"\npassword = "wrong"\n')
    refused("credentials that nobody asked for", cluster, folder / "sasl", ["authenticat|SASL|answers|security"],
            "--config", str(config))
    config.write_text('[kafka]\nsasl_mechanism = "SCRAM-SHA-256"\nuser = "somebody"\n')
    refused("a mechanism without a password", cluster, folder / "sasl2", ["password"], "--config", str(config))
    config.write_text('[kafka]\nca_file = "/nonexistent"\n')
    refused("an authority that cannot be read", cluster, folder / "tls", ["/nonexistent"], "--config", str(config))


def directories(cluster, folder):
    node = cluster.nodes[0]
    node.stop()
    embedded = Server(cluster.binary, str(folder / "embedded")).start()
    embedded.stop()
    refused("a directory of embedded mode", cluster, folder / "embedded", ["log of its own", "another data directory"])
    refused("another node's directory", cluster, node.data, ["copy of node 1"], node=2)
    code, said = run(cluster, node.data)
    check("a node's directory without --log kafka", code == 1 and "--log kafka" in said, said[-600:])
    code, said = run(cluster, folder / "loose", "--node-id", "1")
    check("a node id without --log kafka", code == 1 and "--log kafka" in said, said[-600:])
    subprocess.run([cluster.binary, "init", "--bootstrap", cluster.kafka.bootstrap, "--cluster", "other",
                    "--partitions", str(cluster.partitions)], check=True, capture_output=True, timeout=60)
    refused("another cluster's directory", cluster, node.data, ["belongs to another log", "another cluster"], name="other")
    node.start()


def one_id(cluster, folder):
    node = cluster.nodes[0]
    refused("an id that is taken", cluster, folder / "twin", ["id 1 is in use", "id of its own"])
    check("its holder goes on", node.is_ready(), node.log_text()[-600:])
    node.client().put_object(Bucket="kept", Key="after", Body=b"x")


def changed_topics(cluster):
    node = cluster.nodes[0]
    node.cut()
    node.stop()
    topic_tool(cluster, "--alter", "--topic", f"siltstone-{NAME}", "--partitions", str(cluster.partitions + 1))
    refused("a topic with more partitions", cluster, node.data, ["partition"])
    topic_tool(cluster, "--delete", "--topic", f"siltstone-{NAME}")
    refused("a topic that is gone", cluster, node.data, ["no topic|init"])
    cluster.init()
    refused("a topic that was made anew", cluster, node.data, ["made anew"])


def main():
    binary = sys.argv[1] if len(sys.argv) > 1 else "target/debug/siltstone"
    with tempfile.TemporaryDirectory() as made:
        folder = pathlib.Path(made)
        with Cluster(binary, folder / "cluster", nodes=1, partitions=2) as cluster:
            cluster.nodes[0].client().create_bucket(Bucket="kept")
            unsafe_topics(cluster, folder)
            credentials(cluster, folder)
            directories(cluster, folder)
            one_id(cluster, folder)
            changed_topics(cluster)
    print(f"{passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
