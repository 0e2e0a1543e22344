"""boto3 with its defaults: transfers, keys, headers, listings, copies, conditions, checksums, presigned requests."""
import base64
import hashlib
import io
import urllib.error
import urllib.request
import uuid
import zlib

import boto3
import pytest
from awscrt import checksums
from awscrt.checksums import XXHash
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, ODD_KEYS

CLIENT = Client("boto3", lambda: boto3.__version__, ("endpoint_url",), "PyPI boto3[crt]")
PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
HEADERS = {
    "ContentType": "text/x-odd; charset=utf-8", "CacheControl": "max-age=60, private", "ContentDisposition": 'attachment; filename="a b.txt"',
    "ContentEncoding": "gzip", "ContentLanguage": "de-CH, en",
}
METADATA = {"plain": "value", "with-dash": "a, b;c=d", "spaces": "two  spaces"}


def crc(size, function):
    return lambda content: function(content).to_bytes(size, "big")


DIGESTS = {
    "CRC32": crc(4, zlib.crc32), "CRC32C": crc(4, checksums.crc32c), "CRC64NVME": crc(8, checksums.crc64nvme),
    "SHA1": lambda content: hashlib.sha1(content).digest(), "SHA256": lambda content: hashlib.sha256(content).digest(),
    "SHA512": lambda content: hashlib.sha512(content).digest(), "XXHASH64": XXHash.compute_xxhash64, "XXHASH3": XXHash.compute_xxhash3_64,
    "XXHASH128": XXHash.compute_xxhash3_128,
}


def text(digest):
    return base64.b64encode(digest).decode()


def connect(server, **options):
    return boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
                        aws_secret_access_key=SECRET_KEY, **options)


@pytest.fixture(scope="module")
def client(server):
    return connect(server)


@pytest.fixture(scope="module")
def hasty(server):
    """A client that tries once. By default boto3 sends a request five times whose digest is refused."""
    return connect(server, config=Config(retries={"total_max_attempts": 1}))


def refused(refusal, call, *arguments, **options):
    """Makes a call that must be refused with this status and code."""
    with pytest.raises(ClientError) as raised:
        call(*arguments, **options)
    told = raised.value.response
    assert f"{told['ResponseMetadata']['HTTPStatusCode']} {told['Error']['Code']}" == refusal
    return told


def ask(method, url, body=None, **headers):
    """Sends a request that is signed in its URL, without the client."""
    request = urllib.request.Request(url, data=body, method=method, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return answer.read()


# Whole objects.


@job("upload and download files, large ones in parts")
def test_files(client, bucket, tree, samples, stored, compared, tmp_path):
    for name in samples:
        client.upload_file(str(tree / name), bucket, name, Config=PARTS)
    compared.same_tree(stored(bucket), samples)
    for name, content in samples.items():
        client.download_file(bucket, name, str(tmp_path / "got"), Config=PARTS)
        compared.same((tmp_path / "got").read_bytes(), content, name)


@job("upload streams of unknown length")
def test_streams(client, bucket, samples, stored, compared):
    wanted = {name: samples[name] for name in ["empty", "small.txt", "folder/large.bin"]}
    for name, content in wanted.items():
        stream = io.BufferedReader(io.BytesIO(content))
        stream.seekable = lambda: False
        client.upload_fileobj(stream, bucket, name, Config=PARTS)
    compared.same_tree(stored(bucket), wanted)


@job("put, list, get, copy and delete objects with odd keys")
def test_odd_keys(client, bucket, compared):
    wanted = {key: key.encode() for key in ODD_KEYS}
    for key, content in wanted.items():
        client.put_object(Bucket=bucket, Key=key, Body=content)
        compared.same(client.get_object(Bucket=bucket, Key=key)["Body"].read(), content, key)
        client.copy_object(Bucket=bucket, Key=key, CopySource={"Bucket": bucket, "Key": key}, MetadataDirective="REPLACE")
    listed = [one["Key"] for one in client.list_objects_v2(Bucket=bucket)["Contents"]]
    assert listed == sorted(wanted, key=str.encode)
    for key in wanted:
        assert client.list_objects_v2(Bucket=bucket, Prefix=key)["Contents"][0]["Key"] == key
        client.delete_object(Bucket=bucket, Key=key)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0


@job("overwrite an object while it is read")
def test_overwrite(client, bucket, draw, compared):
    old, new = draw("old", 3 * MIB), draw("new", 4 * MIB)
    client.put_object(Bucket=bucket, Key="k", Body=old)
    body = client.get_object(Bucket=bucket, Key="k")["Body"]
    begin = body.read(MIB)
    client.put_object(Bucket=bucket, Key="k", Body=new)
    compared.same(begin + body.read(), old, "the object that was open")
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), new, "the new object")


