"""UploadPartCopy: ranges, versions, conditions, checksums, and refusals that leave the upload as it was."""
import base64
import datetime
import hashlib
import os

import pytest

from lib.refusals import refused

CONTENT = os.urandom((11 << 20) + 77)
HALF = 6 << 20


def complete(s3, bucket, upload, parts):
    named = [{"PartNumber": number, **{k: v for k, v in part.items() if k.startswith(("ETag", "Checksum"))}} for number, part in parts]
    return s3.complete_multipart_upload(Bucket=bucket, Key="copy", UploadId=upload, MultipartUpload={"Parts": named})


@pytest.fixture
def source(s3, bucket):
    s3.put_object(Bucket=bucket, Key="source", Body=CONTENT)
    return {"Bucket": bucket, "Key": "source"}


@pytest.mark.parametrize("algorithm", [None, "CRC32C", "CRC64NVME", "SHA256"])
def test_copied_parts_become_one_object(server, s3, bucket, source, algorithm):
    extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy", **extra)["UploadId"]
    place = {"Bucket": bucket, "Key": "copy", "UploadId": upload}
    first = s3.upload_part_copy(**place, PartNumber=1, CopySource=source, CopySourceRange=f"bytes=0-{HALF - 1}")["CopyPartResult"]
    server.cut()
    second = s3.upload_part_copy(**place, PartNumber=2, CopySource=source, CopySourceRange=f"bytes={HALF}-{len(CONTENT) - 1}")["CopyPartResult"]
    assert first["ETag"] == f'"{hashlib.md5(CONTENT[:HALF]).hexdigest()}"'
    listed = s3.list_parts(**place)["Parts"]
    assert [part["Size"] for part in listed] == [HALF, len(CONTENT) - HALF]
    assert [part["LastModified"] for part in listed] == [first["LastModified"], second["LastModified"]]
    if algorithm:
        assert [part[f"Checksum{algorithm}"] for part in listed] == [first[f"Checksum{algorithm}"], second[f"Checksum{algorithm}"]]
    if algorithm == "SHA256":
        assert first["ChecksumSHA256"] == base64.b64encode(hashlib.sha256(CONTENT[:HALF]).digest()).decode()
    complete(s3, bucket, upload, [(1, first), (2, second)])
    s3.delete_object(Bucket=bucket, Key="source")
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == CONTENT, "the copy does not need its source"


def test_a_whole_object_and_a_sent_part_are_parts_side_by_side(s3, bucket, source):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    place = {"Bucket": bucket, "Key": "copy", "UploadId": upload}
    first = s3.upload_part_copy(**place, PartNumber=1, CopySource=source)["CopyPartResult"]
    second = s3.upload_part(**place, PartNumber=2, Body=b"tail")
    # A copied part replaces a sent one, and the other way round.
    s3.upload_part_copy(**place, PartNumber=2, CopySource=source, CopySourceRange="bytes=0-0")
    second = s3.upload_part(**place, PartNumber=2, Body=b"end")
    complete(s3, bucket, upload, [(1, first), (2, second)])
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == CONTENT + b"end"


@pytest.mark.parametrize("size", [0, 1, 1000, 300_000])
def test_a_source_of_any_size_is_copied(s3, bucket, size):
    content = os.urandom(size)
    s3.put_object(Bucket=bucket, Key="ü/a b+c%?", Body=content)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    place = {"Bucket": bucket, "Key": "copy", "UploadId": upload}
    part = s3.upload_part_copy(**place, PartNumber=1, CopySource={"Bucket": bucket, "Key": "ü/a b+c%?"})["CopyPartResult"]
    complete(s3, bucket, upload, [(1, part)])
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == content


def test_a_version_of_the_source_is_copied(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = [s3.put_object(Bucket=bucket, Key="source", Body=content)["VersionId"] for content in (b"old", b"new")]
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    place = {"Bucket": bucket, "Key": "copy", "UploadId": upload, "PartNumber": 1}
    for version, content in zip(versions, (b"old", b"new")):
        copied = s3.upload_part_copy(**place, CopySource={"Bucket": bucket, "Key": "source", "VersionId": version})
        assert copied["CopySourceVersionId"] == version
        assert copied["CopyPartResult"]["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    marker = s3.delete_object(Bucket=bucket, Key="source")["VersionId"]
    refused("NoSuchKey", s3.upload_part_copy, **place, CopySource={"Bucket": bucket, "Key": "source"})
    refused("InvalidRequest", s3.upload_part_copy, **place, CopySource={"Bucket": bucket, "Key": "source", "VersionId": marker})


def test_a_refused_copy_leaves_the_upload_as_it_was(s3, bucket, source):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="copy")["UploadId"]
    place = {"Bucket": bucket, "Key": "copy", "UploadId": upload, "PartNumber": 1}
    kept = s3.upload_part(**place, Body=b"kept")["ETag"]
    tag = f'"{hashlib.md5(CONTENT).hexdigest()}"'
    wrong = {"CopySourceIfMatch": '"' + "0" * 32 + '"'}, {"CopySourceIfNoneMatch": tag}, {"CopySourceIfModifiedSince": datetime.datetime.now(datetime.UTC)}, {"CopySourceIfUnmodifiedSince": "2000-01-01"}
    for condition in wrong:
        refused("PreconditionFailed", s3.upload_part_copy, **place, CopySource=source, **condition)
    for text in ("0-2", "bytes=0", "bytes=hello-world", "bytes=0-bar", "bytes=hello-", "bytes=0-2,3-5", "bytes=-5", "bytes=5-", "bytes=3-2"):
        refused("InvalidArgument", s3.upload_part_copy, **place, CopySource=source, CopySourceRange=text)
    refused("InvalidRange", s3.upload_part_copy, **place, CopySource=source, CopySourceRange=f"bytes=0-{len(CONTENT)}")
    refused("NoSuchKey", s3.upload_part_copy, **place, CopySource={"Bucket": bucket, "Key": "none"})
    refused("NoSuchBucket", s3.upload_part_copy, **place, CopySource={"Bucket": "there-is-none", "Key": "k"})
    refused("InvalidArgument", s3.upload_part_copy, **place, CopySource="source")
    refused("InvalidArgument", s3.upload_part_copy, **{**place, "PartNumber": 10_001}, CopySource=source)
    refused("NoSuchUpload", s3.upload_part_copy, **{**place, "UploadId": "0" * 32}, CopySource=source)
    listed = s3.list_parts(Bucket=bucket, Key="copy", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["ETag"]) for part in listed] == [(1, kept)]
    copied = s3.upload_part_copy(**place, CopySource=source, CopySourceIfMatch=tag, CopySourceIfUnmodifiedSince="2100-01-01")
    assert copied["CopyPartResult"]["ETag"] == tag


def test_a_copy_by_the_transfer_manager_is_whole(s3, bucket, source):
    """A copy above 8 MiB goes by parts in boto3."""
    s3.copy(source, bucket, "copy")
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == CONTENT
