"""Objects through boto3: content, metadata, tags, checksums, conditions, keys, listings, copies and deletes."""
import hashlib
import http.client
import os
import time

import pytest

from lib.refusals import refused


def names_of_buckets(s3):
    return [one["Name"] for one in s3.list_buckets()["Buckets"]]


def test_a_bucket_is_made_once(s3):
    before = names_of_buckets(s3)
    s3.create_bucket(Bucket="made-twice")
    s3.create_bucket(Bucket="made-twice")
    assert names_of_buckets(s3) == sorted([*before, "made-twice"]), "one bucket"


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000, 2_000_000])
def test_content_and_metadata_come_back_before_a_cut_and_after_it(server, s3, bucket, size):
    body = os.urandom(size)
    put = s3.put_object(Bucket=bucket, Key="k", Body=body, ContentType="text/x", Metadata={"a": "b"}, Tagging="k=v&l=w")
    assert put["ETag"] == f'"{hashlib.md5(body).hexdigest()}"', "the ETag is the MD5"
    for _ in range(2):
        got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
        assert got["Body"].read() == body, f"{size} bytes come back"
        assert got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x", "metadata come back"
        if size:
            part = s3.get_object(Bucket=bucket, Key="k", Range=f"bytes={size // 3}-{size // 2}")
            assert part["Body"].read() == body[size // 3:size // 2 + 1], "a range comes back"
        server.cut()


def test_tags_come_back_and_are_replaced(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"1", Tagging="k=v&l=w")
    server.cut()
    tags = s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"]
    assert tags == [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}], "tags come back"
    s3.put_object_tagging(Bucket=bucket, Key="k", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read(), "still there after tagging"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_a_checksum_is_kept(s3, bucket, algorithm):
    s3.put_object(Bucket=bucket, Key=algorithm, Body=b"abc", ChecksumAlgorithm=algorithm)
    head = s3.head_object(Bucket=bucket, Key=algorithm, ChecksumMode="ENABLED")
    assert f"Checksum{algorithm}" in head, f"{algorithm} is kept"


def test_a_condition_that_does_not_hold_refuses_a_write(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"abc", ChecksumAlgorithm="CRC32")
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket=bucket, Key="k", Body=b"", IfMatch='"%032d"' % 0)
    etag = s3.head_object(Bucket=bucket, Key="k")["ETag"]
    s3.put_object(Bucket=bucket, Key="k", Body=b"new", IfMatch=etag)


KEYS = ["a/1", "a/2", "b", "c/d/e", "../up", "//", "sp ace+%", "é/€", "z" * 1024]


@pytest.fixture
def with_keys(s3, bucket):
    """A bucket with keys that some layer might take for its own."""
    s3.put_object(Bucket=bucket, Key="first", Body=os.urandom(2_000_000))
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key="k/" + key if len(key) < 1000 else key, Body=key.encode())
    return bucket


def every_key(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 3})
    return [one["Key"] for page in pages for one in page.get("Contents", [])]


def test_a_listing_by_delimiter_has_common_prefixes(s3, with_keys):
    listed = s3.list_objects_v2(Bucket=with_keys, Prefix="k/", Delimiter="/")
    assert [p["Prefix"] for p in listed["CommonPrefixes"]] == ["k/../", "k//", "k/a/", "k/c/", "k/é/"], str(listed.get("CommonPrefixes"))
    assert [o["Key"] for o in listed["Contents"]] == ["k/b", "k/sp ace+%"], str(listed["Contents"])


def test_pages_of_a_listing_are_in_order(s3, with_keys):
    every = every_key(s3, with_keys)
    assert every == sorted(every, key=str.encode) and len(every) == len(set(every)) == len(KEYS) + 1, "pages are in order"


def test_many_objects_are_deleted_by_one_request(s3, with_keys):
    every = every_key(s3, with_keys)
    s3.copy_object(Bucket=with_keys, Key="copied", CopySource=f"{with_keys}/first")
    assert s3.head_object(Bucket=with_keys, Key="copied")["ContentLength"] == 2_000_000, "a copy"
    deleted = s3.delete_objects(Bucket=with_keys, Delete={"Objects": [{"Key": key} for key in [*every, "copied"]]})
    assert len(deleted["Deleted"]) == len(every) + 1 and "Errors" not in deleted, "all deleted"
    assert "Contents" not in s3.list_objects_v2(Bucket=with_keys), "nothing is left"
    refused("NoSuchKey", s3.get_object, Bucket=with_keys, Key="k/b")


@pytest.mark.parametrize(("code", "operation", "arguments"), [
    ("KeyTooLongError", "put_object", {"Key": "k" * 1025, "Body": b""}),
    ("NotImplemented", "put_object", {"Key": "x", "Body": b"", "ServerSideEncryption": "AES256"}),
    ("NotImplemented", "put_bucket_policy", {"Policy": "{}"}),
    ("NoSuchBucketPolicy", "get_bucket_policy", {}),
    ("NoSuchLifecycleConfiguration", "get_bucket_lifecycle_configuration", {}),
    ("NoSuchCORSConfiguration", "get_bucket_cors", {}),
    ("NoSuchKey", "get_object", {"Key": "b"}),
], ids=lambda value: value if isinstance(value, str) else "")
def test_a_call_is_refused(s3, bucket, code, operation, arguments):
    refused(code, getattr(s3, operation), Bucket=bucket, **arguments)


def test_a_bucket_that_is_not_there_is_not_listed(s3):
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="nowhere")


def test_the_owner_is_granted_everything(s3, bucket):
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL", "the owner's grant"


def test_nothing_waits_behind_an_empty_body_or_a_refusal(s3, bucket):
    """botocore takes an early final answer for the answer to its next request, unless the connection ends: then each
    object after an empty one took half a minute."""
    began = time.monotonic()
    for number in range(6):
        put = s3.put_object(Bucket=bucket, Key=f"{number}", Body=b"" if number % 2 else b"full")
        assert "ETag" in put, "the answer is to this request"
    refused("NoSuchBucket", s3.put_object, Bucket="not-there", Key="k", Body=b"refused before it is sent")
    assert "ETag" in s3.put_object(Bucket=bucket, Key="after", Body=b"a refusal"), "the answer is to this request"
    # Not a measure of speed: a stall is thirty seconds long, and there are six chances for one.
    assert time.monotonic() - began < 30, "nothing stalls behind an empty body or a refusal"


def test_metadata_may_have_very_many_entries(s3, bucket, monkeypatch):
    """2 KiB of metadata, as AWS takes it, are more headers than most servers take, and more than this client reads."""
    monkeypatch.setattr(http.client, "_MAXHEADERS", 1000)
    metadata = {f"key-{number}": str(number) for number in range(200)}
    assert sum(len(name) + len(value) for name, value in metadata.items()) < 2048
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Metadata=metadata)
    assert s3.head_object(Bucket=bucket, Key="k")["Metadata"] == metadata
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "k"})
    assert s3.get_object(Bucket=bucket, Key="copy")["Metadata"] == metadata