@job("headers of the content, and metadata")
def test_headers(client, bucket, compared):
    client.put_object(Bucket=bucket, Key="k", Body=b"content", Metadata=METADATA, **HEADERS)
    for told in [client.head_object(Bucket=bucket, Key="k"), client.get_object(Bucket=bucket, Key="k")]:
        assert {name: told[name] for name in HEADERS} == HEADERS and told["Metadata"] == METADATA
    compared.same(told["Body"].read(), b"content")
    override = client.get_object(Bucket=bucket, Key="k", ResponseContentType="image/png", ResponseCacheControl="no-store")
    assert (override["ContentType"], override["CacheControl"]) == ("image/png", "no-store")


@job("tags of objects and buckets")
def test_tags(client, bucket):
    client.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="a=1&b=two%20words")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a", "Value": "1"}, {"Key": "b", "Value": "two words"}]
    assert client.get_object(Bucket=bucket, Key="k")["TagCount"] == 2
    tags = [{"Key": f"key/{number}", "Value": "ż" * number} for number in range(10)]
    client.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": tags})
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == tags
    client.delete_object_tagging(Bucket=bucket, Key="k")
    assert client.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == []
    client.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": tags})
    assert client.get_bucket_tagging(Bucket=bucket)["TagSet"] == tags
    client.delete_bucket_tagging(Bucket=bucket)
    refused("404 NoSuchTagSet", client.get_bucket_tagging, Bucket=bucket)


@job("ranges of objects, and single parts")
def test_ranges(client, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    client.upload_fileobj(io.BytesIO(content), bucket, "k", Config=PARTS)
    bounds = [(0, 0), (0, 99), (5 * MIB - 1, 5 * MIB), (5 * MIB, 8 * MIB), (8 * MIB, 8 * MIB), (100, 8 * MIB + 1000)]
    for first, last in bounds:
        told = client.get_object(Bucket=bucket, Key="k", Range=f"bytes={first}-{last}")
        compared.same(told["Body"].read(), content[first:last + 1], f"{first} to {last}")
        assert told["ContentRange"] == f"bytes {first}-{min(last, len(content) - 1)}/{len(content)}"
    compared.same(client.get_object(Bucket=bucket, Key="k", Range="bytes=-7")["Body"].read(), content[-7:], "the end")
    compared.same(client.get_object(Bucket=bucket, Key="k", Range=f"bytes={5 * MIB}-")["Body"].read(), content[5 * MIB:], "the rest")
    for number, part in enumerate([content[:5 * MIB], content[5 * MIB:]], 1):
        told = client.get_object(Bucket=bucket, Key="k", PartNumber=number)
        compared.same(told["Body"].read(), part, f"part {number}")
        assert told["PartsCount"] == 2
    refused("416 InvalidRange", client.get_object, Bucket=bucket, Key="k", Range=f"bytes={len(content)}-")


# Listings and deletes.


@job("list more keys than a page has: V2, V1, with delimiter, versions, resource")
def test_listings(client, server, crowd):
    bucket, contents = crowd
    keys = sorted(contents)
    for operation, member in [("list_objects_v2", "Contents"), ("list_objects", "Contents"), ("list_object_versions", "Versions")]:
        for size in [1000, 77]:
            pages = client.get_paginator(operation).paginate(Bucket=bucket, PaginationConfig={"PageSize": size})
            assert [(one["Key"], one["Size"]) for page in pages for one in page[member]] == [(key, len(contents[key])) for key in keys], operation
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Delimiter="/", PaginationConfig={"PageSize": 1})
    assert [one["Prefix"] for page in pages for one in page["CommonPrefixes"]] == ["0/", "1/", "2/"]
    after = client.list_objects_v2(Bucket=bucket, StartAfter=keys[500], FetchOwner=True)["Contents"]
    assert after[0]["Key"] == keys[501] and after[0]["Owner"]["ID"]
    resource = boto3.resource("s3", endpoint_url=server.url, region_name="us-east-1", aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)
    assert [one.key for one in resource.Bucket(bucket).objects.filter(Prefix="1/")] == [key for key in keys if key.startswith("1/")]


