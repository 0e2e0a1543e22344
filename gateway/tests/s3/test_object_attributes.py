"""GetObjectAttributes: the named attributes, pages of parts, versions, and conditions."""
import base64
import hashlib
import os

import pytest

from lib.refusals import refused

ALL = ["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"]
PARTS = [os.urandom(5 << 20), os.urandom(5 << 20), os.urandom(1000)]


def sha256(content):
    return base64.b64encode(hashlib.sha256(content).digest()).decode()


@pytest.fixture(scope="module")
def whole(server, s3):
    """A bucket with an object of three parts, uploaded under the numbers 2, 5 and 9 and counted 1, 2, 3."""
    s3.create_bucket(Bucket="attributes")
    upload = s3.create_multipart_upload(Bucket="attributes", Key="m", ChecksumAlgorithm="SHA256")["UploadId"]
    done = []
    for number, part in zip((2, 5, 9), PARTS):
        put = s3.upload_part(Bucket="attributes", Key="m", UploadId=upload, PartNumber=number, Body=part, ChecksumAlgorithm="SHA256")
        done.append({"PartNumber": number, "ETag": put["ETag"], "ChecksumSHA256": put["ChecksumSHA256"]})
    s3.complete_multipart_upload(Bucket="attributes", Key="m", UploadId=upload, MultipartUpload={"Parts": done})
    return "attributes"


@pytest.mark.parametrize("names", [*([name] for name in ALL), ALL, ALL[::-1]], ids=",".join)
def test_only_the_named_attributes_come(s3, bucket, names):
    content = b"content"
    put = s3.put_object(Bucket=bucket, Key="k", Body=content, ChecksumAlgorithm="SHA256")
    every = {
        "ETag": put["ETag"].strip('"'),
        "Checksum": {"ChecksumSHA256": sha256(content), "ChecksumType": "FULL_OBJECT"},
        "StorageClass": "STANDARD",
        "ObjectSize": len(content),
    }
    told = s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=names)
    assert {name: told[name] for name in ALL if name in told} == {name: every[name] for name in names if name in every}
    assert told["LastModified"] == s3.head_object(Bucket=bucket, Key="k")["LastModified"]
    assert "VersionId" not in told and "DeleteMarker" not in told


def test_an_object_of_parts_tells_its_parts(server, s3, whole):
    for _ in range(2):
        told = s3.get_object_attributes(Bucket=whole, Key="m", ObjectAttributes=ALL)
        assert told["Checksum"]["ChecksumType"] == "COMPOSITE"
        assert told["Checksum"]["ChecksumSHA256"] == sha256(b"".join(hashlib.sha256(p).digest() for p in PARTS)) + "-3"
        assert told["ObjectSize"] == sum(map(len, PARTS))
        parts = told["ObjectParts"]
        assert (parts["TotalPartsCount"], parts["IsTruncated"], parts["MaxParts"]) == (3, False, 1000)
        assert parts["Parts"] == [
            {"PartNumber": number, "Size": len(part), "ChecksumSHA256": sha256(part)} for number, part in enumerate(PARTS, 1)
        ]
        for part, content in zip(parts["Parts"], PARTS):
            read = s3.get_object(Bucket=whole, Key="m", PartNumber=part["PartNumber"])
            assert read["Body"].read() == content and read["PartsCount"] == 3, "a part is read by the number that is told"
        server.cut()


@pytest.mark.parametrize("size", [1, 2, 3, 1000, 100_000])
def test_pages_of_an_objects_parts_are_whole_and_in_order(s3, whole, size):
    numbers, marker = [], 0
    while True:
        page = s3.get_object_attributes(Bucket=whole, Key="m", ObjectAttributes=["ObjectParts"], MaxParts=size, PartNumberMarker=marker)["ObjectParts"]
        assert page["TotalPartsCount"] == 3 and page["PartNumberMarker"] == marker and page["MaxParts"] == min(size, 1000)
        assert len(page["Parts"]) <= size
        numbers += [part["PartNumber"] for part in page["Parts"]]
        if not page["IsTruncated"]:
            break
        marker = page["NextPartNumberMarker"]
        assert marker == numbers[-1]
    assert numbers == [1, 2, 3]


def test_a_page_beyond_the_last_part_and_a_page_of_none_are_empty(s3, whole):
    for arguments in [{"PartNumberMarker": 3}, {"PartNumberMarker": 2_000_000_000}, {"MaxParts": 0}]:
        page = s3.get_object_attributes(Bucket=whole, Key="m", ObjectAttributes=["ObjectParts"], **arguments)["ObjectParts"]
        assert page["TotalPartsCount"] == 3 and not page["IsTruncated"] and "Parts" not in page, arguments


def test_versions_and_markers_are_told_apart(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    versions = [s3.put_object(Bucket=bucket, Key="k", Body=b"x" * size)["VersionId"] for size in (3, 5)]
    for version, size in zip(versions, (3, 5)):
        told = s3.get_object_attributes(Bucket=bucket, Key="k", VersionId=version, ObjectAttributes=["ObjectSize"])
        assert (told["VersionId"], told["ObjectSize"]) == (version, size)
    assert s3.get_object_attributes(Bucket=bucket, Key="k", ObjectAttributes=["ObjectSize"])["VersionId"] == versions[1]
    marker = s3.delete_object(Bucket=bucket, Key="k")["VersionId"]
    refused("NoSuchKey", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["ETag"])
    told = refused("MethodNotAllowed", s3.get_object_attributes, Bucket=bucket, Key="k", VersionId=marker, ObjectAttributes=["ETag"])
    assert told["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"


def test_wrong_requests_are_refused(s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x")
    refused("InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["Owner"])
    refused("InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["etag"])
    refused("InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["ETag"], PartNumberMarker=-1)
    refused("InvalidArgument", s3.get_object_attributes, Bucket=bucket, Key="k", ObjectAttributes=["ETag"], MaxParts=-1)
    refused("NoSuchKey", s3.get_object_attributes, Bucket=bucket, Key="none", ObjectAttributes=["ETag"])
    refused("NoSuchBucket", s3.get_object_attributes, Bucket="there-is-none", Key="k", ObjectAttributes=["ETag"])
