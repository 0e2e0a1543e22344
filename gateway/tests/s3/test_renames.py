"""RenameObject: one step, no copy of the bytes, conditions on both objects, and repetitions under a token."""
import concurrent.futures
import itertools
import pathlib
import time
import urllib.parse
import uuid

import pytest
from botocore.exceptions import ClientError

from lib.receiver import key_of
from lib.refusals import refused
from lib.requests import Requests, code
from lib.server import write_destinations

SMALL, LARGE = b"small", b"0123456789abcdef" * 50_000
OTHER = '"' + "0" * 32 + '"'
PAST, FUTURE = "Sat, 01 Jan 2000 00:00:00 GMT", "Fri, 01 Jan 2100 00:00:00 GMT"


@pytest.fixture(scope="module")
def server(serve, receiver, tmp_path_factory):
    hook = {"name": "hook", "kind": "webhook", "url": receiver.url}
    return serve("--cut-seconds", "3600", *write_destinations(tmp_path_factory.mktemp("settings") / "siltstone.toml", [hook]))


@pytest.fixture(scope="module")
def wire(server):
    return Requests(server)


def keys(s3, bucket):
    return [found["Key"] for found in s3.list_objects_v2(Bucket=bucket).get("Contents", [])]


def put_parts(s3, bucket, key, body=LARGE):
    upload = s3.create_multipart_upload(Bucket=bucket, Key=key, ChecksumAlgorithm="CRC32C", Metadata={"a": "b"})["UploadId"]
    half = 5 << 20
    pieces = [body * 7, body]
    assert len(pieces[0]) >= half
    parts = []
    for number, piece in enumerate(pieces, 1):
        part = s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=number, Body=piece, ChecksumAlgorithm="CRC32C")
        parts.append({"PartNumber": number, "ETag": part["ETag"], "ChecksumCRC32C": part["ChecksumCRC32C"]})
    s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": parts})


def everything(s3, bucket, key):
    """All that a client may learn of an object."""
    got = s3.get_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    body = got.pop("Body").read()
    tags = s3.get_object_tagging(Bucket=bucket, Key=key)["TagSet"]
    attributes = s3.get_object_attributes(Bucket=bucket, Key=key, ObjectAttributes=["ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize"])
    attributes.pop("ResponseMetadata")
    headers = got.pop("ResponseMetadata")["HTTPHeaders"]
    kept = {name: value for name, value in headers.items() if name not in ("date", "x-amz-request-id", "x-amz-id-2")}
    return body, got, tags, attributes, kept


@pytest.mark.parametrize("cuts", list(itertools.product([False, True], repeat=2)), ids=str)
def test_an_object_is_the_same_under_its_new_key(server, s3, bucket, cuts):
    s3.put_object(Bucket=bucket, Key="small", Body=SMALL, Metadata={"colour": "green"}, Tagging="a=b&c=", ContentType="text/plain",
                  CacheControl="no-cache", StorageClass="STANDARD_IA", ChecksumAlgorithm="SHA256", WebsiteRedirectLocation="/elsewhere")
    s3.put_object(Bucket=bucket, Key="large", Body=LARGE, ChecksumAlgorithm="CRC32")
    s3.put_object(Bucket=bucket, Key="empty", Body=b"")
    put_parts(s3, bucket, "parts")
    names = ["small", "large", "empty", "parts"]
    before = {name: everything(s3, bucket, name) for name in names}
    if cuts[0]:
        server.cut()
    time.sleep(1.1)  # AWS keeps the time of the object, so it must not be that of the rename.
    for name in names:
        assert s3.rename_object(Bucket=bucket, Key=f"folder/{name} ü", RenameSource=name)["ResponseMetadata"]["HTTPStatusCode"] == 200
    if cuts[1]:
        server.cut()
    assert keys(s3, bucket) == sorted(f"folder/{name} ü" for name in names)
    for name in names:
        assert everything(s3, bucket, f"folder/{name} ü") == before[name]
        refused("NoSuchKey", s3.get_object, Bucket=bucket, Key=name)
    server.cut()
    for name in names:
        assert everything(s3, bucket, f"folder/{name} ü") == before[name]


