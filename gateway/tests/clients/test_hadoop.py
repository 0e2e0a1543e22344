"""Hadoop's s3a, the connector of Spark, Hive, Flink and Trino's older releases: jobs of `hadoop/`, which Maven builds."""
import os
import pathlib
import re
import shutil
import subprocess

import pytest

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB

HERE = pathlib.Path(__file__).parent / "hadoop"
CLIENT = Client("Hadoop s3a", lambda: re.search(r"<artifactId>hadoop-aws</artifactId>\s*<version>(.*)</version>", (HERE / "pom.xml").read_text())[1],
                ("fs.s3a.endpoint", "fs.s3a.path.style.access=true", "fs.s3a.connection.ssl.enabled=false"), "Maven org.apache.hadoop:hadoop-aws")
# Building the program fetches some hundred packages.
pytestmark = [pytest.mark.long, pytest.mark.skipif(not (shutil.which("mvn") and shutil.which("javac")), reason="there is no JDK or no Maven")]


@pytest.fixture(scope="module")
def classes():
    """The class path of the program."""
    target = ROOT / ".tools" / "hadoop"
    shutil.copytree(HERE, target, dirs_exist_ok=True)
    goals = ["compile", "dependency:build-classpath", "-Dmdep.outputFile=classpath"]
    done = subprocess.run(["mvn", "-q", "-B", *goals], cwd=target, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout[-5000:]
    return f"{target / 'target' / 'classes'}:{(target / 'classpath').read_text().strip()}"


@pytest.fixture
def s3a(run, classes, server, bucket):
    """Runs a job of the program with more settings of s3a; returns what it wrote."""
    def act(name, *words, bucket=bucket, settings="", **options):
        flags = ["-Dfile.encoding=UTF-8", "-Dsun.jnu.encoding=UTF-8", f"-Dsettings={settings}", "-XX:+UseSerialGC"]
        return run("java", *flags, "-cp", classes, "jobs.Jobs", name, server.url, bucket, *words, **options)

    return act


@pytest.fixture
def files(samples):
    """The samples whose names a path of Hadoop can have."""
    return {name: content for name, content in samples.items() if name == name.strip()}


@job("copy files in and out, large ones in parts", flags="fs.s3a.multipart.size=5M")
def test_files(s3a, bucket, tree, files, stored, read_tree, compared, tmp_path):
    s3a("upload", tree, *files)
    compared.same_tree(stored(bucket), files)
    s3a("download", tmp_path / "out", *files)
    compared.same_tree(read_tree(tmp_path / "out"), files)


@job("write a stream, its blocks kept in {buffer}", flags="fs.s3a.fast.upload.buffer")
@pytest.mark.parametrize("buffer", ["disk", "array", "bytebuffer"])
def test_streams(s3a, bucket, tree, samples, stored, compared, buffer):
    s3a("streams", tree / "folder/large.bin", "k ü+", settings=f"fs.s3a.fast.upload.buffer={buffer}")
    compared.same_tree(stored(bucket), {"k ü+": samples["folder/large.bin"]})


@job("checksums of what is sent", flags="fs.s3a.create.checksum.algorithm=CRC32C")
def test_checksum(s3a, s3, bucket, tree, samples, stored, compared):
    s3a("streams", tree / "small.txt", "k", settings="fs.s3a.create.checksum.algorithm=CRC32C")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})
    assert "ChecksumCRC32C" in s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")


@job("list more files than a page has")
def test_listings(s3a, crowd):
    bucket, contents = crowd
    assert s3a("list", bucket=bucket).decode().splitlines() == [*(f"{key} {len(contents[key])}" for key in sorted(contents)), "0/", "1/", "2/"]


@job("make folders, and what committers of jobs do with them")
def test_folders(s3a, bucket, stored):
    s3a("folders")
    assert stored(bucket) == {"a/b/c/": b""}


@job("rename a folder: copies, large files in parts, then deletes")
def test_rename(s3a, s3, bucket, draw, stored, compared):
    contents = {f"{number} ü+": draw(f"{number}", number * 4 * MIB) for number in range(4)}
    for name, content in contents.items():
        s3.put_object(Bucket=bucket, Key=f"from/x/{name}", Body=content)
    s3a("rename", "from", "to", settings="fs.s3a.multipart.size=5M;fs.s3a.multipart.threshold=5M")
    # An empty object marks the folder above, which was renamed.
    compared.same_tree({key: content for key, content in stored(bucket).items() if not key.endswith("/")}, {f"to/x/{name}": content for name, content in contents.items()})


@job("delete a folder with more files than a request takes")
def test_delete(s3a, s3, bucket, fill, sizes):
    fill({f"folder/{number:05} ü": b"x" for number in range(sizes.client_keys)})
    s3a("delete", "folder")
    assert s3.list_objects_v2(Bucket=bucket, Prefix="folder/0")["KeyCount"] == 0


@job("ranges of a file, one by one and many at a time")
def test_ranges(s3a, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    places = [(0, 10), (5 * MIB - 3, 7), (len(content) - 7, 7), (MIB, 3 * MIB)]
    pieces = b"".join(content[place:place + size] for place, size in places)
    compared.same(s3a("ranges", *(f"{place}+{size}" for place, size in places)), pieces + pieces)


@job("create a file that must not be there: the second writer fails", flags="fs.option.create.conditional.overwrite")
def test_exclusive(s3a, bucket, stored, compared):
    assert b"412" in s3a("exclusive")
    compared.same_tree(stored(bucket), {"k": b"first"})


@job("storage class STANDARD_IA", flags="fs.s3a.create.storage.class=standard_ia")
def test_storage_class(s3a, s3, bucket, stored, compared):
    s3a("put", settings="fs.s3a.create.storage.class=standard_ia")
    compared.same_tree(stored(bucket), {"k": b"content"})
    assert s3.head_object(Bucket=bucket, Key="k")["StorageClass"] == "STANDARD_IA"


REFUSED = {"ACL public-read": "fs.s3a.acl.default=PublicRead", "encryption (SSE-S3)": "fs.s3a.encryption.algorithm=AES256"}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(s3a, bucket, stored, refusal, what):
    assert refusal.split()[-1].encode() in s3a("put", settings=REFUSED[what], code=1)
    assert stored(bucket) == {}
