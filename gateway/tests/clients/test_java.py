"""The AWS SDK for Java, version 2: jobs of `java/`, which Maven builds."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB, ODD_KEYS

HERE = pathlib.Path(__file__).parent / "java"
CLIENT = Client("AWS SDK for Java", lambda: re.search(r"<artifactId>s3</artifactId>\s*<version>(.*)</version>", (HERE / "pom.xml").read_text())[1],
                ("endpointOverride", "forcePathStyle(true)"), "Maven software.amazon.awssdk:s3")
# Building the program fetches a hundred packages.
pytestmark = [pytest.mark.long, pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="there is no JDK or no Maven")]


@pytest.fixture(scope="module")
def classes():
    """The class path of the program."""
    target = ROOT / ".tools" / "java"
    shutil.copytree(HERE, target, dirs_exist_ok=True)
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
    done = subprocess.run(["mvn", "-q", "-B", *goals], cwd=target, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-5000:]
    return f"{target / 'target' / 'classes'}:{(target / 'classpath').read_text().strip()}"


@pytest.fixture
def sdk(run, classes, server, bucket):
    """Runs a job of the program; returns what it wrote."""
    def act(name, *words, bucket=bucket):
        return run("java", "-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", "-cp", classes, "jobs.Jobs", name, server.url, bucket, *words)

    return act


@job("upload and download files, large ones in parts")
def test_files(sdk, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    sdk("upload", tree, *samples)
    compared.same_tree(stored(bucket), samples)
    sdk("download", tmp_path / "out", *samples)
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("streams of known and of unknown length")
def test_streams(sdk, bucket, tree, samples, stored, compared):
    sdk("streams", tree, "folder/8 MiB and one")
    compared.same_tree(stored(bucket), dict.fromkeys(["known", "unknown"], samples["folder/8 MiB and one"]))


@job("the asynchronous client: put, get and copy in parts", flags="multipartEnabled(true)")
def test_async(sdk, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    names = ["empty", "small.txt", "folder/8 MiB and one", "folder/large.bin"]
    sdk("async", tree, tmp_path / "out", *names)
    compared.same_tree(read_tree(tmp_path / "out"), {name: samples[name] for name in names})
    compared.same_tree(stored(bucket), {place + name: samples[name] for name in names for place in ["", "copy/"]})


@job("put, get, list and delete objects with odd keys")
def test_odd_keys(sdk):
    told = sdk("keys", *ODD_KEYS).decode().splitlines()
    assert told == [key.replace("\n", "\\n") for key in sorted(ODD_KEYS, key=str.encode)]


@job("headers of the content, metadata and tags")
def test_headers(sdk, bucket, stored, compared):
    sdk("headers")
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("list more keys than a page has")
def test_listings(sdk, crowd):
    bucket, contents = crowd
    assert sdk("list", bucket=bucket).decode().splitlines() == [*(f"{key} {len(contents[key])}" for key in sorted(contents)), "0/", "1/", "2/"]


@job("delete more keys than a page has, and the bucket")
def test_deletes(sdk, s3, bucket, fill, sizes):
    fill({f"{number:05}": b"x" for number in range(sizes.client_keys)})
    sdk("remove")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("copy objects on the server, also in parts")
def test_copies(sdk, s3, bucket, samples, stored, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content)
    sdk("copies", len(content))
    compared.same_tree(stored(bucket), dict.fromkeys(["source ü+", "copy", "new", "in parts"], content))


@job("ranges of objects")
def test_ranges(sdk, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    told = sdk("ranges", "bytes=0-9", f"bytes={5 * MIB - 3}-{5 * MIB + 3}", "bytes=-7")
    compared.same(told, content[:10] + content[5 * MIB - 3:5 * MIB + 4] + content[-7:])


@job("conditional writes: one of many writers wins")
def test_conditions(sdk, bucket, stored, compared):
    winner = sdk("conditions").strip()
    compared.same_tree(stored(bucket), {"k": winner})


@job("checksum {algorithm}")
@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "SHA1", "SHA256"])
def test_checksum(sdk, bucket, tree, samples, stored, compared, algorithm):
    assert sdk("checksum", algorithm, tree / "folder/8 MiB and one").strip()
    compared.same_tree(stored(bucket), {"k": samples["folder/8 MiB and one"]})


@job("presigned URLs, with metadata")
def test_presigned(sdk, bucket, stored, compared):
    keys = ["k", "odd key/ü+%&=?"]
    sdk("presigned", *keys)
    compared.same_tree(stored(bucket), {key: f"content of {key}".encode() for key in keys})


@job("versions: list, read and delete them")
def test_versions(sdk, compared):
    compared.same(sdk("versions"), b"first\nsecond\n")


@job("storage class STANDARD_IA")
def test_storage_class(sdk, bucket, stored, compared):
    sdk("storage_class", "STANDARD_IA")
    compared.same_tree(stored(bucket), {"k": b"content"})


REFUSED = {"ACL public-read of a new object": "acl", "encryption with the server's keys (SSE-S3)": "sse", "policy of a bucket": "policy", "legal hold of an object": "lock"}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(sdk, s3, bucket, stored, refusal, compared, what):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    assert sdk("refused", REFUSED[what]).decode().strip() == refusal
    compared.same_tree(stored(bucket), {"k": b"content"})
