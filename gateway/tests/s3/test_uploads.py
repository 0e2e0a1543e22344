"""Multipart uploads through boto3: parts, completions, and listings page by page."""
import hashlib
import os

import pytest

from lib.refusals import refused

PARTS = [os.urandom(5 << 20), os.urandom(6 << 20), os.urandom(1000)]


@pytest.mark.parametrize("algorithm", [None, "CRC32", "SHA256"])
def test_parts_become_one_object(server, s3, bucket, algorithm):
    extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m", **extra)["UploadId"]
    done = []
    for number, part in enumerate(PARTS, 1):
        put = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=number, Body=part, **extra)
        done.append({"PartNumber": number, "ETag": put["ETag"]})
        if algorithm:
            done[-1][f"Checksum{algorithm}"] = put[f"Checksum{algorithm}"]
        server.cut()
    assert len(s3.list_parts(Bucket=bucket, Key="m", UploadId=upload)["Parts"]) == 3, "three parts"
    assert s3.list_multipart_uploads(Bucket=bucket)["Uploads"][0]["UploadId"] == upload, "one upload"
    wanted = hashlib.md5(b"".join(hashlib.md5(part).digest() for part in PARTS)).hexdigest()
    # A completion that comes twice has the same answer twice.
    for _ in range(1 if algorithm else 2):
        whole = s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": done})
        assert whole["ETag"] == f'"{wanted}-3"', "the ETag of parts"
    assert s3.get_object(Bucket=bucket, Key="m")["Body"].read() == b"".join(PARTS), "the parts in order"
    middle = s3.get_object(Bucket=bucket, Key="m", Range=f"bytes={(5 << 20) - 3}-{(5 << 20) + 3}")["Body"].read()
    assert middle == PARTS[0][-3:] + PARTS[1][:4], "a range over two parts"
    assert s3.get_object(Bucket=bucket, Key="m", PartNumber=2)["Body"].read() == PARTS[1], "one part"


def test_uploads_are_listed_by_delimiter(s3, bucket):
    for key in ["d/a/1", "d/a/2", "d/b", "d/c/1", "d/e"]:
        s3.create_multipart_upload(Bucket=bucket, Key=key)
    pages, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket=bucket, Prefix="d/", Delimiter="/", MaxUploads=1, **marker)
        pages.append([u["Key"] for u in page.get("Uploads", [])] + [p["Prefix"] for p in page.get("CommonPrefixes", [])])
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}
    assert pages == [["d/a/"], ["d/b"], ["d/c/"], ["d/e"]], f"uploads by delimiter: {pages}"


def test_a_wrong_completion_is_refused(s3, bucket):
    small = s3.create_multipart_upload(Bucket=bucket, Key="s")["UploadId"]
    tags = [s3.upload_part(Bucket=bucket, Key="s", UploadId=small, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
    named = [{"PartNumber": n, "ETag": t} for n, t in zip((1, 2), tags)]
    refused("EntityTooSmall", s3.complete_multipart_upload, Bucket=bucket, Key="s", UploadId=small, MultipartUpload={"Parts": named})
    refused("InvalidPartOrder", s3.complete_multipart_upload, Bucket=bucket, Key="s", UploadId=small, MultipartUpload={"Parts": named[::-1]})
    s3.abort_multipart_upload(Bucket=bucket, Key="s", UploadId=small)
    refused("NoSuchUpload", s3.list_parts, Bucket=bucket, Key="s", UploadId=small)


@pytest.fixture(scope="module")
def begun(server, s3):
    """Uploads under way, some in the tail and some in runs, sorted by key: (key, upload id)."""
    s3.create_bucket(Bucket="pages")
    keys = [f"u/{number % 4}/{number:02}" for number in range(24)] + ["u/2/02"] * 3 + ["a b+é", "u", "u/", "u/2/", "v"]
    begun = []
    for number, key in enumerate(keys):
        begun.append((key, s3.create_multipart_upload(Bucket="pages", Key=key)["UploadId"]))
        if number % 10 == 9:
            server.cut()
    aborted = begun[3:24:7]
    for key, upload in aborted:
        s3.abort_multipart_upload(Bucket="pages", Key=key, UploadId=upload)
    return sorted((key.encode(), upload) for key, upload in begun if (key, upload) not in aborted)


def wanted(begun, prefix, delimiter):
    """Uploads and common prefixes as a listing must have them."""
    found = []
    for key, upload in begun:
        rest = key[len(prefix):]
        if key.startswith(prefix):
            common = prefix + rest[:rest.index(delimiter) + 1] if delimiter and delimiter in rest else None
            found.append(common or (key, upload))
    return list(dict.fromkeys(found))


def listed(s3, size, prefix, delimiter):
    """Uploads and common prefixes as the pages of a listing have them."""
    found, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket="pages", MaxUploads=size, Prefix=prefix.decode(), Delimiter=delimiter.decode(), **marker)
        here = [(u["Key"].encode(), u["UploadId"]) for u in page.get("Uploads", [])]
        here += [p["Prefix"].encode() for p in page.get("CommonPrefixes", [])]
        assert len(here) <= size and all(u["Owner"] == u["Initiator"] for u in page.get("Uploads", [])), f"a page: {page}"
        found += sorted(here, key=lambda one: one if isinstance(one, bytes) else one[0])
        if not page["IsTruncated"]:
            return found
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}


