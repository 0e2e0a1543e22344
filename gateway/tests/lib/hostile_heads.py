"""Hostile heads: paths, signatures, replays, queries, ranges and headers of S3. AWS's answers are what is right."""
from lib.hostile import BUCKET, EMPTY, UNSIGNED, Ask, Row, at
from lib.server import OTHER_KEYS
from lib.signing import presigned as sign_query

OTHER = "other-bucket"


def read(target=f"/{BUCKET}/kept", *lines, **how):
    """A signed request without a body, by default GET."""
    return Ask(**{"method": "GET", "target": target, "body": b"", "length": None, "lines": lines, **how})


def remove(target, **how):
    return read(target, method="DELETE", **how)


def swap(old, new):
    """Changes the finished bytes at one place, after the signature was made."""
    def edit(data):
        assert old in data, old
        return data.replace(old, new, 1)

    return edit


def signature(change):
    """Changes the signature of the header Authorization."""
    def edit(data):
        begin = data.index(b"Signature=") + len(b"Signature=")
        return data[:begin] + change(data[begin:begin + 64]) + data[begin + 64:]

    return edit


def flip(text):
    return (b"1" if text[:1] == b"0" else b"0") + text[1:]


DENIED, MISMATCH, MALFORMED = "403 AccessDenied", "403 SignatureDoesNotMatch", "400 AuthorizationHeaderMalformed"

