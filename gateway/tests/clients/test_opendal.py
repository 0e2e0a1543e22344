"""Apache OpenDAL: the storage layer of RisingWave, Databend, GreptimeDB and others, by its Python binding."""
import asyncio
import importlib.metadata
import urllib.request

import opendal
import pytest

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, ODD_KEYS

CLIENT = Client("Apache OpenDAL", lambda: importlib.metadata.version("opendal"), ("endpoint",), "PyPI opendal")


@pytest.fixture
def operator(server, bucket):
    """Makes an operator of the job's bucket, with more options."""
    def make(**options):
        return opendal.Operator("s3", bucket=bucket, endpoint=server.url, region="us-east-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, **options)

    return make


@job("write and read objects, large ones in parts", flags="chunk=5 MiB")
def test_objects(operator, bucket, samples, stored, compared):
    # This client takes blanks away from the ends of a path.
    store, samples = operator(), {name: content for name, content in samples.items() if name == name.strip()}
    for name, content in samples.items():
        store.write(name, content, **({"chunk": 5 * MIB} if len(content) > 5 * MIB else {}))
    compared.same_tree(stored(bucket), samples)
    compared.same_tree({name: bytes(store.read(name)) for name in samples}, samples)


@job("objects with odd keys: write, list, read, delete")
def test_keys(operator, s3, bucket, stored, compared):
    # This client takes away slashes at the beginning, doubled ones, and blanks at the ends; it signs other dots than it sends.
    keys = [key for key in ODD_KEYS if key == key.strip(" /") and "//" not in key and not {".", ".."} & set(key.split("/"))]
    store, contents = operator(), {key: b"content of " + key.encode() for key in keys}
    for key, content in contents.items():
        store.write(key, content)
    compared.same_tree(stored(bucket), contents)
    assert sorted(one.path for one in store.scan("/") if not one.path.endswith("/")) == sorted(keys)
    compared.same_tree({key: bytes(store.read(key)) for key in keys}, contents)
    for key in keys:
        store.delete(key)
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@job("a file that is written in pieces, and read with seeks", flags="chunk=5 MiB")
def test_file(operator, bucket, samples, stored, compared):
    store, content = operator(), samples["folder/large.bin"]
    with store.open("k", "wb", chunk=5 * MIB) as file:
        for place in range(0, len(content), 777_777):
            file.write(content[place:place + 777_777])
    compared.same_tree(stored(bucket), {"k": content})
    with store.open("k", "rb") as file:
        for place, size in [(0, 10), (5 * MIB - 3, 7), (len(content) - 5, 5), (MIB, MIB)]:
            file.seek(place)
            got = b""
            while len(got) < size and (piece := file.read(size - len(got))):
                got += bytes(piece)
            compared.same(got, content[place:place + size])


@job("content type, cache control and metadata; stat")
def test_headers(operator, s3, bucket, stored, compared):
    store = operator()
    store.write("k", b"content", content_type="text/x", cache_control="no-store", user_metadata={"a": "1"})
    told = store.stat("k")
    assert (told.content_length, told.content_type) == (7, "text/x")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["ContentType"], head["CacheControl"], head["Metadata"]) == ("text/x", "no-store", {"a": "1"})
    assert told.etag == head["ETag"]
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("copy, rename by copy, create a folder, remove all")
def test_copies(operator, s3, bucket, samples, stored, compared):
    store, content = operator(), samples["folder/8 MiB and one"]
    store.write("source ü+", content)
    store.copy("source ü+", "copy")
    compared.same_tree(stored(bucket), {"source ü+": content, "copy": content})
    store.create_dir("folder/")
    assert store.exists("folder/")
    store.remove_all("/")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@job("list more keys than a page has")
def test_listings(server, crowd, operator):
    bucket, contents = crowd
    store = opendal.Operator("s3", bucket=bucket, endpoint=server.url, region="us-east-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY)
    assert sorted(one.path for one in store.scan("/") if not one.path.endswith("/")) == sorted(contents)
    assert sorted(one.path for one in store.list("/") if one.path != "/") == ["0/", "1/", "2/"]


@job("conditional writes: one of many writers wins")
def test_conditions(operator, bucket, at_once, stored, compared):
    store = operator()

    def writer(content):
        return lambda: store.write("k", content, if_not_exists=True)

    contents = [b"writer %d" % number for number in range(8)]
    told = at_once(*map(writer, contents))
    winners = [content for content, one in zip(contents, told) if not isinstance(one, Exception)]
    assert len(winners) == 1 and all(isinstance(one, opendal.exceptions.ConditionNotMatch) for one in told if isinstance(one, Exception)), told
    compared.same_tree(stored(bucket), {"k": winners[0]})


@job("checksums of what is sent", flags='checksum_algorithm="crc32c"')
def test_checksum(operator, s3, bucket, samples, stored, compared):
    store = operator(checksum_algorithm="crc32c")
    store.write("whole", samples["small.txt"])
    store.write("parts", samples["folder/8 MiB and one"], chunk=5 * MIB)
    compared.same_tree(stored(bucket), {"whole": samples["small.txt"], "parts": samples["folder/8 MiB and one"]})
    assert "ChecksumCRC32C" in s3.head_object(Bucket=bucket, Key="whole", ChecksumMode="ENABLED")


@job("presigned URLs")
def test_presigned(server, bucket, stored, compared):
    async def presign():
        store = opendal.AsyncOperator("s3", bucket=bucket, endpoint=server.url, region="us-east-1", access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY)
        return [await store.presign_write("k ü+", 600), await store.presign_read("k ü+", 600)]

    write, read = asyncio.run(presign())
    with urllib.request.urlopen(urllib.request.Request(write.url, b"content", dict(write.headers) | {"content-type": ""}, method="PUT"), timeout=60) as answer:
        assert answer.status == 200
    compared.same_tree(stored(bucket), {"k ü+": b"content"})
    with urllib.request.urlopen(urllib.request.Request(read.url, headers=dict(read.headers)), timeout=60) as answer:
        compared.same(answer.read(), b"content")


@job("versions: list and read an old one")
def test_versions(operator, s3, bucket, compared):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    store = operator(enable_versioning="true")
    store.write("k", b"old")
    old = s3.head_object(Bucket=bucket, Key="k")["VersionId"]
    store.write("k", b"new")
    compared.same(bytes(store.read("k", version=old)), b"old")
    compared.same(bytes(store.read("k")), b"new")
