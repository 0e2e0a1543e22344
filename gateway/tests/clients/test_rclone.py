"""rclone: trees there and back, copies on the server, streams, listings, links."""
import json
import shutil
import subprocess
import urllib.request
import uuid

import pytest

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, write_tree


def version():
    return subprocess.run(["rclone", "version"], check=True, capture_output=True, text=True).stdout.split()[1]


CLIENT = Client("rclone", version, ("--s3-provider Other", "--s3-endpoint", "--s3-region us-east-1"), "Debian rclone")
PARTS = ["--s3-chunk-size", "5Mi", "--s3-upload-cutoff", "5Mi", "--s3-copy-cutoff", "5Mi"]
pytestmark = pytest.mark.skipif(shutil.which("rclone") is None, reason="rclone is not installed")


class Rclone:
    """Runs rclone with a remote `s:`."""

    def __init__(self, run, server):
        settings = {"TYPE": "s3", "PROVIDER": "Other", "ENDPOINT": server.url, "REGION": "us-east-1", "ACCESS_KEY_ID": ACCESS_KEY, "SECRET_ACCESS_KEY": SECRET_KEY}
        self.run, self.environment = run, {f"RCLONE_CONFIG_S_{name}": value for name, value in settings.items()} | {"RCLONE_CONFIG": "/dev/null"}

    def __call__(self, *words, **options):
        return self.run("rclone", *words, **self.environment, **options)

    def refused(self, refusal, *words, **options):
        return self.run.refused(refusal, "rclone", *words, **self.environment, **options)


@pytest.fixture
def rclone(run, server):
    return Rclone(run, server)


@job("sync a tree and read it back, large files in parts", flags="--s3-chunk-size 5Mi --s3-upload-cutoff 5Mi")
def test_sync(rclone, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    rclone("sync", *PARTS, tree, f"s:{bucket}/in")
    compared.same_tree(stored(bucket), {f"in/{name}": content for name, content in samples.items()})
    rclone("check", "--download", tree, f"s:{bucket}/in")
    rclone("sync", f"s:{bucket}/in", tmp_path / "out")
    compared.same_tree(read_tree(tmp_path / "out"), samples)
    rclone("sync", "-v", "--log-file", tmp_path / "log", tree, f"s:{bucket}/in")
    assert "There was nothing to transfer" in (tmp_path / "log").read_text()


@job("sync deletes and replaces what changed; modification times are kept")
def test_changes(rclone, s3, bucket, stored, compared, tmp_path):
    contents = {"a": b"1", "b/c": b"22", "d e+ü": b"333"}
    rclone("sync", write_tree(tmp_path / "tree", contents | {"gone": b"x"}), f"s:{bucket}")
    (tmp_path / "tree" / "gone").unlink()
    (tmp_path / "tree" / "a").write_bytes(b"changed")
    rclone("sync", tmp_path / "tree", f"s:{bucket}")
    compared.same_tree(stored(bucket), contents | {"a": b"changed"})
    kept = {one["Path"]: one["ModTime"] for one in json.loads(rclone("lsjson", "-R", "--files-only", f"s:{bucket}"))}
    local = {one["Path"]: one["ModTime"] for one in json.loads(rclone("lsjson", "-R", "--files-only", tmp_path / "tree"))}
    assert {name: time[:23] for name, time in kept.items()} == {name: time[:23] for name, time in local.items()}


@job("copy and move on the server, large objects in parts", flags="--s3-copy-cutoff 5Mi")
def test_server_side(rclone, s3, bucket, tree, samples, stored, compared):
    other = f"other-{uuid.uuid4()}"
    rclone("mkdir", f"s:{other}")
    rclone("copy", *PARTS, tree, f"s:{bucket}/in")
    rclone("copy", *PARTS, f"s:{bucket}/in", f"s:{other}/copied")
    rclone("moveto", *PARTS, f"s:{bucket}/in/folder/large.bin", f"s:{bucket}/moved ü")
    compared.same_tree(stored(other), {f"copied/{name}": content for name, content in samples.items()})
    assert set(stored(bucket, "in/folder/")) == {"in/folder/5 MiB", "in/folder/8 MiB and one"}
    compared.same_tree(stored(bucket, "moved"), {"moved ü": samples["folder/large.bin"]})
    assert "-" in s3.head_object(Bucket=other, Key="copied/folder/large.bin")["ETag"], "copied in parts"


@job("rcat and cat: streams of unknown length, ranges", flags="--s3-chunk-size 5Mi")
def test_streams(rclone, bucket, samples, stored, compared):
    for name in ["empty", "small.txt", "folder/large.bin"]:
        rclone("rcat", *PARTS, f"s:{bucket}/{name}", input=samples[name])
    compared.same_tree(stored(bucket), {name: samples[name] for name in ["empty", "small.txt", "folder/large.bin"]})
    large = samples["folder/large.bin"]
    compared.same(rclone("cat", f"s:{bucket}/folder/large.bin"), large)
    compared.same(rclone("cat", "--offset", str(6 * MIB), "--count", "1000", f"s:{bucket}/folder/large.bin"), large[6 * MIB:6 * MIB + 1000])
    compared.same(rclone("cat", "--tail", "77", f"s:{bucket}/folder/large.bin"), large[-77:])


@job("metadata and content type", flags="--metadata")
def test_metadata(rclone, s3, bucket, tree, samples, stored, compared, tmp_path):
    rclone("copyto", "--metadata", "--metadata-set", "cache-control=no-store", "--metadata-set", "content-type=text/x", "--metadata-set", "mine=a b", tree / "small.txt", f"s:{bucket}/k")
    told = s3.head_object(Bucket=bucket, Key="k")
    assert (told["ContentType"], told["CacheControl"], told["Metadata"]["mine"]) == ("text/x", "no-store", "a b")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})
    [kept] = json.loads(rclone("lsjson", "--metadata", f"s:{bucket}/k"))
    assert kept["Metadata"]["mine"] == "a b" and kept["Metadata"]["cache-control"] == "no-store"