PATHS = [
    Row("dots out of the bucket", "a key is text; no folder is above it", read(f"/{BUCKET}/../{OTHER}/kept"), "404 NoSuchKey|400 InvalidURI", None),
    Row("encoded dots out of the bucket", "a key is text; no folder is above it", read(f"/{BUCKET}/%2e%2e/{OTHER}/kept", path=f"/{BUCKET}/../{OTHER}/kept"), "404 NoSuchKey|400 InvalidURI", None),
    Row("dots to the root of the machine", "no file is a key", read(f"/{BUCKET}/" + "../" * 20 + "etc/passwd"), "404 NoSuchKey|400 InvalidURI", None),
    Row("dots from a bucket that is not", "a bucket is not a folder either", read(f"/../{BUCKET}/kept"), "404 NoSuchBucket|400", None),
    Row("a dot for a bucket", "a bucket is not a folder either", read("/./kept"), "404 NoSuchBucket|400", None),
    Row("two slashes before the bucket", "a bucket has a name", read(f"//{BUCKET}/kept"), "400 InvalidURI", None),
    Row("a write behind two slashes", "a bucket has a name", Ask(target=f"//{BUCKET}/new"), "400 InvalidURI", None),
    Row("a delete behind two slashes", "a bucket has a name", remove(f"//{BUCKET}/kept"), "400 InvalidURI", None),
    Row("an encoded slash behind the bucket", "the same key, or no bucket", read(f"/{BUCKET}%2fkept", path=f"/{BUCKET}/kept"), "200|400|404 NoSuchBucket", None),
    Row("an encoded first slash", "the same path, or none", read(f"/%2f{BUCKET}/kept", path=f"//{BUCKET}/kept"), "400 InvalidURI", None),
    Row("a backslash", "a character of a key", read(f"/{BUCKET}\\..\\{OTHER}\\kept", path=f"/{BUCKET}%5C..%5C{OTHER}%5Ckept"), "400|404 NoSuchBucket", None),
    Row("an encoded NUL behind a key", "must not end the key there", read(f"/{BUCKET}/kept%00"), "400|404 NoSuchKey", None),
    Row("a delete with an encoded NUL", "must not end the key there", remove(f"/{BUCKET}/kept%00.txt"), "204|400", None),
    Row("an encoded NUL in the bucket", "must not end the name there", read(f"/{BUCKET}%00/kept"), "400|404 NoSuchBucket", None),
    Row("encoded line ends in a key", "a header or log line that is told must not be split", read(f"/{BUCKET}/a%0D%0AX-Injected:%20b", path=f"/{BUCKET}/a%0D%0AX-Injected%3A%20b"), "404 NoSuchKey", None),
    Row("not UTF-8", "keys are UTF-8", read(f"/{BUCKET}/%ff%fe"), "400 InvalidURI", None),
    Row("an overlong slash", "not UTF-8, and no slash", read(f"/{BUCKET}%c0%afkept"), "400 InvalidURI", None),
    Row("overlong dots", "not UTF-8, and no dots", read(f"/{BUCKET}/%c0%ae%c0%ae/{OTHER}/kept"), "400 InvalidURI", None),
    Row("a surrogate", "not UTF-8", read(f"/{BUCKET}/%ed%a0%80"), "400 InvalidURI", None),
    Row("beyond Unicode", "not UTF-8", read(f"/{BUCKET}/%f4%90%80%80"), "400 InvalidURI", None),
    Row("half a character", "not UTF-8", read(f"/{BUCKET}/%e2%82"), "400 InvalidURI", None),
    Row("half an escape", "a character of the key, or no path", read(f"/{BUCKET}/a%", path=f"/{BUCKET}/a%25"), "404 NoSuchKey|400", None),
    Row("an escape without digits", "characters of the key, or no path", read(f"/{BUCKET}/%zz", path=f"/{BUCKET}/%25zz"), "404 NoSuchKey|400", None),
    Row("doubly encoded dots", "decoded once and no more", read(f"/{BUCKET}/%252e%252e/{OTHER}/kept"), "404 NoSuchKey", None),
    Row("a key of 1,025 bytes", "one more than a key may have", Ask(target=f"/{BUCKET}/" + "k" * 1025), "400 KeyTooLongError", None),
    Row("a key of 1,026 encoded bytes", "bytes count, not characters", Ask(target=f"/{BUCKET}/" + "%C3%A9" * 513), "400 KeyTooLongError", None),
    Row("a bucket of 64 bytes", "one more than a name may have", Ask(target="/" + "b" * 64, body=b""), "400 InvalidBucketName", None),
    Row("a bucket of two bytes", "one fewer than a name must have", Ask(target="/ab", body=b""), "400 InvalidBucketName", None),
    Row("a bucket in capitals", "names are small letters", Ask(target="/Hostile-Bucket", body=b""), "400 InvalidBucketName", None),
    Row("a bucket of dots", "no folder is made", Ask(target="/..", body=b""), "400 InvalidBucketName|405", None),
    Row("a bucket with two dots", "no name of a host", Ask(target="/a..b", body=b""), "400 InvalidBucketName", None),
    Row("a bucket that is an address", "no name of a host", Ask(target="/192.168.0.1", body=b""), "400 InvalidBucketName", None),
    Row("a bucket with a NUL", "no name of a host", Ask(target="/abc%00def", body=b""), "400", None),
    Row("a bucket with a slash in it", "no name of a host", Ask(target="/abc%2f..%2fdef", path="/abc/../def", body=b""), "400|404 NoSuchBucket", None),
    Row("a bucket with a line end", "no name of a host", Ask(target="/abc%0adef", path="/abc%0Adef", body=b""), "400 InvalidBucketName", None),
    Row("a bucket of a reserved name", "reserved for access points", Ask(target="/xn--bucket", body=b""), "400 InvalidBucketName", None),
    Row("another user's object", "ownership, not the path, decides", read(f"/{OTHER}/kept"), DENIED, None),
    Row("another user's object, deleted", "ownership, not the path, decides", remove(f"/{OTHER}/kept"), DENIED, None),
    Row("another user's bucket, written", "ownership, not the path, decides", Ask(target=f"/{OTHER}/new"), DENIED, None),
    Row("another user's bucket, deleted", "ownership, not the path, decides", remove(f"/{OTHER}"), DENIED, None),
    Row("another user's bucket, made again", "it is taken", Ask(target=f"/{OTHER}", body=b""), "409 BucketAlreadyExists", None),
    Row("another user's parts", "ownership, not the id, decides", read(f"/{OTHER}/open?uploadId={{foreign_upload}}"), DENIED, None),
    Row("another user's upload in one's own bucket", "an id is of its bucket", Ask(target=f"/{BUCKET}/open?partNumber=1&uploadId={{foreign_upload}}"), "404 NoSuchUpload", None),
    Row("another user's upload, aborted from here", "an id is of its bucket", remove(f"/{BUCKET}/open?uploadId={{foreign_upload}}"), "404 NoSuchUpload", None),
    Row("an upload under another key", "an id is of its key", Ask(target=f"/{BUCKET}/other?partNumber=1&uploadId={{upload}}"), "404 NoSuchUpload", None),
    Row("another user's object as a source", "a copy reads", Ask(headers={"x-amz-copy-source": f"/{OTHER}/kept"}, body=b""), DENIED, None),
    Row("another user's object as a part's source", "a copy reads", Ask(target=f"/{BUCKET}/open?partNumber=2&uploadId={{upload}}", headers={"x-amz-copy-source": f"/{OTHER}/kept"}, body=b""), DENIED, None),
    Row("another user's object as an encoded source", "decoded once, then decided", Ask(headers={"x-amz-copy-source": f"%2F{OTHER}%2Fkept"}, body=b""), DENIED + "|400", None),
    Row("dots in a source", "a key is text", Ask(headers={"x-amz-copy-source": f"/{BUCKET}/../{OTHER}/kept"}, body=b""), "404 NoSuchKey|400", None),
    Row("a source without a key", "a source is an object", Ask(headers={"x-amz-copy-source": f"/{BUCKET}"}, body=b""), "400", None),
    Row("a source that is not UTF-8", "keys are UTF-8", Ask(headers={"x-amz-copy-source": f"/{BUCKET}/%ff"}, body=b""), "400", None),
    Row("a source with a NUL", "must not end the key there", Ask(headers={"x-amz-copy-source": f"/{BUCKET}/kept%00"}, body=b""), "400|404 NoSuchKey", None),
    Row("an empty source", "a source is an object", Ask(headers={"x-amz-copy-source": ""}, body=b""), "400", None),
    Row("a source of a version that cannot be", "a version id is told, not made up", Ask(headers={"x-amz-copy-source": f"/{BUCKET}/kept?versionId=../../x"}, body=b""), "400|404 NoSuchVersion", None),
]

