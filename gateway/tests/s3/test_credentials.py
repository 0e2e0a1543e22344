"""Signatures that are refused and the documents that say why, versions and regions that the settings allow, and times."""
import datetime
import hashlib
import pathlib
import re
import subprocess
import sys
import time
import urllib.parse
from email.utils import formatdate

import pytest

from lib import signers
from lib.exchange import send
from lib.server import ACCESS_KEY, OTHER_KEYS, SECRET_KEY, key_environment
from lib.signers import CHUNKS, TRAILER, UNSIGNED, Draft
from lib.signing import presigned, sign

KEY, BODY = "k", b"kept"
EMPTY = hashlib.sha256(b"").hexdigest()
MAKERS = {"v4": signers.botocore_v4, "v4 query": signers.botocore_v4_query, "v2": signers.botocore_v2, "v2 query": signers.botocore_v2_query}


@pytest.fixture(scope="module")
def servers(serve, other_user):
    """Servers by their settings, each with the object."""
    made = {}
    for name, flags in {"default": [], "on": ["--signature-v2", "on"], "off": ["--signature-v2", "off"], "region": ["--region", "us-west-1"]}.items():
        made[name] = serve(*other_user, *flags)
        s3 = made[name].client() if name != "region" else None
        if s3:
            s3.create_bucket(Bucket="kept")
            s3.put_object(Bucket="kept", Key=KEY, Body=BODY)
    return made


@pytest.fixture(scope="module")
def server(servers):
    return servers["on"]


def elements(answer):
    """The elements of an error."""
    return dict(re.findall(rb"<([\w-]+)>([^<]*)</", answer[2])) | {b"status": str(answer[0]).encode()}


def error(answer):
    found = elements(answer)
    return answer[0], found.get(b"Code", b"").decode()


def draft(server, method="GET", key=KEY, pairs=(), headers=(), body=b"", payload=UNSIGNED):
    return Draft(method, server.address, "kept", key, list(pairs), list(headers), body, payload)


def ask(server, wire, extra=()):
    return send(server, wire.method, wire.target, [*wire.headers, *extra], wire.body)


def with_target(wire, change):
    wire.target = change(wire.target)
    return wire


# Versions.


@pytest.mark.parametrize(("setting", "taken"), [("default", {"v4", "v4 query", "v2 query"}), ("on", set(MAKERS)), ("off", {"v4", "v4 query"})])
@pytest.mark.parametrize("kind", MAKERS)
def test_versions_are_taken_as_the_setting_says(servers, setting, taken, kind):
    server = servers[setting]
    answer = ask(server, MAKERS[kind](draft(server)))
    if kind in taken:
        assert (answer[0], answer[2]) == (200, BODY)
    else:
        assert error(answer) == (400, "InvalidRequest")
        assert b"Please use AWS4-HMAC-SHA256." in elements(answer)[b"Message"]


# What is refused, and with what. The same for every version unless it says so.


def other_secret(server, kind):
    wire = MAKERS[kind](draft(server))
    other = {"headers": [(name, value.replace(ACCESS_KEY, OTHER_KEYS[0])) for name, value in wire.headers],
             "target": wire.target.replace(ACCESS_KEY, OTHER_KEYS[0])}
    return send(server, "GET", other["target"], other["headers"])


@pytest.mark.parametrize("kind", MAKERS)
def test_a_wrong_signature_is_told_what_would_be_right(server, kind):
    answer = other_secret(server, kind)
    found = elements(answer)
    assert error(answer) == (403, "SignatureDoesNotMatch")
    assert found[b"AWSAccessKeyId"].decode() == OTHER_KEYS[0]
    to_sign = found[b"StringToSign"]
    assert bytes.fromhex(found[b"StringToSignBytes"].decode()) == to_sign
    assert found[b"SignatureProvided"], "the signature that came"
    assert found[b"Resource"] == b"/kept/k"
    if "v4" in kind:
        assert to_sign.startswith(b"AWS4-HMAC-SHA256\n")
        canonical = found[b"CanonicalRequest"].replace(b"&amp;", b"&")
        assert canonical.startswith(b"GET\n/kept/k\n")
        assert bytes.fromhex(found[b"CanonicalRequestBytes"].decode()) == canonical
        assert hashlib.sha256(canonical).hexdigest().encode() == to_sign.rpartition(b"\n")[2]
    else:
        assert to_sign.startswith(b"GET\n\n\n") and to_sign.endswith(b"\n/kept/k") and b"CanonicalRequest" not in found


