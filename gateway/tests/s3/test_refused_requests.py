"""Requests that no client sends: each is refused with the code that S3 documents, and changes nothing."""
import datetime
import hashlib
import hmac
import http.client

import pytest

from lib.signing import sign

EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
BOMB = b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'


class Sender:
    """Sends requests as they are given; knows the bucket `hostile`, in which only the key `kept` is."""

    def __init__(self, server, s3):
        self.port, self.host, self.s3 = server.port, server.address, s3

    def ask(self, method, path, headers, body=b"", short=False):
        """Status and text of the answer; 0 where the server hung up."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            try:
                connection.send(body)
                if short:
                    connection.sock.shutdown(1)
            except OSError:
                pass
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        except (http.client.HTTPException, OSError):
            return 0, ""
        finally:
            connection.close()

    def signed(self, body=b"abc", payload=None, path="/hostile/new", extra=None, length=None, **how):
        """The headers of a PUT."""
        payload = payload or hashlib.sha256(body).hexdigest()
        headers = {"host": self.host, "content-length": str(len(body) if length is None else length), **(extra or {})}
        return sign("PUT", path, headers, payload, **how)[0]

    def put(self, body=b"abc", to="/hostile/new", short=False, **how):
        return self.ask("PUT", to, self.signed(body, **how), body, short)

    def get(self, path="/hostile/kept", **headers):
        return self.ask("GET", path, {"host": self.host, **{name.replace("_", "-"): value for name, value in headers.items()}})

    def delete(self, document):
        headers = {"host": self.host, "content-length": str(len(document))}
        signed, *_ = sign("POST", "/hostile?delete", headers, hashlib.sha256(document).hexdigest())
        return self.ask("POST", "/hostile?delete", signed, document)

    def chunked(self, flip=False, decoded=3):
        """An upload of b"abc" in aws-chunked encoding."""
        headers = {"host": self.host, "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded)}
        size = len(frame(b"abc", "0" * 64)) + len(b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n")
        headers, previous, key, stamp, scope = sign("PUT", "/hostile/new", {**headers, "content-length": str(size)}, CHUNKED)
        out = b""
        for data in [b"abc", b""]:
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, EMPTY, hashlib.sha256(data).hexdigest()])
            previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            out += frame(data, previous)
        if flip:
            out = out.replace(b"\r\nabc", b"\r\nabd")
        return self.ask("PUT", "/hostile/new", headers, out)

    def presigned(self):
        """The target of a presigned GET of the key `kept`."""
        url = self.s3.generate_presigned_url("get_object", Params={"Bucket": "hostile", "Key": "kept"}, ExpiresIn=60)
        return url.partition(self.host)[2]


def frame(data, signature):
    return b"%x;chunk-signature=%s\r\n" % (len(data), signature.encode()) + data + b"\r\n"


def at(**offset):
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**offset)


def unsigned_header(sender):
    return sender.ask("PUT", "/hostile/new", {**sender.signed(), "x-amz-meta-a": "b"}, b"abc")


def no_length(sender):
    return sender.ask("PUT", "/hostile/new", sign("PUT", "/hostile/new", {"host": sender.host}, UNSIGNED)[0])


# The fault -> the codes or statuses of which one must come, and the request.
REQUESTS = {
    "a short body": (["IncompleteBody", 0], lambda s: s.put(length=10, payload=UNSIGNED, short=True)),
    "a wrong sha256": (["XAmzContentSHA256Mismatch"], lambda s: s.put(payload=EMPTY)),
    "a wrong md5": (["BadDigest"], lambda s: s.put(extra={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="})),
    "a scrap of md5": (["InvalidDigest"], lambda s: s.put(extra={"content-md5": "AAAA"})),
    "a wrong crc32": (["BadDigest"], lambda s: s.put(extra={"x-amz-checksum-crc32": "AAAAAA=="})),
    "a scrap of crc32": (["InvalidRequest"], lambda s: s.put(extra={"x-amz-checksum-crc32": "AA=="})),
    "two checksums": (["InvalidRequest"], lambda s: s.put(extra={"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="})),
    "another secret": (["SignatureDoesNotMatch"], lambda s: s.put(secret="wrong")),
    "another user": (["InvalidAccessKeyId"], lambda s: s.put(access="NOBODY")),
    "an old request": (["RequestTimeTooSkewed"], lambda s: s.put(when=at(minutes=-16))),
    "a request of tomorrow": (["RequestTimeTooSkewed"], lambda s: s.put(when=at(days=1))),
    "a changed path": (["SignatureDoesNotMatch"], lambda s: s.put(to="/hostile/kept")),
    "an unsigned header": (["AccessDenied"], unsigned_header),
    "no credentials": (["AccessDenied"], lambda s: s.ask("PUT", "/hostile/new", {"host": s.host, "content-length": "3"}, b"abc")),
    "signature version 2": (["InvalidRequest"], lambda s: s.get(authorization="AWS AKID:abc")),
    "a scrap of authorization": (["AuthorizationHeaderMalformed"], lambda s: s.get(authorization="AWS4-HMAC-SHA256 nothing")),
    "giant metadata": (["MetadataTooLarge"], lambda s: s.put(extra={"x-amz-meta-big": "m" * 2100})),
    "large headers": (["RequestHeaderSectionTooLarge"], lambda s: s.get(x_big="h" * (16 << 10))),
    "giant headers": ([431, 0], lambda s: s.get(x_big="h" * 400_000)),
    "a path that is not UTF-8": (["InvalidURI", "SignatureDoesNotMatch"], lambda s: s.put(to="/hostile/%ff%fe", path="/hostile/%ff%fe")),
    "no length": ([411, "MissingContentLength"], no_length),
    "a giant length": (["EntityTooLarge"], lambda s: s.put(b"", length=(5 << 30) + 1, payload=UNSIGNED)),
    "an XML bomb": (["MalformedXML"], lambda s: s.delete(BOMB)),
    "no XML": (["MalformedXML"], lambda s: s.delete(b"{}")),
    "an open element": (["MalformedXML"], lambda s: s.delete(b"<Delete><Object>")),
    "nothing to delete": (["MalformedXML"], lambda s: s.delete(b"<Delete></Delete>")),
    "a broken chunk signature": (["SignatureDoesNotMatch"], lambda s: s.chunked(flip=True)),
    "more than decoded": (["IncompleteBody"], lambda s: s.chunked(decoded=2)),
    "less than decoded": (["IncompleteBody"], lambda s: s.chunked(decoded=4)),
    "a changed presigned GET": (["SignatureDoesNotMatch"], lambda s: s.get(s.presigned().replace("/kept", "/other"))),
    "a presigned GET for too long": (["AuthorizationQueryParametersError"], lambda s: s.get(s.presigned().replace("Expires=60", "Expires=604801"))),
}


@pytest.fixture(scope="module")
def sender(server, s3):
    s3.create_bucket(Bucket="hostile")
    s3.put_object(Bucket="hostile", Key="kept", Body=b"kept")
    return Sender(server, s3)


@pytest.mark.parametrize("what", REQUESTS)
def test_a_request_is_refused_and_changes_nothing(s3, sender, what):
    wanted, send = REQUESTS[what]
    status, text = send(sender)
    assert any(f"<Code>{code}</Code>" in text or code == status for code in wanted), f"{what}: {status} {text[:300]}"
    listed = s3.list_object_versions(Bucket="hostile")
    assert [version["Key"] for version in listed["Versions"]] == ["kept"], "nothing was changed"


def test_a_presigned_get_is_answered(sender):
    status, text = sender.get(sender.presigned())
    assert (status, text) == (200, "kept"), f"a presigned GET: {status} {text[:300]}"


def test_a_chunked_body_is_taken(s3, sender):
    status, text = sender.chunked()
    assert status == 200 and s3.get_object(Bucket="hostile", Key="new")["Body"].read() == b"abc", f"a good chunked body: {status} {text}"
    s3.delete_object(Bucket="hostile", Key="new")