SIGNATURES = [
    Row("another secret", "a signature of no user", Ask(signs={"secret": "wrong"}), MISMATCH, None),
    Row("the other user's secret", "a signature of another user", Ask(signs={"secret": OTHER_KEYS[1]}), MISMATCH, None),
    Row("an unknown user", "no such key", Ask(signs={"access": "AKIDNOBODY"}), "403 InvalidAccessKeyId", None),
    Row("an empty user", "a key has a name", Ask(signs={"access": ""}), MALFORMED + "|403 InvalidAccessKeyId", None),
    Row("a user of 8 KiB", "no such key, and no copy of it in each log line", Ask(signs={"access": "A" * 8192}), "403 InvalidAccessKeyId|400", None),
    Row("a user with a slash", "fields of a scope are split from the right", Ask(signs={"access": "AKIDTEST/x"}), "403 InvalidAccessKeyId|" + MALFORMED, None),
    Row("another region", "the scope is of another place", Ask(signs={"region": "eu-west-9"}), MALFORMED, None),
    Row("another service", "the scope is of another service", Ask(edit=swap(b"/s3/", b"/ec2/")), MALFORMED + "|" + MISMATCH, None),
    Row("another end of the scope", "the scope ends with its version", Ask(edit=swap(b"/aws4_request", b"/aws5_request")), MALFORMED + "|" + MISMATCH, None),
    Row("no scope", "a credential has five fields", Ask(edit=lambda data: data.replace(data[data.index(b"Credential="):data.index(b",Signed")], b"Credential=AKIDTEST")), MALFORMED, None),
    Row("one bit of the signature", "a signature is whole", Ask(edit=signature(flip)), MISMATCH, None),
    Row("a signature in capitals", "compared as text", Ask(edit=signature(bytes.upper)), MISMATCH, None),
    Row("half a signature", "compared as a whole", Ask(edit=signature(lambda text: text[:32])), MISMATCH + "|" + MALFORMED, None),
    Row("an empty signature", "compared as a whole", Ask(edit=signature(lambda text: b"")), MISMATCH + "|" + MALFORMED, None),
    Row("a signature and more", "compared as a whole", Ask(edit=signature(lambda text: text + b"0")), MISMATCH + "|" + MALFORMED, None),
    Row("a signature of zeros", "no default passes", Ask(edit=signature(lambda text: b"0" * 64)), MISMATCH, None),
    Row("a signature that is not ASCII", "text of headers", Ask(edit=signature(lambda text: b"\xff" * 64)), "400", None),
    Row("no signature in the header", "a field is missing", Ask(edit=swap(b",Signature=", b",Sgnature=")), MALFORMED, None),
    Row("no signed headers in the header", "a field is missing", Ask(edit=swap(b"SignedHeaders=", b"Signdheaders=")), MALFORMED, None),
    Row("the host is not signed", "the request could be sent to another server", Ask(edit=swap(b"SignedHeaders=host;", b"SignedHeaders=")), DENIED + "|" + MISMATCH, None),
    Row("a header of Amazon's that is not signed", "anyone on the way could add it", Ask(lines=(b"x-amz-meta-a: b",)), DENIED, None),
    Row("a second value of a signed header", "anyone on the way could add it", Ask(headers={"x-amz-meta-a": "b"}, lines=(b"x-amz-meta-a: c",)), MISMATCH + "|400", None),
    Row("a signed header that is not there", "anyone on the way could remove it", Ask(headers={"x-test": "b"}, edit=swap(b"x-test: b\r\n", b"")), MISMATCH, None),
    Row("a signed header that was changed", "anyone on the way could change it", Ask(headers={"content-type": "text/a"}, edit=swap(b"text/a", b"text/b")), MISMATCH, None),
    Row("a thousand signed headers", "the work is bounded by the head", Ask(edit=swap(b"SignedHeaders=", b"SignedHeaders=" + b"a;" * 1000)), MISMATCH + "|400", None),
    Row("two signatures", "a proxy may read the other", Ask(lines=(b"authorization: AWS4-HMAC-SHA256 Credential=a/20260101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=0",)), "400", None),
    Row("a signature in header and query", "one or the other", read(f"/{BUCKET}/kept?X-Amz-Signature=0&X-Amz-Algorithm=AWS4-HMAC-SHA256"), "400 InvalidArgument", None),
    Row("a password", "no scheme of S3", read(edit=swap(b"AWS4-HMAC-SHA256", b"Basic")), "400", None),
    Row("a bearer", "no scheme of S3", read(edit=swap(b"AWS4-HMAC-SHA256", b"Bearer")), "400", None),
    Row("a hash that is not supported", "no weaker one by name", read(edit=swap(b"AWS4-HMAC-SHA256", b"AWS4-HMAC-SHA1")), "400", None),
    Row("a signature of version 4a", "not supported, and not taken for version 4", read(edit=swap(b"AWS4-HMAC-SHA256", b"AWS4-ECDSA-P256-SHA256")), "400", None),
    Row("an empty authorization", "not anonymous, and not signed", read(f"/{BUCKET}/kept", b"authorization:", is_signed=False), "400|" + DENIED, None),
    Row("no authorization", "nobody may do anything", read(is_signed=False), DENIED, None),
    Row("no authorization, a write", "nobody may do anything", Ask(is_signed=False), DENIED, None),
    Row("no authorization, a list", "nobody may do anything", read(f"/{BUCKET}", is_signed=False), DENIED, None),
    Row("no authorization, all buckets", "nobody may do anything", read("/", is_signed=False), DENIED, None),
    Row("a session token", "none is ever issued", Ask(headers={"x-amz-security-token": "a" * 200}), "400 InvalidToken|403 InvalidToken|403 InvalidAccessKeyId", None),
    Row("no digest of the body", "every signed request says what it sends", Ask(edit=lambda data: data.replace(data[data.index(b"x-amz-content-sha256: "):data.index(b"authorization:")], b"").replace(b";x-amz-content-sha256", b"")), "400|" + MISMATCH, None),
    Row("a digest that is none", "64 digits, or a name that is known", Ask(payload="abc"), "400", None),
    Row("a digest of zeros", "the body has another", Ask(payload="0" * 64), "400 XAmzContentSHA256Mismatch", None),
    Row("the digest of nothing for a body", "the body has another", Ask(payload=EMPTY), "400 XAmzContentSHA256Mismatch", None),
    Row("a kind of body that is not known", "never taken for unsigned", Ask(payload="STREAMING-NOTHING"), "400|501", None),
    Row("a body of version 4a", "never taken for version 4", Ask(payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"), "400|501", None),
    Row("a digest twice", "a proxy may read the other", Ask(lines=(b"x-amz-content-sha256: UNSIGNED-PAYLOAD",)), "400", None),
]

REPLAYS = [
    Row("16 minutes old", "a signature that was found later is worth nothing", Ask(signs={"when": lambda: at(minutes=-16)}), "403 RequestTimeTooSkewed", None),
    Row("16 minutes ahead", "kept for later is worth nothing", Ask(signs={"when": lambda: at(minutes=16)}), "403 RequestTimeTooSkewed", None),
    Row("of another century", "no overflow of times", Ask(edit=lambda data: swap(b"x-amz-date: 20", b"x-amz-date: 99")(data)), "403|" + MALFORMED, None),
    Row("a date that is none", "no default is taken", Ask(edit=swap(b"x-amz-date: 20", b"x-amz-date: 2O")), "403 AccessDenied|400", None),
    Row("of the 30th of February", "no date is made of it", Ask(edit=lambda data: data.replace(data[data.index(b"x-amz-date: "):][:28], b"x-amz-date: 20260230T000000Z", 1)), "403", None),
    Row("a date of year 0", "no overflow of times", Ask(edit=lambda data: data.replace(data[data.index(b"x-amz-date: "):][:28], b"x-amz-date: 00000101T000000Z", 1)), "403|" + MALFORMED, None),
    Row("the scope of another day", "the key is of one day", Ask(edit=lambda data: data.replace(data[data.index(b"Credential="):][:28], b"Credential=AKIDTEST/20200101", 1)), MISMATCH + "|" + MALFORMED, None),
    Row("two dates", "a proxy may read the other", Ask(lines=(b"x-amz-date: 20200101T000000Z",)), "400", None),
    Row("to another key", "the path is signed", Ask(target=f"/{BUCKET}/kept", path=f"/{BUCKET}/new"), MISMATCH, None),
    Row("to another bucket", "the path is signed", Ask(target=f"/{OTHER}/new", path=f"/{BUCKET}/new"), MISMATCH, None),
    Row("with another method", "the method is signed", read(edit=swap(b"GET ", b"DELETE ")), MISMATCH, None),
    Row("with another query", "the query is signed", remove(f"/{BUCKET}/kept?tagging", path=f"/{BUCKET}/kept"), MISMATCH, None),
    Row("without its query", "the query is signed", remove(f"/{BUCKET}/kept", path=f"/{BUCKET}/kept?tagging"), MISMATCH, None),
    Row("with another body", "the digest is signed", Ask(edit=lambda data: data[:-3] + b"abd"), "400 XAmzContentSHA256Mismatch", None),
    Row("to another host", "the host is signed", Ask(edit=lambda data: data.replace(b"host: 127.0.0.1", b"host: 127.0.0.2", 1)), MISMATCH, None),
    Row("by another user's name", "the key is the user's", Ask(edit=lambda data: data.replace(b"Credential=AKIDTEST/", b"Credential=AKIDOTHER/", 1)), MISMATCH, None),
    Row("within its time", "S3 keeps no list of signatures: the same write again", Ask(), "200", True, {"new": b"abc"}),
]


def presigned(target=f"/{BUCKET}/kept", change=lambda query: query, **how):
    """A presigned GET, with its query changed after it was signed."""
    class Presigned(Ask):
        def bytes(self, place):
            path, _, more = target.partition("?")
            pairs = [tuple(pair.partition("=")[::2]) for pair in more.split("&") if pair]
            given = {name: value() if callable(value) else value for name, value in how.items() if name in ("when", "expires")}
            url = sign_query(how.get("signed", "GET"), path, pairs, place.host, **given)
            path, _, query = url.partition("?")
            method = how.get("method", "GET")
            return f"{method} {path}?{change(query)} HTTP/1.1\r\nhost: {place.host}\r\n".encode() + how.get("lines", b"") + b"\r\n" + how.get("body", b"")

    return Presigned(method=how.get("method", "GET"))


QUERY_ERROR = "400 AuthorizationQueryParametersError"
PRESIGNED = [
    Row("a presigned read", "the rows below would be read, were they not changed", presigned(), "200", True),
    Row("a presigned read that has expired", "over is over", presigned(when=lambda: at(seconds=-100), expires=60), DENIED, None),
    Row("a presigned read of tomorrow", "not yet", presigned(when=lambda: at(days=1)), DENIED, None),
    Row("a presigned read for more than a week", "no longer than a week", presigned(expires=604801), QUERY_ERROR, None),
    Row("a presigned read for less than nothing", "no negative time", presigned(expires=-1), QUERY_ERROR, None),
    Row("a presigned read for ever", "no overflow of times", presigned(expires=9223372036854775807), QUERY_ERROR, None),
    Row("a presigned read above 64 bits", "no overflow of times", presigned(expires=99999999999999999999999), QUERY_ERROR, None),
    Row("a presigned read for a word", "a number of seconds", presigned(expires="ever"), QUERY_ERROR, None),
    Row("a presigned read for a power", "a number of seconds", presigned(expires="1e3"), QUERY_ERROR, None),
    Row("a presigned read for no time", "a number of seconds", presigned(expires=""), QUERY_ERROR, None),
    Row("a longer presigned read", "the time is signed", presigned(change=lambda query: query.replace("Expires=300", "Expires=3000")), MISMATCH, None),
    Row("a later presigned read", "the time is signed", presigned(when=lambda: at(seconds=-100), change=lambda query: query.replace("X-Amz-Date=2026", "X-Amz-Date=2027").replace("X-Amz-Date=2025", "X-Amz-Date=2026")), "403|400 AuthorizationQueryParametersError", None),
    Row("a presigned read as a delete", "the method is signed", presigned(method="DELETE"), MISMATCH, None),
    Row("a presigned read as a write", "the method is signed", presigned(method="PUT", lines=b"content-length: 3\r\n", body=b"abc"), MISMATCH, None),
    Row("a presigned write as a read", "the method is signed", presigned(signed="PUT"), MISMATCH, None),
    Row("a presigned read of another key", "the path is signed", presigned(change=lambda query: query, target=f"/{BUCKET}/kept2", signed="GET", when=lambda: at(days=-8)), DENIED, None),
    Row("a presigned read with another parameter", "the query is signed", presigned(change=lambda query: query + "&response-content-type=text/html"), MISMATCH, None),
    Row("a presigned read with a header of Amazon's", "all headers of Amazon's are signed", presigned(lines=b"x-amz-meta-a: b\r\n"), DENIED, None),
    Row("a presigned read with a session", "the query is signed", presigned(change=lambda query: query + "&X-Amz-Security-Token=a"), MISMATCH + "|400 InvalidToken", None),
    Row("a presigned read with two signatures", "one is checked, and the query is signed", presigned(change=lambda query: "X-Amz-Signature=0&" + query), MISMATCH + "|400", None),
    Row("a presigned read with two dates", "one is checked, and the query is signed", presigned(change=lambda query: "X-Amz-Date=20200101T000000Z&" + query), "403|400", None),
    Row("a presigned read without a date", "all parameters or none", presigned(change=lambda query: query.replace("X-Amz-Date", "X-Amz-Dat")), QUERY_ERROR, None),
    Row("a presigned read without an algorithm", "all parameters or none", presigned(change=lambda query: query.replace("X-Amz-Algorithm=AWS4-HMAC-SHA256&", "")), QUERY_ERROR, None),
    Row("a presigned read without a signature", "all parameters or none", presigned(change=lambda query: query[:query.index("&X-Amz-Signature")]), QUERY_ERROR, None),
    Row("a presigned read of another algorithm", "no weaker one by name", presigned(change=lambda query: query.replace("HMAC-SHA256", "HMAC-SHA1")), QUERY_ERROR, None),
    Row("a presigned read that signs no host", "the request could be sent to another server", presigned(change=lambda query: query.replace("SignedHeaders=host", "SignedHeaders=date"), lines=b"date: a\r\n"), DENIED + "|" + MISMATCH, None),
    Row("a presigned read of an unknown user", "no such key", presigned(change=lambda query: query.replace("AKIDTEST", "AKIDNOBODY")), "403 InvalidAccessKeyId", None),
    Row("a presigned read of a broken scope", "a credential has five fields", presigned(change=lambda query: query.replace("%2Faws4_request", "")), QUERY_ERROR, None),
]

INVALID = "400 InvalidArgument"
QUERIES = [
    Row("a negative page", "a number of keys", read(f"/{BUCKET}?max-keys=-1"), INVALID, None),
    Row("a page above 64 bits", "no overflow", read(f"/{BUCKET}?list-type=2&max-keys=99999999999999999999"), INVALID, None),
    Row("a page of half a key", "a number of keys", read(f"/{BUCKET}?max-keys=1.5"), INVALID, None),
    Row("a page of letters", "a number of keys", read(f"/{BUCKET}?max-keys=abc"), INVALID, None),
    Row("a page with a plus", "digits and nothing else", read(f"/{BUCKET}?max-keys=%2B5"), INVALID, None),
    Row("a token that is none", "tokens are told, not made up", read(f"/{BUCKET}?list-type=2&continuation-token=abc"), INVALID, None),
    Row("a token with another key", "tokens are told, not made up", read(f"/{BUCKET}?list-type=2&continuation-token=AWtrZXB0AAAAAA"), INVALID, None),
    Row("an empty token", "the first page, as without one", read(f"/{BUCKET}?list-type=2&continuation-token="), "200", True),
    Row("a token of 8 KiB", "tokens are told, not made up", read(f"/{BUCKET}?list-type=2&continuation-token=" + "A" * 8192), INVALID, None),
    Row("an encoding that is none", "url, or nothing", read(f"/{BUCKET}?encoding-type=xml"), INVALID, None),
    Row("a prefix that is not UTF-8", "keys are UTF-8", read(f"/{BUCKET}?prefix=%ff"), "400", None),
    Row("a delimiter of 8 KiB", "longer than any key", read(f"/{BUCKET}?delimiter=" + "d" * 8192), "200|400", None),
    Row("a version marker without a key", "nothing to begin at", read(f"/{BUCKET}?version-id-marker=x&versions"), INVALID, None),
    Row("a negative page of uploads", "a number of uploads", read(f"/{BUCKET}?max-uploads=-1&uploads"), INVALID, None),
    Row("a negative page of parts", "a number of parts", read(f"/{BUCKET}/open?max-parts=-1&uploadId={{upload}}"), INVALID, None),
    Row("a marker of parts that is negative", "a number of a part", read(f"/{BUCKET}/open?part-number-marker=-1&uploadId={{upload}}"), INVALID, None),
    Row("a version that cannot be", "a version id is told, not made up", read(f"/{BUCKET}/kept?versionId=..%2F..%2Fx"), INVALID + "|404 NoSuchVersion", None),
    Row("a version that cannot be, deleted", "a version id is told, not made up", remove(f"/{BUCKET}/kept?versionId=%00"), INVALID + "|404 NoSuchVersion", None),
    Row("an empty version", "a version id is told, not made up", remove(f"/{BUCKET}/kept?versionId="), INVALID + "|404 NoSuchVersion", None),
    Row("a version above 64 bits", "no overflow", read(f"/{BUCKET}/kept?versionId=" + "f" * 40), INVALID + "|404 NoSuchVersion", None),
    Row("two selectors", "one operation or none", read(f"/{BUCKET}/kept?acl&tagging"), "400|405|501", None),
    Row("a write with a selector of a read", "never a write of the object", Ask(target=f"/{BUCKET}/kept?attributes"), "400|405|501", None),
    Row("a delete with an unknown selector", "never a delete of the object", remove(f"/{BUCKET}/kept?legal-hold"), "400|405|501", None),
    Row("a write of a policy", "not implemented, and never a bucket", Ask(target=f"/{BUCKET}?policy", body=b"{}"), "501 NotImplemented|400", None),
    Row("an upload that is none", "ids are told, not made up", Ask(target=f"/{BUCKET}/open?partNumber=1&uploadId=..%2Fx"), "404 NoSuchUpload", None),
    Row("an upload id of 8 KiB", "ids are told, not made up", Ask(target=f"/{BUCKET}/open?partNumber=1&uploadId=" + "a" * 8192), "404 NoSuchUpload", None),
    Row("an empty upload id", "ids are told, not made up", remove(f"/{BUCKET}/open?uploadId="), "404 NoSuchUpload", None),
    Row("two upload ids", "one or none", Ask(target=f"/{BUCKET}/open?partNumber=2&uploadId=" + "0" * 32 + "&uploadId={upload}"), "400|404 NoSuchUpload", None),
    Row("part 0", "parts begin with 1", Ask(target=f"/{BUCKET}/open?partNumber=0&uploadId={{upload}}"), INVALID, None),
    Row("part 10,001", "parts end with 10,000", Ask(target=f"/{BUCKET}/open?partNumber=10001&uploadId={{upload}}"), INVALID, None),
    Row("part -1", "parts begin with 1", Ask(target=f"/{BUCKET}/open?partNumber=-1&uploadId={{upload}}"), INVALID, None),
    Row("part 65,537", "must not wrap to part 1", Ask(target=f"/{BUCKET}/open?partNumber=65537&uploadId={{upload}}"), INVALID, None),
    Row("part 4,294,967,297", "must not wrap to part 1", Ask(target=f"/{BUCKET}/open?partNumber=4294967297&uploadId={{upload}}"), INVALID, None),
    Row("part 1a", "digits and nothing else", Ask(target=f"/{BUCKET}/open?partNumber=1a&uploadId={{upload}}"), INVALID, None),
    Row("a part without an upload", "never a write of the object", Ask(target=f"/{BUCKET}/kept?partNumber=1"), "400|405|501", None),
    Row("a type of a response with a line end", "a response is never split", read(f"/{BUCKET}/kept?response-content-type=a%0D%0AX-Injected%3A%20b"), "400|200", None),
    Row("a disposition of a response with a NUL", "a header has no NUL", read(f"/{BUCKET}/kept?response-content-disposition=a%00b"), "400|200", None),
    Row("a header in the query with a line end", "a request is never split", read(f"/{BUCKET}/kept?x-amz-expected-bucket-owner=a%0D%0Ab"), "400|403", None),
]

RANGES = [
    Row(f"range {text[:40]}", reason, read(f"/{BUCKET}/kept", b"range: " + text.encode()), answer, None) for text, reason, answer in [
        ("bytes=0-18446744073709551616", "clamped, without overflow", "206"),
        ("bytes=0-99999999999999999999999999", "clamped, without overflow", "206"),
        ("bytes=18446744073709551616-", "nothing is there", "416 InvalidRange"),
        ("bytes=4-", "one byte behind the end", "416 InvalidRange"),
        ("bytes=-0", "the last 0 bytes are none", "416 InvalidRange"),
        ("bytes=-18446744073709551616", "the last bytes, which are all", "206"),
        ("bytes=3-1", "not a range", "200|416 InvalidRange"),
        ("bytes=0-0,2-2", "several are not served", "200"),
        ("bytes=" + "0-," * 3000 + "0-0", "several are not served", "200|400"),
        ("bytes=-", "not a range", "200|416"),
        ("bytes=a-b", "not a range", "200|416"),
        ("bytes=0x0-0x1", "not a range", "200|416"),
        ("bytes=+1-2", "not a range", "200|416"),
        ("bytes=-1-2", "not a range", "200|416"),
        ("bytes=--1", "not a range", "200|416"),
        ("items=0-1", "not bytes", "200"),
        ("bytes", "not a range", "200"),
        ("", "not a range", "200"),
    ]
] + [
    Row("two ranges in two headers", "a proxy may read the other", read(f"/{BUCKET}/kept", b"range: bytes=0-0", b"range: bytes=1-1"), "400", None),
    Row("a range and a part", "one or the other", read(f"/{BUCKET}/kept?partNumber=1", b"range: bytes=0-0"), "400 InvalidRequest", None),
    Row("a range of a copied part beyond the source", "no overflow", Ask(target=f"/{BUCKET}/open?partNumber=2&uploadId={{upload}}", body=b"", headers={"x-amz-copy-source": f"/{BUCKET}/kept", "x-amz-copy-source-range": "bytes=0-18446744073709551615"}), "400|416", None),
    Row("a range of a copied part that is none", "no default is taken", Ask(target=f"/{BUCKET}/open?partNumber=2&uploadId={{upload}}", body=b"", headers={"x-amz-copy-source": f"/{BUCKET}/kept", "x-amz-copy-source-range": "bytes=3-1"}), "400|416", None),
    Row("a range of a copied part without an end", "both ends must be there", Ask(target=f"/{BUCKET}/open?partNumber=2&uploadId={{upload}}", body=b"", headers={"x-amz-copy-source": f"/{BUCKET}/kept", "x-amz-copy-source-range": "bytes=0-"}), "400", None),
]


def metadata(name, value, **how):
    return Ask(headers={name: value}, **how)


VALUES = [
    Row("metadata of 2 KiB and one byte", "S3's bound", metadata("x-amz-meta-a", "b" * 2048), "400 MetadataTooLarge", None),
    Row("metadata that is not UTF-8", "a value could not be told again", Ask(lines=(b"x-amz-meta-a: \xff",)), "400|" + DENIED, None),
    Row("eleven tags", "at most ten", metadata("x-amz-tagging", "&".join(f"k{n}=v" for n in range(11))), "400", None),
    Row("one tag twice", "a name has one value", metadata("x-amz-tagging", "a=1&a=2"), "400", None),
    Row("a tag that is not UTF-8", "a tag is text", metadata("x-amz-tagging", "a=%ff"), "400", None),
    Row("a tag without a name", "a tag has a name", metadata("x-amz-tagging", "=v"), "400", None),
    Row("a tag of 129 characters", "S3's bound", metadata("x-amz-tagging", "k" * 129 + "=v"), "400", None),
    Row("a storage class that is none", "no default is taken", metadata("x-amz-storage-class", "../STANDARD"), "400 InvalidStorageClass|501", None),
    Row("an ACL that is none", "no default is taken", metadata("x-amz-acl", "public-everything"), "400|501", None),
    Row("a grant to everybody", "not implemented, and never private by silence", metadata("x-amz-grant-read", 'uri="http://acs.amazonaws.com/groups/global/AllUsers"'), "400|501", None),
    Row("an encryption that is none", "never stored in the clear by silence", metadata("x-amz-server-side-encryption", "ROT13"), "400|501", None),
    Row("a key of a customer", "never stored in the clear by silence", metadata("x-amz-server-side-encryption-customer-algorithm", "AES256"), "400|501", None),
    Row("a lock", "never unlocked by silence", metadata("x-amz-object-lock-mode", "COMPLIANCE"), "400|501", None),
    Row("a redirect to a script", "a path, or a web address", metadata("x-amz-website-redirect-location", "javascript:alert(1)"), "400|501", None),
    Row("a directive that is none", "no default is taken", Ask(headers={"x-amz-copy-source": f"/{BUCKET}/kept", "x-amz-metadata-directive": "MERGE"}, body=b""), "400", None),
    Row("a condition that is not text", "never dropped", Ask(lines=(b"if-none-match: \xff",)), "400", None),
    Row("two conditions of one name", "a proxy may read the other", Ask(lines=(b'if-match: "a"', b'if-match: "b"')), "400", None),
    Row("a condition that does not hold", "nothing is written", Ask(target=f"/{BUCKET}/kept", lines=(b"if-none-match: *",)), "412 PreconditionFailed", None),
    Row("a condition on what is not there", "nothing is written", Ask(lines=(b'if-match: "a"',)), "404 NoSuchKey|412", None),
    Row("an MD5 that is none", "16 bytes in base64", Ask(lines=(b"content-md5: AAAA",)), "400 InvalidDigest", None),
    Row("an MD5 in hexadecimal", "16 bytes in base64", Ask(lines=(b"content-md5: 900150983cd24fb0d6963f7d28e17f72",)), "400 InvalidDigest", None),
    Row("another MD5", "the body has another", Ask(lines=(b"content-md5: AAAAAAAAAAAAAAAAAAAAAA==",)), "400 BadDigest", None),
    Row("an empty MD5", "16 bytes in base64", Ask(lines=(b"content-md5:",)), "400 InvalidDigest", None),
    Row("two checksums", "one or none", Ask(headers={"x-amz-checksum-crc32": "NSRBwg==", "x-amz-checksum-sha1": "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}), "400", None),
    Row("an algorithm that is not known", "no default is taken", metadata("x-amz-sdk-checksum-algorithm", "CRC31"), "400", None),
    Row("an algorithm without its checksum", "what was announced must come", metadata("x-amz-sdk-checksum-algorithm", "SHA256", payload=UNSIGNED), "200|400", None, {"new": b"abc"}),
] + [
    Row(f"another {name}", "the body has another", Ask(headers={f"x-amz-checksum-{name}": value}), "400 BadDigest", None) for name, value in [
        ("crc32", "AAAAAA=="), ("crc32c", "AAAAAA=="), ("crc64nvme", "AAAAAAAAAAA="), ("sha1", "A" * 27 + "="), ("sha256", "A" * 43 + "="),
    ]
] + [
    Row(f"a scrap of {name}", "a checksum has its length", Ask(headers={f"x-amz-checksum-{name}": "AA=="}), "400", None) for name in ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]
]

ROWS = [*PATHS, *SIGNATURES, *REPLAYS, *PRESIGNED, *QUERIES, *RANGES, *VALUES]