@pytest.mark.parametrize("delimiter", [b"", b"/"])
@pytest.mark.parametrize("size", [1, 2, 5, 1000])
def test_pages_of_uploads_are_whole_and_in_order(s3, begun, size, delimiter):
    for prefix in [b"", b"u", b"u/", b"u/2/", b"u/2/02", b"x"]:
        got = listed(s3, size, prefix, delimiter)
        assert got == wanted(begun, prefix, delimiter), f"{size} of {prefix} by {delimiter}: {got}"


def test_markers_and_encodings_of_a_listing_of_uploads(s3, begun):
    after = s3.list_multipart_uploads(Bucket="pages", KeyMarker="u/2/02")["Uploads"]
    assert [(u["Key"].encode(), u["UploadId"]) for u in after] == [one for one in begun if one[0] > b"u/2/02"], "after all of a key's uploads"
    refused("InvalidArgument", s3.list_multipart_uploads, Bucket="pages", KeyMarker="u", UploadIdMarker="nonsense")
    page = s3.list_multipart_uploads(Bucket="pages", MaxUploads=1, EncodingType="url", Prefix="a b")
    assert (page["EncodingType"], page["Prefix"], page["Uploads"][0]["Key"]) == ("url", "a%20b", "a%20b%2B%C3%A9"), f"encoded: {page}"
    assert s3.list_multipart_uploads(Bucket="pages", MaxUploads=0)["IsTruncated"] is False, "a page of none"


def test_sql_has_the_uploads_under_way(server, begun):
    got = server.sql("SELECT key, upload_id FROM uploads WHERE bucket = 'pages'")
    assert [(row["key"].encode(), row["upload_id"]) for row in got] == begun, f"SQL: {got}"


def test_pages_of_parts_are_whole_and_in_order(server, s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    for number in [1, 3, 4, 9, 10]:
        s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=number, Body=b"x" * number, ChecksumAlgorithm="CRC32")
        if number == 4:
            server.cut()
    parts = {"Bucket": bucket, "Key": "parts", "UploadId": upload}
    page = s3.list_parts(**parts, MaxParts=2, PartNumberMarker=1)
    assert [part["PartNumber"] for part in page["Parts"]] == [3, 4] and page["IsTruncated"] and page["NextPartNumberMarker"] == 4, f"parts: {page}"
    assert (page["ChecksumAlgorithm"], page["ChecksumType"], page["StorageClass"], page["PartNumberMarker"]) == ("CRC32", "FULL_OBJECT", "STANDARD", 1), f"about them: {page}"
    assert page["Owner"] == page["Initiator"] and all("ChecksumCRC32" in part for part in page["Parts"]), f"whose: {page}"
    every = [part["PartNumber"] for page in s3.get_paginator("list_parts").paginate(**parts, PaginationConfig={"PageSize": 2}) for part in page["Parts"]]
    assert every == [1, 3, 4, 9, 10], f"all parts: {every}"
    assert "Parts" not in s3.list_parts(**parts, PartNumberMarker=2_000_000_000) and not s3.list_parts(**parts, MaxParts=0)["IsTruncated"], "no parts"


def test_pages_of_buckets_are_whole_and_in_order(s3):
    for name in ["list-a", "list-b", "list-c", "other-list"]:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="list-", PaginationConfig={"PageSize": 2}))
    assert [[b["Name"] for b in page["Buckets"]] for page in pages] == [["list-a", "list-b"], ["list-c"]] and pages[0]["Prefix"] == "list-", f"buckets: {pages}"
    assert len(s3.list_buckets(BucketRegion="us-east-1", Prefix="list-")["Buckets"]) == 3 and s3.list_buckets(BucketRegion="eu-west-1")["Buckets"] == [], "by region"
