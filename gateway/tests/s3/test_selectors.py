"""Every query name and every header that S3's operations know, with every method, on an object, an empty bucket and a full
one: nothing is changed, made or removed unless the documented operation was requested.

Names come from botocore's model of S3, and so does what is documented. What the server obeys of it is said in `OBEYED`
below; whatever binds or protects and is not there must be refused.
"""
import base64
import hashlib
import itertools
import random
import re

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from lib.operations_model import ELSEWHERE, model, table
from lib.requests import Requests
from lib.server import ACCESS_KEY, SECRET_KEY
from lib.signing import presigned

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
WRITES = {"PUT", "POST", "DELETE"}
RESOURCES = {"object": "/full/k", "empty bucket": "/empty", "full bucket": "/full"}
BODY = b"precious"

# Headers that say nothing which an operation would have to keep to, and that SDKs send with any request.
EVERYWHERE = {"x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-bypass-governance-retention",
              "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-meta-",
              "x-amz-optional-object-attributes", "x-amz-object-attributes", "x-amz-max-parts",
              "x-amz-part-number-marker"}
# Headers that plain writes obey besides.
OBEYED = {("PUT", "object"): {"x-amz-tagging", "x-amz-storage-class", "x-amz-website-redirect-location", "x-amz-copy-source", "content-md5", "if-match", "if-none-match"},
          ("DELETE", "object"): {"if-match", "if-none-match", "content-md5"}, ("DELETE", "bucket"): {"content-md5"},
          ("PUT", "bucket"): {"x-amz-object-ownership", "content-md5"}}
# A value that makes sense for each header, and would show if it were passed over.
VALUES = {"x-amz-request-payer": "requester", "x-amz-copy-source": "/full/other", "x-amz-acl": "public-read",
          "x-amz-storage-class": "GLACIER", "x-amz-tagging": "new=tag", "x-amz-checksum-algorithm": "CRC32",
          "x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-mode": "ENABLED",
          "x-amz-bucket-object-lock-enabled": "True", "x-amz-object-ownership": "BucketOwnerEnforced",
          "x-amz-bucket-namespace": "account-regional", "x-amz-meta-": "value", "x-amz-metadata-directive": "REPLACE",
          "x-amz-mp-object-size": "3", "x-amz-write-offset-bytes": "8", "x-amz-checksum-type": "COMPOSITE",
          "x-amz-expected-bucket-owner": None, "if-none-match": "*", "if-match": '"00000000000000000000000000000000"',
          "if-modified-since": "Fri, 24 May 2013 00:00:00 GMT", "if-unmodified-since": "Fri, 24 May 2013 00:00:00 GMT"}


class Store:
    """The store's state, restored after a request that changed it."""

    def __init__(self, server):
        self.requests = Requests(server)
        self.s3 = boto3.client("s3", endpoint_url=server.url, aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY,
                               region_name="us-east-1", config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1},
                                                                      request_checksum_calculation="when_required"))
        self.owner = self.s3.list_buckets()["Owner"]["ID"]
        self.upload = None
        self.build()

    def build(self):
        for bucket in self.s3.list_buckets()["Buckets"]:
            if bucket["Name"] not in ("empty", "full"):
                self.clear(bucket["Name"])
                self.s3.delete_bucket(Bucket=bucket["Name"])
        for name in ("empty", "full"):
            self.s3.create_bucket(Bucket=name)
            self.clear(name)
        for key in ("k", "other"):
            self.s3.put_object(Bucket="full", Key=key, Body=BODY, Metadata={"kept": "yes"}, Tagging="kept=yes")
        self.upload = self.s3.create_multipart_upload(Bucket="full", Key="k")["UploadId"]
        self.s3.upload_part(Bucket="full", Key="k", UploadId=self.upload, PartNumber=1, Body=b"part")
        self.wanted = self.state()

    def clear(self, bucket):
        listed = self.s3.list_object_versions(Bucket=bucket)
        for version in listed.get("Versions", []) + listed.get("DeleteMarkers", []):
            self.s3.delete_object(Bucket=bucket, Key=version["Key"], VersionId=version["VersionId"])
        for upload in self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", []):
            self.s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def state(self):
        """Everything that a client can see of the store."""
        found = {"buckets": [b["Name"] for b in self.s3.list_buckets()["Buckets"]]}
        for bucket in found["buckets"]:
            versions = self.s3.list_object_versions(Bucket=bucket)
            found[bucket] = [
                [(v["Key"], v["VersionId"], v.get("ETag"), str(v["LastModified"])) for v in versions.get("Versions", []) + versions.get("DeleteMarkers", [])],
                self.s3.get_bucket_versioning(Bucket=bucket).get("Status"),
                [(u["Key"], u["UploadId"]) for u in self.s3.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]]
        try:
            got = self.s3.get_object(Bucket="full", Key="k")
            found["k"] = got["Body"].read(), got["Metadata"], got["ContentType"]
            found["tags"] = self.s3.get_object_tagging(Bucket="full", Key="k")["TagSet"]
            found["parts"] = [(p["PartNumber"], p["ETag"]) for p in self.s3.list_parts(Bucket="full", Key="k", UploadId=self.upload).get("Parts", [])]
        except ClientError as error:
            found["k"] = str(error)
        return found

    def changed(self):
        return self.state() != self.wanted


