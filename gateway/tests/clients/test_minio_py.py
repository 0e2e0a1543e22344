"""minio-py: the Python client of MinIO."""
import io
import urllib.request
import uuid
from datetime import datetime, timedelta, timezone

import minio
import pytest
from minio import Minio
from minio.commonconfig import REPLACE, ComposeSource, CopySource, Tags
from minio.datatypes import PostPolicy
from minio.deleteobjects import DeleteObject
from minio.error import S3Error
from minio.select import CSVInputSerialization, CSVOutputSerialization, SelectRequest
from minio.sse import SseS3
from minio.versioningconfig import ENABLED, VersioningConfig

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, ODD_KEYS

CLIENT = Client("minio-py", lambda: minio.__version__, ("secure=False",), "PyPI minio")
# The client refuses these by itself.
NOT_NAMES = {"//", "/leading-slash", "dot/./inside", "dot/../inside"}


@pytest.fixture(scope="module")
def client(server):
    return Minio(server.address, access_key=ACCESS_KEY, secret_key=SECRET_KEY, secure=False)


def read(client, bucket, key, **options):
    answer = client.get_object(bucket, key, **options)
    try:
        return answer.read()
    finally:
        answer.close()
        answer.release_conn()


def refused(refusal, call, *arguments, **options):
    with pytest.raises(S3Error) as raised:
        call(*arguments, **options)
    assert f"{raised.value.response.status} {raised.value.code}" == refusal


@job("upload and download files, large ones in parts", flags="part_size=5 MiB")
def test_files(client, bucket, tree, samples, stored, compared, tmp_path):
    for name in samples:
        client.fput_object(bucket, name, str(tree / name), part_size=5 * MIB)
    compared.same_tree(stored(bucket), samples)
    for name, content in samples.items():
        client.fget_object(bucket, name, str(tmp_path / "got"))
        compared.same((tmp_path / "got").read_bytes(), content, name)


@job("upload streams of unknown length")
def test_streams(client, bucket, samples, stored, compared):
    wanted = {name: samples[name] for name in ["empty", "small.txt", "folder/large.bin"]}
    for name, content in wanted.items():
        client.put_object(bucket, name, io.BytesIO(content), -1, part_size=5 * MIB, num_parallel_uploads=3)
    compared.same_tree(stored(bucket), wanted)


@job("put, list, get and remove objects with odd keys")
def test_odd_keys(client, bucket, compared):
    wanted = {key: key.encode() for key in ODD_KEYS if key not in NOT_NAMES}
    for key, content in wanted.items():
        client.put_object(bucket, key, io.BytesIO(content), len(content))
        compared.same(read(client, bucket, key), content, key)
    assert [one.object_name for one in client.list_objects(bucket, recursive=True)] == sorted(wanted, key=str.encode)
    for key in wanted:
        client.remove_object(bucket, key)
    assert list(client.list_objects(bucket, recursive=True)) == []


@job("content type, metadata and tags")
def test_metadata(client, bucket, compared):
    tags = Tags.new_object_tags()
    tags["a"], tags["b c"] = "1", "ü"
    client.put_object(bucket, "k", io.BytesIO(b"content"), 7, content_type="text/x", metadata={"Mine": "a b", "Cache-Control": "no-store"}, tags=tags)
    told = client.stat_object(bucket, "k")
    assert (told.content_type, told.metadata["x-amz-meta-mine"], told.metadata["cache-control"]) == ("text/x", "a b", "no-store")
    assert client.get_object_tags(bucket, "k") == tags
    client.delete_object_tags(bucket, "k")
    assert not client.get_object_tags(bucket, "k")
    of_bucket = Tags.new_bucket_tags()
    of_bucket["team"] = "x"
    client.set_bucket_tags(bucket, of_bucket)
    assert client.get_bucket_tags(bucket) == of_bucket
    client.delete_bucket_tags(bucket)
    compared.same(read(client, bucket, "k"), b"content")


@job("list more keys than a page has")
def test_listings(client, crowd):
    bucket, contents = crowd
    for version in [True, False]:
        found = client.list_objects(bucket, recursive=True, use_api_v1=version)
        assert [(one.object_name, one.size) for one in found] == [(key, len(contents[key])) for key in sorted(contents)]
    assert [one.object_name for one in client.list_objects(bucket)] == ["0/", "1/", "2/"]


@job("remove many objects in one call")
def test_removes(client, bucket, fill, sizes):
    keys = fill({f"{number:05} ü": b"x" for number in range(sizes.client_keys)})
    assert list(client.remove_objects(bucket, (DeleteObject(key) for key in keys))) == []
    assert list(client.list_objects(bucket)) == []