@job("delete many keys with DeleteObjects")
def test_deletes(client, bucket, fill, sizes):
    keys = [*fill({f"{number:05}": b"x" for number in range(sizes.client_keys)})]
    told = [client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in keys[begin:begin + 1000]]}) for begin in range(0, len(keys), 1000)]
    assert sorted(one["Key"] for answer in told for one in answer["Deleted"]) == keys and not any("Errors" in answer for answer in told)
    assert client.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    quiet = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "none"}], "Quiet": True})
    assert "Deleted" not in quiet and "Errors" not in quiet


@job("versions: list, read, delete and restore them")
def test_versions(client, bucket, draw, compared):
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    wanted = {}
    for number in range(3):
        content = draw(f"version {number}", 1000 + number)
        wanted[client.put_object(Bucket=bucket, Key="k", Body=content)["VersionId"]] = content
    marker = client.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] and refused("404 NoSuchKey", client.get_object, Bucket=bucket, Key="k")
    listed = client.list_object_versions(Bucket=bucket)
    assert [one["VersionId"] for one in listed["Versions"]] == [*wanted][::-1] and listed["DeleteMarkers"][0]["VersionId"] == marker["VersionId"]
    compared.same_tree({version: client.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read() for version in wanted}, wanted)
    client.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), [*wanted.values()][-1], "the version below the marker")
    oldest = [*wanted][0]
    client.copy_object(Bucket=bucket, Key="back", CopySource={"Bucket": bucket, "Key": "k", "VersionId": oldest})
    compared.same(client.get_object(Bucket=bucket, Key="back")["Body"].read(), wanted[oldest], "a copy of the oldest version")


# Copies.


@job("copy objects on the server, with their metadata and tags or with new ones")
def test_copies(client, bucket, compared):
    client.put_object(Bucket=bucket, Key="source ü", Body=b"content", Metadata=METADATA, Tagging="a=1", **HEADERS)
    source = {"Bucket": bucket, "Key": "source ü"}
    client.copy_object(Bucket=bucket, Key="as it is", CopySource=source)
    client.copy_object(Bucket=bucket, Key="new", CopySource=source, MetadataDirective="REPLACE", Metadata={"other": "x"}, ContentType="text/new",
                       TaggingDirective="REPLACE", Tagging="b=2")
    told = client.get_object(Bucket=bucket, Key="as it is")
    compared.same(told["Body"].read(), b"content")
    assert told["Metadata"] == METADATA and {name: told[name] for name in HEADERS} == HEADERS and told["TagCount"] == 1
    told = client.get_object(Bucket=bucket, Key="new")
    compared.same(told["Body"].read(), b"content")
    assert told["Metadata"] == {"other": "x"} and told["ContentType"] == "text/new" and "CacheControl" not in told
    assert client.get_object_tagging(Bucket=bucket, Key="new")["TagSet"] == [{"Key": "b", "Value": "2"}]


