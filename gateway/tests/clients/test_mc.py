"""mc: MinIO's command line client."""
import json
import os
import pathlib
import shutil
import subprocess
import urllib.request

import pytest

from lib import ROOT
from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import write_tree

VERSION = "v0.0.0-20250313080218-cf909e1063a9"
CLIENT = Client("mc", lambda: VERSION, ("MC_HOST_alias=http://key:secret@host:port",), "Go github.com/minio/mc")
# Building the program fetches and compiles packages. No supported distribution has a Go that is new enough.
pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")]


@pytest.fixture(scope="module")
def program():
    folder = ROOT / "target" / "clients"
    done = subprocess.run(["go", "install", f"github.com/minio/mc@{VERSION}"], env=os.environ | {"GOBIN": str(folder)}, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-5000:]
    return folder / "mc"


@pytest.fixture
def mc(run, program, server):
    """Runs `mc …`; the alias `s` is the server."""
    def call(*words, **options):
        host = f"http://{ACCESS_KEY}:{SECRET_KEY}@{server.address}"
        return run(program, "--quiet", "--disable-pager", *words, MC_HOST_s=host, MC_UPDATE_NOTIFIER="off", **options)

    return call


def told(output):
    return [json.loads(line) for line in output.splitlines()]


@job("mirror a tree, and back")
def test_mirror(mc, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    mc("mirror", tree, f"s/{bucket}/in")
    compared.same_tree(stored(bucket), {f"in/{name}": content for name, content in samples.items()})
    mc("mirror", f"s/{bucket}/in", tmp_path / "out")
    compared.same_tree(read_tree(tmp_path / "out"), samples)
    assert mc("diff", tree, f"s/{bucket}/in") == b""


@job("mirror --remove --overwrite: what changed goes, what is gone is removed")
def test_mirror_removes(mc, bucket, stored, compared, tmp_path):
    contents = {"a": b"1", "b/c": b"22", "d e+ü": b"333"}
    tree = write_tree(tmp_path / "tree", contents | {"gone": b"x"})
    mc("mirror", tree, f"s/{bucket}")
    (tree / "gone").unlink()
    (tree / "a").write_bytes(b"changed")
    mc("mirror", "--remove", "--overwrite", tree, f"s/{bucket}")
    compared.same_tree(stored(bucket), contents | {"a": b"changed"})


@job("pipe and cat: streams of unknown length, ranges")
def test_pipes(mc, s3, bucket, samples, compared):
    for name in ["empty", "small.txt", "folder/large.bin"]:
        mc("pipe", "--attr", "a=two words;Cache-Control=no-store", "--tags", "t=1&u=2", f"s/{bucket}/k ü", input=samples[name])
        compared.same(mc("cat", f"s/{bucket}/k ü"), samples[name], name)
    assert s3.head_object(Bucket=bucket, Key="k ü")["CacheControl"] == "no-store"
    compared.same(mc("cat", "--offset", 1000, f"s/{bucket}/k ü"), samples["folder/large.bin"][1000:])
    compared.same(mc("cat", "--tail", 1000, f"s/{bucket}/k ü"), samples["folder/large.bin"][-1000:])


@job("cp with checksum {algorithm}", flags="--checksum")
@pytest.mark.parametrize("algorithm", ["CRC32C", "CRC64NVME", "SHA256"])
def test_checksums(mc, s3, bucket, tree, samples, stored, compared, algorithm):
    names = ["small.txt", "folder/large.bin"]
    for name in names:
        mc("cp", "--checksum", algorithm, tree / name, f"s/{bucket}/{name}")
        assert f"Checksum{algorithm}" in s3.head_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED"), name
    compared.same_tree(stored(bucket), {name: samples[name] for name in names})


@job("cp and mv on the server, with metadata and tags")
def test_server_side(mc, s3, bucket, samples, stored, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content, Metadata={"a": "1"}, ContentType="text/x", Tagging="t=1")
    mc("cp", f"s/{bucket}/source ü+", f"s/{bucket}/copy")
    mc("mv", f"s/{bucket}/source ü+", f"s/{bucket}/moved ü+")
    compared.same_tree(stored(bucket), {"copy": content, "moved ü+": content})
    for key in ["copy", "moved ü+"]:
        head = s3.head_object(Bucket=bucket, Key=key)
        assert (head["Metadata"].get("a"), head["ContentType"]) == ("1", "text/x"), key
        assert s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"] == [{"Key": "t", "Value": "1"}], key


@job("ls, find and du of more keys than a page has")
def test_listings(mc, crowd):
    bucket, contents = crowd
    sizes = {one["key"]: one["size"] for one in told(mc("--json", "ls", "--recursive", f"s/{bucket}"))}
    assert sizes == {key: len(content) for key, content in contents.items()}
    assert [one["key"] for one in told(mc("--json", "ls", f"s/{bucket}"))] == ["0/", "1/", "2/"]
    assert len(mc("find", f"s/{bucket}", "--name", "*7").splitlines()) == sum(key.endswith("7") for key in contents)
    assert told(mc("--json", "du", f"s/{bucket}"))[-1]["size"] == sum(map(len, contents.values()))


@job("rm of more keys than a request takes, and rb")
def test_rm(mc, s3, bucket, fill, sizes):
    fill({f"{number:05} ü": b"x" for number in range(sizes.client_keys)})
    mc("rm", "--recursive", "--force", f"s/{bucket}")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    mc("rb", f"s/{bucket}")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("stat, head, tags of objects and buckets")
def test_properties(mc, s3, bucket, samples, compared):
    s3.put_object(Bucket=bucket, Key="k", Body=b"first\nsecond\n", ContentType="text/x", Metadata={"a": "1"})
    found = told(mc("--json", "stat", f"s/{bucket}/k"))[0]
    assert (found["size"], found["metadata"]["Content-Type"], found["metadata"]["X-Amz-Meta-A"]) == (13, "text/x", "1")
    compared.same(mc("head", "-n", 1, f"s/{bucket}/k"), b"first\n")
    mc("tag", "set", f"s/{bucket}/k", "a=1&b=2")
    mc("tag", "set", f"s/{bucket}", "team=x")
    assert {one["Key"]: one["Value"] for one in s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]} == {"a": "1", "b": "2"}
    assert told(mc("--json", "tag", "list", f"s/{bucket}"))[0]["tagset"] == {"team": "x"}


