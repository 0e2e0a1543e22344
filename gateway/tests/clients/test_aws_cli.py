"""The AWS command line client: `aws s3` and some of `aws s3api`."""
import json
import sys
import urllib.request
import uuid

import awscli
import pytest

from lib.client_jobs import Client, job

from .conftest import write_tree

CLI = [sys.executable, "-m", "awscli"]


CLIENT = Client("aws cli", lambda: awscli.__version__, ("--endpoint-url",), "PyPI awscli")


@pytest.fixture
def aws(run, server):
    """Runs `aws SERVICE …` against the server."""
    class Aws:
        def __call__(self, *words, **options):
            return run(*CLI, "--endpoint-url", server.url, "--region", "us-east-1", *words, **options)

        def refused(self, refusal, *words, **options):
            return run.refused(refusal, *CLI, "--endpoint-url", server.url, "--region", "us-east-1", *words, **options)

    return Aws()


@job("s3 sync of a tree, and back")
def test_sync(aws, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    aws("s3", "sync", "--only-show-errors", tree, f"s3://{bucket}/in")
    compared.same_tree(stored(bucket), {f"in/{name}": content for name, content in samples.items()})
    aws("s3", "sync", "--only-show-errors", f"s3://{bucket}/in", tmp_path / "out")
    compared.same_tree(read_tree(tmp_path / "out"), samples)
    assert aws("s3", "sync", tree, f"s3://{bucket}/in") == b"", "nothing is left to do"


@job("s3 sync --delete, and between buckets")
def test_sync_deletes(aws, s3, bucket, stored, compared, tmp_path):
    other = f"other-{uuid.uuid4()}"
    aws("s3", "mb", f"s3://{other}")
    contents = {"a": b"1", "b/c": b"22", "d e+ü": b"333"}
    aws("s3", "sync", write_tree(tmp_path / "tree", contents | {"gone": b"x"}), f"s3://{bucket}")
    (tmp_path / "tree" / "gone").unlink()
    (tmp_path / "tree" / "a").write_bytes(b"changed")
    aws("s3", "sync", "--delete", tmp_path / "tree", f"s3://{bucket}")
    compared.same_tree(stored(bucket), contents | {"a": b"changed"})
    aws("s3", "sync", f"s3://{bucket}", f"s3://{other}")
    compared.same_tree(stored(other), contents | {"a": b"changed"})
    aws("s3", "rb", "--force", f"s3://{other}")


@job("s3 cp through pipes, with content type and metadata")
def test_pipes(aws, s3, bucket, samples, compared):
    for name in ["empty", "folder/large.bin"]:
        aws("s3", "cp", "-", f"s3://{bucket}/k", "--content-type", "text/x", "--metadata", "a=1,b=two words", "--cache-control", "no-store", input=samples[name])
        compared.same(aws("s3", "cp", f"s3://{bucket}/k", "-"), samples[name], name)
        told = s3.head_object(Bucket=bucket, Key="k")
        assert (told["ContentType"], told["Metadata"], told["CacheControl"]) == ("text/x", {"a": "1", "b": "two words"}, "no-store")


@job("s3 cp and mv on the server, large objects in parts")
def test_server_side(aws, s3, bucket, samples, stored, compared):
    content = samples["folder/large.bin"]
    s3.put_object(Bucket=bucket, Key="source ü+", Body=content, Metadata={"a": "1"}, ContentType="text/x")
    aws("s3", "cp", f"s3://{bucket}/source ü+", f"s3://{bucket}/copy")
    aws("s3", "mv", f"s3://{bucket}/source ü+", f"s3://{bucket}/moved")
    compared.same_tree(stored(bucket), {"copy": content, "moved": content})
    # This client takes no metadata over when it copies in parts.
    assert all("-" in s3.head_object(Bucket=bucket, Key=key)["ETag"] for key in ["copy", "moved"]), "copied in parts"
    s3.put_object(Bucket=bucket, Key="small", Body=b"content", Metadata={"a": "1"}, ContentType="text/x")
    aws("s3", "cp", f"s3://{bucket}/small", f"s3://{bucket}/small copy")
    told = s3.get_object(Bucket=bucket, Key="small copy")
    compared.same(told["Body"].read(), b"content")
    assert (told["Metadata"], told["ContentType"]) == ({"a": "1"}, "text/x")


@job("s3 cp with checksum {algorithm}", flags="--checksum-algorithm")
@pytest.mark.parametrize("algorithm", ["CRC32C", "SHA256", "CRC64NVME"])
def test_checksums(aws, s3, bucket, tree, samples, compared, tmp_path, algorithm):
    name = "folder/8 MiB and one"
    aws("s3", "cp", "--only-show-errors", "--checksum-algorithm", algorithm, tree / name, f"s3://{bucket}/k")
    assert f"Checksum{algorithm}" in s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    aws("s3", "cp", "--only-show-errors", "--checksum-mode", "ENABLED", f"s3://{bucket}/k", tmp_path / "got")
    compared.same((tmp_path / "got").read_bytes(), samples[name])


@job("s3 ls of more keys than a page has")
def test_ls(aws, crowd):
    bucket, contents = crowd
    lines = aws("s3", "ls", "--recursive", "--page-size", "500", f"s3://{bucket}").decode().splitlines()
    assert [line.split()[2:] for line in lines] == [[str(len(contents[key])), key] for key in sorted(contents)]
    assert [line.split() for line in aws("s3", "ls", f"s3://{bucket}").decode().splitlines()] == [["PRE", f"{n}/"] for n in range(3)]


@job("s3 rm --recursive of more keys than a request takes, and rb")
def test_rm(aws, s3, bucket, fill, sizes):
    fill({f"{number:05}": b"x" for number in range(sizes.client_keys)})
    aws("s3", "rm", "--recursive", "--only-show-errors", f"s3://{bucket}")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    aws("s3", "rb", f"s3://{bucket}")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("s3api: tags, attributes, conditional put, versions")
def test_api(aws, bucket, compared, tmp_path):
    (tmp_path / "body").write_bytes(b"content")
    name = ["--bucket", bucket, "--key", "k ü"]
    aws("s3api", "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
    put = json.loads(aws("s3api", "put-object", *name, "--body", "body", "--if-none-match", "*", "--tagging", "a=1"))
    aws.refused("412 PreconditionFailed", "s3api", "put-object", *name, "--body", "body", "--if-none-match", "*", code=255)
    assert json.loads(aws("s3api", "get-object-tagging", *name))["TagSet"] == [{"Key": "a", "Value": "1"}]
    told = json.loads(aws("s3api", "get-object-attributes", *name, "--object-attributes", "ETag", "ObjectSize"))
    assert (told["ETag"], told["ObjectSize"], told["VersionId"]) == (put["ETag"].strip('"'), 7, put["VersionId"])
    aws("s3api", "get-object", *name, "--range", "bytes=3-", "got")
    compared.same((tmp_path / "got").read_bytes(), b"tent")
    assert len(json.loads(aws("s3api", "list-object-versions", "--bucket", bucket))["Versions"]) == 1


@job("s3 presign", flags="s3.signature_version = s3v4")
def test_presign(aws, s3, bucket, compared, tmp_path):
    s3.put_object(Bucket=bucket, Key="k ü", Body=b"content")
    (tmp_path / "config").write_text("[default]\ns3 =\n    signature_version = s3v4\n")
    url = aws("s3", "presign", f"s3://{bucket}/k ü", AWS_CONFIG_FILE=str(tmp_path / "config")).decode().strip()
    compared.same(fetch(url), b"content")


@job("s3 presign as it is by default, signature version 2")
def test_presign_by_default(aws, s3, bucket, compared):
    s3.put_object(Bucket=bucket, Key="k ü", Body=b"content")
    compared.same(fetch(aws("s3", "presign", f"s3://{bucket}/k ü").decode().strip()), b"content")


def fetch(url):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return answer.read()


@job("s3 cp --storage-class STANDARD_IA")
def test_storage_class(aws, s3, bucket, tree, samples, stored, compared):
    aws("s3", "cp", "--storage-class", "STANDARD_IA", tree / "small.txt", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == "STANDARD_IA"


@job("s3 website")
def test_website(aws, s3, bucket):
    aws("s3", "website", f"s3://{bucket}", "--index-document", "index.html")
    assert s3.get_bucket_website(Bucket=bucket)["IndexDocument"] == {"Suffix": "index.html"}


REFUSED = {"s3 cp --acl public-read": ["--acl", "public-read"], "s3 cp --sse AES256": ["--sse", "AES256"], "s3 cp --sse aws:kms": ["--sse", "aws:kms"]}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(aws, bucket, tree, stored, refusal, what):
    # Small, and so large that it goes in parts.
    for name in ["small.txt", "folder/large.bin"]:
        aws.refused(refusal, "s3", "cp", *REFUSED[what], tree / name, f"s3://{bucket}/k")
    assert stored(bucket) == {}