class Crossing:
    """Requests of one test: how many were sent, and which had a wrong answer or effect."""

    def __init__(self, store):
        self.store, self.sent, self.wrong = store, 0, []

    def note(self, what, answer):
        self.wrong.append(f"{what}: {answer[0]} {answer[2][:120]!r}")

    def settle(self, what, answer=(0, {}, b"")):
        """Notes a change that nobody asked for, and restores the state."""
        if self.store.changed():
            self.note(f"{what} changed the store", answer)
            self.store.build()

    def ask(self, *arguments, **more):
        self.sent += 1
        return self.store.requests.ask(*arguments, **more)

    def presigned(self, method, path, pairs, body):
        self.sent += 1
        requests = self.store.requests
        return requests.send(method, presigned(method, path, pairs, requests.host), {"host": requests.host, "content-length": str(len(body))}, body)

    def judge(self, what, method, answer, is_documented, selects):
        status, _, body = answer
        if method in WRITES and status < 400:
            if not is_documented:
                self.note(f"{what} was carried out as something else", answer)
            if not is_documented or self.store.changed():
                self.store.build()
        elif method not in ("GET", "HEAD") and status < 400:
            self.note(f"{what} was answered", answer)
        elif selects and status < 400 and (body == BODY or b"<ListBucketResult" in body):
            self.note(f"{what} was answered as another read", answer)
        elif status >= 500 and status != 501:
            self.note(what, answer)

    def header(self, where, method, name, in_query):
        path = RESOURCES.get(where, "/made")
        value = VALUES.get(name, "1") or self.store.owner
        if name.startswith("x-amz-checksum-") and name not in VALUES:
            value = "AAAA"
        if name == "content-md5":
            value = base64.b64encode(hashlib.md5(b"else").digest()).decode()
        sent = name + "name" if name.endswith("-") else name
        kind = (method, "object" if where == "object" else "bucket")
        may = name in EVERYWHERE or name in OBEYED.get(kind, ())
        body = b"new" if kind == ("PUT", "object") and name != "x-amz-copy-source" else b""
        if in_query:
            answer = self.presigned(method, path, [(sent.title(), value)], body)
        else:
            answer = self.ask(method, path, headers={sent: value}, body=body)
        what = f"{method} {where} with {sent}: {value}" + (" in the query" if in_query else "")
        if method in WRITES:
            if answer[0] < 400 and not may:
                self.note(f"{what} was passed over", answer)
            if answer[0] >= 400 and name in EVERYWHERE and kind not in (("POST", "object"), ("POST", "bucket"), ("DELETE", "bucket")):
                self.note(f"{what} was refused", answer)
            if answer[0] < 400:
                self.store.build()
        elif answer[0] < 400 and re.match("x-amz-(server-side|copy-source|if-|write-|rename|source-|object-lock|mfa|mp-)", name):
            self.note(f"{what} was passed over", answer)


