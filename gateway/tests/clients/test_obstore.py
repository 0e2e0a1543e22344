"""obstore: the Rust crate `object_store`, as its Python binding has it."""
import urllib.request
from datetime import timedelta

import obstore
import pytest
from obstore.store import S3Store

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB

CLIENT = Client("obstore (object_store)", lambda: obstore.__version__, ("endpoint", "allow_http=True"), "PyPI obstore")


@pytest.fixture
def store(server, bucket):
    return S3Store(bucket, endpoint=server.url, access_key_id=ACCESS_KEY, secret_access_key=SECRET_KEY, region="us-east-1", client_options={"allow_http": True})


def read(store, key):
    return bytes(obstore.get(store, key).bytes())


@job("put and get objects, large ones in parts")
def test_objects(store, bucket, samples, stored, compared):
    for name, content in samples.items():
        obstore.put(store, name, content, chunk_size=5 * MIB, max_concurrency=4)
    compared.same_tree(stored(bucket), samples)
    compared.same_tree({name: read(store, name) for name in samples}, samples)


@job("attributes, metadata and tags")
def test_attributes(store, s3, bucket, compared):
    attributes = {"Content-Type": "text/x", "Cache-Control": "no-store", "mine": "a b"}
    obstore.put(store, "k", b"content", attributes=attributes, tags={"a": "1", "b c": "ü"})
    told = obstore.get(store, "k")
    assert {name: told.attributes[name] for name in attributes} == attributes
    compared.same(bytes(told.bytes()), b"content")
    # The client gives tags in any order.
    assert {one["Key"]: one["Value"] for one in s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]} == {"a": "1", "b c": "ü"}


@job("ranges, one and many")
def test_ranges(store, samples, compared):
    content = samples["folder/8 MiB and one"]
    obstore.put(store, "k", content)
    compared.same(bytes(obstore.get_range(store, "k", start=5 * MIB, length=MIB)), content[5 * MIB:6 * MIB])
    compared.same(bytes(obstore.get(store, "k", options={"range": {"suffix": 7}}).bytes()), content[-7:])
    starts = [0, 77, 3 * MIB, 8 * MIB - 10]
    for start, got in zip(starts, obstore.get_ranges(store, "k", starts=starts, lengths=[11] * 4)):
        compared.same(bytes(got), content[start:start + 11])


@job("create if absent, update if unchanged: one of many writers wins")
def test_conditions(store, compared, at_once):
    def put(number, mode):
        obstore.put(store, "k", b"writer %d" % number, mode=mode)
        return number

    [winner] = [one for one in at_once(*[lambda n=n: put(n, "create") for n in range(8)]) if isinstance(one, int)]
    compared.same(read(store, "k"), b"writer %d" % winner)
    version = {"e_tag": obstore.head(store, "k")["e_tag"]}
    [winner] = [one for one in at_once(*[lambda n=n: put(n + 10, version) for n in range(8)]) if isinstance(one, int)]
    compared.same(read(store, "k"), b"writer %d" % winner)
    with pytest.raises(obstore.exceptions.PreconditionError):
        obstore.get(store, "k", options={"if_match": '"other"'})


@job("copy and rename")
def test_copies(store, bucket, stored, samples, compared):
    content = samples["folder/8 MiB and one"]
    for name in ["a b+ü", "x"]:
        obstore.put(store, name, content)
    obstore.copy(store, "a b+ü", "copy % ü")
    obstore.rename(store, "x", "folder/renamed")
    compared.same_tree(stored(bucket), dict.fromkeys(["a b+ü", "copy % ü", "folder/renamed"], content))


@job("list with offset and delimiter, delete many keys")
def test_listings(store, bucket, fill, sizes):
    wanted = sorted(fill({f"{number % 3}/{number:05} ü": b"x" * (number % 7) for number in range(sizes.client_keys)}))
    listed = [one for batch in obstore.list(store, chunk_size=100) for one in batch]
    assert [one["path"] for one in listed] == wanted
    assert [one["path"] for batch in obstore.list(store, offset=wanted[500]) for one in batch] == wanted[501:]
    told = obstore.list_with_delimiter(store)
    assert list(told["common_prefixes"]) == ["0", "1", "2"] and list(told["objects"]) == []
    obstore.delete(store, wanted)
    assert [one for batch in obstore.list(store) for one in batch] == []


@job("presigned URLs")
def test_presigned(store, compared):
    put = urllib.request.Request(obstore.sign(store, "PUT", "a b+ü", timedelta(minutes=5)), data=b"content", method="PUT")
    urllib.request.urlopen(put, timeout=60).close()
    with urllib.request.urlopen(obstore.sign(store, "GET", "a b+ü", timedelta(minutes=5)), timeout=60) as answer:
        compared.same(answer.read(), b"content")
