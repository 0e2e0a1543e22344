"""Versions and delete markers through boto3."""
from lib.refusals import refused


def test_versions_are_kept_listed_and_removed_one_by_one(server, s3, bucket):
    first = s3.put_object(Bucket=bucket, Key="k", Body=b"null").get("VersionId")
    assert first is None, "no version id before versioning"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket=bucket, Key="k", Body=b"one")["VersionId"]
    server.cut()
    two = s3.put_object(Bucket=bucket, Key="k", Body=b"two")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"], "a delete leaves a marker"
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    refused("MethodNotAllowed", s3.get_object, Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    server.cut()
    for version, body in [(one, b"one"), (two, b"two"), ("null", b"null")]:
        got = s3.get_object(Bucket=bucket, Key="k", VersionId=version)["Body"].read()
        assert got == body, f"version {version}"
    listed = s3.list_object_versions(Bucket=bucket)
    assert [v["VersionId"] for v in listed["Versions"]] == [two, one, "null"], "versions, newest first"
    assert listed["DeleteMarkers"][0]["IsLatest"], "the marker is the latest"
    paged = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket, PaginationConfig={"PageSize": 1}):
        paged += [v["VersionId"] for v in page.get("Versions", [])]
    assert paged == [two, one, "null"], f"versions page by page: {paged}"
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"two", "the marker is gone"
    refused("BucketNotEmpty", s3.delete_bucket, Bucket=bucket)
    for version in [one, two, "null"]:
        s3.delete_object(Bucket=bucket, Key="k", VersionId=version)
    s3.delete_bucket(Bucket=bucket)