@pytest.mark.parametrize("source", ["a b/ü%41+", "/{bucket}/a b/ü%41+", "/a b/ü%41+"])
def test_the_source_is_named_encoded(s3, bucket, wire, source):
    s3.put_object(Bucket=bucket, Key="a b/ü%41+", Body=SMALL)
    header = urllib.parse.quote(source.format(bucket=bucket), safe="/")
    answer = wire.ask("PUT", f"/{bucket}/new", "renameObject", {"x-amz-rename-source": header})
    assert code(answer) == (200, None) and answer[2] == b""
    assert keys(s3, bucket) == ["new"]


def test_an_object_in_the_way_is_replaced(s3, bucket):
    s3.put_object(Bucket=bucket, Key="a", Body=SMALL)
    s3.put_object(Bucket=bucket, Key="b", Body=LARGE, Metadata={"x": "y"})
    s3.rename_object(Bucket=bucket, Key="b", RenameSource="a")
    got = s3.get_object(Bucket=bucket, Key="b")
    assert (got["Body"].read(), got["Metadata"], keys(s3, bucket)) == (SMALL, {}, ["b"])


REFUSALS = [  # the key, the headers, the error
    ("new", {"x-amz-rename-source": "missing"}, (404, "NoSuchKey")),
    ("new", {}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": ""}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "k" * 1025}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "%ff"}, (400, "InvalidURI")),
    ("old", {"x-amz-rename-source": "old"}, (400, "InvalidRequest")),
    ("new/", {"x-amz-rename-source": "old"}, (400, "InvalidRequest")),
    ("new", {"x-amz-rename-source": "folder/"}, (400, "InvalidRequest")),
    ("new", {"x-amz-rename-source": "old", "x-amz-client-token": ""}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "old", "x-amz-client-token": "t" * 65}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "old", "x-amz-client-token": "a token"}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "old", "if-modified-since": "soon"}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "old", "x-amz-rename-source-if-unmodified-since": "soon"}, (400, "InvalidArgument")),
    ("new", {"x-amz-rename-source": "old", "if-match": "*", "if-none-match": "*"}, (501, "NotImplemented")),
    ("new", {"x-amz-rename-source": "old", "x-amz-rename-source-if-size": "1"}, (501, "NotImplemented")),
    ("new", {"x-amz-rename-source": "old", "x-amz-copy-source": "/b/k"}, (501, "NotImplemented")),
    ("new", {"x-amz-rename-source": "old", "x-amz-tagging": "a=b"}, (501, "NotImplemented")),
    ("new", {"x-amz-rename-source": "old", "x-amz-server-side-encryption": "AES256"}, (501, "NotImplemented")),
]


@pytest.mark.parametrize(("key", "headers", "wanted"), REFUSALS, ids=str)
def test_what_cannot_be_renamed_stays(s3, bucket, wire, key, headers, wanted):
    for name in ("old", "folder/"):
        s3.put_object(Bucket=bucket, Key=name, Body=SMALL)
    assert code(wire.ask("PUT", f"/{bucket}/{key}", "renameObject", headers)) == wanted
    assert keys(s3, bucket) == ["folder/", "old"]


@pytest.mark.parametrize("status", ["Enabled", "Suspended"])
def test_a_bucket_with_versions_is_refused(s3, bucket, status):
    s3.put_object(Bucket=bucket, Key="old", Body=SMALL)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": status})
    refused("NotImplemented", s3.rename_object, Bucket=bucket, Key="new", RenameSource="old")
    assert keys(s3, bucket) == ["old"]


CONDITIONS = [  # the condition; whether it holds for an object, and for none (404: without a source nothing else is looked at)
    ({"if-match": "TAG"}, True, False), ({"if-match": "OTHER"}, False, False), ({"if-match": "*"}, True, False),
    ({"if-none-match": "*"}, False, True), ({"if-none-match": "OTHER"}, True, True), ({"if-none-match": "TAG"}, False, True),
    ({"if-modified-since": PAST}, True, False), ({"if-modified-since": "LAST"}, False, False), ({"if-modified-since": FUTURE}, True, True),
    ({"if-unmodified-since": PAST}, False, True), ({"if-unmodified-since": "LAST"}, True, True), ({"if-unmodified-since": FUTURE}, True, True),
    ({"if-match": "TAG", "if-unmodified-since": PAST}, True, False), ({"if-none-match": "OTHER", "if-modified-since": "LAST"}, True, True),
    ({"if-match": "TAG", "if-modified-since": "LAST"}, False, False),
]


