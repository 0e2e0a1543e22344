"""Requests as botocore, the AWS CRT and s3cmd sign them are taken; with one bit changed they are refused.

Each draft has a method, a key, a query, headers and a body of its own, with every byte that is odd anywhere. Whatever the
server does with such a request, a signature that is right leads to an answer of its handler, and a wrong one never does.
"""
import base64
import collections
import hashlib
import http.client
import random
import re
import socket
import urllib.parse

import pytest

from lib import signers
from lib.signers import CHUNKS, SIGNED_TRAILER, TRAILER, UNSIGNED, Draft

BUCKET = "signed.bucket"
# What a request gets whose signature is wrong or cannot be read.
REFUSALS = {"SignatureDoesNotMatch", "AccessDenied", "AuthorizationHeaderMalformed", "AuthorizationQueryParametersError",
            "InvalidAccessKeyId", "RequestTimeTooSkewed", "InvalidURI", "InvalidToken"}
# What a request gets one bit of which was changed, by the place of the bit. A handler answers with none of them.
CHANGED = {
    "signature": {"SignatureDoesNotMatch"},
    "header": REFUSALS | {"InvalidArgument"},  # The latter for x-amz-content-sha256.
    "path": {"SignatureDoesNotMatch", "InvalidURI"},
    "query": REFUSALS,
    "body": {"XAmzContentSHA256Mismatch", "BadDigest", "SignatureDoesNotMatch", "InvalidRequest", "IncompleteBody", "MalformedTrailerError"},
    "method": {"SignatureDoesNotMatch"},
    "scope": {"SignatureDoesNotMatch"},
}
ODD = " !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~%2F%%\t\n\r\x01\x7f\u0085\u00a0é€\u2028\ufeff日本\U0001f600aZ09"
SUBRESOURCES = ["acl", "versionId", "partNumber", "uploads", "policy", "location", "versioning", "website", "cors", "lifecycle", "logging"]
KINDS = {
    "botocore v4": signers.botocore_v4, "botocore v4 query": signers.botocore_v4_query,
    "CRT v4": signers.crt_v4, "CRT v4 query": signers.crt_v4_query,
    "botocore v2": signers.botocore_v2, "botocore v2 query": signers.botocore_v2_query,
    "s3cmd v2": signers.s3cmd_v2, "s3cmd v2 query": signers.s3cmd_v2_query,
}


@pytest.fixture(scope="module")
def server(serve):
    return serve("--signature-v2", "on")


class Connection:
    """Raw requests over one connection, which is opened again when the server has closed it."""

    def __init__(self, port):
        self.port, self.socket = port, None

    def send(self, wire):
        """The status of the answer, and the code of its error."""
        for attempt in range(3):
            try:
                if self.socket is None:
                    self.socket = socket.create_connection(("127.0.0.1", self.port), timeout=60)
                self.socket.sendall(wire.bytes())
            except OSError:
                pass  # The server may answer and close before it has the whole body.
            try:
                response = http.client.HTTPResponse(self.socket, method=wire.method)
                response.begin()
                body = response.read()
            except (OSError, http.client.HTTPException):
                self.close()
                if attempt == 2:
                    raise
                continue
            if response.will_close:
                self.close()
            found = re.search(rb"<Code>(.*?)</Code>", body)
            return response.status, found.group(1).decode() if found else "", body
        return None

    def close(self):
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def text(draw, most, odd=ODD):
    return "".join(draw.choice(odd) for _ in range(draw.randint(1, most)))


def blanks(draw, value):
    """A header's value with blanks around it and in it."""
    pad = [" " * draw.randint(0, 3) for _ in range(2)]
    return pad[0] + value.replace(" ", " " * draw.randint(1, 3)) + pad[1]


