"""Browsers' forms: what they store is what a PUT with the same headers would store, and what is refused stores nothing."""
import hashlib
import http.client
import pathlib
import re
import socket
import time
import urllib.parse

import boto3
import pytest
from botocore.config import Config

from lib import forms
from lib.forms import NEARLY, body, covered, later, part, signed_2, signed_4
from lib.requests import Requests, code, header_of
from lib.server import ACCESS_KEY, OTHER_KEYS, SECRET_KEY

INLINE = 256 << 10
KEY = {"key": "k"}


@pytest.fixture(scope="module")
def server(serve, other_user):
    """A server with a region: one without takes signatures and buckets of every region."""
    return serve("--region", "us-east-1", *other_user)


class Browser(Requests):
    """Sends forms over one connection."""

    def post(self, bucket, data, boundary=forms.BOUNDARY, **headers):
        return self.send("POST", f"/{bucket}", {"host": self.host, **forms.head(data, boundary, **headers)}, data)

    def store(self, bucket, fields, content=b"abc", sign=signed_4, **more):
        """A form with conditions that allow its fields; it must be taken."""
        answer = self.post(bucket, body(sign(fields, covered(bucket, fields)), content, **more))
        assert answer[0] < 400, answer
        return answer


@pytest.fixture(scope="module")
def browser(server):
    return Browser(server)


@pytest.fixture(scope="module")
def signer(server):
    """Makes clients that sign forms with a version of signatures."""
    def client(version):
        config = Config(signature_version={2: "s3", 4: "s3v4"}[version], s3={"addressing_style": "path"})
        return boto3.client("s3", endpoint_url=server.url, region_name="us-east-1", config=config,
                            aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)

    return client