@pytest.mark.parametrize("side", ["source", "destination"])
@pytest.mark.parametrize("is_there", [True, False])
@pytest.mark.parametrize(("conditions", "holds", "holds_for_none"), CONDITIONS, ids=str)
def test_conditions_on_both_objects_are_kept(s3, bucket, wire, side, is_there, conditions, holds, holds_for_none):
    checked = "old" if side == "source" else "new"
    other = "new" if side == "source" else "old"
    s3.put_object(Bucket=bucket, Key=checked, Body=SMALL)
    found = s3.head_object(Bucket=bucket, Key=checked)
    words = {"TAG": found["ETag"], "OTHER": OTHER, "LAST": found["ResponseMetadata"]["HTTPHeaders"]["last-modified"]}
    if not is_there:
        s3.delete_object(Bucket=bucket, Key=checked)
    if other == "old":
        s3.put_object(Bucket=bucket, Key="old", Body=b"the source")
    before = keys(s3, bucket)
    prefix = "x-amz-rename-source-" if side == "source" else ""
    headers = {prefix + name: words.get(word, word) for name, word in conditions.items()}
    answer = wire.ask("PUT", f"/{bucket}/new", "renameObject", {"x-amz-rename-source": "old", **headers})
    if side == "source" and not is_there:
        assert code(answer) == (404, "NoSuchKey") and b"<Key>old</Key>" in answer[2]
    elif holds if is_there else holds_for_none:
        assert (code(answer), keys(s3, bucket)) == ((200, None), ["new"])
    else:
        assert (code(answer), keys(s3, bucket)) == ((412, "PreconditionFailed"), before)
        named = answer[2].partition(b"<Condition>")[2].partition(b"</Condition>")[0].decode()
        assert named.lower() in headers


def test_a_repetition_under_a_token_changes_nothing(server, s3, bucket):
    token = str(uuid.uuid4())
    rename = {"Bucket": bucket, "Key": "new", "RenameSource": "old", "ClientToken": token}
    refused("NoSuchKey", s3.rename_object, **rename)
    s3.put_object(Bucket=bucket, Key="old", Body=SMALL)
    s3.rename_object(**rename)
    s3.rename_object(**rename)
    s3.put_object(Bucket=bucket, Key="old", Body=LARGE)
    s3.rename_object(**rename)
    assert keys(s3, bucket) == ["new", "old"], "a new object is not renamed by an old request"
    for other in ({"Key": "newer"}, {"RenameSource": "older"}, {"DestinationIfNoneMatch": "*"}, {"SourceIfMatch": OTHER}):
        answer = refused("IdempotencyParameterMismatch", s3.rename_object, **{**rename, **other})
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 400
    server.cut()
    s3.rename_object(**rename)
    server.stop()
    server.start()
    s3.rename_object(**rename)
    assert keys(s3, bucket) == ["new", "old"]
    s3.rename_object(**{**rename, "ClientToken": str(uuid.uuid4())})
    assert keys(s3, bucket) == ["new"] and s3.head_object(Bucket=bucket, Key="new")["ContentLength"] == len(LARGE)


def test_of_many_renames_one_gets_the_object(server, s3, bucket):
    """Every rename of one source to keys of their own: one succeeds, and no moment shows two objects or none."""
    s3.put_object(Bucket=bucket, Key="turn/0", Body=SMALL)
    seen, done = [], []

    def look():
        client = server.client()
        while not done:
            seen.append(keys(client, bucket))

    def rename(number, turn):
        try:
            server.client().rename_object(Bucket=bucket, Key=f"turn/{turn + 1}-{number}", RenameSource=source)
            return f"turn/{turn + 1}-{number}"
        except ClientError as error:
            assert error.response["Error"]["Code"] == "NoSuchKey"

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        looking = pool.submit(look)
        source = "turn/0"
        for turn in range(5):
            [source] = [won for won in pool.map(rename, range(6), [turn] * 6) if won]
        done.append(True)
        looking.result()
    assert keys(s3, bucket) == [source]
    assert seen and all(len(found) == 1 for found in seen)