def pairs(draw, kind):
    """A query. The signers of version 2 know sub-resources, and s3cmd's list is the shortest."""
    if kind == "s3cmd v2 query":
        return []
    found = []
    if "v2" in kind:
        for name in draw.sample(SUBRESOURCES, draw.randint(0, 2)):
            found.append((name, str(draw.randint(1, 9999)) if name in ("versionId", "partNumber") else None))
        if kind.startswith("botocore") and draw.random() < 0.3:
            found.append(("response-content-disposition", f'attachment; filename="{text(draw, 5)}.txt"'))
    for _ in range(draw.randint(0, 3)):
        # s3cmd does not encode names.
        name = draw.choice(["prefix", "q-" + text(draw, 3, "abc-_" if "s3cmd" in kind else ODD)])
        value = draw.choice([None, "", text(draw, 6)])
        found.append((name, (value or "1") if "s3cmd" in kind else value))
    if "v4" in kind and draw.random() < 0.2 and found:
        found.append((found[0][0], text(draw, 2)))
        found.append(("", text(draw, 2)))
    if "s3cmd" in kind:
        found = list(dict((name, value) for name, value in found).items())
    draw.shuffle(found)
    return found


def draft_of(draw, kind, port):
    is_virtual = draw.random() < 0.4
    host = f"{BUCKET}.LocalHost:{port}" if is_virtual else draw.choice([f"127.0.0.1:{port}", f"localhost:{port}"])
    method = "GET" if kind == "s3cmd v2 query" else draw.choice(["GET", "HEAD", "PUT", "PUT", "PUT", "DELETE", "POST"])
    body = draw.randbytes(draw.randint(0, 400)) if method == "PUT" else b""
    headers = [(f"x-amz-meta-{name}", f"{text(draw, 3, 'aé€~;:,=/')} {draw.randint(0, 9)}") for name in "ab"[:draw.randint(0, 2)]]
    if "s3cmd" not in kind:
        headers = [(name, blanks(draw, value) if "query" not in kind else value) for name, value in headers]
    if method == "PUT" and draw.random() < 0.5:
        headers.append(("content-type", "text/plain; charset=utf-8"))
    if method == "PUT" and draw.random() < 0.5:
        headers.append(("content-md5", base64.b64encode(hashlib.md5(body).digest()).decode()))
    payload = UNSIGNED
    if kind.endswith("v4"):
        payload = draw.choice([UNSIGNED, hashlib.sha256(body).hexdigest()] + [CHUNKS, SIGNED_TRAILER, TRAILER] * (method == "PUT"))
        if payload in (CHUNKS, SIGNED_TRAILER, TRAILER):
            headers = [pair for pair in headers if pair[0] != "content-md5"]
    if "v2 query" in kind or kind == "s3cmd v2 query":
        headers = [pair for pair in headers if not pair[0].startswith("x-amz-")] if kind == "s3cmd v2 query" else headers
    if kind == "s3cmd v2 query":
        headers = []
    odd = ODD.replace("\n", "").replace("\r", "") if "s3cmd" in kind else ODD
    key = text(draw, 12, odd)
    if "s3cmd" in kind:
        key = key.strip("/") or "k"
    return Draft(method, host, BUCKET, key, pairs(draw, kind), headers, body, payload, is_virtual)


def flipped(draw, value):
    """A text with one bit of one byte changed, so that it stays visible ASCII."""
    places = [at for at, character in enumerate(value) if character.isascii() and character.isalnum()]
    if not places:
        return None
    at = draw.choice(places)
    others = [chr(ord(value[at]) ^ 1 << bit) for bit in range(7)]
    others = [character for character in others if character.isalnum()]
    return value[:at] + draw.choice(others) + value[at + 1:]


def tampered(draw, wire, kind, is_stored):
    """The same request with one bit changed, and the place. Only a body that was stored says something when it changes."""
    places = ["signature", "header", "path", "query", "method", "scope"] + ["body"] * 3 * is_stored
    draw.shuffle(places)
    return next((place, other) for place in places if (other := changed_at(draw, place, wire, kind)))


