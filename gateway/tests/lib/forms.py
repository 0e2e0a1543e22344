"""Browsers' forms, made and signed here, for tests that send what no browser would."""
import base64
import datetime
import hashlib
import hmac
import json

from lib.server import ACCESS_KEY, SECRET_KEY

BOUNDARY = "----WebKitFormBoundary7MA4YWxkTrZu0gW"
# Bytes that look like the end of a file, and are not.
NEARLY = b"\r\n--\r\n------WebKitFormBoundary7MA4YWxkTrZu0g\r\n------WebKitFormBoundary7MA4YWxkTrZu0gWx\r\n\x00\xff\r"


def later(**offset):
    when = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**(offset or {"hours": 1}))
    return when.strftime("%Y-%m-%dT%H:%M:%S.000Z")


def encoded(policy):
    return base64.b64encode(policy if isinstance(policy, bytes) else json.dumps(policy).encode()).decode()


def signed_2(fields, conditions, expiration=None, text=None, access=ACCESS_KEY, secret=SECRET_KEY):
    """Fields with a policy and a signature of version 2. `text` is signed in place of a policy from the conditions."""
    text = text or encoded({"expiration": expiration or later(), "conditions": conditions})
    signature = base64.b64encode(hmac.new(secret.encode(), text.encode(), hashlib.sha1).digest()).decode()
    return {**fields, "AWSAccessKeyId": access, "policy": text, "signature": signature}


def signed_4(fields, conditions, expiration=None, access=ACCESS_KEY, secret=SECRET_KEY, region="us-east-1"):
    """Fields with a policy and a signature of version 4."""
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = [stamp[:8], region, "s3", "aws4_request"]
    own = {"x-amz-algorithm": "AWS4-HMAC-SHA256", "x-amz-credential": "/".join([access, *scope]), "x-amz-date": stamp}
    text = encoded({"expiration": expiration or later(), "conditions": [*conditions, *({name: value} for name, value in own.items())]})
    key = ("AWS4" + secret).encode()
    for piece in scope:
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    return {**fields, **own, "policy": text, "x-amz-signature": hmac.new(key, text.encode(), hashlib.sha256).hexdigest()}


def covered(bucket, fields):
    """Conditions that allow the fields as they are."""
    return [{"bucket": bucket}, *({name: value} for name, value in fields.items())]


def part(name, value, filename=None, boundary=BOUNDARY):
    head = f'Content-Disposition: form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
    value = value if isinstance(value, bytes) else value.encode()
    return b"--" + boundary.encode() + b"\r\n" + head.encode() + b"\r\n\r\n" + value + b"\r\n"


def body(fields, content=b"abc", filename="a.txt", behind=(), boundary=BOUNDARY, close=True):
    """The bytes of a form: its fields, its file unless `content` is `None`, and what stands behind the file."""
    parts = [part(name, value, boundary=boundary) for name, value in fields.items()]
    if content is not None:
        parts.append(part("file", content, filename, boundary))
    parts += behind
    return b"".join(parts) + (b"--" + boundary.encode() + b"--\r\n" if close else b"")


def head(data, boundary=BOUNDARY, **more):
    kind = f"multipart/form-data; boundary={boundary}"
    return {"content-type": kind, "content-length": str(len(data)), **{name.replace("_", "-"): value for name, value in more.items()}}