@pytest.mark.parametrize("kind", MAKERS)
def test_unknown_keys_and_tokens_are_refused(server, kind):
    wire = MAKERS[kind](draft(server))
    answer = send(server, "GET", wire.target.replace(ACCESS_KEY, "NOBODY"), [(n, v.replace(ACCESS_KEY, "NOBODY")) for n, v in wire.headers])
    assert error(answer) == (403, "InvalidAccessKeyId") and elements(answer)[b"AWSAccessKeyId"] == b"NOBODY"
    token = draft(server, headers=[("x-amz-security-token", "token")])
    assert error(ask(server, MAKERS[kind](token))) == (400, "InvalidToken")
    if "query" in kind:
        token = draft(server, pairs=[("X-Amz-Security-Token", "token")] if "v4" in kind else [])
        wire = MAKERS[kind](token)
        if "v4" in kind:
            assert error(ask(server, wire)) == (400, "InvalidToken")


@pytest.mark.parametrize("text", ["", " ", "AWS", "AWS HAHAHA", "AWS a:b c", "AWS :", "Basic YTpi", "Bearer x", "AWS4-HMAC-SHA256"])
def test_an_authorization_that_is_none_is_an_invalid_argument(server, text):
    answer = send(server, "GET", "/kept/k", [("host", server.address), ("authorization", text), ("date", formatdate(usegmt=True))])
    assert error(answer) == (400, "InvalidArgument") and elements(answer)[b"ArgumentName"] == b"Authorization", answer


def test_anonymous_requests_are_denied(server):
    for target in ["/kept/k", "/kept", "/", "/kept/k?x-amz-algorithm=AWS4-HMAC-SHA256&x-amz-signature=0", "/kept/k?signature=a&awsaccesskeyid=b"]:
        assert error(send(server, "GET", target, [("host", server.address)])) == (403, "AccessDenied"), target


@pytest.mark.parametrize("kind", ["v4 query", "v2 query"])
def test_each_parameter_of_a_presigned_url_is_there_once(server, kind):
    names = ["X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders", "X-Amz-Signature"]
    names = names if kind == "v4 query" else ["AWSAccessKeyId", "Signature", "Expires"]
    for name in names:
        def missing(target):
            path, _, query = target.partition("?")
            return path + "?" + "&".join(pair for pair in query.split("&") if not pair.startswith(name + "="))

        def doubled(target):
            [pair] = [pair for pair in target.partition("?")[2].split("&") if pair.startswith(name + "=")]
            return f"{target}&{pair}"

        wanted = (400, "AuthorizationQueryParametersError") if kind == "v4 query" else (403, "AccessDenied")
        assert error(ask(server, with_target(MAKERS[kind](draft(server)), missing))) == wanted, f"without {name}"
        wanted = wanted if kind == "v4 query" else (400, "InvalidArgument")
        assert error(ask(server, with_target(MAKERS[kind](draft(server)), doubled))) == wanted, f"{name} twice"


def test_credentials_are_at_one_place(server):
    wires = {kind: MAKERS[kind](draft(server)) for kind in MAKERS}
    both = wires["v2 query"].target + "&" + wires["v4 query"].target.partition("?")[2]
    assert error(send(server, "GET", both, [("host", server.address)])) == (400, "InvalidArgument")
    for query in ("v4 query", "v2 query"):
        for header in ("v4", "v2"):
            answer = send(server, "GET", wires[query].target, wires[header].headers)
            assert error(answer) == (400, "InvalidArgument") and b"Only one auth mechanism allowed" in elements(answer)[b"Message"]