def changed_at(draw, place, wire, kind):
    """The request with one bit changed at a place; none where the place has nothing that is signed."""
    path, _, query = wire.target.partition("?")
    headers = list(wire.headers)

    def with_header(name, change):
        found = [at for at, (other, _) in enumerate(headers) if other.lower() == name]
        if not found:
            return None
        at = draw.choice(found)
        value = change(headers[at][1])
        if value is None:
            return None
        headers[at] = (headers[at][0], value)
        return wire.__class__(wire.method, wire.target, headers, wire.body, wire.signed)

    def with_target(target):
        return wire.__class__(wire.method, target, headers, wire.body, wire.signed)

    if place == "signature":
        if "query" in kind:
            name, end = ("X-Amz-Signature=", "&") if "v4" in kind else ("Signature=", "&")
            before, _, rest = wire.target.partition(name)
            value, mark, after = rest.partition(end)
            decoded = urllib.parse.unquote(value)
            changed = flipped(draw, decoded)
            return with_target(before + name + urllib.parse.quote(changed, safe="") + mark + after)
        sign = "Signature=" if "v4" in kind else ":"
        return with_header("authorization", lambda value: value.partition(sign)[0] + sign + flipped(draw, value.partition(sign)[2]))
    if place == "header":
        names = [name.lower() for name in wire.signed if name.lower() not in ("host", "date", "content-length")]
        return with_header(draw.choice(names), lambda value: flipped(draw, value)) if names else None
    if place == "path":
        changed = flipped(draw, path)
        if changed is None or ("v4" in kind and urllib.parse.unquote_to_bytes(changed) == urllib.parse.unquote_to_bytes(path)):
            return None
        return with_target(changed + ("?" + query if query else ""))
    if place == "query":
        # Only some names are signed by version 2.
        if "v2" in kind:
            return None
        changed = flipped(draw, query.partition("X-Amz-Signature")[0])
        rest = query[len(query.partition("X-Amz-Signature")[0]):]
        if not query or changed is None or urllib.parse.parse_qsl(changed, True) == urllib.parse.parse_qsl(query[:len(changed)], True):
            return None
        return with_target(f"{path}?{changed}{rest}")
    if place == "body":
        is_covered = "UNSIGNED-PAYLOAD" not in str(dict((name.lower(), value) for name, value in headers).get("x-amz-content-sha256", UNSIGNED))
        is_covered = is_covered or any(name.lower() == "content-md5" for name, _ in headers)
        if not wire.body or not is_covered:
            return None
        at = draw.randrange(len(wire.body))
        body = wire.body[:at] + bytes([wire.body[at] ^ 1 << draw.randrange(8)]) + wire.body[at + 1:]
        if wire.body.lower() == body.lower():
            return None  # The name of a trailer, in another case of letters.
        return wire.__class__(wire.method, wire.target, headers, body, wire.signed)
    if place == "method":
        other = {"GET": "HEAD", "HEAD": "GET", "PUT": "POST", "POST": "PUT", "DELETE": "GET"}[wire.method]
        return wire.__class__(other, wire.target, headers, wire.body, wire.signed)
    if kind.endswith("v4"):
        return with_header("authorization", lambda value: value.replace(signers.REGION, flipped(draw, signers.REGION)))
    return None


def test_signatures_of_other_implementations(server, sizes, seed, tell):
    server.client().create_bucket(Bucket=BUCKET)
    draw = random.Random(seed)
    connection = Connection(server.port)
    taken, refused = collections.Counter(), collections.Counter()
    for number in range(sizes.signatures):
        kind = list(KINDS)[number % len(KINDS)]
        draft = draft_of(draw, kind, server.port)
        wire = KINDS[kind](draft)
        status, code, body = connection.send(wire)
        is_refused = code in REFUSALS or status == 403
        assert not is_refused, f"request {number}, {kind}: {status} {body.decode()}\n{draft}\n{wire}"
        if draft.method == "PUT" and not draft.pairs:
            assert status == 200, f"request {number}, {kind}: {status} {body}\n{wire}"
        taken[kind, status] += 1
        place, other = tampered(draw, wire, kind, draft.method == "PUT" and status == 200)
        status, code, body = connection.send(other)
        assert status in (400, 403) and (code in CHANGED[place] or not code), f"request {number}, {kind}, {place} changed: {status} {body}\n{wire}\n{other}"
        refused[place] += 1
    tell(f"{taken.total()} requests were taken, {refused.total()} with one bit changed were refused: {dict(refused)}")
    assert {kind for kind, _ in taken} == set(KINDS) and set(refused) == set(CHANGED)