@job("copy large objects in parts", flags="TransferConfig(multipart_threshold=5 MiB)")
def test_copies_in_parts(client, bucket, samples, compared):
    content = samples["folder/large.bin"]
    client.put_object(Bucket=bucket, Key="source + ü", Body=content, ContentType="text/x", Metadata=METADATA)
    client.copy({"Bucket": bucket, "Key": "source + ü"}, bucket, "copy", Config=PARTS)
    told = client.get_object(Bucket=bucket, Key="copy")
    compared.same(told["Body"].read(), content)
    assert told["ETag"].strip('"').endswith(f"-{-(-len(content) // (5 * MIB))}")


# Conditions.


@job("conditional reads")
def test_conditional_reads(client, bucket, compared):
    put = client.put_object(Bucket=bucket, Key="k", Body=b"content")
    etag, time = put["ETag"], client.head_object(Bucket=bucket, Key="k")["LastModified"]
    compared.same(client.get_object(Bucket=bucket, Key="k", IfMatch=etag, IfUnmodifiedSince=time)["Body"].read(), b"content")
    refused("412 PreconditionFailed", client.get_object, Bucket=bucket, Key="k", IfMatch='"other"')
    refused("304 304", client.get_object, Bucket=bucket, Key="k", IfNoneMatch=etag)
    refused("304 304", client.head_object, Bucket=bucket, Key="k", IfModifiedSince=time)


@job("conditional writes: If-None-Match and If-Match, one of many writers wins")
def test_conditional_writes(client, bucket, compared, at_once):
    def put(number, **condition):
        client.put_object(Bucket=bucket, Key="k", Body=b"writer %d" % number, **condition)
        return number

    first = at_once(*[lambda number=number: put(number, IfNoneMatch="*") for number in range(8)])
    [winner] = [one for one in first if isinstance(one, int)]
    assert {error.response["Error"]["Code"] for error in first if not isinstance(error, int)} <= {"PreconditionFailed", "ConditionalRequestConflict"}
    read = client.get_object(Bucket=bucket, Key="k")
    compared.same(read["Body"].read(), b"writer %d" % winner)
    second = at_once(*[lambda number=number: put(number + 10, IfMatch=read["ETag"]) for number in range(8)])
    [winner] = [one for one in second if isinstance(one, int)]
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"writer %d" % winner)
    refused("404 NoSuchKey", client.put_object, Bucket=bucket, Key="none", Body=b"", IfMatch='"x"')


@job("conditional end of an upload in parts")
def test_conditional_complete(client, bucket, compared):
    def complete(**condition):
        upload = client.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
        part = client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=1, Body=b"content")
        parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
        return client.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload=parts, **condition)

    etag = complete(IfNoneMatch="*")["ETag"]
    refused("412 PreconditionFailed", complete, IfNoneMatch="*")
    complete(IfMatch=etag)
    refused("412 PreconditionFailed", complete, IfMatch='"other"')
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"content")


@job("conditional deletes")
def test_conditional_deletes(client, bucket, compared):
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"content")["ETag"]
    refused("412 PreconditionFailed", client.delete_object, Bucket=bucket, Key="k", IfMatch='"other"')
    told = client.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": '"other"'}]})
    assert [one["Code"] for one in told["Errors"]] == ["PreconditionFailed"]
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"content")
    client.delete_object(Bucket=bucket, Key="k", IfMatch=etag)
    refused("404 NoSuchKey", client.get_object, Bucket=bucket, Key="k")


@job("conditional copies")
def test_conditional_copies(client, bucket, compared):
    etag = client.put_object(Bucket=bucket, Key="k", Body=b"content")["ETag"]
    copy = {"Bucket": bucket, "Key": "copy", "CopySource": f"{bucket}/k"}
    refused("412 PreconditionFailed", client.copy_object, CopySourceIfMatch='"other"', **copy)
    refused("412 PreconditionFailed", client.copy_object, CopySourceIfNoneMatch=etag, **copy)
    client.copy_object(CopySourceIfMatch=etag, IfNoneMatch="*", **copy)
    refused("412 PreconditionFailed", client.copy_object, IfNoneMatch="*", **copy)
    compared.same(client.get_object(Bucket=bucket, Key="copy")["Body"].read(), b"content")


