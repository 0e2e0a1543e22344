"""Signed requests as other implementations make them: botocore and the AWS CRT for version 4, botocore and s3cmd for
version 2. A request is what goes over the wire, so that a test can change single bits of it."""
import base64
import binascii
import dataclasses
import datetime
import hashlib
import hmac
import sys
import time
import urllib.parse

from awscrt.auth import (AwsCredentialsProvider, AwsSignatureType, AwsSignedBodyHeaderType, AwsSigningAlgorithm, AwsSigningConfig,
                         aws_sign_request)
from awscrt.http import HttpHeaders, HttpRequest
from botocore.auth import HmacV1Auth, HmacV1QueryAuth, S3SigV4Auth, S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lib.server import ACCESS_KEY, SECRET_KEY

REGION = "eu-north-1"
CREDENTIALS = Credentials(ACCESS_KEY, SECRET_KEY)
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNKS = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
SIGNED_TRAILER = CHUNKS + "-TRAILER"
TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
EMPTY = hashlib.sha256(b"").hexdigest()


@dataclasses.dataclass
class Draft:
    """A request before it is signed. Path and pairs are decoded; the bucket is in the host if `is_virtual`."""

    method: str
    host: str
    bucket: str
    key: str
    pairs: list
    headers: list
    body: bytes = b""
    payload: str = UNSIGNED
    is_virtual: bool = False

    @property
    def path(self):
        """The path as sent."""
        key = urllib.parse.quote(self.key, safe="-_.~/")
        return f"/{key}" if self.is_virtual else f"/{self.bucket}/{key}"

    @property
    def resource(self):
        """The path as sent, with the bucket."""
        return f"/{self.bucket}{self.path}" if self.is_virtual else self.path

    @property
    def query(self):
        """The query as sent. A pair without a value has no `=`."""
        def quote(text):
            return urllib.parse.quote(text, safe="-_.~")

        return "&".join(quote(name) if value is None else f"{quote(name)}={quote(value)}" for name, value in self.pairs)

    @property
    def target(self):
        return self.path + ("?" + self.query if self.pairs else "")


@dataclasses.dataclass
class Wire:
    """A signed request: what is sent, and the header names whose values the signature covers."""

    method: str
    target: str
    headers: list
    body: bytes
    signed: list

    def bytes(self):
        lines = [f"{self.method} {self.target} HTTP/1.1", *[f"{name}: {value}" for name, value in self.headers]]
        length = [] if any(name.lower() == "content-length" for name, _ in self.headers) else [f"content-length: {len(self.body)}"]
        return "\r\n".join([*lines, *length, "", ""]).encode("utf-8", "surrogateescape") + self.body


def wire_of(draft, target, headers, signed=None):
    """The request with the headers that a signer made. The signature covers all of them, or those that are named."""
    named = dict((name.lower(), value) for name, value in headers)
    if signed is None:
        authorization = named.get("authorization", "")
        listed = authorization.partition("SignedHeaders=")[2].partition(",")[0]
        signed = listed.split(";") if listed else []
    body = draft.body
    if draft.payload in (CHUNKS, SIGNED_TRAILER, TRAILER):
        body = encoded(draft, named)
    return Wire(draft.method, target, [pair for pair in headers if pair[0].lower() != "content-length"], body, signed)


def chunked_headers(draft):
    """The headers of an aws-chunked body."""
    if draft.payload not in (CHUNKS, SIGNED_TRAILER, TRAILER):
        return []
    trailer = [] if draft.payload == CHUNKS else [("x-amz-trailer", "x-amz-checksum-crc32")]
    return [("content-encoding", "aws-chunked"), ("x-amz-decoded-content-length", str(len(draft.body))), *trailer]


def encoded(draft, headers):
    """The aws-chunked body of a request whose head is signed."""
    authorization, stamp = headers["authorization"], headers["x-amz-date"]
    scope = authorization.partition("Credential=")[2].partition(",")[0].partition("/")[2]
    signature = authorization.partition("Signature=")[2]
    key = ("AWS4" + SECRET_KEY).encode()
    for piece in scope.split("/"):
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()

    def sign(kind, *rest):
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", stamp, scope, signature, *rest])
        return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()

    out = b""
    half = len(draft.body) // 2
    for piece in [part for part in (draft.body[:half], draft.body[half:]) if part] + [b""]:
        extension = ""
        if draft.payload != TRAILER:
            signature = sign("PAYLOAD", EMPTY, hashlib.sha256(piece).hexdigest())
            extension = f";chunk-signature={signature}"
        out += f"{len(piece):x}{extension}\r\n".encode() + piece + (b"\r\n" if piece else b"")
    if draft.payload != CHUNKS:
        line = "x-amz-checksum-crc32:" + base64.b64encode(binascii.crc32(draft.body).to_bytes(4, "big")).decode()
        out += line.encode() + b"\r\n"
        if draft.payload == SIGNED_TRAILER:
            out += b"x-amz-trailer-signature:" + sign("TRAILER", hashlib.sha256((line + "\n").encode()).hexdigest()).encode() + b"\r\n"
    return out + b"\r\n"


# botocore.