MODEL = model()
OPERATIONS = {name: known for name, known in MODEL.items() if name not in ELSEWHERE}
NAMES = sorted({name for _, _, selectors, parameters, _ in OPERATIONS.values() for name in selectors + parameters})
# Without those that choose a form of one operation.
SELECTORS = sorted(({name for _, _, selectors, _, _ in OPERATIONS.values() for name in selectors} | {"uploadId"}) - {"list-type", "id", "select-type"})
HEADERS = sorted({name for *_, headers in OPERATIONS.values() for name in headers if name.startswith(("x-amz-", "if-")) or name == "content-md5"} - {"x-amz-fwd-"})
# A query that is served, with its body, and the names that its operation knows.
SERVED = [
    ("PUT", "/full/k", "partNumber=2&uploadId={upload}", b"second", {"uploadId", "partNumber"}),
    ("DELETE", "/full/k", "uploadId={upload}", b"", {"uploadId"}), ("POST", "/full/k", "uploads=", b"", {"uploads"}),
    ("PUT", "/full/k", "tagging=", b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>", {"tagging", "versionId"}),
    ("DELETE", "/full/k", "tagging=", b"", {"tagging", "versionId"}),
    ("PUT", "/full", "versioning=", b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>", {"versioning"}),
    ("POST", "/full", "delete=", b"<Delete><Object><Key>k</Key></Object></Delete>", {"delete"}),
    ("DELETE", "/full/k", "versionId=null", b"", {"versionId", "tagging", "uploadId"})]


@pytest.fixture(scope="module")
def store(server):
    return Store(server)


@pytest.fixture
def crossing(store, count):
    """Fails at its end with everything that was wrong."""
    crossing = Crossing(store)
    yield crossing
    count("requests with names and headers of S3", crossing.sent)
    assert not crossing.wrong, f"{len(crossing.wrong)} wrong:\n" + "\n".join(crossing.wrong)


def is_documented(method, where, name):
    """Returns whether S3 has an operation with this method and this query name."""
    resource = "/bucket/key" if where == "object" else "/bucket"
    return any((m, r) == (method, resource) and (name in selectors or name in parameters and not selectors)
               for m, r, selectors, parameters, _ in OPERATIONS.values())


def test_the_model_has_names_and_headers():
    """Seven methods, three resources, two values: fewer would be too few requests to prove anything."""
    assert len(NAMES) >= 60 and len(HEADERS) >= 60, f"{len(NAMES)} query names and {len(HEADERS)} headers"


def test_the_table_of_operations_is_the_model():
    rows, wrong = table(), []
    for name, (method, resource, selectors, parameters, _) in MODEL.items():
        if rows.pop(name, None) != (method, resource, {*selectors, *parameters}):
            wrong.append(f"docs/s3.md has not {name} as the model has it")
    assert not wrong, "\n".join(wrong)
    # A form of browsers, and the operation that MinIO's clients have for events.
    assert set(rows) == {"PostObject", "ListenBucketNotification"}, f"docs/s3.md has {sorted(rows)} that the model does not have"


@pytest.mark.parametrize("where", RESOURCES)
@pytest.mark.parametrize("method", METHODS)
def test_a_query_name_selects_its_operation_or_is_refused(crossing, method, where):
    for name, value in itertools.product(NAMES, ("", "1")):
        answer = crossing.ask(method, RESOURCES[where], f"{name}={value}")
        crossing.judge(f"{method} {where}?{name}={value}", method, answer, is_documented(method, where, name), name in SELECTORS)
    crossing.settle("a query name")


def test_two_selectors_at_once_are_no_operation(crossing, sizes, seed):
    chance, both = random.Random(f"{seed} pairs"), list(itertools.combinations(SELECTORS, 2))
    for first, second in chance.sample(both, min(sizes.pairs_of_names, len(both))):
        (where, path), method = chance.choice([*RESOURCES.items()]), chance.choice(METHODS)
        answer = crossing.ask(method, path, f"{first}=&{second}=")
        if answer[0] < 400:
            crossing.note(f"{method} {where}?{first}&{second} was answered", answer)
            crossing.store.build()
    crossing.settle("a pair of selectors")


@pytest.mark.parametrize("served", SERVED, ids=lambda served: f"{served[0]} {served[1]}?{served[2]}")
def test_a_request_with_a_further_name_is_refused(crossing, served):
    method, path, query, body, known = served
    query = query.format(upload=crossing.store.upload)
    for name in sorted(set(NAMES) - known):
        answer = crossing.ask(method, path, f"{query}&{name}=1", body=body)
        if answer[0] < 400:
            crossing.note(f"{method} {path}?{query}&{name}=1 was answered", answer)
    crossing.settle(f"{method} {path}?{query} and another name")


@pytest.mark.parametrize(("method", "where"), [*itertools.product(METHODS, RESOURCES), ("PUT", "new bucket")])
def test_a_header_is_obeyed_or_refused(crossing, method, where):
    for name in HEADERS:
        crossing.header(where, method, name, in_query=False)
        if name.startswith("x-amz-") and where == "object":
            crossing.header(where, method, name, in_query=True)
    crossing.settle("a header")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_a_header_that_is_doubled_or_no_text_is_refused(crossing, method):
    for name in [*HEADERS, "range", "content-type"]:
        if name == "x-amz-meta-":
            continue
        for pairs in ([(name, "1"), (name, "2")], [(name, b"\xff")]):
            answer = crossing.ask(method, "/full/k", body=b"new" if method == "PUT" else b"", pairs=pairs)
            if answer[0] not in (400, 403):
                crossing.note(f"{method} with {pairs}", answer)
                crossing.store.build()
    crossing.settle("an unreadable header")


def test_a_presigned_query_is_obeyed_in_place_of_headers(crossing):
    answer = crossing.presigned("PUT", "/full/signed", [("X-Amz-Meta-Name", "\u017elu\u0165"), ("x-amz-tagging", "a=1"), ("x-amz-acl", "private")], b"x")
    assert answer[0] == 200, f"a presigned upload with metadata and tags: {answer}"
    status, headers, _ = crossing.ask("HEAD", "/full/signed")
    kept = headers.get("x-amz-meta-name", "").encode("latin-1").decode(), headers.get("x-amz-tagging-count")
    assert kept == ("=?UTF-8?B?xb5sdcWl?=", "1"), f"metadata and tags of a presigned upload are {kept}: {status}"
    for name in ("ETag", "Content-Length", "Last-Modified", "Accept-Ranges", "Content-Type", "Server", "Date", "x-amz-request-id", "x-amz-id-2"):
        assert name in headers, f"no header is spelt {name} in {sorted(headers)}"
    crossing.store.build()
