"""The AWS SDK for JavaScript, version 3: jobs of `javascript/jobs.mjs`, which node runs."""
import base64
import json
import pathlib
import shutil
import sys

import pytest

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB, ODD_KEYS

HERE = pathlib.Path(__file__).parent / "javascript"
MODULES = ROOT / ".tools" / "javascript" / "node_modules"
# The version that deploy/setup installs beside pytest.
NODE = pathlib.Path(sys.executable).parent / "node"
CLIENT = Client("AWS SDK for JavaScript", lambda: json.loads((MODULES / "@aws-sdk/client-s3/package.json").read_text())["version"],
                ("endpoint", "forcePathStyle: true"), "npm @aws-sdk/client-s3, lib-storage, s3-request-presigner, s3-presigned-post")
pytestmark = pytest.mark.skipif(not MODULES.exists() or not NODE.exists(), reason="deploy/setup --test has not installed the SDK")
REFUSED = {
    "ACL public-read of a new object": ("PutObject", {"Body": "other", "ACL": "public-read"}),
    "encryption with the server's keys (SSE-S3)": ("PutObject", {"Body": "other", "ServerSideEncryption": "AES256"}),
    "policy of a bucket": ("PutBucketPolicy", {"Policy": "{}"}),
    "lifecycle of a bucket": ("PutBucketLifecycleConfiguration", {"LifecycleConfiguration": {"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}}),
    "object lock of a bucket": ("PutObjectLockConfiguration", {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}),
}


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """The script in a folder from which node finds the modules."""
    folder = tmp_path_factory.mktemp("javascript")
    shutil.copytree(HERE, folder, dirs_exist_ok=True)
    (folder / "node_modules").symlink_to(MODULES)
    return folder / "jobs.mjs"


@pytest.fixture
def sdk(run, script, server, bucket):
    """Runs a job of the script; returns its answer."""
    def act(name, flags=(), url=server.url, bucket=bucket, settings={}, **arguments):
        told = run(NODE, *flags, script, name, json.dumps({"url": url, "bucket": bucket, "settings": settings} | arguments))
        return json.loads(told)

    return act


@job("upload and download streams, large ones in parts")
def test_streams(sdk, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    sdk("upload", tree=str(tree), names=[*samples])
    compared.same_tree(stored(bucket), samples)
    sdk("download", names=[*samples], out=str(tmp_path / "out"))
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("put, get, list and delete objects with odd keys")
def test_odd_keys(sdk):
    assert sdk("odd_keys", keys=ODD_KEYS) == sorted(ODD_KEYS, key=str.encode)


@job("headers of the content, metadata and tags")
def test_headers(sdk, bucket, stored, compared):
    sdk("headers")
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("list more keys than a page has")
def test_listings(sdk, crowd):
    bucket, contents = crowd
    assert sdk("list", bucket=bucket) == [[[key, len(contents[key])] for key in sorted(contents)], ["0/", "1/", "2/"]]


@job("delete more keys than a page has, and the bucket")
def test_deletes(sdk, s3, bucket, fill, sizes):
    fill({f"{number:05}": b"x" for number in range(sizes.client_keys)})
    sdk("remove")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("copy objects on the server, also in parts")
def test_copies(sdk, s3, bucket, samples, stored, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content)
    sdk("copies", size=len(content))
    compared.same_tree(stored(bucket), dict.fromkeys(["source ü+", "copy", "new", "in parts"], content))


@job("ranges of objects, and single parts")
def test_ranges(sdk, bucket, samples, compared, tree):
    name = "folder/8 MiB and one"
    content = samples[name]
    sdk("upload", tree=str(tree), names=[name])
    wanted = {"bytes=0-9": content[:10], f"bytes={5 * MIB - 3}-{5 * MIB + 3}": content[5 * MIB - 3:5 * MIB + 4], "bytes=-7": content[-7:]}
    for got, piece in zip(sdk("ranges", key=name, ranges=[*wanted]), wanted.values()):
        compared.same(base64.b64decode(got), piece)
    for number, piece in enumerate([content[:5 * MIB], content[5 * MIB:]], 1):
        got, count = sdk("part", key=name, part=number)
        compared.same(base64.b64decode(got), piece)
        assert count == 2


@job("conditional writes: one of many writers wins")
def test_conditions(sdk, bucket, stored, compared):
    winner = sdk("conditions")
    compared.same_tree(stored(bucket), {"k": winner.encode()})


@job("checksum {algorithm}, whole and in parts")
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_checksum(sdk, bucket, tree, samples, stored, compared, algorithm):
    name = "folder/8 MiB and one"
    assert sdk("checksum", algorithm=algorithm, tree=str(tree), file=name)
    compared.same_tree(stored(bucket), dict.fromkeys(["whole", "parts"], samples[name]))


@job("versions: list, read and delete them")
def test_versions(sdk, compared):
    first, second = sdk("versions")
    compared.same(first.encode(), b"first")
    compared.same(second.encode(), b"second")


@job("presigned URLs, with headers in the query")
def test_presigned(sdk, bucket, stored, compared):
    keys = ["k", "odd key/ü+%&=?"]
    sdk("presigned", keys=keys)
    compared.same_tree(stored(bucket), {key: f"content of {key}".encode() for key in keys})


@job("POST form with a policy")
def test_post_form(sdk, bucket, stored, compared):
    sdk("form")
    compared.same_tree(stored(bucket), {"folder/file.txt": b"content"})


@job("virtual-host addressing", flags="forcePathStyle: false, endpoint http://localhost:port")
def test_virtual_hosts(sdk, server, script, bucket, stored, compared):
    told = sdk("put", flags=["--import", script.parent / "localhost.mjs"], url=f"http://localhost:{server.port}", settings={"forcePathStyle": False}, input={})
    assert told == "not refused"
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("storage class STANDARD_IA")
def test_storage_class(sdk, bucket, stored, compared):
    assert sdk("put", input={"StorageClass": "STANDARD_IA"}) == "not refused"
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(sdk, s3, bucket, stored, refusal, compared, what):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    command, arguments = REFUSED[what]
    assert sdk("send", command=command, input={"Key": "k"} | arguments) == refusal
    compared.same_tree(stored(bucket), {"k": b"content"})