class FixedPayload(S3SigV4Auth):
    """botocore's signer, with any statement about the body."""

    def __init__(self, payload):
        super().__init__(CREDENTIALS, "s3", REGION)
        self.text = payload

    def payload(self, request):
        return self.text


def aws_request(draft):
    request = AWSRequest(draft.method, f"http://{draft.host}{draft.target}", auth_path=draft.resource)
    for name, value in draft.headers:
        request.headers.add_header(name, value)
    return request


def target_of(url):
    parts = urllib.parse.urlsplit(url)
    return parts.path + ("?" + parts.query if parts.query else "")


def botocore_v4(draft):
    request = aws_request(draft)
    for name, value in chunked_headers(draft):
        request.headers.add_header(name, value)
    request.headers["host"] = draft.host
    FixedPayload(draft.payload).add_auth(request)
    return wire_of(draft, draft.target, list(request.headers.items()))


def botocore_v4_query(draft):
    request = aws_request(draft)
    request.headers["host"] = draft.host
    S3SigV4QueryAuth(CREDENTIALS, "s3", REGION, 300).add_auth(request)
    named = urllib.parse.parse_qs(target_of(request.url).partition("?")[2])["X-Amz-SignedHeaders"][0]
    return wire_of(draft, target_of(request.url), list(request.headers.items()), named.split(";"))


def v2_signed(headers):
    return [name for name, _ in headers if name.startswith("x-amz-") or name in ("content-md5", "content-type", "date")]


def botocore_v2(draft):
    request = aws_request(draft)
    HmacV1Auth(CREDENTIALS).add_auth(request)
    headers = [("host", draft.host), *request.headers.items()]
    return wire_of(draft, draft.target, headers, v2_signed([(name.lower(), value) for name, value in headers]))


def botocore_v2_query(draft):
    request = aws_request(draft)
    HmacV1QueryAuth(CREDENTIALS, 300).add_auth(request)
    headers = [("host", draft.host), *[pair for pair in request.headers.items() if pair[0] != "Date"]]
    return wire_of(draft, target_of(request.url), headers, v2_signed(headers))


# The AWS Common Runtime: C code that shares nothing with botocore.


def crt(draft, kind, headers, **config):
    request = HttpRequest(draft.method, draft.target, HttpHeaders([("host", draft.host), *headers]))
    aws_sign_request(request, AwsSigningConfig(
        algorithm=AwsSigningAlgorithm.V4, signature_type=kind, service="s3", region=REGION,
        credentials_provider=AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY),
        date=datetime.datetime.now(datetime.timezone.utc), use_double_uri_encode=False, should_normalize_uri_path=False,
        signed_body_value=draft.payload, **config)).result(30)
    return request


def crt_v4(draft):
    request = crt(draft, AwsSignatureType.HTTP_REQUEST_HEADERS, [*draft.headers, *chunked_headers(draft)],
                  signed_body_header_type=AwsSignedBodyHeaderType.X_AMZ_CONTENT_SHA_256)
    return wire_of(draft, request.path, [(name.lower(), value) for name, value in request.headers])


def crt_v4_query(draft):
    request = crt(draft, AwsSignatureType.HTTP_REQUEST_QUERY_PARAMS, draft.headers, expiration_in_seconds=300)
    named = urllib.parse.parse_qs(request.path.partition("?")[2])["X-Amz-SignedHeaders"][0]
    return wire_of(draft, request.path, [(name.lower(), value) for name, value in request.headers], named.split(";"))


# s3cmd, which is a package of the system and no module of the tests' own interpreter.


def s3cmd():
    if "/usr/lib/python3/dist-packages" not in sys.path:
        sys.path.append("/usr/lib/python3/dist-packages")
    import S3.Config
    import S3.Crypto
    config = S3.Config.Config()
    config.access_key, config.secret_key = ACCESS_KEY, SECRET_KEY
    return S3.Crypto, S3.SortedDict.SortedDict


def s3cmd_v2(draft):
    crypto, sorted_dict = s3cmd()
    headers = sorted_dict(dict([*draft.headers, ("x-amz-date", time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()))]), ignore_case=True)
    key = urllib.parse.unquote(draft.resource)
    signed = crypto.sign_request_v2(draft.method, key, {name: value or "" for name, value in draft.pairs}, headers)
    all_headers = [("host", draft.host), *[(name.lower(), value) for name, value in signed.items()]]
    path = crypto.s3_quote(key, quote_backslashes=False, unicode_output=True)
    if draft.is_virtual:
        path = path[1 + len(draft.bucket):]
    query = crypto.format_param_str({name: value or "" for name, value in draft.pairs})
    return wire_of(draft, path + query, all_headers, v2_signed(all_headers))


def s3cmd_v2_query(draft):
    crypto, _ = s3cmd()
    url = crypto.sign_url_base_v2(bucket=draft.bucket, object=draft.key, expiry=str(int(time.time()) + 300))
    path = target_of(url)
    # s3cmd decides by itself where the bucket stands.
    prefix = f"/{draft.bucket}" if "//s3.amazonaws.com/" in url else ""
    if draft.is_virtual and prefix:
        path = path[len(prefix):]
    if not draft.is_virtual and not prefix:
        path = f"/{draft.bucket}{path}"
    return wire_of(draft, path, [("host", draft.host)], [])