@job("list more keys than a page has", flags="--fast-list")
def test_listings(rclone, crowd):
    bucket, contents = crowd
    for flags in [[], ["--fast-list"], ["--s3-list-version", "1"], ["--s3-list-chunk", "77"]]:
        told = rclone("lsf", "-R", "--files-only", "--format", "ps", *flags, f"s:{bucket}").decode().splitlines()
        assert sorted(told) == sorted(f"{key};{len(content)}" for key, content in contents.items()), flags
    assert json.loads(rclone("size", "--json", f"s:{bucket}"))["count"] == len(contents)


@job("delete and purge more keys than a request takes")
def test_deletes(rclone, s3, bucket, fill, sizes):
    fill({f"{number % 2}/{number:05}": b"x" for number in range(sizes.client_keys)})
    rclone("delete", f"s:{bucket}/0")
    assert {one["Key"][:2] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {"1/"}
    rclone("purge", f"s:{bucket}")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("hashes of objects: md5sum, of parts too")
def test_hashes(rclone, bucket, tree):
    rclone("copy", *PARTS, tree, f"s:{bucket}")
    assert sorted(rclone("md5sum", f"s:{bucket}").splitlines()) == sorted(rclone("md5sum", tree).splitlines())


@job("versions: list them and read an old one", flags="--s3-versions")
def test_versions(rclone, s3, bucket, compared):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for content in [b"old", b"new!"]:
        s3.put_object(Bucket=bucket, Key="k.txt", Body=content)
    names = rclone("lsf", "--s3-versions", f"s:{bucket}").decode().split()
    assert "k.txt" in names and len(names) == 2
    [old] = [name for name in names if name != "k.txt"]
    compared.same(rclone("cat", "--s3-versions", f"s:{bucket}/{old}"), b"old")


@job("link: a presigned URL")
def test_link(rclone, s3, bucket, compared):
    s3.put_object(Bucket=bucket, Key="k ü+", Body=b"content")
    url = rclone("link", "--expire", "1h", f"s:{bucket}/k ü+").decode().strip()
    with urllib.request.urlopen(url, timeout=60) as answer:
        compared.same(answer.read(), b"content")


@job("all requests signed with version 2", flags='--s3-v2-auth; the server needs signature_v2 = "on"')
def test_version_2(run, serve, tree, samples, compared):
    server = serve("--signature-v2", "on")
    rclone = Rclone(run, server)
    rclone("copy", "--s3-v2-auth", *PARTS, tree, "s:bucket/in ü+")
    rclone("check", "--s3-v2-auth", "--download", tree, "s:bucket/in ü+")
    s3 = server.client()
    keys = [one["Key"] for one in s3.list_objects_v2(Bucket="bucket")["Contents"]]
    compared.same_tree({key: s3.get_object(Bucket="bucket", Key=key)["Body"].read() for key in keys}, {f"in ü+/{name}": content for name, content in samples.items()})


@job("storage class STANDARD_IA", flags="--s3-storage-class STANDARD_IA")
def test_storage_class(rclone, s3, bucket, tree, samples, stored, compared):
    rclone("copy", "--s3-storage-class", "STANDARD_IA", "--retries", "1", "--low-level-retries", "1", tree / "small.txt", f"s:{bucket}")
    compared.same_tree(stored(bucket), {"small.txt": samples["small.txt"]})


REFUSED = {"ACL public-read": ["--s3-acl", "public-read"], "encryption (SSE-S3)": ["--s3-server-side-encryption", "AES256"]}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(rclone, bucket, tree, stored, refusal, what):
    for name in ["small.txt", "folder/large.bin"]:
        rclone.refused(refusal, "copyto", *REFUSED[what], *PARTS, "--retries", "1", "--low-level-retries", "1", tree / name, f"s:{bucket}/k")
    assert stored(bucket) == {}