@job("versions: list, read, undo")
def test_versions(mc, s3, bucket, stored, compared):
    mc("version", "enable", f"s/{bucket}")
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert len(told(mc("--json", "ls", "--versions", f"s/{bucket}/k"))) == 2
    compared.same(mc("cat", "--version-id", old, f"s/{bucket}/k"), b"old")
    mc("undo", "--force", f"s/{bucket}/k")
    compared.same_tree(stored(bucket), {"k": b"old"})


@job("share: presigned URL, and a form for an upload")
def test_share(mc, s3, bucket, stored, compared, tmp_path):
    s3.put_object(Bucket=bucket, Key="k ü", Body=b"content")
    url = told(mc("--json", "share", "download", f"s/{bucket}/k ü"))[0]["share"]
    with urllib.request.urlopen(url, timeout=60) as answer:
        compared.same(answer.read(), b"content")
    command = told(mc("--json", "share", "upload", f"s/{bucket}/new"))[0]["share"]
    (tmp_path / "file").write_bytes(b"uploaded")
    done = subprocess.run(command.replace("<FILE>", "file"), shell=True, cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    compared.same_tree(stored(bucket), {"k ü": b"content", "new": b"uploaded"})


@job("cors of a bucket")
def test_cors(mc, s3, bucket, tmp_path):
    rules = "<CORSConfiguration><CORSRule><AllowedOrigin>http://a</AllowedOrigin><AllowedMethod>GET</AllowedMethod></CORSRule></CORSConfiguration>"
    pathlib.Path(tmp_path, "cors.xml").write_text(rules)
    mc("cors", "set", f"s/{bucket}", "cors.xml")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"][0]["AllowedOrigins"] == ["http://a"]
    mc("cors", "remove", f"s/{bucket}")


REFUSED = {
    "anonymous set download (policy of a bucket)": ["anonymous", "set", "download", "s/{bucket}"],
    "encrypt set (default encryption of a bucket)": ["encrypt", "set", "sse-s3", "s/{bucket}"],
    "ilm rule add (lifecycle of a bucket)": ["ilm", "rule", "add", "--expire-days", "1", "s/{bucket}"],
}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(mc, s3, bucket, stored, refusal, compared, what):
    s3.put_object(Bucket=bucket, Key="k", Body=b"a\n1\n")
    output = mc("--json", *(word.format(bucket=bucket) for word in REFUSED[what]), code=None)
    assert refusal.split()[-1].encode() in output, output
    compared.same_tree(stored(bucket), {"k": b"a\n1\n"})