# Checksums.


@job("checksum {algorithm} of an object")
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_checksum(client, hasty, bucket, samples, compared, algorithm):
    for name in ["empty", "small.txt", "folder/5 MiB"]:
        content, digest = samples[name], text(DIGESTS[algorithm](samples[name]))
        put = client.put_object(Bucket=bucket, Key=name, Body=content, ChecksumAlgorithm=algorithm)
        given = client.put_object(Bucket=bucket, Key="given", Body=content, **{f"Checksum{algorithm}": digest})
        read = client.get_object(Bucket=bucket, Key=name, ChecksumMode="ENABLED")
        # The client compares the checksum when it reads.
        compared.same(read["Body"].read(), content, name)
        assert {told[f"Checksum{algorithm}"] for told in [put, given, read]} == {digest} and read["ChecksumType"] == "FULL_OBJECT"
    wrong = text(DIGESTS[algorithm](b"other"))
    refused("400 BadDigest", hasty.put_object, Bucket=bucket, Key="wrong", Body=b"content", **{f"Checksum{algorithm}": wrong})
    refused("404 NoSuchKey", client.get_object, Bucket=bucket, Key="wrong")


@job("checksum MD5 of an object, given by the caller")
def test_given_checksum(client, hasty, bucket, compared):
    digest = text(hashlib.md5(b"content").digest())
    client.put_object(Bucket=bucket, Key="k", Body=b"content", ChecksumMD5=digest)
    read = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    compared.same(read["Body"].read(), b"content")
    assert read["ChecksumMD5"] == digest
    refused("400 BadDigest", hasty.put_object, Bucket=bucket, Key="k", Body=b"other", ChecksumMD5=digest)


@job("checksum {algorithm} of parts and of the whole, {kind}")
@pytest.mark.parametrize("algorithm, kind", [(algorithm, "COMPOSITE") for algorithm in DIGESTS if algorithm != "CRC64NVME"] + [(algorithm, "FULL_OBJECT") for algorithm in DIGESTS if "CRC" in algorithm])
def test_checksum_of_parts(client, hasty, bucket, samples, compared, algorithm, kind):
    content, digest, name = samples["folder/8 MiB and one"], DIGESTS[algorithm], f"Checksum{algorithm}"
    pieces = [content[:5 * MIB], content[5 * MIB:]]
    wanted = text(digest(content)) if kind == "FULL_OBJECT" else text(digest(b"".join(map(digest, pieces)))) + "-2"
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
    parts = []
    for number, piece in enumerate(pieces, 1):
        part = client.upload_part(Bucket=bucket, Key="k", UploadId=upload, PartNumber=number, Body=piece, ChecksumAlgorithm=algorithm)
        assert part[name] == text(digest(piece))
        parts.append({"PartNumber": number, "ETag": part["ETag"], name: part[name]})
    complete = {"Bucket": bucket, "Key": "k", "UploadId": upload, "MultipartUpload": {"Parts": parts}, "ChecksumType": kind}
    refused("400 BadDigest", hasty.complete_multipart_upload, **complete, **{name: text(digest(b"other")) + ("-2" if kind == "COMPOSITE" else "")})
    done = client.complete_multipart_upload(**complete, **{name: wanted})
    read = client.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    compared.same(read["Body"].read(), content)
    assert (done[name], read[name], read["ChecksumType"]) == (wanted, wanted, kind)
    told = client.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["Checksum", "ObjectParts", "ObjectSize"])
    assert (told["Checksum"][name], told["Checksum"]["ChecksumType"], told["ObjectSize"]) == (wanted, kind, len(content))