def test_headers_that_are_not_signed(server):
    for kind in ("v4", "v4 query"):
        answer = ask(server, MAKERS[kind](draft(server)), [("x-amz-meta-b", "1"), ("x-amz-meta-a", "1")])
        assert error(answer) == (403, "AccessDenied")
        assert set(elements(answer)[b"HeadersNotSigned"].split(b", ")) == {b"x-amz-meta-a", b"x-amz-meta-b"}
        wire = MAKERS[kind](draft(server, headers=[("x-amz-meta-a", "1")]))
        wire.headers = [pair for pair in wire.headers if pair[0] != "x-amz-meta-a"]
        assert error(ask(server, wire)) == (403, "SignatureDoesNotMatch"), "a signed header that did not come"
    headers, *_ = sign("GET", "/kept/k", {"range": "bytes=0-1"}, EMPTY)
    answer = send(server, "GET", "/kept/k", [("host", server.address), *headers.items()])
    assert error(answer) == (403, "AccessDenied") and elements(answer)[b"HeadersNotSigned"] == b"host"
    for kind in ("v2", "v2 query"):
        answer = ask(server, MAKERS[kind](draft(server)), [("x-amz-meta-a", "1")])
        assert error(answer) == (403, "SignatureDoesNotMatch"), "version 2 signs all of them"


# Times.


def at(seconds):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)


def v2(server, date, **headers):
    """A request of version 2 at any time."""
    headers = {"date": date, **{name.replace("_", "-"): value for name, value in headers.items()}}
    amz = "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()) if name.startswith("x-amz-"))
    to_sign = f"GET\n\n\n{'' if 'x-amz-date' in headers else date}\n{amz}/kept/k"
    signature = signers.base64.b64encode(signers.hmac.new(signers.SECRET_KEY.encode(), to_sign.encode(), hashlib.sha1).digest()).decode()
    return send(server, "GET", "/kept/k", [("host", server.address), *headers.items(), ("authorization", f"AWS {ACCESS_KEY}:{signature}")])


@pytest.mark.parametrize("seconds", [-1000, 1000])
def test_a_time_that_differs_too_much_is_told(server, seconds):
    headers, *_, stamp, _ = sign("GET", "/kept/k", {"host": server.address}, EMPTY, when=at(seconds))
    date = formatdate(time.time() + seconds, usegmt=True)
    for answer, told in ((send(server, "GET", "/kept/k", headers.items()), stamp), (v2(server, date), date), (v2(server, "", x_amz_date=date), date)):
        found = elements(answer)
        assert error(answer) == (403, "RequestTimeTooSkewed")
        assert found[b"RequestTime"].decode() == told and found[b"MaxAllowedSkewMilliseconds"] == b"900000"
        assert abs(datetime.datetime.fromisoformat(found[b"ServerTime"].decode()) - at(0)) < datetime.timedelta(seconds=60)


def test_forms_of_dates(server):
    """A date of any form of HTTP's, with any zone; the time of version 4 may be in `date`, which counts nothing beside `x-amz-date`."""
    now = time.time()
    forms = [formatdate(now), formatdate(now, localtime=True), formatdate(now, usegmt=True), at(0).strftime("%Y%m%dT%H%M%SZ"),
             at(0).strftime("%a, %d %b %Y %H:%M:%S +0000"), at(0).strftime("%a, %d %b %Y %H:%M:%S UTC"), (at(0) - datetime.timedelta(hours=5)).strftime("%a, %d %b %Y %H:%M:%S -0500")]
    for form in forms:
        assert v2(server, form)[0] == 200, form
        assert v2(server, "anything", x_amz_date=form)[0] == 200, form
        for name in ("date", "x-amz-date"):
            stamp = at(0).strftime("%Y%m%dT%H%M%SZ") if "T" not in form[-7:] else form
            for second in range(3):  # The clock may have gone on between the two texts.
                stamp = (datetime.datetime.fromtimestamp(int(now), datetime.timezone.utc) + datetime.timedelta(seconds=second)).strftime("%Y%m%dT%H%M%SZ")
                answer = send(server, "GET", "/kept/k", dated(server, name, form, stamp))
                if answer[0] == 200:
                    break
            assert answer[0] == 200, f"{name}: {form}: {answer}"
    headers, *_ = sign("GET", "/kept/k", {"host": server.address, "date": "Tue, 07 Jul 2010 21:53:04 GMT"}, EMPTY)
    assert send(server, "GET", "/kept/k", headers.items())[0] == 200, "x-amz-date comes first"
    for date in ["", "yesterday", "Tue, 07 Jul 1950 21:53:04 GMT"]:
        assert error(v2(server, date)) == (403, "AccessDenied"), date
        assert error(v2(server, forms[0], x_amz_date=date)) == (403, "AccessDenied"), date
    headers, *_ = sign("GET", "/kept/k", {"host": server.address}, EMPTY)
    for date in ["", "yesterday"]:
        assert error(send(server, "GET", "/kept/k", (headers | {"x-amz-date": date}).items())) == (403, "AccessDenied")
    assert error(send(server, "GET", "/kept/k", [pair for pair in headers.items() if pair[0] != "x-amz-date"])) == (403, "AccessDenied")


