"""The AWS SDK for Go, version 2, on which many tools of Kubernetes and of HashiCorp are built; jobs of `aws_go/`."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB

HERE = pathlib.Path(__file__).parent / "aws_go"
CLIENT = Client("AWS SDK for Go", lambda: re.search(r"aws-sdk-go-v2/service/s3 v(\S+)", (HERE / "go.mod").read_text())[1], ("BaseEndpoint", "UsePathStyle: true"),
                "Go github.com/aws/aws-sdk-go-v2/service/s3")
# Building the program fetches and compiles packages. No supported distribution has a Go that is new enough.
pytestmark = [pytest.mark.long, pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")]


@pytest.fixture(scope="module")
def program():
    path = ROOT / "target" / "clients" / "aws-go-jobs"
    done = subprocess.run(["go", "build", "-o", path, "."], cwd=HERE, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-5000:]
    return path


@pytest.fixture
def sdk(run, program, server, bucket):
    """Runs a job of the program; returns what it wrote."""
    def act(name, *words, bucket=bucket):
        return run(program, name, server.url, bucket, *words)

    return act


@job("upload and download files, large ones in parts")
def test_files(sdk, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    sdk("upload", tree, *samples)
    compared.same_tree(stored(bucket), samples)
    sdk("download", tmp_path / "out", *samples)
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("a stream of unknown length")
def test_streams(sdk, bucket, tree, samples, stored, compared):
    sdk("streams", tree / "folder/large.bin")
    compared.same_tree(stored(bucket), {"k": samples["folder/large.bin"]})


@job("checksum {algorithm}: whole and in parts, verified on reading")
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_checksum(sdk, s3, bucket, tree, samples, stored, compared, algorithm):
    sdk("checksum", algorithm, tree / "folder/8 MiB and one")
    compared.same_tree(stored(bucket), dict.fromkeys(["whole", "parts"], samples["folder/8 MiB and one"]))
    for key in ["whole", "parts"]:
        assert f"Checksum{algorithm}" in s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED"), key


@job("headers of the content, metadata, tags, storage class, attributes")
def test_headers(sdk, bucket, stored, compared):
    sdk("headers")
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("list more keys than a page has")
def test_listings(sdk, crowd):
    bucket, contents = crowd
    assert sdk("list", bucket=bucket).decode().splitlines() == [*(f"{key} {len(contents[key])}" for key in sorted(contents)), "0/", "1/", "2/"]


@job("delete more keys than a page has, and the bucket")
def test_removes(sdk, s3, bucket, fill, sizes):
    fill({f"{number:05} ü": b"x" for number in range(sizes.client_keys)})
    sdk("remove")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("copy an object, also in parts of ranges")
def test_copies(sdk, s3, bucket, samples, stored, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content)
    sdk("copies")
    compared.same_tree(stored(bucket), dict.fromkeys(["source ü+", "copy", "parts"], content))


@job("ranges of objects")
def test_ranges(sdk, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    told = sdk("ranges", "bytes=0-9", f"bytes={5 * MIB - 3}-{5 * MIB + 3}", "bytes=-7")
    compared.same(told, content[:10] + content[5 * MIB - 3:5 * MIB + 4] + content[-7:])


@job("conditional writes: one of many writers wins")
def test_conditions(sdk, bucket, stored, compared):
    winner = sdk("conditions")
    compared.same_tree(stored(bucket), {"k": winner})


@job("presigned URLs")
def test_presigned(sdk, bucket, stored, compared):
    keys = ["k", "odd key/ü+%&=?"]
    sdk("presigned", *keys)
    compared.same_tree(stored(bucket), {key: f"content of {key}".encode() for key in keys})


@job("versions: list and read them, and delete markers")
def test_versions(sdk, compared):
    compared.same(sdk("versions"), b"second\nfirst\n")


REFUSED = {"ACL public-read of a new object": "acl", "encryption with the server's keys (SSE-S3)": "sse", "policy of a bucket": "policy", "legal hold of an object": "hold"}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(sdk, s3, bucket, stored, refusal, compared, what):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert sdk("refused", REFUSED[what]).decode() == refusal
    compared.same_tree(stored(bucket), {"k": b"content"})
