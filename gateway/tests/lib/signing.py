"""Signs requests, for tests that send what no client would, or more than a client could."""
import datetime
import functools
import hashlib
import hmac
import urllib.parse

from lib.server import ACCESS_KEY, SECRET_KEY


def sign(method, path, headers, payload, when=None, secret=SECRET_KEY, access=ACCESS_KEY, region="us-east-1"):
    """The headers of a request with a signature of version 4, and what later signatures are made from."""
    when = when or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    headers = dict(headers, **{"x-amz-date": stamp, "x-amz-content-sha256": payload})
    names = ";".join(sorted(headers))
    path, _, query = path.partition("?")
    query = "&".join(sorted(p if "=" in p else p + "=" for p in query.split("&") if p))
    canonical = "\n".join([method, path, query, *[f"{n}:{headers[n]}" for n in sorted(headers)], "", names, payload])
    scope = f"{day}/{region}/s3/aws4_request"
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for piece in [day, region, "s3", "aws4_request"]:
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
    headers["authorization"] = f"AWS4-HMAC-SHA256 Credential={access}/{scope},SignedHeaders={names},Signature={signature}"
    return headers, signature, key, stamp, scope


def presigned(method, path, pairs, host, when=None, expires=300, access=ACCESS_KEY, secret=SECRET_KEY):
    """The target of a presigned request with query names of any kind, on an unsigned body."""
    when = when or datetime.datetime.now(datetime.timezone.utc)
    stamp, day = when.strftime("%Y%m%dT%H%M%SZ"), when.strftime("%Y%m%d")
    scope = f"{day}/us-east-1/s3/aws4_request"
    pairs = [*pairs, ("X-Amz-Algorithm", "AWS4-HMAC-SHA256"), ("X-Amz-Credential", f"{access}/{scope}"),
             ("X-Amz-Date", stamp), ("X-Amz-Expires", str(expires)), ("X-Amz-SignedHeaders", "host")]
    encode = functools.partial(urllib.parse.quote, safe="-_.~")
    query = "&".join(f"{n}={v}" for n, v in sorted((encode(n), encode(v)) for n, v in pairs))
    canonical = "\n".join([method, path, query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = ("AWS4" + secret).encode()
    for piece in [day, "us-east-1", "s3", "aws4_request"]:
        key = hmac.new(key, piece.encode(), hashlib.sha256).digest()
    return f"{path}?{query}&X-Amz-Signature=" + hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