def content(size):
    """Bytes with beginnings of delimiters at both ends and in between."""
    filler = hashlib.shake_256(str(size).encode()).digest(min(size, 100_000))
    data = (NEARLY + filler) * (size // (len(filler) + len(NEARLY)) + 1) if size else b""
    return data[:max(size - len(NEARLY), 0)] + NEARLY[:size]


@pytest.mark.parametrize("version", [2, 4])
@pytest.mark.parametrize("size", [0, 1, 1000, INLINE - 1, INLINE, INLINE + 1, 20 << 20])
def test_the_bytes_of_a_file_come_back(server, s3, browser, signer, bucket, version, size):
    data = content(size)
    assert len(data) == size
    form = signer(version).generate_presigned_post(bucket, "up/${filename}", Conditions=[["content-length-range", size, size]])
    assert urllib.parse.urlsplit(form["url"]).path == f"/{bucket}"
    status, headers, told = browser.post(bucket, body(form["fields"], data, filename="C:\\a\\b.bin"))
    assert (status, told) == (204, b""), told
    etag = f'"{hashlib.md5(data).hexdigest()}"'
    assert header_of((status, headers, told), "etag") == etag
    for _ in range(2):
        got = s3.get_object(Bucket=bucket, Key="up/b.bin")
        # Compared before the assertion, whose explanation of large bytes takes long.
        is_same = got["Body"].read() == data
        assert got["ETag"] == etag and is_same
        server.cut()


def test_a_form_comes_in_any_pieces(server, s3, bucket):
    data = body(signed_2(KEY, covered(bucket, KEY)), NEARLY)
    head = forms.head(data)
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(f"POST /{bucket} HTTP/1.1\r\nhost: {server.address}\r\n{lines}\r\n".encode())
        for at in range(len(data)):
            client.sendall(data[at:at + 1])
        answer = client.recv(65536)
    assert answer.startswith(b"HTTP/1.1 204 "), answer
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == NEARLY


@pytest.mark.parametrize("boundary", ["a", "x" * 70, "'()+_,-./:=?", "with blank inside"])
@pytest.mark.parametrize("preamble", [b"", b"\r\n", b"a preamble\r\n--\r\n"])
def test_a_form_is_found_behind_any_boundary(s3, browser, bucket, boundary, preamble):
    data = preamble + body(signed_2(KEY, covered(bucket, KEY)), b"abc\r\n--", boundary=boundary) + b"an epilogue"
    answer = browser.post(bucket, data, f'"{boundary}"')
    assert answer[0] == 204, answer
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"abc\r\n--"


def test_the_fields_are_the_headers_of_a_put(s3, browser, bucket):
    fields = {"Key": "k", "acl": "private", "Content-Type": "text/x", "Cache-Control": "no-store", "Content-Encoding": "gzip",
              "Content-Disposition": 'attachment; filename="${filename}"', "Expires": "Fri, 24 May 2013 00:00:00 GMT",
              "x-amz-meta-Name": "ž — 1", "X-Amz-Storage-Class": "STANDARD", "x-amz-checksum-algorithm": "SHA256",
              "Content-MD5": "kAFQmDzST7DWlj99KOF/cg==", "x-ignore-me": "1",
              "tagging": "<Tagging><TagSet><Tag><Key>a b</Key><Value>1+ž</Value></Tag></TagSet></Tagging>"}
    shown = {name: value.replace("${filename}", "a.txt") for name, value in fields.items() if name != "x-ignore-me"}
    answer = browser.post(bucket, body(signed_4(fields, covered(bucket, shown)), b"abc", filename="/dir/a.txt"))
    assert answer[0] == 204, answer
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert (got["ContentType"], got["CacheControl"], got["ContentEncoding"]) == ("text/x", "no-store", "gzip")
    assert got["ContentDisposition"] == 'attachment; filename="a.txt"'
    assert got["ChecksumSHA256"] == "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0="
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == [{"Key": "a b", "Value": "1+ž"}]
    raw = browser.ask("GET", f"/{bucket}/k")
    assert header_of(raw, "x-amz-meta-name") == "=?UTF-8?B?xb4g4oCUIDE=?="
    assert raw[2] == b"abc"


def test_headers_of_a_browser_are_not_the_object_s(s3, browser, bucket):
    data = body(signed_4(KEY, covered(bucket, KEY)))
    answer = browser.post(bucket, data, cache_control="max-age=0", expires="0", content_language="de", origin="http://a.b", user_agent="Browser")
    assert answer[0] == 204, answer
    head = s3.head_object(Bucket=bucket, Key="k")
    assert head["ContentType"] == "binary/octet-stream"
    assert not {"CacheControl", "ContentLanguage", "Expires", "ExpiresString"} & set(head)


def test_an_owner_in_the_head_and_in_a_field_is_a_conflict(s3, browser, bucket):
    owner = s3.list_buckets()["Owner"]["ID"]
    fields = {**KEY, "x-amz-expected-bucket-owner": owner}
    data = body(signed_4(fields, covered(bucket, fields)))
    assert code(browser.post(bucket, data, x_amz_expected_bucket_owner=owner)) == CONFLICT
    assert browser.post(bucket, data)[0] == 204


ANSWERS = {
    "none": ({}, 204), "200": ({"success_action_status": "200"}, 200), "201": ({"success_action_status": "201"}, 201),
    "404": ({"success_action_status": "404"}, 204), "no number": ({"success_action_status": "x"}, 204),
    "redirect": ({"success_action_redirect": "http://a.b/c?d=e"}, 303), "old redirect": ({"redirect": "https://a.b/c"}, 303),
    "redirect and 201": ({"success_action_redirect": "http://a.b/c", "success_action_status": "201"}, 303),
    "relative redirect": ({"success_action_redirect": "/c"}, 204), "a script": ({"success_action_redirect": "javascript:a"}, 204),
    "broken redirect": ({"success_action_redirect": "http://a/\r\nset-cookie: a=b", "success_action_status": "201"}, 201),
}


@pytest.mark.parametrize("what", ANSWERS)
def test_the_answer_is_the_one_that_the_form_wants(server, browser, bucket, what):
    wanted, status = ANSWERS[what]
    answer = browser.store(bucket, {"key": "a b/ž", **wanted}, b"abc")
    md5, location = hashlib.md5(b"abc").hexdigest(), header_of(answer, "location")
    assert answer[0] == status and header_of(answer, "etag") == f'"{md5}"'
    assert header_of(answer, "set-cookie") is None
    url = f"{server.url}/{bucket}/a%20b%2F%C5%BE"
    if status == 303:
        asked = wanted.get("success_action_redirect") or wanted["redirect"]
        assert location == asked + "&?"["?" not in asked] + f"bucket={bucket}&key=a+b%2F%C5%BE&etag=%22{md5}%22"
    else:
        assert location == url
    if status == 201:
        text = answer[2].decode()
        assert "xmlns" not in text, "clients find the elements without a namespace"
        found = re.search("<PostResponse><Location>(.*)</Location><Bucket>(.*)</Bucket><Key>(.*)</Key><ETag>&quot;(.*)&quot;</ETag></PostResponse>", text)
        assert found and found.groups() == (url, bucket, "a b/ž", md5), text
    else:
        assert answer[2] == b""


def test_a_form_makes_a_version(s3, browser, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first, second = (header_of(browser.store(bucket, KEY, data), "x-amz-version-id") for data in (b"1", b"2"))
    assert first and second and first != second
    assert s3.get_object(Bucket=bucket, Key="k", VersionId=first)["Body"].read() == b"1"


def test_a_checksum_of_a_form_binds_and_needs_no_condition(s3, browser, bucket):
    good, conditions = "ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0=", covered(bucket, KEY)
    for value, wanted in [(good, (204, None)), (good[::-1], (400, "BadDigest")), ("AAAA" * 10 + "AAA=", (400, "BadDigest"))]:
        fields = {**signed_4(KEY, conditions), "x-amz-checksum-sha256": value}
        assert code(browser.post(bucket, body(fields))) == wanted, value
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumSHA256"] == good


def test_what_stands_behind_the_file_is_ignored(s3, browser, bucket):
    behind = [part("key", "other"), part("more", b"x" * 300_000), part("acl", "public-read"), part("upload", NEARLY, "b.bin")]
    answer = browser.post(bucket, body(signed_2(KEY, covered(bucket, KEY)), content(INLINE + 7), behind=behind))
    assert answer[0] == 204, answer
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == content(INLINE + 7)
    assert [one["Key"] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


# Refused forms.


def changed(fields, **changes):
    """Fields with other values; `None` leaves a field out."""
    changes = {name.replace("_", "-"): value for name, value in changes.items()}
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


def with_condition(*conditions, fields=KEY, **more):
    return lambda bucket: body(signed_2(fields, [*covered(bucket, fields), *conditions], **more))


def with_policy(policy):
    return lambda bucket: body(signed_2(KEY, [], text=forms.encoded(policy)))


def with_fields(**fields):
    """A form whose policy allows all of its fields."""
    fields = {**KEY, **{name.replace("_", "-"): value for name, value in fields.items()}}
    return lambda bucket: body(signed_4(fields, covered(bucket, fields)))


def with_changes(sign=signed_4, **changes):
    return lambda bucket: body(changed(sign(KEY, covered(bucket, KEY)), **changes))


def of(**more):
    return lambda bucket: body(signed_2(KEY, covered(bucket, KEY)), **more)


def cut(at):
    return lambda bucket: body(signed_2(KEY, covered(bucket, KEY)), content(70_000))[:at]


DENIED, MALFORMED, POLICY = (403, "AccessDenied"), (400, "MalformedPOSTRequest"), (400, "InvalidPolicyDocument")
ARGUMENT, MISMATCH, NOT_HERE = (400, "InvalidArgument"), (403, "SignatureDoesNotMatch"), (501, "NotImplemented")
TOO_MUCH, CONFLICT = (400, "MaxPostPreDataLengthExceeded"), (400, "InvalidRequest")

# The fault -> what must be answered, and the form for a bucket.
FORMS = {
    "anonymous": (DENIED, lambda bucket: body(KEY)),
    "a policy without signature": (DENIED, lambda bucket: body({**KEY, "policy": forms.encoded({})})),
    "no key": (ARGUMENT, lambda bucket: body(signed_2({}, covered(bucket, {})))),
    "an empty key": (ARGUMENT, lambda bucket: body(signed_2({"key": ""}, covered(bucket, {"key": ""})))),
    "no file": (ARGUMENT, of(content=None)),
    "another file": (ARGUMENT, of(behind=[part("file", b"2", "b")])),
    "a field twice": (ARGUMENT, lambda bucket: part("key", "k") + body(signed_2({"KEY": "k"}, covered(bucket, KEY)))),
    "a field that is not text": (ARGUMENT, lambda bucket: part("key", b"\xff") + body({})),
    "a long key": ((400, "KeyTooLongError"), with_fields(key="k" * 1025)),
    "no signature": (ARGUMENT, with_changes(x_amz_signature=None)),
    "no algorithm": (ARGUMENT, with_changes(x_amz_algorithm=None)),
    "no credential": (ARGUMENT, with_changes(x_amz_credential=None)),
    "no date": (ARGUMENT, with_changes(x_amz_date=None)),
    "no policy": (ARGUMENT, with_changes(policy=None)),
    "no signature 2": (ARGUMENT, with_changes(signed_2, signature=None)),
    "no access key 2": (ARGUMENT, with_changes(signed_2, AWSAccessKeyId=None)),
    "both signatures": (ARGUMENT, with_changes(AWSAccessKeyId=ACCESS_KEY, signature="a")),
    "another algorithm": (ARGUMENT, with_changes(x_amz_algorithm="AWS4-HMAC-SHA1")),
    "a scrap of credential": (ARGUMENT, with_changes(x_amz_credential=ACCESS_KEY)),
    "another region": (ARGUMENT, lambda bucket: body(signed_4(KEY, covered(bucket, KEY), region="eu-west-1"))),
    "a scrap of date": (ARGUMENT, with_changes(x_amz_date="2013-05-24")),
    "another day": (MISMATCH, with_changes(x_amz_date="20130524T000000Z")),
    "another signature": (MISMATCH, with_changes(x_amz_signature="0" * 64)),
    "another signature 2": (MISMATCH, with_changes(signed_2, signature="AAAA")),
    "a changed policy": (MISMATCH, with_changes(policy=forms.encoded({"expiration": later(), "conditions": []}))),
    "another secret": (MISMATCH, lambda bucket: body(signed_4(KEY, covered(bucket, KEY), secret="wrong"))),
    "another secret 2": (MISMATCH, lambda bucket: body(signed_2(KEY, covered(bucket, KEY), secret="wrong"))),
    "nobody": ((403, "InvalidAccessKeyId"), lambda bucket: body(signed_4(KEY, covered(bucket, KEY), access="NOBODY"))),
    "nobody 2": ((403, "InvalidAccessKeyId"), lambda bucket: body(signed_2(KEY, covered(bucket, KEY), access="NOBODY"))),
    "another user": (DENIED, lambda bucket: body(signed_4(KEY, covered(bucket, KEY), access=OTHER_KEYS[0], secret=OTHER_KEYS[1]))),
    "a session token": ((400, "InvalidToken"), with_fields(x_amz_security_token="a")),

    "a policy that is not base64": (POLICY, lambda bucket: body(signed_2(KEY, [], text="{"))),
    "a policy that is not JSON": (POLICY, with_policy(b"expiration")),
    "a policy that is a list": (POLICY, with_policy([])),
    "a deep policy": (POLICY, with_policy(b"[" * 10_000)),
    "no expiration": (POLICY, with_policy({"conditions": []})),
    "no conditions": (POLICY, with_policy({"expiration": later()})),
    "an expiration elsewhere": (POLICY, with_condition(expiration="2099-01-01T00:00:00+02:00")),
    "an expiration without a time": (POLICY, with_condition(expiration="2099-01-01")),
    "an expired policy": (DENIED, with_condition(expiration=later(seconds=-5))),
    "an empty condition": (POLICY, with_condition({})),
    "two in one condition": (POLICY, with_condition({"a": "1", "b": "2"})),
    "a number in a condition": (POLICY, with_condition({"a": 1})),
    "an unknown comparison": (POLICY, with_condition(["is", "$key", "k"])),
    "half a range": (POLICY, with_condition(["content-length-range", 0])),
    "a negative range": (POLICY, with_condition(["content-length-range", -1, 10])),
    "a range of words": (DENIED, with_condition(["content-length-range", "a", "b"])),
    "another key": (DENIED, with_condition({"key": "other"})),
    "another prefix": (DENIED, with_condition(["starts-with", "$key", "up/"])),
    "a field that must be there": (DENIED, with_condition(["starts-with", "$x-amz-meta-a", "b"])),
    "a field that must be empty": (DENIED, with_condition(["eq", "$x-amz-meta-a", ""], fields={**KEY, "x-amz-meta-a": "b"})),
    "another bucket": (DENIED, lambda bucket: body(signed_2(KEY, covered("other", KEY)))),
    "another bucket by its field": (DENIED, lambda bucket: body({"bucket": "other", **signed_2(KEY, covered("other", KEY))})),
    "no bucket": (DENIED, lambda bucket: body(signed_2(KEY, [KEY]))),
    "a field more": (DENIED, with_changes(x_amz_meta_a="b")),
    "a button more": (DENIED, with_changes(submit="Upload")),
    "a type more": (DENIED, with_changes(Content_Type="text/html")),
    "too small": ((400, "EntityTooSmall"), with_condition(["content-length-range", 4, 10])),
    "too large": ((400, "EntityTooLarge"), with_condition(["content-length-range", 0, 2])),

    "public-read": (NOT_HERE, with_fields(acl="public-read")),
    "a grant": (NOT_HERE, with_fields(x_amz_grant_read='id="a"')),
    "encryption": (NOT_HERE, with_fields(x_amz_server_side_encryption="AES256")),
    "a customer's key": (NOT_HERE, with_fields(x_amz_server_side_encryption_customer_algorithm="AES256")),
    "a lock": (NOT_HERE, with_fields(x_amz_object_lock_mode="GOVERNANCE")),
    "a copy": (NOT_HERE, with_fields(x_amz_copy_source="/a/b")),
    "a digest of the payload": (NOT_HERE, with_fields(x_amz_content_sha256="0" * 64)),
    "an unknown class": ((400, "InvalidStorageClass"), with_fields(x_amz_storage_class="FakeClass")),
    "another owner": (DENIED, with_fields(x_amz_expected_bucket_owner="f" * 64)),
    "a wrong md5": ((400, "BadDigest"), with_fields(Content_MD5="AAAAAAAAAAAAAAAAAAAAAA==")),
    "a scrap of md5": ((400, "InvalidDigest"), with_fields(Content_MD5="AAAA")),
    "a wrong checksum": ((400, "BadDigest"), with_fields(x_amz_checksum_crc32="AAAAAA==")),
    "an unknown checksum": ((400, "InvalidRequest"), with_fields(x_amz_checksum_crc128="AAAAAA==")),
    "tags that are no XML": ((400, "MalformedXML"), with_fields(tagging="not-xml")),
    "eleven tags": ((400, "BadRequest"), with_fields(tagging="<Tagging><TagSet>" + "".join(f"<Tag><Key>{n}</Key><Value/></Tag>" for n in range(11)) + "</TagSet></Tagging>")),
    "two lists": (CONFLICT, with_fields(acl="private", x_amz_acl="private")),
    "tags twice": (CONFLICT, with_fields(tagging="<Tagging><TagSet/></Tagging>", x_amz_tagging="a=1")),
    "metadata with a line end": (ARGUMENT, with_fields(x_amz_meta_a="b\r\nc")),
    "metadata of another alphabet": (ARGUMENT, with_fields(**{"x-amz-meta-ž": "b"})),
    "giant metadata": ((400, "MetadataTooLarge"), with_fields(x_amz_meta_a="m" * 2100)),

    "an empty body": (MALFORMED, lambda bucket: b""),
    "no delimiter": (MALFORMED, lambda bucket: b"abc"),
    "another boundary": (MALFORMED, lambda bucket: body(KEY, boundary="other")),
    "a closed form": (ARGUMENT, lambda bucket: body({}, content=None)),
    "a form that is not closed": (MALFORMED, of(close=False)),
    "a large form that is not closed": (MALFORMED, of(content=content(INLINE + 1), close=False)),
    "a form that ends in the file": (MALFORMED, cut(50_000)),
    "a form that ends in the delimiter": (MALFORMED, cut(-7)),
    "a form that ends in a field": (MALFORMED, cut(100)),
    "a part without a name": (MALFORMED, lambda bucket: b"--" + forms.BOUNDARY.encode() + b"\r\n\r\nabc\r\n" + body(KEY)),
    "a part that is no form data": (MALFORMED, lambda bucket: body(KEY).replace(b"form-data", b"file", 1)),
    "a large field": (TOO_MUCH, lambda bucket: body({**KEY, "a": "x" * 20_480})),
    "a file of another name": (TOO_MUCH, lambda bucket: body(KEY, content=None, behind=[part("upload", b"x" * 300_000, "a")])),
    "a long name, often": (TOO_MUCH, lambda bucket: body(signed_2({"key": "${filename}" * 1000}, covered(bucket, {})), filename="n" * 500)),
    "a long name": (TOO_MUCH, of(filename="n" * 1025)),
    "many fields": (TOO_MUCH, lambda bucket: body({f"x-ignore-{number}": "" for number in range(3000)})),
    "a long preamble": (TOO_MUCH, lambda bucket: b"x" * 70_000 + b"\r\n" + body(KEY)),
}


@pytest.mark.parametrize("what", FORMS)
def test_a_form_is_refused_and_stores_nothing(s3, browser, bucket, what):
    wanted, make = FORMS[what]
    for _ in range(2):
        answer = browser.post(bucket, make(bucket))
        assert code(answer) == wanted, f"{what}: {answer}"
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket), "nothing is stored"
    browser.store(bucket, KEY)


# The fault -> what must be answered, and the head of the request beside that of a form.
HEADS = {
    "no type": ((412, "PreconditionFailed"), {"content-type": None}),
    "another type": ((412, "PreconditionFailed"), {"content-type": "application/x-www-form-urlencoded"}),
    "no boundary": (MALFORMED, {"content-type": "multipart/form-data"}),
    "a long boundary": (MALFORMED, {"content-type": f"multipart/form-data; boundary={'a' * 71}"}),
    "no length": ((411, "MissingContentLength"), {"content-length": None, "transfer-encoding": "chunked"}),
    "metadata": ((400, "InvalidRequest"), {"x-amz-meta-a": "b"}),
    "tags": ((400, "InvalidRequest"), {"x-amz-tagging": "a=b"}),
    "a token": ((400, "InvalidToken"), {"x-amz-security-token": "a"}),
    "another owner": (DENIED, {"x-amz-expected-bucket-owner": "f" * 64}),
    "a condition": (NOT_HERE, {"if-none-match": "*"}),
    "a digest": (NOT_HERE, {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}),
}


@pytest.mark.parametrize("what", HEADS)
def test_a_head_is_refused_and_stores_nothing(server, s3, bucket, what):
    wanted, changes = HEADS[what]
    data = body(signed_2(KEY, covered(bucket, KEY)))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    connection.putrequest("POST", f"/{bucket}", skip_accept_encoding=True)
    head = {name: value for name, value in {**forms.head(data), **changes}.items() if value is not None}
    for name, value in head.items():
        connection.putheader(name, value)
    connection.endheaders()
    connection.send(b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data) if "transfer-encoding" in head else data)
    response = connection.getresponse()
    answer = response.status, dict(response.getheaders()), response.read()
    connection.close()
    assert code(answer) == wanted, f"{what}: {answer}"
    if wanted[0] == 412:
        assert b"<Condition>Bucket POST must be of the enclosure-type multipart/form-data</Condition>" in answer[2]
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("query", ["versionId=a", "uploadId=a&partNumber=1", "acl", "unknown"])
def test_a_query_that_a_form_does_not_obey_is_refused(s3, browser, bucket, query):
    data = body(signed_2(KEY, covered(bucket, KEY)))
    answer = browser.send("POST", f"/{bucket}?{query}", {"host": browser.host, **forms.head(data)}, data)
    assert answer[0] >= 400, answer
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_signature_in_the_head_is_none_of_a_form(s3, browser, bucket):
    data = body(signed_2(KEY, covered(bucket, KEY)))
    kind = {"content-type": f"multipart/form-data; boundary={forms.BOUNDARY}"}
    assert code(browser.ask("POST", f"/{bucket}", headers=kind, body=data)) == ARGUMENT
    assert code(browser.ask("POST", f"/{bucket}", body=data)) == (412, "PreconditionFailed")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_the_errors_say_what_aws_says(browser, bucket):
    def told(data):
        text = browser.post(bucket, data)[2].decode()
        return {name: value for name, value in re.findall("<(\\w+)>([^<]*)</", text)}

    limits = [["content-length-range", 5, 10]]
    size = told(body(signed_2(KEY, [*covered(bucket, KEY), *limits]), b"x" * 12))
    assert (size["ProposedSize"], size["MaxSizeAllowed"]) == ("12", "10"), size
    size = told(body(signed_2(KEY, [*covered(bucket, KEY), *limits]), b"x"))
    assert (size["ProposedSize"], size["MinSizeAllowed"]) == ("1", "5"), size
    for data, message in [
            (body(signed_2(KEY, [*covered(bucket, KEY), ["starts-with", "$key", "a/"]])),
             "Invalid according to Policy: Policy Condition failed: [&quot;starts-with&quot;, &quot;$key&quot;, &quot;a/&quot;]"),
            (body({**signed_2(KEY, covered(bucket, KEY)), "x-amz-meta-a": "1"}), "Invalid according to Policy: Extra input fields: x-amz-meta-a"),
            (body(signed_2(KEY, covered(bucket, KEY), expiration=later(days=-1))), "Invalid according to Policy: Policy expired."),
            (body(signed_2({}, covered(bucket, {}))), "Bucket POST must contain a field named 'key'.  If it is specified, please check the order of the fields."),
            (body(KEY, content=None), "POST requires exactly one file upload per request.")]:
        assert told(data)["Message"] == message
    fields = {**signed_4(KEY, covered(bucket, KEY)), "x-amz-signature": "00"}
    mismatch = told(body(fields))
    assert (mismatch["StringToSign"], mismatch["SignatureProvided"], mismatch["AWSAccessKeyId"]) == (fields["policy"], "00", ACCESS_KEY)
    assert bytes.fromhex(mismatch["StringToSignBytes"]).decode() == fields["policy"]


# What goes wrong on the way.


@pytest.mark.parametrize("size", [100_000, 3 << 20])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.999])
@pytest.mark.parametrize("end", ["shut", "reset"])
def test_a_client_that_goes_away_stores_nothing(server, s3, bucket, size, share, end):
    data = body(signed_2(KEY, covered(bucket, KEY)), content(size))
    lines = "".join(f"{name}: {value}\r\n" for name, value in forms.head(data).items())
    client = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    client.sendall(f"POST /{bucket} HTTP/1.1\r\nhost: {server.address}\r\n{lines}\r\n".encode() + data[:int(share * len(data))])
    if end == "reset":
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
    else:
        client.shutdown(socket.SHUT_WR)
        answer = client.recv(65536)
        client.close()
        assert answer == b"" or b"<Code>IncompleteBody</Code>" in answer, answer
    time.sleep(0.2)
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_a_large_form_stays_out_of_memory(server, s3, browser, bucket, tell):
    data = content(64 << 20)
    browser.store(bucket, KEY, content(4 << 20))
    before = server.resident()
    browser.store(bucket, KEY, data)
    grown = server.resident() - before
    tell(f"{grown >> 20} MiB more memory after a form of {len(data) >> 20} MiB")
    assert grown < 32 << 20
    is_same = s3.get_object(Bucket=bucket, Key="k")["Body"].read() == data
    assert is_same


