"""Conditions of reads, copies and writes: the table of RFC 9110, the headers of 304, and the condition that 412 names."""
import time

import pytest

from lib.refusals import refused
from lib.requests import Requests, code, header_of

CONTENT = b"0123456789"
OTHER = '"' + "0" * 32 + '"'
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(scope="module")
def wire(server):
    wire = Requests(server)
    assert wire.ask("PUT", "/conditions")[0] == 200
    answer = wire.ask("PUT", "/conditions/k", headers={"cache-control": "max-age=60", "expires": "0", "content-type": "text/plain"}, body=CONTENT)
    assert answer[0] == 200
    return wire


@pytest.fixture(scope="module")
def texts(wire):
    """The words of the tables below: the object's entity tag, and its time in the three forms of an HTTP date."""
    answer = wire.ask("HEAD", "/conditions/k")
    when = time.strptime(header_of(answer, "last-modified"), "%a, %d %b %Y %H:%M:%S GMT")
    tag = header_of(answer, "etag")
    return {"TAG": tag, "BARE": tag.strip('"'), "WEAK": "W/" + tag, "LIST": f"{OTHER}, {tag}", "WEAKLIST": f"{OTHER},W/{tag}", "OTHER": OTHER,
            "LAST": header_of(answer, "last-modified"), "RFC850": time.strftime("%A, %d-%b-%y %H:%M:%S GMT", when),
            "ASCTIME": time.strftime("%a %b %e %H:%M:%S %Y", when), "PAST": PAST, "FUTURE": FUTURE}


READS = [  # conditions, status of GET and HEAD, the condition that the error names
    ({"if-match": "TAG"}, 200, None), ({"if-match": "BARE"}, 200, None), ({"if-match": "LIST"}, 200, None), ({"if-match": "*"}, 200, None),
    ({"if-match": "OTHER"}, 412, "If-Match"), ({"if-match": "WEAK"}, 412, "If-Match"),
    ({"if-none-match": "TAG"}, 304, None), ({"if-none-match": "BARE"}, 304, None), ({"if-none-match": "WEAK"}, 304, None), ({"if-none-match": "LIST"}, 304, None),
    ({"if-none-match": "WEAKLIST"}, 304, None), ({"if-none-match": "*"}, 304, None), ({"if-none-match": "OTHER"}, 200, None),
    ({"if-modified-since": "LAST"}, 304, None), ({"if-modified-since": "RFC850"}, 304, None), ({"if-modified-since": "ASCTIME"}, 304, None),
    ({"if-modified-since": "PAST"}, 200, None), ({"if-modified-since": "FUTURE"}, 200, None), ({"if-modified-since": "soon"}, 200, None),
    ({"if-unmodified-since": "LAST"}, 200, None), ({"if-unmodified-since": "RFC850"}, 200, None), ({"if-unmodified-since": "FUTURE"}, 200, None),
    ({"if-unmodified-since": "PAST"}, 412, "If-Unmodified-Since"), ({"if-unmodified-since": "soon"}, 200, None),
    ({"if-match": "TAG", "if-unmodified-since": "PAST"}, 200, None), ({"if-none-match": "TAG", "if-modified-since": "PAST"}, 304, None),
    ({"if-none-match": "OTHER", "if-modified-since": "LAST"}, 200, None), ({"if-match": "OTHER", "if-none-match": "TAG"}, 412, "If-Match"),
]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(("conditions", "wanted", "named"), READS, ids=str)
def test_a_read_is_answered_as_its_conditions_demand(wire, texts, method, conditions, wanted, named):
    answer = wire.ask(method, "/conditions/k", headers={name: texts.get(word, word) for name, word in conditions.items()})
    assert answer[0] == wanted
    if wanted == 412 and method == "GET":
        assert code(answer) == (412, "PreconditionFailed") and f"<Condition>{named}</Condition>".encode() in answer[2]
    elif wanted == 304:
        assert answer[2] == b""
        told = {name: header_of(answer, name) for name in ("etag", "last-modified", "cache-control", "expires")}
        assert told == {"etag": texts["TAG"], "last-modified": texts["LAST"], "cache-control": "max-age=60", "expires": "0"}
        assert header_of(answer, "content-type") is None and header_of(answer, "content-length") in (None, "0")
    elif wanted == 200 and method == "GET":
        assert answer[2] == CONTENT