@job("managed upload with {algorithm} in parts")
@pytest.mark.parametrize("algorithm", DIGESTS)
def test_managed_checksum(client, bucket, samples, compared, tmp_path, algorithm):
    content = samples["folder/8 MiB and one"]
    client.upload_fileobj(io.BytesIO(content), bucket, "k", Config=PARTS, ExtraArgs={"ChecksumAlgorithm": algorithm})
    client.download_file(bucket, "k", str(tmp_path / "got"), Config=PARTS)
    compared.same((tmp_path / "got").read_bytes(), content)
    assert f"Checksum{algorithm}" in client.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")


# Uploads in parts.


@job("list, replace, copy and abort parts of an upload")
def test_parts(client, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    client.put_object(Bucket=bucket, Key="source", Body=content)
    upload = client.create_multipart_upload(Bucket=bucket, Key="k", ContentType="text/x", Metadata=METADATA)["UploadId"]
    part = {"Bucket": bucket, "Key": "k", "UploadId": upload}
    client.upload_part(PartNumber=3, Body=b"replaced", **part)
    client.upload_part(PartNumber=3, Body=b"the last", **part)
    client.upload_part(PartNumber=1, Body=content[:5 * MIB], **part)
    client.upload_part_copy(PartNumber=2, CopySource=f"{bucket}/source", CopySourceRange=f"bytes={MIB}-{6 * MIB - 1}", **part)
    listed = client.list_parts(**part)["Parts"]
    assert [(one["PartNumber"], one["Size"]) for one in listed] == [(1, 5 * MIB), (2, 5 * MIB), (3, 8)]
    assert [one["UploadId"] for one in client.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [upload]
    client.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": one["PartNumber"], "ETag": one["ETag"]} for one in listed]}, **part)
    told = client.get_object(Bucket=bucket, Key="k")
    compared.same(told["Body"].read(), content[:5 * MIB] + content[MIB:6 * MIB] + b"the last")
    assert told["Metadata"] == METADATA and told["ContentType"] == "text/x"
    other = client.create_multipart_upload(Bucket=bucket, Key="other")["UploadId"]
    client.abort_multipart_upload(Bucket=bucket, Key="other", UploadId=other)
    assert "Uploads" not in client.list_multipart_uploads(Bucket=bucket)


# Presigned requests.


@job("presigned URLs, signature version 4", flags='Config(signature_version="s3v4")')
def test_presigned(server, bucket, compared):
    client = connect(server, config=Config(signature_version="s3v4"))
    for key in ["k", "odd key/ü+%&=?"]:
        name = {"Bucket": bucket, "Key": key}
        ask("PUT", client.generate_presigned_url("put_object", name | {"ContentType": "text/x", "Metadata": {"a": "1"}}), b"content", Content_Type="text/x", x_amz_meta_a="1")
        override = client.generate_presigned_url("get_object", name | {"ResponseContentDisposition": 'attachment; filename="a + b.txt"'})
        compared.same(ask("GET", override), b"content", key)
        assert client.head_object(**name)["Metadata"] == {"a": "1"}
        tampered = client.generate_presigned_url("get_object", name).replace("X-Amz-Expires=3600", "X-Amz-Expires=3601")
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask("GET", tampered)
        ask("DELETE", client.generate_presigned_url("delete_object", name))
        refused("404 NoSuchKey", client.get_object, **name)


@job("presigned URLs as boto3 makes them by default, signature version 2")
def test_presigned_by_default(client, bucket, compared):
    for key in ["k", "odd key/ü+%&=?"]:
        name = {"Bucket": bucket, "Key": key}
        url = client.generate_presigned_url("put_object", name)
        assert "AWSAccessKeyId=" in url
        ask("PUT", url, b"content", Content_Type="")
        compared.same(ask("GET", client.generate_presigned_url("get_object", name)), b"content", key)


@job("POST form with a policy")
def test_post_form(client, bucket, compared):
    form = client.generate_presigned_post(bucket, "folder/${filename}", Conditions=[["content-length-range", 1, 100]])
    boundary = uuid.uuid4().hex
    fields = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in form["fields"].items())
    file = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a b.txt"\r\nContent-Type: text/plain\r\n\r\ncontent\r\n--{boundary}--\r\n'
    ask("POST", form["url"], (fields + file).encode(), Content_Type=f"multipart/form-data; boundary={boundary}")
    compared.same(client.get_object(Bucket=bucket, Key="folder/a b.txt")["Body"].read(), b"content")


# Addresses and buckets.


@job("virtual-host addressing", flags='endpoint_url="http://localhost:port", Config(s3={"addressing_style": "virtual"})')
def test_virtual_hosts(server, bucket, localhost_names, compared):
    client = boto3.client("s3", endpoint_url=f"http://localhost:{server.port}", region_name="us-east-1", aws_access_key_id=ACCESS_KEY,
                          aws_secret_access_key=SECRET_KEY, config=Config(s3={"addressing_style": "virtual"}))
    urls = []
    client.meta.events.register("before-send.s3", lambda request, **_: urls.append(request.url))
    client.put_object(Bucket=bucket, Key="k", Body=b"content")
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"content")
    assert all(url.startswith(f"http://{bucket}.localhost:") for url in urls)
    assert connect(server).list_objects_v2(Bucket=bucket)["Contents"][0]["Key"] == "k"


