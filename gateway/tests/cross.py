"""Crosses every query name and every header that S3's operations know with every method, on an object, an empty
bucket and a full one: nothing is changed, made or removed unless the documented operation was asked for.

Names come from botocore's model of S3, and so does what is documented. What the server obeys of it is said in
`OBEYED` below; whatever binds or protects and is not there must be refused. The page `docs/s3.md`, which is generated
from the server's table of operations, is compared with the model, too.

Usage: cross.py target/debug/siltstone [--pairs 400]
"""
import argparse
import base64
import gzip
import hashlib
import http.client
import itertools
import json
import os
import random
import re
import sys
import tempfile
import urllib.parse

import boto3
import botocore
from botocore.config import Config
from botocore.exceptions import ClientError

from server import ACCESS_KEY, SECRET_KEY, Server
from signing import sign

METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS"]
WRITES = {"PUT", "POST", "DELETE"}
RESOURCES = {"object": "/full/k", "empty bucket": "/empty", "full bucket": "/full"}
BODY = b"precious"

# Operations of the model that no request here can be: clients sign them for other services.
ELSEWHERE = {"ListDirectoryBuckets", "WriteGetObjectResponse"}

# Headers that say nothing which an operation would have to keep to, and that SDKs send with any request.
EVERYWHERE = {"x-amz-expected-bucket-owner", "x-amz-request-payer", "x-amz-bypass-governance-retention",
              "x-amz-sdk-checksum-algorithm", "x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-meta-",
              "x-amz-optional-object-attributes", "x-amz-object-attributes", "x-amz-max-parts",
              "x-amz-part-number-marker"}