@job("ranges of objects")
def test_ranges(client, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    client.put_object(bucket, "k", io.BytesIO(content), len(content), part_size=5 * MIB)
    for offset, length in [(0, 10), (5 * MIB - 3, 6), (8 * MIB, 1)]:
        compared.same(read(client, bucket, "k", offset=offset, length=length), content[offset:offset + length])
    compared.same(read(client, bucket, "k", offset=5 * MIB), content[5 * MIB:])


@job("copy objects on the server, with their metadata or new")
def test_copies(client, bucket, compared):
    client.put_object(bucket, "source ü+", io.BytesIO(b"content"), 7, content_type="text/x", metadata={"mine": "1"})
    client.copy_object(bucket, "same", CopySource(bucket, "source ü+"))
    client.copy_object(bucket, "new", CopySource(bucket, "source ü+"), metadata={"other": "2"}, metadata_directive=REPLACE)
    assert client.stat_object(bucket, "same").metadata["x-amz-meta-mine"] == "1"
    told = client.stat_object(bucket, "new").metadata
    assert told["x-amz-meta-other"] == "2" and "x-amz-meta-mine" not in told
    for key in ["same", "new"]:
        compared.same(read(client, bucket, key), b"content")
    etag = client.stat_object(bucket, "same").etag
    refused("412 PreconditionFailed", client.copy_object, bucket, "not", CopySource(bucket, "same", not_match_etag=etag))


@job("compose an object of ranges of others, in parts on the server")
def test_compose(client, bucket, samples, compared):
    large, small = samples["folder/large.bin"], samples["small.txt"]
    client.put_object(bucket, "large", io.BytesIO(large), len(large), part_size=8 * MIB)
    client.put_object(bucket, "small", io.BytesIO(small), len(small))
    sources = [ComposeSource(bucket, "large"), ComposeSource(bucket, "large", offset=MIB, length=6 * MIB), ComposeSource(bucket, "small")]
    client.compose_object(bucket, "k", sources)
    compared.same(read(client, bucket, "k"), large + large[MIB:7 * MIB] + small)


@job("versions: list, read and remove them")
def test_versions(client, bucket, compared):
    client.set_bucket_versioning(bucket, VersioningConfig(ENABLED))
    wanted = {client.put_object(bucket, "k", io.BytesIO(content), len(content)).version_id: content for content in [b"old", b"new!"]}
    client.remove_object(bucket, "k")
    listed = list(client.list_objects(bucket, include_version=True))
    [marker] = [one.version_id for one in listed if one.is_delete_marker]
    assert {one.version_id for one in listed} == {marker, *wanted}
    compared.same_tree({version: read(client, bucket, "k", version_id=version) for version in wanted}, wanted)
    client.remove_object(bucket, "k", version_id=marker)
    compared.same(read(client, bucket, "k"), b"new!")


@job("presigned URLs")
def test_presigned(client, bucket, compared):
    for key in ["k", "odd key/ü+%&=?"]:
        request = urllib.request.Request(client.presigned_put_object(bucket, key, expires=timedelta(minutes=5)), data=b"content", method="PUT")
        urllib.request.urlopen(request, timeout=60).close()
        with urllib.request.urlopen(client.presigned_get_object(bucket, key, response_headers={"response-content-type": "text/x"}), timeout=60) as answer:
            assert answer.headers["Content-Type"] == "text/x"
            compared.same(answer.read(), b"content", key)


@job("buckets: make, find, list and remove")
def test_buckets(client):
    name = f"minio-{uuid.uuid4()}"
    client.make_bucket(name)
    assert client.bucket_exists(name) and name in {one.name for one in client.list_buckets()}
    client.remove_bucket(name)
    assert not client.bucket_exists(name)


@job("POST form with a policy")
def test_post_form(client, server, bucket, compared):
    policy = PostPolicy(bucket, datetime.now(timezone.utc) + timedelta(hours=1))
    policy.add_starts_with_condition("key", "folder/")
    form = client.presigned_post_policy(policy) | {"key": "folder/k"}
    boundary = uuid.uuid4().hex
    fields = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form.items())
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\ncontent\r\n--{boundary}--\r\n'
    request = urllib.request.Request(f"{server.url}/{bucket}", data=(fields + file).encode(), headers={"Content-Type": f"multipart/form-data; boundary={boundary}"})
    urllib.request.urlopen(request, timeout=60).close()
    compared.same(read(client, bucket, "folder/k"), b"content")


REFUSED = {
    "append to an object": lambda client, bucket: client.append_object(bucket, "k", io.BytesIO(b"more"), 4),
    "encryption (SSE-S3)": lambda client, bucket: client.put_object(bucket, "k", io.BytesIO(b"other"), 5, sse=SseS3()),
    "policy of a bucket": lambda client, bucket: client.set_bucket_policy(bucket, "{}"),
    "legal hold of an object": lambda client, bucket: client.enable_object_legal_hold(bucket, "k"),
    "S3 Select": lambda client, bucket: client.select_object_content(bucket, "k", SELECT),
}
SELECT = SelectRequest("select * from s3object", CSVInputSerialization(), CSVOutputSerialization())


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(client, bucket, compared, refusal, what):
    client.put_object(bucket, "k", io.BytesIO(b"content"), 7)
    refused(refusal, REFUSED[what], client, bucket)
    compared.same(read(client, bucket, "k"), b"content")