@job("create, list, find and delete buckets")
def test_buckets(client, server):
    names = sorted(f"{uuid.uuid4()}-{kind}" for kind in ["a", "b.c", "d"])
    for name in names:
        client.create_bucket(Bucket=name)
        client.head_bucket(Bucket=name)
        assert client.get_bucket_location(Bucket=name)["LocationConstraint"] is None
    assert set(names) <= {one["Name"] for one in client.list_buckets()["Buckets"]}
    pages = client.get_paginator("list_buckets").paginate(Prefix=names[0], PaginationConfig={"PageSize": 1})
    assert [one["Name"] for page in pages for one in page["Buckets"]] == names[:1]
    client.put_object(Bucket=names[0], Key="k", Body=b"")
    refused("409 BucketNotEmpty", client.delete_bucket, Bucket=names[0])
    client.delete_object(Bucket=names[0], Key="k")
    for name in names:
        client.delete_bucket(Bucket=name)
        refused("404 404", client.head_bucket, Bucket=name)


@job("storage class {name}")
@pytest.mark.parametrize("name", ["STANDARD", "STANDARD_IA", "GLACIER_IR", "INTELLIGENT_TIERING"])
def test_storage_class(client, bucket, compared, name):
    client.put_object(Bucket=bucket, Key="k", Body=b"content", StorageClass=name)
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"content")
    assert client.list_objects_v2(Bucket=bucket)["Contents"][0]["StorageClass"] == name


@job("redirect of a website's object")
def test_website_redirect(client, bucket):
    client.put_object(Bucket=bucket, Key="k", Body=b"", WebsiteRedirectLocation="/other")
    assert client.head_object(Bucket=bucket, Key="k")["WebsiteRedirectLocation"] == "/other"


