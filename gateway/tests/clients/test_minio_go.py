"""minio-go: the Go client of MinIO, on which mc, JuiceFS, Loki and many more are built; jobs of `minio_go/`."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB

HERE = pathlib.Path(__file__).parent / "minio_go"
CLIENT = Client("minio-go", lambda: re.search(r"minio-go/v7 v(\S+)", (HERE / "go.mod").read_text())[1], ("Secure: false",), "Go github.com/minio/minio-go/v7")
# Building the program fetches and compiles packages. No supported distribution has a Go that is new enough.
pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")]


@pytest.fixture(scope="module")
def program():
    path = ROOT / "target" / "clients" / "minio-go-jobs"
    done = subprocess.run(["go", "build", "-o", path, "."], cwd=HERE, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-5000:]
    return path


@pytest.fixture
def sdk(run, program, server, bucket):
    """Runs a job of the program; returns what it wrote."""
    def act(name, *words, bucket=bucket):
        return run(program, name, server.address, bucket, *words)

    return act


@job("upload and download files, large ones in parts", flags="PartSize: 5 MiB")
def test_files(sdk, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    sdk("upload", tree, *samples)
    compared.same_tree(stored(bucket), samples)
    sdk("download", tmp_path / "out", *samples)
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("streams of unknown length, parts in turn and at a time")
def test_streams(sdk, bucket, tree, samples, stored, compared):
    sdk("streams", tree / "folder/large.bin")
    compared.same_tree(stored(bucket), dict.fromkeys(["serial", "parallel"], samples["folder/large.bin"]))


@job("checksum {algorithm} in trailers: whole, in parts, of a stream", flags="TrailingHeaders: true")
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksum(sdk, s3, bucket, tree, samples, stored, compared, algorithm):
    sdk("checksum", algorithm, tree / "folder/8 MiB and one")
    compared.same_tree(stored(bucket), dict.fromkeys(["whole", "parts", "stream"], samples["folder/8 MiB and one"]))
    for key in ["whole", "parts", "stream"]:
        assert f"Checksum{algorithm}" in s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"), key


@job("headers of the content, metadata and tags")
def test_headers(sdk, s3, bucket, stored, compared):
    sdk("headers")
    compared.same_tree(stored(bucket), {"k": b"content"})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "team", "Value": "x"}]


@job("list more keys than a page has")
def test_listings(sdk, crowd):
    bucket, contents = crowd
    assert sdk("list", bucket=bucket).decode().splitlines() == [f"{key} {len(contents[key])}" for key in sorted(contents)]


@job("remove many objects in one call, and the bucket")
def test_removes(sdk, s3, bucket, fill, sizes):
    fill({f"{number:05} ü": b"x" for number in range(sizes.client_keys)})
    sdk("remove")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("copy an object, compose one of ranges of others")
def test_copies(sdk, s3, bucket, samples, stored, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content)
    sdk("copies")
    compared.same_tree(stored(bucket), {"source ü+": content, "copy": content, "composed": content + content[MIB:7 * MIB]})


@job("ranges of objects, and seeking")
def test_ranges(sdk, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    compared.same(sdk("ranges", 0, 9, 5 * MIB - 3, 5 * MIB + 3), content[:10] + content[5 * MIB - 3:5 * MIB + 4] + content[-7:])


@job("conditional writes: one of many writers wins")
def test_conditions(sdk, bucket, stored, compared):
    winner = sdk("conditions")
    compared.same_tree(stored(bucket), {"k": winner})


@job("presigned URLs")
def test_presigned(sdk, bucket, stored, compared):
    keys = ["k", "odd key/ü+%&=?"]
    sdk("presigned", *keys)
    compared.same_tree(stored(bucket), {key: f"content of {key}".encode() for key in keys})


REFUSED = {"append to an object": "append", "encryption (SSE-S3)": "sse", "policy of a bucket": "policy"}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(sdk, s3, bucket, stored, refusal, compared, what):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert sdk("refused", REFUSED[what]).decode() == refusal
    compared.same_tree(stored(bucket), {"k": b"content"})
