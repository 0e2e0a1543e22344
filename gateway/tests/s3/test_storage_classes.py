"""Storage classes and website redirects: kept with an object, seen in every answer, and never taken over by a copy."""
import pytest

from lib.refusals import refused
from lib.requests import Requests, code, header_of

CLASSES = ["STANDARD", "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR", "GLACIER", "DEEP_ARCHIVE"]


def seen(server, s3, bucket, key):
    """The class of an object in each answer that tells it; HEAD and GET leave STANDARD out."""
    told = [s3.head_object(Bucket=bucket, Key=key).get("StorageClass", "STANDARD"), s3.get_object(Bucket=bucket, Key=key).get("StorageClass", "STANDARD"),
            s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["StorageClass"])["StorageClass"],
            server.sql(f"SELECT storage_class AS c FROM objects WHERE bucket = '{bucket}' AND key = '{key}'")[0]["c"]]
    for call, element in [(s3.list_objects, "Contents"), (s3.list_objects_v2, "Contents"), (s3.list_object_versions, "Versions")]:
        told += [line["StorageClass"] for line in call(Bucket=bucket, Prefix=key)[element]]
    assert len(told) == 7 and len(set(told)) == 1, told
    return told[0]


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_is_kept_and_seen_everywhere(server, s3, bucket, name):
    s3.put_object(Bucket=bucket, Key="put", Body=b"x", StorageClass=name)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts", StorageClass=name)["UploadId"]
    assert [listed["StorageClass"] for listed in s3.list_multipart_uploads(Bucket=bucket)["Uploads"]] == [name]
    assert s3.list_parts(Bucket=bucket, Key="parts", UploadId=upload)["StorageClass"] == name
    tag = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x")["ETag"]
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]})
    # A copy has the class of its request alone.
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/put", StorageClass=name)
    s3.copy_object(Bucket=bucket, Key="plain", CopySource=f"{bucket}/put")
    for _ in range(2):
        assert [seen(server, s3, bucket, key) for key in ("put", "parts", "copy", "plain")] == [name, name, name, "STANDARD"]
        assert s3.get_object(Bucket=bucket, Key="put")["Body"].read() == b"x", "an object of every class is read at once"
        server.cut()


def test_an_object_changes_its_class_in_place(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"x", Metadata={"a": "1"}, ContentType="text/plain", Tagging="t=1")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", StorageClass="GLACIER_IR")
    head = s3.head_object(Bucket=bucket, Key="k")
    assert (head["StorageClass"], head["Metadata"], head["ContentType"]) == ("GLACIER_IR", {"a": "1"}, "text/plain")
    s3.copy_object(Bucket=bucket, Key="k", CopySource=f"{bucket}/k", StorageClass="STANDARD")
    assert seen(server, s3, bucket, "k") == "STANDARD"
    refused("InvalidRequest", s3.copy_object, Bucket=bucket, Key="k", CopySource=f"{bucket}/k")


@pytest.mark.parametrize(("name", "wanted"), [
    ("none", (400, "InvalidStorageClass")), ("standard", (400, "InvalidStorageClass")), ("", (400, "InvalidStorageClass")),
    ("EXPRESS_ONEZONE", (501, "NotImplemented")), ("OUTPOSTS", (501, "NotImplemented"))])
def test_another_class_is_refused(server, s3, bucket, name, wanted):
    wire = Requests(server)
    for method, query, headers in [("PUT", "", {}), ("POST", "uploads=", {}), ("PUT", "", {"x-amz-copy-source": f"/{bucket}/k"})]:
        answer = wire.ask(method, f"/{bucket}/k", query, headers={"x-amz-storage-class": name, **headers})
        assert code(answer) == wanted
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_redirect_is_kept_and_not_copied(s3, bucket):
    for location in ("/other", "https://example.org/a?b=c"):
        s3.put_object(Bucket=bucket, Key="k", Body=b"", WebsiteRedirectLocation=location)
        assert s3.head_object(Bucket=bucket, Key="k")["WebsiteRedirectLocation"] == location
        assert s3.get_object(Bucket=bucket, Key="k")["WebsiteRedirectLocation"] == location
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k")
    assert "WebsiteRedirectLocation" not in s3.head_object(Bucket=bucket, Key="copy")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource=f"{bucket}/k", WebsiteRedirectLocation="/new")
    assert s3.head_object(Bucket=bucket, Key="copy")["WebsiteRedirectLocation"] == "/new"


@pytest.mark.parametrize("location", ["other", "ftp://example.org/", "/" + "x" * 2048])
def test_a_redirect_to_another_place_is_refused(s3, bucket, location):
    refused("InvalidRedirectLocation", s3.put_object, Bucket=bucket, Key="k", Body=b"", WebsiteRedirectLocation=location)
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")


def test_metadata_beyond_ascii_comes_back_in_encoded_words(server, bucket):
    wire = Requests(server)
    answer = wire.ask("PUT", f"/{bucket}/k", pairs=[("x-amz-meta-name", "Mini\u00f6".encode())])
    assert answer[0] in (200, 403), "the header is not signed here"
    headers = {"x-amz-meta-plain": "=?UTF-8?Q?caf=C3=A9?="}
    assert wire.ask("PUT", f"/{bucket}/plain", headers=headers)[0] == 200
    assert header_of(wire.ask("HEAD", f"/{bucket}/plain"), "x-amz-meta-plain") == headers["x-amz-meta-plain"], "words of the client stay"