@pytest.mark.parametrize(("conditions", "wanted", "named"), [
    (conditions, 412 if wanted == 304 else wanted, named) for conditions, wanted, named in READS if "soon" not in conditions.values()], ids=str)
def test_a_copy_is_made_as_the_conditions_on_its_source_demand(wire, texts, conditions, wanted, named):
    headers = {f"x-amz-copy-source-{name}": texts.get(word, word) for name, word in conditions.items()}
    answer = wire.ask("PUT", "/conditions/copy", headers={"x-amz-copy-source": "/conditions/k", **headers})
    assert code(answer) == ((200, None) if wanted == 200 else (412, "PreconditionFailed"))
    if wanted == 412:
        assert b"<Condition>x-amz-copy-source-if-" in answer[2]


def upload(s3, bucket, **condition):
    made = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="k", UploadId=made, PartNumber=1, Body=CONTENT)
    return s3.complete_multipart_upload(
        Bucket=bucket, Key="k", UploadId=made, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}, **condition)


@pytest.mark.parametrize("write", [lambda s3, bucket, **condition: s3.put_object(Bucket=bucket, Key="k", Body=CONTENT, **condition), upload], ids=["put", "complete"])
@pytest.mark.parametrize("is_versioned", [False, True], ids=["plain", "versioned"])
def test_a_write_depends_on_the_object_that_is_there(s3, bucket, write, is_versioned):
    if is_versioned:
        s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})

    def fails(code, **condition):
        answer = refused(code, write, s3, bucket, **condition)
        if code == "PreconditionFailed":
            assert answer["Error"]["Condition"] == ("If-Match" if "IfMatch" in condition else "If-None-Match")
        return answer

    fails("NoSuchKey", IfMatch="*")
    fails("NoSuchKey", IfMatch=OTHER)
    first = write(s3, bucket, IfNoneMatch="*")["ETag"]
    fails("PreconditionFailed", IfNoneMatch="*")
    fails("PreconditionFailed", IfNoneMatch=first)
    fails("PreconditionFailed", IfMatch=OTHER)
    fails("PreconditionFailed", IfMatch="no tag")
    write(s3, bucket, IfMatch=first)
    write(s3, bucket, IfMatch="*")
    write(s3, bucket, IfNoneMatch=OTHER)
    write(s3, bucket, IfNoneMatch="no tag")
    s3.delete_object(Bucket=bucket, Key="k")
    fails("NoSuchKey", IfMatch=first)
    write(s3, bucket, IfNoneMatch=first)


def test_a_delete_depends_on_the_object_that_is_there(s3, bucket):
    tag = s3.put_object(Bucket=bucket, Key="k", Body=CONTENT)["ETag"]
    answer = refused("PreconditionFailed", s3.delete_object, Bucket=bucket, Key="k", IfMatch=OTHER)
    assert answer["Error"]["Condition"] == "If-Match"
    errors = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "k", "ETag": OTHER}]})["Errors"]
    assert [(error["Key"], error["Code"]) for error in errors] == [("k", "PreconditionFailed")]
    s3.delete_object(Bucket=bucket, Key="k", IfMatch=tag)
    refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")


def test_the_last_bytes_of_an_empty_object_are_none(s3, bucket):
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    read = s3.get_object(Bucket=bucket, Key="empty", Range="bytes=-5")
    assert (read["ResponseMetadata"]["HTTPStatusCode"], read["ContentLength"], read["Body"].read()) == (200, 0, b"")
    for spec in ("bytes=0-", "bytes=0-5", "bytes=-0"):
        refused("InvalidRange", s3.get_object, Bucket=bucket, Key="empty", Range=spec)


@pytest.mark.parametrize("spec", ["bytes=10-", "bytes=10-20", "bytes=18446744073709551615-", "bytes=-0"])
def test_a_range_beyond_the_end_tells_the_size(wire, spec):
    for method in ("GET", "HEAD"):
        answer = wire.ask(method, "/conditions/k", headers={"range": spec})
        assert (answer[0], header_of(answer, "content-range")) == (416, "bytes */10")