def test_what_was_announced_and_did_not_come_takes_no_space(server, browser, bucket):
    """The size of a file is known only at its end: the rest of the reservation goes back."""
    def used():
        files = pathlib.Path(server.data).glob("p0000/bulk/*.bulk")
        return sum(file.stat().st_blocks * 512 for file in files)

    fields, before = signed_2(KEY, covered(bucket, KEY)), used()
    answer = browser.post(bucket, body(fields, content(1 << 20), behind=[part("more", b"x" * (8 << 20))]))
    assert answer[0] == 204, answer
    time.sleep(1)
    assert used() - before < 2 << 20


def test_a_connection_goes_on_after_forms(server, bucket):
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
    good, small = (body(signed_2(KEY, [*covered(bucket, KEY), ["content-length-range", least, 10]])) for least in (0, 5))
    connection.connect()
    used = connection.sock
    for data, status in [(good, 204), (small, 400), (good, 204), (body(KEY, content=None), 400), (good, 204)]:
        connection.request("POST", f"/{bucket}", data, forms.head(data))
        response = connection.getresponse()
        response.read()
        assert response.status == status
        assert connection.sock is used or response.will_close
        if connection.sock is None:
            connection.connect()
            used = connection.sock


def test_the_log_and_the_metrics_name_the_operation_and_the_user(server, browser, bucket):
    def count(status):
        pattern = f'siltstone_requests_total{{method="POST",status="{status}",operation="PostObject"}} (\\d+)'
        found = re.search(pattern, server.metrics())
        return int(found[1]) if found else 0

    before = count(204), count(403)
    browser.store(bucket, KEY)
    denied = body(signed_4(KEY, covered(bucket, KEY), access=OTHER_KEYS[0], secret=OTHER_KEYS[1]))
    assert code(browser.post(bucket, denied)) == DENIED
    assert (count(204), count(403)) == (before[0] + 1, before[1] + 1)
    lines = [line for line in server.log_text().splitlines() if bucket in line]
    assert lines and 'operation="PostObject" user="other"' in lines[-1], lines
