"""s3fs: the file system of fsspec, through which pandas, Dask, Hugging Face's datasets and others use S3; jobs of `s3fs/`."""
import importlib.metadata
import pathlib
import sys
import urllib.request

import pytest
from boto3.s3.transfer import TransferConfig

from lib import ROOT
from lib.client_jobs import Client, job

from .conftest import MIB, ODD_KEYS

PROGRAM = pathlib.Path(__file__).parent / "s3fs" / "jobs.py"
# Of its own, because it needs another botocore than the other tests.
PLACE = ROOT / ".tools" / "s3fs"


def version():
    return next(importlib.metadata.distributions(name="s3fs", path=[str(PLACE)])).version


CLIENT = Client("s3fs (fsspec)", version, ("endpoint_url",), "PyPI s3fs")
pytestmark = pytest.mark.skipif(not PLACE.exists(), reason="deploy/setup --test installs s3fs")


@pytest.fixture
def s3fs(run, server, bucket):
    """Runs a job of the program; returns what it wrote."""
    def act(name, *words, bucket=bucket, **options):
        return run(sys.executable, PROGRAM, name, server.url, bucket, *words, PYTHONPATH=str(PLACE), **options)

    return act


@job("put and get files, large ones in parts", flags="chunksize=5 MiB")
def test_files(s3fs, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    s3fs("upload", tree, *samples)
    compared.same_tree(stored(bucket), samples)
    s3fs("download", tmp_path / "out", *samples)
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("objects with odd keys")
def test_keys(s3fs, bucket, stored, compared):
    # This client takes slashes away from the end of a path.
    keys = [key for key in ODD_KEYS if not key.endswith("/")]
    s3fs("keys", *keys)
    compared.same_tree(stored(bucket), {key: b"content of " + key.encode() for key in keys})


@job("write a stream, and append to the object")
def test_stream(s3fs, bucket, tree, samples, stored, compared):
    s3fs("stream", tree / "folder/large.bin")
    compared.same_tree(stored(bucket), {"k ü+": samples["folder/large.bin"]})


@job("ranges of an object, one by one and many at a time")
def test_ranges(s3fs, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    places = [(0, 10), (5 * MIB - 3, 7), (len(content) - 7, 7), (MIB, 3 * MIB)]
    pieces = b"".join(content[place:place + size] for place, size in places)
    compared.same(s3fs("ranges", *(f"{place}+{size}" for place, size in places)), pieces + pieces)


@job("content type, metadata and tags; changes of metadata")
def test_headers(s3fs, bucket, stored, compared):
    s3fs("headers")
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("find and ls more keys than a page has")
def test_listings(s3fs, crowd):
    bucket, contents = crowd
    assert s3fs("list_all", bucket=bucket).decode().splitlines() == [*(f"{key} {len(contents[key])}" for key in sorted(contents)), "0/", "1/", "2/"]


@job("rm of a folder with more keys than a request takes")
def test_remove(s3fs, s3, bucket, fill, sizes):
    fill({f"folder/{number:05} ü": b"x" for number in range(sizes.client_keys)})
    s3fs("remove")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@job("copy a folder, and move its files")
def test_move(s3fs, s3, bucket, draw, stored, compared):
    contents = {f"{number} ü+": draw(f"{number}", number * 4 * MIB) for number in range(1, 4)}
    for name, content in contents.items():
        s3.put_object(Bucket=bucket, Key=f"from/{name}", Body=content)
    s3fs("move")
    compared.same_tree(stored(bucket), {f"{place}/{name}": content for place in ["copy", "moved"] for name, content in contents.items()})


@job("copy an object in the parts that it was written in", flags="preserve_etag=True")
def test_parts(s3fs, s3, bucket, tree, samples, stored, compared):
    s3.upload_file(str(tree / "folder/large.bin"), bucket, "k", Config=TransferConfig(5 * MIB, multipart_chunksize=7 * MIB))
    s3fs("parts")
    compared.same_tree(stored(bucket), dict.fromkeys(["k", "copy"], samples["folder/large.bin"]))
    tags = {s3.head_object(Bucket=bucket, Key=key)["ETag"] for key in ["k", "copy"]}
    assert len(tags) == 1 and "-" in tags.pop()


@job("create an object that must not be there", flags='mode="create"')
def test_exclusive(s3fs, bucket, stored, compared):
    assert s3fs("exclusive").strip() == b"FileExistsError"
    compared.same_tree(stored(bucket), {"k": b"first"})


@job("versions: list and read an old one", flags="version_aware=True")
def test_versions(s3fs, compared):
    compared.same(s3fs("versions"), b"oldnew")


@job("sign: a presigned URL")
def test_sign(s3fs, s3, bucket, compared):
    s3.put_object(Bucket=bucket, Key="k ü+", Body=b"content")
    with urllib.request.urlopen(s3fs("sign").decode().strip(), timeout=60) as answer:
        compared.same(answer.read(), b"content")


@job("ACL public-read", refused="501 NotImplemented")
def test_refused(s3fs, bucket, stored, refusal):
    told = s3fs("acl", code=1)
    # This client tells an error by its message alone.
    assert refusal == "501 NotImplemented" and b"not implemented" in told, told
    assert stored(bucket) == {}