# What plain writes obey besides.
OBEYED = {("PUT", "object"): {"x-amz-tagging", "x-amz-copy-source", "content-md5", "if-match", "if-none-match"},
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


def model():
    """S3's operations: name -> (method, resource, selectors, parameters, headers). Older forms of others are left out."""
    path = os.path.join(os.path.dirname(botocore.__file__), "data/s3/2006-03-01/service-2.json.gz")
    known = json.load(gzip.open(path))
    found = {}
    for name, operation in known["operations"].items():
        if operation.get("deprecated"):
            continue
        path, _, query = operation["http"]["requestUri"].partition("?")
        resource = "/bucket/key" if "{Key" in path else "/bucket" if "{Bucket}" in path else path
        selectors = [piece.partition("=")[0] for piece in query.split("&") if piece]
        parameters, headers = [], []
        if "input" in operation:
            for member in known["shapes"][operation["input"]["shape"]]["members"].values():
                if member.get("location") == "querystring":
                    parameters.append(member["locationName"])
                elif member.get("location") in ("header", "headers"):
                    headers.append(member["locationName"].lower())
        found[name] = (operation["http"]["method"], resource, selectors, parameters, headers)
    return found


def table(text):
    """The rows of docs/s3.md: name -> (method, resource, all query names)."""
    rows = {}
    row = r"^\| (\w+)(?:, older \w+)? \| `([A-Z]+) ([^`?]+)\??([^`]*)`.*? \| (.*?) \|"
    for name, method, resource, selectors, parameters in re.findall(row, text, re.M):
        names = [name for name in selectors.split("&") if name] + re.findall(r"`(.*?)`", parameters)
        rows[name] = (method, resource, set(names))
    return rows


class Asker:
    """Signed requests over one connection."""

    def __init__(self, server):
        self.host = f"127.0.0.1:{server.port}"
        self.connection = None

    def send(self, method, target, headers, body, pairs=()):
        for attempt in range(2):
            if self.connection is None:
                self.connection = http.client.HTTPConnection(self.host, timeout=30)
            try:
                self.connection.putrequest(method, target, skip_host=True, skip_accept_encoding=True)
                for name, value in [*headers.items(), *pairs]:
                    self.connection.putheader(name, value)
                self.connection.endheaders(body)
                response = self.connection.getresponse()
                answer = response.status, dict(response.getheaders()), response.read()
                if response.will_close:
                    self.connection = None
                return answer
            except (http.client.HTTPException, OSError):
                self.connection = None
                if attempt:
                    raise

    def ask(self, method, path, query="", headers=None, body=b"", pairs=()):
        target = path + ("?" + query if query else "")
        headers = dict(headers or {}, host=self.host)
        headers, *_ = sign(method, target, headers, hashlib.sha256(body).hexdigest())
        return self.send(method, target, dict(headers, **{"content-length": str(len(body))}), body, pairs)


class Fixture:
    """The store's state, restored after a request that changed it."""

    def __init__(self, server):
        self.asker = Asker(server)
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
    def __init__(self, fixture):
        self.fixture, self.asked, self.wrong = fixture, 0, []
        self.operations = {name: known for name, known in model().items() if name not in ELSEWHERE}

    def tell(self, what, answer):
        self.wrong.append(f"{what}: {answer[0]} {answer[2][:120]!r}")

    def settle(self, what, answer):
        """Notes a change that nobody asked for, and restores the state."""
        if self.fixture.changed():
            self.tell(f"{what} changed the store", answer)
            self.fixture.build()

    def documented(self, method, where, name):
        """Operations that S3 has with this method and this query name."""
        resource = "/bucket/key" if where == "object" else "/bucket"
        return {operation for operation, (m, r, selectors, parameters, _) in self.operations.items()
                if (m, r) == (method, resource) and (name in selectors or name in parameters and not selectors)}

    def queries(self):
        names = sorted({n for _, _, selectors, parameters, _ in self.operations.values() for n in selectors + parameters})
        selectors = {n for _, _, selectors, _, _ in self.operations.values() for n in selectors} | {"uploadId"}
        selectors -= {"list-type", "id", "select-type"}  # they choose a form of one operation
        for (where, path), method, name in itertools.product(RESOURCES.items(), METHODS, names):
            for value in ("", "1"):
                query, what = f"{name}={value}", f"{method} {where}?{name}={value}"
                answer = self.ask(method, path, query)
                self.judge(what, method, answer, bool(self.documented(method, where, name)), name in selectors)
        return names, sorted(selectors)

    def judge(self, what, method, answer, is_documented, selects):
        status, _, body = answer
        if method in WRITES and status < 400:
            if not is_documented:
                self.tell(f"{what} was carried out as something else", answer)
            if not is_documented or self.fixture.changed():
                self.fixture.build()
        elif method not in ("GET", "HEAD") and status < 400:
            self.tell(f"{what} was answered", answer)
        elif selects and status < 400 and (body == BODY or b"<ListBucketResult" in body):
            self.tell(f"{what} was answered as another read", answer)
        elif status >= 500 and status != 501:
            self.tell(what, answer)

    def ask(self, *args, **more):
        self.asked += 1
        return self.fixture.asker.ask(*args, **more)

    def pairs(self, selectors, count):
        """Two selectors at once are never one operation."""
        both = list(itertools.combinations(selectors, 2))
        for first, second in random.sample(both, min(count, len(both))):
            (where, path), method = random.choice([*RESOURCES.items()]), random.choice(METHODS)
            answer = self.ask(method, path, f"{first}=&{second}=")
            if answer[0] < 400:
                self.tell(f"{method} {where}?{first}&{second} was answered", answer)
                self.fixture.build()
        self.settle("a pair of selectors", (0, {}, b""))

    def seconds(self, names):
        """A request that is served is refused with any further name that its operation does not know."""
        part, tags = {"uploadId", "partNumber"}, b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
        versioning = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
        delete = b"<Delete><Object><Key>k</Key></Object></Delete>"
        for method, path, first, body, known in [
                ("PUT", "/full/k", f"partNumber=2&uploadId={self.fixture.upload}", b"second", part),
                ("DELETE", "/full/k", f"uploadId={self.fixture.upload}", b"", {"uploadId"}), ("POST", "/full/k", "uploads=", b"", {"uploads"}),
                ("PUT", "/full/k", "tagging=", tags, {"tagging", "versionId"}), ("DELETE", "/full/k", "tagging=", b"", {"tagging", "versionId"}),
                ("PUT", "/full", "versioning=", versioning, {"versioning"}), ("POST", "/full", "delete=", delete, {"delete"}),
                ("DELETE", "/full/k", "versionId=null", b"", {"versionId", "tagging", "uploadId"})]:
            for name in set(names) - known:
                answer = self.ask(method, path, f"{first}&{name}=1", body=body)
                if answer[0] < 400:
                    self.tell(f"{method} {path}?{first}&{name}=1 was answered", answer)
            self.settle(f"{method} {path}?{first} and another name", (0, {}, b""))

    def headers(self):
        names = sorted({n for *_, headers in self.operations.values() for n in headers if n.startswith(("x-amz-", "if-")) or n == "content-md5"} - {"x-amz-fwd-"})
        for where, method, name in itertools.product([*RESOURCES, "new bucket"], METHODS, names):
            if method != "PUT" and where == "new bucket":
                continue
            self.header(where, method, name, presigned=False)
            if name.startswith("x-amz-") and where == "object":
                self.header(where, method, name, presigned=True)
        self.settle("a header", (0, {}, b""))
        return names

    def header(self, where, method, name, presigned):
        path = RESOURCES.get(where, "/made")
        value = VALUES.get(name, "1") or self.fixture.owner
        if name.startswith("x-amz-checksum-") and name not in VALUES:
            value = "AAAA"
        if name == "content-md5":
            value = base64.b64encode(hashlib.md5(b"else").digest()).decode()
        sent = name + "name" if name.endswith("-") else name
        kind = (method, "object" if where == "object" else "bucket")
        may = name in EVERYWHERE or name in OBEYED.get(kind, ())
        body = b"new" if kind == ("PUT", "object") and name != "x-amz-copy-source" else b""
        self.asked += 1
        if presigned:
            answer = self.presign(method, path, sent.title(), value, body)
        else:
            answer = self.fixture.asker.ask(method, path, headers={sent: value}, body=body)
        what = f"{method} {where} with {sent}: {value}" + (" in the query" if presigned else "")
        if method in WRITES:
            if answer[0] < 400 and not may:
                self.tell(f"{what} was passed over", answer)
            if answer[0] >= 400 and name in EVERYWHERE and kind not in (("POST", "object"), ("POST", "bucket"), ("DELETE", "bucket")):
                self.tell(f"{what} was refused", answer)
            if answer[0] < 400:
                self.fixture.build()
        elif answer[0] < 400 and re.match("x-amz-(server-side|copy-source|if-|write-|rename|source-|object-lock|mfa|mp-)", name):
            self.tell(f"{what} was passed over", answer)

    def presign(self, method, path, name, value, body):
        from signing import presigned
        return self.fixture.asker.send(method, presigned(method, path, [(name, value)], self.fixture.asker.host),
                                       {"host": self.fixture.asker.host, "content-length": str(len(body))}, body)

    def doubled_and_unreadable(self, names):
        """A header that matters, there twice or not as text, is 400 on every write and read of an object."""
        for method, name in itertools.product(["GET", "HEAD", "PUT", "DELETE"], [*names, "range", "content-type"]):
            if name == "x-amz-meta-":
                continue
            for pairs in ([(name, "1"), (name, "2")], [(name, b"\xff")]):
                answer = self.ask(method, "/full/k", body=b"new" if method == "PUT" else b"", pairs=pairs)
                if answer[0] not in (400, 403):
                    self.tell(f"{method} with {pairs}", answer)
                    self.fixture.build()
        self.settle("an unreadable header", (0, {}, b""))

    def obeyed(self):
        """What a presigned query says in place of headers is done."""
        asker = self.fixture.asker
        from signing import presigned
        target = presigned("PUT", "/full/signed", [("X-Amz-Meta-Name", "\u017elu\u0165"), ("x-amz-tagging", "a=1"), ("x-amz-acl", "private")], asker.host)
        answer = asker.send("PUT", target, {"host": asker.host, "content-length": "1"}, b"x")
        if answer[0] != 200:
            self.tell("a presigned upload with metadata and tags", answer)
        status, headers, _ = asker.ask("HEAD", "/full/signed")
        kept = headers.get("x-amz-meta-name", "").encode("latin-1").decode(), headers.get("x-amz-tagging-count")
        if kept != ("\u017elu\u0165", "1"):
            self.tell(f"metadata and tags of a presigned upload are {kept}", (status, {}, b""))
        for name in ("ETag", "Content-Length", "Last-Modified", "Accept-Ranges", "Content-Type", "Server", "Date", "x-amz-request-id", "x-amz-id-2"):
            if name not in headers:
                self.tell(f"no header is spelt {name} in {sorted(headers)}", (status, {}, b""))
        self.fixture.build()


def main():
    options = argparse.ArgumentParser()
    options.add_argument("binary")
    options.add_argument("--pairs", type=int, default=400)
    options.add_argument("--seed", type=int, default=int(os.environ.get("SILTSTONE_SEED", random.randrange(1 << 32))))
    options.add_argument("--show", type=int, default=30)
    options = options.parse_args()
    random.seed(options.seed)
    folder = tempfile.mkdtemp(prefix="siltstone-cross-")
    server = Server(options.binary, os.path.join(folder, "data")).start()
    try:
        crossing = Crossing(Fixture(server))
        text = open(os.path.join(os.path.dirname(__file__), "../../docs/s3.md")).read()
        rows = table(text)
        for name, (method, resource, selectors, parameters, _) in model().items():
            if rows.pop(name, None) != (method, resource, {n for n in selectors + parameters}):
                crossing.wrong.append(f"docs/s3.md has not {name} as the model has it")
        if set(rows) != {"PostObject"}:
            crossing.wrong.append(f"docs/s3.md has {sorted(rows)} that the model does not have")
        names, selectors = crossing.queries()
        crossing.settle("a query name", (0, {}, b""))
        crossing.pairs(selectors, options.pairs)
        crossing.seconds(names)
        headers = crossing.headers()
        crossing.doubled_and_unreadable(headers)
        crossing.obeyed()
    finally:
        server.stop()
    for line in crossing.wrong[:options.show]:
        print(line)
    print(f"seed {options.seed}: {crossing.asked} requests with {len(names)} query names and {len(headers)} headers, {len(crossing.wrong)} wrong")
    sys.exit(1 if crossing.wrong or crossing.asked < 3000 else 0)


if __name__ == "__main__":
    main()