def dated(server, name, value, stamp):
    """The headers of a request of version 4 whose time is in a header of any form."""
    headers = {name: value, "host": server.address, "x-amz-content-sha256": EMPTY}
    names = ";".join(sorted(headers))
    canonical = "\n".join(["GET", "/kept/k", "", *[f"{n}:{headers[n]}" for n in sorted(headers)], "", names, EMPTY])
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + signers.SECRET_KEY).encode()
    for piece in scope.split("/"):
        key = signers.hmac.new(key, piece.encode(), hashlib.sha256).digest()
    signature = signers.hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    return [*headers.items(), ("authorization", f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}")]


def v2_target(end):
    to_sign = f"GET\n\n\n{end}\n/kept/k"
    signature = signers.base64.b64encode(signers.hmac.new(signers.SECRET_KEY.encode(), to_sign.encode(), hashlib.sha1).digest())
    return f"/kept/k?AWSAccessKeyId={ACCESS_KEY}&Expires={end}&Signature=" + urllib.parse.quote(signature, safe="")


def test_presigned_urls_end(server):
    host = [("host", server.address)]
    for expires, when, wanted in [(0, at(60), 200), (604800, at(-600000), 200), (60, at(-30), 200), (10, at(-100), "Request has expired"),
                                  (0, at(-2), "Request has expired"), (60, at(1000), "Request is not yet valid")]:
        answer = send(server, "GET", presigned("GET", "/kept/k", [], server.address, when=when, expires=expires), host)
        found = elements(answer)
        if wanted == 200:
            assert answer[0] == 200, f"{expires} {when}: {answer}"
            continue
        assert error(answer) == (403, "AccessDenied") and found[b"Message"].decode() == wanted
        if wanted.endswith("expired"):
            assert found[b"X-Amz-Expires"].decode() == str(expires)
            end = datetime.datetime.fromisoformat(found[b"Expires"].decode())
            assert abs(end - when - datetime.timedelta(seconds=expires)) < datetime.timedelta(seconds=1)
            assert abs(datetime.datetime.fromisoformat(found[b"ServerTime"].decode()) - at(0)) < datetime.timedelta(seconds=60)
    for expires in [604801, -1, "abc", "", "1.5", "99999999999999999999"]:
        answer = send(server, "GET", presigned("GET", "/kept/k", [], server.address, expires=expires), host)
        assert error(answer) == (400, "AuthorizationQueryParametersError"), expires
    end = int(time.time())
    assert send(server, "GET", v2_target(end + 60), host)[0] == 200
    assert send(server, "GET", v2_target(end + 10 ** 9), host)[0] == 200, "version 2 has no longest time"
    answer = send(server, "GET", v2_target(end - 1), host)
    found = elements(answer)
    assert error(answer) == (403, "AccessDenied") and found[b"Message"] == b"Request has expired"
    assert datetime.datetime.fromisoformat(found[b"Expires"].decode()).timestamp() == end - 1 and found[b"ServerTime"]
    for wrong in ["soon", "-1", "", "1.5"]:
        assert error(send(server, "GET", v2_target(wrong), host)) == (403, "AccessDenied"), wrong


# Bodies of requests of version 2.


@pytest.mark.parametrize("kind", ["v2", "v2 query"])
def test_a_body_of_version_2_is_plain_and_its_digests_are_verified(server, kind):
    body = b"the body"
    for headers, wanted in [
        ([], (200, "")),
        ([("content-md5", signers.base64.b64encode(hashlib.md5(body).digest()).decode())], (200, "")),
        ([("x-amz-content-sha256", hashlib.sha256(body).hexdigest())], (200, "")),
        ([("x-amz-content-sha256", UNSIGNED)], (200, "")),
        ([("x-amz-checksum-sha256", signers.base64.b64encode(hashlib.sha256(body).digest()).decode())], (200, "")),
        ([("content-md5", "AAAAAAAAAAAAAAAAAAAAAA==")], (400, "BadDigest")),
        ([("x-amz-checksum-crc32", "AAAAAA==")], (400, "BadDigest")),
        ([("x-amz-content-sha256", EMPTY)], (400, "XAmzContentSHA256Mismatch")),
        ([("x-amz-content-sha256", CHUNKS)], (400, "InvalidRequest")),
        ([("x-amz-content-sha256", "nothing")], (400, "InvalidArgument")),
        ([("content-encoding", "aws-chunked")], (400, "InvalidRequest")),
        ([("x-amz-decoded-content-length", "8")], (400, "InvalidRequest")),
    ]:
        wire = MAKERS[kind](draft(server, "PUT", "plain", headers=headers, body=body))
        answer = ask(server, wire)
        assert error(answer) == wanted, f"{headers}: {answer}"
        if wanted[0] == 200:
            assert ask(server, signers.botocore_v4(draft(server, key="plain")))[2] == body
    unsigned = [("x-amz-content-sha256", TRAILER), ("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", "8")]
    wire = MAKERS[kind](draft(server, "PUT", "plain", headers=unsigned, body=b"8\r\nthe body\r\n0\r\n\r\n"))
    assert ask(server, wire)[0] == 200 and ask(server, signers.botocore_v4(draft(server, key="plain")))[2] == body


def test_what_a_url_of_version_2_covers(server):
    """Names that select another operation or version cannot be added to a URL, nor taken from it."""
    wire = signers.botocore_v2_query(draft(server))
    for name in ["acl", "tagging", "uploads", "versionId=1", "partNumber=1", "response-content-type=a", "attributes", "retention", "legal-hold",
                 "renameObject", "x-amz-acl=private", "X-Amz-Meta-A=b", "x-amz-checksum-mode=ENABLED"]:
        answer = send(server, "GET", f"{wire.target}&{name}", wire.headers)
        assert error(answer) == (403, "SignatureDoesNotMatch"), name
    wire = signers.botocore_v2_query(draft(server, pairs=[("acl", None)]))
    assert error(send(server, "GET", wire.target.replace("acl&", ""), wire.headers)) == (403, "SignatureDoesNotMatch")
    merged = draft(server, pairs=[("response-content-type", "a&versionId=1")])
    assert error(ask(server, signers.botocore_v2_query(merged))) == (400, "InvalidArgument"), "a value that could be two parameters"


# Regions.


def test_any_region_is_taken_where_the_settings_name_none(server):
    for region in ["us-east-1", "eu-west-3", "aws-global", "auto", "x"]:
        headers, *_ = sign("GET", "/kept/k", {"host": server.address}, EMPTY, region=region)
        assert send(server, "GET", "/kept/k", headers.items())[0] == 200, region
    headers, *_ = sign("GET", "/kept/k", {"host": server.address}, EMPTY, region="")
    assert error(send(server, "GET", "/kept/k", headers.items())) == (400, "AuthorizationHeaderMalformed")
    s3 = server.client()
    assert s3.get_bucket_location(Bucket="kept")["LocationConstraint"] is None
    assert s3.head_bucket(Bucket="kept")["BucketRegion"] == "us-east-1"
    for region in ["eu-west-3", "us-east-1"]:
        name = f"in-{region}"
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": region})
        assert (s3.get_bucket_location(Bucket=name)["LocationConstraint"] or "us-east-1") == region
        assert s3.head_bucket(Bucket=name)["BucketRegion"] == region
        assert name in [found["Name"] for found in s3.list_buckets(BucketRegion=region)["Buckets"]]
        assert {found["BucketRegion"] for found in s3.list_buckets(BucketRegion=region)["Buckets"]} == {region}
    for region in ["not a region", "x" * 65]:
        with pytest.raises(s3.exceptions.ClientError) as raised:
            s3.create_bucket(Bucket="in-none", CreateBucketConfiguration={"LocationConstraint": region})
        assert raised.value.response["Error"]["Code"] == "InvalidLocationConstraint"


def test_one_region_is_taken_where_the_settings_name_it(servers):
    server = servers["region"]
    headers, *_ = sign("GET", "/", {"host": server.address}, EMPTY, region="us-west-1")
    assert send(server, "GET", "/", headers.items())[0] == 200
    headers, *_ = sign("GET", "/", {"host": server.address}, EMPTY, region="eu-west-3")
    answer = send(server, "GET", "/", headers.items())
    assert error(answer) == (400, "AuthorizationHeaderMalformed") and elements(answer)[b"Region"] == b"us-west-1"
    assert b"the region 'eu-west-3' is wrong; expecting 'us-west-1'" in elements(answer)[b"Message"]
    headers, *_ = sign("PUT", "/here", {"host": server.address}, EMPTY, region="us-west-1")
    assert send(server, "PUT", "/here", headers.items())[0] == 200
    headers, *_ = sign("GET", "/here?location", {"host": server.address}, EMPTY, region="us-west-1")
    assert b">us-west-1<" in send(server, "GET", "/here?location", headers.items())[2]
    target = presigned("GET", "/", [], server.address)
    answer = send(server, "GET", target, [("host", server.address)])
    assert error(answer) == (400, "AuthorizationQueryParametersError") and elements(answer)[b"Region"] == b"us-west-1"
    assert send(server, "GET", v2_target(int(time.time()) + 60), [("host", server.address)])[0] == 404, "version 2 names no region"


# Clients that sign with version 2.


def run(*words):
    # rclone cannot start with a bundle of certificates for the AWS CLI.
    env = {name: value for name, value in key_environment().items() if name != "AWS_CA_BUNDLE"}
    done = subprocess.run([str(word) for word in words], capture_output=True, env=env, timeout=60)
    assert done.returncode == 0, f"{words}: {done.stdout.decode()} {done.stderr.decode()}"
    return done.stdout


def test_clients_of_version_2(server, tmp_path):
    """Objects of odd names go in and come back by s3cmd and rclone; URLs of s3cmd and of the AWS CLI are read as they are."""
    aws = pathlib.Path(sys.executable).with_name("aws")
    common = ["--signature-v2", "--no-ssl", f"--access_key={ACCESS_KEY}", f"--secret_key={SECRET_KEY}", "--config=/dev/null"]
    s3cmd = ["s3cmd", *common, f"--host={server.address}", f"--host-bucket={server.address}"]
    rclone = ["rclone", "--config=/dev/null", "--s3-provider=Other", "--s3-v2-auth", f"--s3-endpoint={server.url}",
              f"--s3-access-key-id={ACCESS_KEY}", f"--s3-secret-access-key={SECRET_KEY}"]
    file, back = tmp_path / "a b+c ü.txt", tmp_path / "back"
    file.write_bytes(BODY)
    run(*s3cmd, "mb", "s3://version-2")
    run(*s3cmd, "put", file, "s3://version-2/dir/")
    run(*s3cmd, "get", "--force", f"s3://version-2/dir/{file.name}", back)
    assert back.read_bytes() == BODY and file.name in run(*s3cmd, "ls", "s3://version-2/dir/").decode()
    run(*rclone, "copyto", file, ":s3:version-2/by rclone/ü")
    assert run(*rclone, "cat", ":s3:version-2/by rclone/ü") == BODY
    urls = [run(*s3cmd, "signurl", f"s3://version-2/dir/{file.name}", "+60"),
            run(aws, "s3", "presign", f"s3://version-2/dir/{file.name}", "--endpoint-url", server.url, "--region", "us-east-1")]
    for url in urls:
        url = urllib.parse.urlsplit(url.decode().strip())
        answer = send(server, "GET", f"{url.path}?{url.query}", [("host", url.netloc)])
        assert "AWSAccessKeyId" in url.query and (answer[0], answer[2]) == (200, BODY), url
    run(*s3cmd, "del", "--recursive", "--force", "s3://version-2/")
    run(*s3cmd, "rb", "s3://version-2")