def disk_bytes(folder):
    """Bytes of the files of payload below a folder, as the device counts them."""
    return sum(path.stat().st_blocks * 512 for path in pathlib.Path(folder).glob("p0000/**/*") if path.is_file())


@pytest.mark.parametrize("count", [1, pytest.param(32, marks=pytest.mark.long)])
def test_payload_is_renamed_without_its_bytes(server, s3, bucket, count):
    """With 32 parts more than a gibibyte."""
    upload = s3.create_multipart_upload(Bucket=bucket, Key="old")["UploadId"]
    piece, parts = LARGE * 42, []
    for number in range(1, count + 1):
        part = s3.upload_part(Bucket=bucket, Key="old", UploadId=upload, PartNumber=number, Body=piece)
        parts.append({"PartNumber": number, "ETag": part["ETag"]})
    s3.complete_multipart_upload(Bucket=bucket, Key="old", UploadId=upload, MultipartUpload={"Parts": parts})
    server.cut()
    size, tag = count * len(piece), s3.head_object(Bucket=bucket, Key="old")["ETag"]
    assert size > count << 25
    written, before = server.written_bytes(), disk_bytes(server.data)
    for number in range(20):
        s3.rename_object(Bucket=bucket, Key=f"key-{number}", RenameSource=f"key-{number - 1}" if number else "old")
    server.cut()
    assert server.written_bytes() - written < 8 << 20, "no payload is written again"
    assert disk_bytes(server.data) - before < 8 << 20
    head = s3.head_object(Bucket=bucket, Key="key-19")
    assert (head["ContentLength"], head["ETag"], keys(s3, bucket)) == (size, tag, ["key-19"])
    last = s3.get_object(Bucket=bucket, Key="key-19", Range=f"bytes={size - 1000}-")["Body"].read()
    assert last == piece[-1000:]


def test_a_rename_is_reported_as_a_copy_and_a_removal(s3, bucket, receiver):
    rule = {"QueueArn": "arn:siltstone:sqs::hook:webhook", "Events": ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": [rule]})
    s3.put_object(Bucket=bucket, Key="old", Body=SMALL)
    s3.rename_object(Bucket=bucket, Key="new", RenameSource="old")
    refused("NoSuchKey", s3.rename_object, Bucket=bucket, Key="newer", RenameSource="old")
    s3.put_object(Bucket=bucket, Key="last", Body=SMALL)
    deadline = time.monotonic() + 30
    while len(found := [one for one in receiver.records() if one["s3"]["bucket"]["name"] == bucket]) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [(one["eventName"], key_of(one)) for one in found] == [
        ("ObjectCreated:Put", "old"), ("ObjectCreated:Copy", "new"), ("ObjectRemoved:Delete", "old"), ("ObjectCreated:Put", "last")]
    assert found[1]["s3"]["object"]["size"] == len(SMALL) and "size" not in found[2]["s3"]["object"]
    sequencers = [one["s3"]["object"]["sequencer"] for one in found]
    assert sequencers == sorted(set(sequencers))


def test_sql_shows_the_rename_with_both_keys(server, s3, bucket):
    s3.put_object(Bucket=bucket, Key="old", Body=SMALL)
    s3.rename_object(Bucket=bucket, Key="new", RenameSource="old")
    rows = server.sql(f"SELECT operation, key, source_key, size, changed FROM changes WHERE bucket = '{bucket}' AND operation = 'RenameObject'")
    assert [(row["key"], row["source_key"], row["size"], row["changed"]) for row in rows] == [("new", "old", len(SMALL), True)]
    objects = server.sql(f"SELECT key, size FROM objects WHERE bucket = '{bucket}'")
    assert [(row["key"], row["size"]) for row in objects] == [("new", len(SMALL))]