@job("CORS of a bucket, with a preflight")
def test_cors(client, server, bucket):
    rules = [{"AllowedMethods": ["GET", "PUT"], "AllowedOrigins": ["https://example.com"], "AllowedHeaders": ["*"], "ExposeHeaders": ["ETag"], "MaxAgeSeconds": 60}]
    client.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": rules})
    assert client.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    asked = {"Origin": "https://example.com", "Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "x-amz-meta-a"}
    preflight = urllib.request.Request(f"{server.url}/{bucket}/k", method="OPTIONS", headers=asked)
    with urllib.request.urlopen(preflight, timeout=60) as answer:
        assert answer.headers["Access-Control-Allow-Origin"] == "https://example.com"
        assert "PUT" in answer.headers["Access-Control-Allow-Methods"]
    preflight.add_header("Origin", "https://other.example")
    with pytest.raises(urllib.error.HTTPError, match="403"):
        urllib.request.urlopen(preflight, timeout=60)
    client.delete_bucket_cors(Bucket=bucket)
    refused("404 NoSuchCORSConfiguration", client.get_bucket_cors, Bucket=bucket)


@job("website of a bucket")
def test_website(client, bucket):
    website = {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}}
    client.put_bucket_website(Bucket=bucket, WebsiteConfiguration=website)
    assert {name: client.get_bucket_website(Bucket=bucket)[name] for name in website} == website
    client.delete_bucket_website(Bucket=bucket)
    refused("404 NoSuchWebsiteConfiguration", client.get_bucket_website, Bucket=bucket)


@job("ownership controls of a bucket")
def test_ownership(client, bucket):
    controls = {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]}
    client.put_bucket_ownership_controls(Bucket=bucket, OwnershipControls=controls)
    assert client.get_bucket_ownership_controls(Bucket=bucket)["OwnershipControls"] == controls


# What is refused.

REFUSED = {
    "ACL public-read of a new object": ("put_object", {"Key": "k", "Body": b"other", "ACL": "public-read"}),
    "ACL of an object": ("put_object_acl", {"Key": "k", "ACL": "public-read"}),
    "ACL of a bucket": ("put_bucket_acl", {"ACL": "public-read"}),
    "encryption with the server's keys (SSE-S3)": ("put_object", {"Key": "k", "Body": b"other", "ServerSideEncryption": "AES256"}),
    "encryption with managed keys (SSE-KMS)": ("put_object", {"Key": "k", "Body": b"other", "ServerSideEncryption": "aws:kms"}),
    "encryption with the client's keys (SSE-C)": ("put_object", {"Key": "k", "Body": b"other", "SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}),
    "default encryption of a bucket": ("put_bucket_encryption", {"ServerSideEncryptionConfiguration": {"Rules": [{"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}]}}),
    "retention of an object": ("put_object", {"Key": "k", "Body": b"other", "ObjectLockMode": "GOVERNANCE", "ObjectLockRetainUntilDate": 2_000_000_000}),
    "legal hold of an object": ("put_object_legal_hold", {"Key": "k", "LegalHold": {"Status": "ON"}}),
    "object lock of a bucket": ("put_object_lock_configuration", {"ObjectLockConfiguration": {"ObjectLockEnabled": "Enabled"}}),
    "policy of a bucket": ("put_bucket_policy", {"Policy": "{}"}),
    "public access block": ("put_public_access_block", {"PublicAccessBlockConfiguration": {"BlockPublicAcls": True}}),
    "lifecycle of a bucket": ("put_bucket_lifecycle_configuration", {"LifecycleConfiguration": {"Rules": [{"ID": "a", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 1}}]}}),
    "replication of a bucket": ("put_bucket_replication", {"ReplicationConfiguration": {"Role": "r", "Rules": [{"Status": "Enabled", "Destination": {"Bucket": "arn:aws:s3:::b"}}]}}),
    "restore from an archive": ("restore_object", {"Key": "k", "RestoreRequest": {"Days": 1}}),
    "S3 Select": ("select_object_content", {"Key": "k", "Expression": "select * from s3object", "ExpressionType": "SQL", "InputSerialization": {"CSV": {}}, "OutputSerialization": {"CSV": {}}}),
    "append to an object": ("put_object", {"Key": "k", "Body": b"other", "WriteOffsetBytes": 7}),
}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", REFUSED)
def test_refused(client, bucket, compared, refusal, what):
    operation, arguments = REFUSED[what]
    client.put_object(Bucket=bucket, Key="k", Body=b"content")
    refused(refusal, getattr(client, operation), Bucket=bucket, **arguments)
    compared.same(client.get_object(Bucket=bucket, Key="k")["Body"].read(), b"content", "the object that was there")
