"""restic: back up a tree, check it, restore it, forget and prune."""
import shutil
import subprocess
import time

import pytest

from lib.client_jobs import Client, job

from .conftest import write_tree


def version():
    return subprocess.run(["restic", "version"], check=True, capture_output=True, text=True).stdout.split()[1]


CLIENT = Client("restic", version, ("-r s3:http://host:port/bucket/path",), "Debian restic")
pytestmark = pytest.mark.skipif(shutil.which("restic") is None, reason="restic is not installed")


@pytest.fixture
def restic(run, server, bucket):
    """Runs restic with a repository in the job's bucket."""
    def call(*words, **options):
        return run("restic", "-r", f"s3:{server.url}/{bucket}/repository", *words, RESTIC_PASSWORD="a-password", **options)

    call("init")
    return call


@job("init, backup, check of all data, restore")
def test_backup(restic, tree, samples, read_tree, compared, tmp_path):
    restic("backup", ".", folder=tree)
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "out")
    compared.same_tree(read_tree(tmp_path / "out"), samples)
    compared.same(restic("dump", "latest", "/small.txt"), samples["small.txt"])


@job("changed trees, forget and prune: what stays is whole")
def test_prune(restic, s3, bucket, draw, stored, read_tree, compared, tmp_path):
    (tmp_path / "tree").mkdir()
    states = []
    for number in range(3):
        states.append({f"{file}": draw(f"{number if file in (0, number) else ''} {file}", 1 << 20) for file in range(4)})
        write_tree(tmp_path / "tree", states[-1])
        restic("backup", ".", folder=tmp_path / "tree")
    before = len(stored(bucket))
    restic("forget", "--keep-last", "1", "--prune")
    assert len(stored(bucket)) < before
    restic("check", "--read-data")
    restic("restore", "latest", "--target", tmp_path / "out")
    compared.same_tree(read_tree(tmp_path / "out"), states[-1])


@job("a running backup holds a lock that prune respects")
def test_lock(restic, s3, server, bucket, environment, draw, compared):
    def locks():
        return [one["Key"] for one in s3.list_objects_v2(Bucket=bucket, Prefix="repository/locks/").get("Contents", [])]

    content = draw("stream", 1 << 20)
    command = ["restic", "-r", f"s3:{server.url}/{bucket}/repository", "backup", "--stdin", "--stdin-filename", "stream"]
    with subprocess.Popen(command, env=environment | {"RESTIC_PASSWORD": "a-password"}, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as backup:
        deadline = time.monotonic() + 60
        while not locks() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert b"already locked" in restic("prune", code=1)
        backup.communicate(content, timeout=60)
    assert backup.returncode == 0 and not locks()
    restic("prune")
    compared.same(restic("dump", "latest", "/stream"), content)
