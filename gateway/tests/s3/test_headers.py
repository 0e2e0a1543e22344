"""Headers that bind or protect are obeyed as they were sent, or the request is refused: checksums of every algorithm in
headers, trailers and completions; owners, tokens, text and numbers. Nothing is stored by what is refused."""
import base64
import hashlib
import hmac
import re
import zlib

import pytest

from lib.requests import Requests, code, header_of
from lib.signing import presigned, sign

ABC = {  # the published digests of b"abc"
    "crc32": "NSRBwg==", "crc32c": "Nks/tw==", "sha1": base64.b64encode(hashlib.sha1(b"abc").digest()).decode(),
    "sha256": base64.b64encode(hashlib.sha256(b"abc").digest()).decode(), "sha512": base64.b64encode(hashlib.sha512(b"abc").digest()).decode(),
    "md5": base64.b64encode(hashlib.md5(b"abc").digest()).decode(), "xxhash64": base64.b64encode(bytes.fromhex("44bc2cf5ad770999")).decode(),
    "xxhash3": base64.b64encode(bytes.fromhex("78af5f94892f3950")).decode(),
    "xxhash128": base64.b64encode(bytes.fromhex("06b05ab6733a618578af5f94892f3950")).decode()}


class Wire(Requests):
    """Uploads to the bucket `kept` in every form."""

    def expect(self, wanted, what, answer):
        got = code(answer)
        assert got == wanted or wanted == got[0], f"{what}: {got}, not {wanted}: {answer[2][:200]}"
        return answer

    def trailed(self, path, trailer, value, end=b"\r\n", signed=False, query=""):
        """An upload of b"abc" in aws-chunked encoding, with a trailer; `end` stands between it and what follows."""
        mode = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" if signed else "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
        line = f"{trailer}:{value}"
        size = len(f"3\r\nabc\r\n0\r\n{line}") + len(end) + 2
        if signed:
            size += 2 * len(";chunk-signature=" + "0" * 64) + len("x-amz-trailer-signature:" + "0" * 64 + "\r\n")
        target = path + ("?" + query if query else "")
        headers = {"host": self.host, "content-encoding": "aws-chunked", "content-length": str(size),
                   "x-amz-decoded-content-length": "3", "x-amz-trailer": trailer}
        headers, seed, key, stamp, scope = sign("PUT", target, headers, mode)
        if not signed:
            return self.send("PUT", target, headers, f"3\r\nabc\r\n0\r\n{line}".encode() + end + b"\r\n")
        empty, body = hashlib.sha256(b"").hexdigest(), b""
        for data in (b"abc", b""):
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, seed, empty, hashlib.sha256(data).hexdigest()])
            seed = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            body += f"{len(data):x};chunk-signature={seed}\r\n".encode() + (data + b"\r\n" if data else b"")
        text = "\n".join(["AWS4-HMAC-SHA256-TRAILER", stamp, scope, seed, hashlib.sha256(f"{line}\n".encode()).hexdigest()])
        seed = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        return self.send("PUT", target, headers, body + line.encode() + end + f"x-amz-trailer-signature:{seed}\r\n\r\n".encode())

    def upload(self, key, **headers):
        answer = self.ask("POST", f"/kept/{key}", "uploads=", headers={name.replace("_", "-"): value for name, value in headers.items()})
        return re.search(rb"<UploadId>(.*?)</UploadId>", answer[2]).group(1).decode()

    def part(self, key, upload, number=1, body=b"abc", headers=None):
        return self.ask("PUT", f"/kept/{key}", f"partNumber={number}&uploadId={upload}", headers=headers, body=body)

    def complete(self, key, upload, etag, element="", headers=None):
        document = f"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>{element}</Part></CompleteMultipartUpload>"
        return self.ask("POST", f"/kept/{key}", f"uploadId={upload}", headers=headers, body=document.encode())


def wrong(value):
    digest = bytearray(base64.b64decode(value))
    digest[0] ^= 1
    return base64.b64encode(digest).decode()


def crc32c(data):
    value = 0xFFFFFFFF
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return (value ^ 0xFFFFFFFF).to_bytes(4, "big")


def crc64nvme(data):
    value = mask = (1 << 64) - 1
    for byte in data:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (0x9A6C9329AC4BC9B5 if value & 1 else 0)
    return (value ^ mask).to_bytes(8, "big")


@pytest.fixture(scope="module")
def wire(server):
    """The bucket has an object with a checksum."""
    wire = Wire(server)
    wire.ask("PUT", "/kept")
    wire.expect(200, "an upload", wire.ask("PUT", "/kept/crc32", headers={"x-amz-checksum-crc32": ABC["crc32"]}, body=b"abc"))
    return wire


@pytest.fixture(scope="module")
def owner(wire):
    return re.search(rb"<ID>(.*?)</ID>", wire.ask("GET", "/")[2]).group(1).decode()


def test_the_table_of_digests_is_right():
    assert base64.b64encode(zlib.crc32(b"abc").to_bytes(4, "big")).decode() == ABC["crc32"], "the table is right"


@pytest.mark.parametrize("name", ABC)
def test_a_checksum_of_an_object_binds(wire, name):
    header, value = f"x-amz-checksum-{name}", ABC[name]

    def put(value):
        return wire.ask("PUT", f"/kept/bad-{name}", headers={header: value}, body=b"abc")

    wire.expect((400, "BadDigest"), f"a wrong {name}", put(wrong(value)))
    wire.expect((400, "InvalidRequest"), f"a scrap of {name}", put("AAAA"))
    wire.expect((400, "BadDigest"), f"a wrong {name} in a trailer", wire.trailed(f"/kept/bad-{name}", header, wrong(value)))
    wire.expect(404, f"nothing is stored with a wrong {name}", wire.ask("GET", f"/kept/bad-{name}"))
    answer = wire.expect(200, f"a right {name}", wire.ask("PUT", f"/kept/{name}", headers={header: value}, body=b"abc"))
    assert answer[1].get(header) == value, f"{name} is told: {answer[1]}"
    wire.expect(200, f"a right {name} in a trailer", wire.trailed(f"/kept/{name}", header, value))


@pytest.mark.parametrize("name", ABC)
def test_a_checksum_of_a_part_binds(wire, name):
    header, value = f"x-amz-checksum-{name}", ABC[name]
    upload = wire.upload("parts")
    wire.expect((400, "BadDigest"), f"a part with a wrong {name}", wire.part("parts", upload, headers={header: wrong(value)}))
    answer = wire.expect(200, f"a part with a right {name}", wire.part("parts", upload, headers={header: value}))
    assert answer[1].get(header) == value, f"{name} of a part is told: {answer[1]}"


@pytest.mark.parametrize("name", ABC)
def test_a_checksum_of_deletes_binds(wire, name):
    delete = b"<Delete><Object><Key>gone</Key></Object></Delete>"
    answer = wire.ask("POST", "/kept", "delete=", headers={f"x-amz-checksum-{name}": wrong(ABC[name])}, body=delete)
    wire.expect((400, "BadDigest"), f"deletes with a wrong {name}", answer)


@pytest.mark.parametrize("headers", [
    pytest.param({"x-amz-checksum-blake3": "AAAA"}, id="an unknown checksum"),
    pytest.param({"x-amz-sdk-checksum-algorithm": "BLAKE3"}, id="an unknown algorithm"),
    pytest.param({"x-amz-checksum-crc32": ABC["crc32"], "x-amz-checksum-sha512": ABC["sha512"]}, id="two checksums")])
def test_an_unknown_or_doubled_checksum_is_refused(wire, headers):
    wire.expect((400, "InvalidRequest"), f"{headers}", wire.ask("PUT", "/kept/new", headers=headers, body=b"abc"))
    wire.expect(404, "nothing is stored", wire.ask("GET", "/kept/new"))


def test_an_unknown_trailer_is_refused(wire):
    wire.expect((400, "InvalidRequest"), "an unknown trailer", wire.trailed("/kept/new", "x-amz-checksum-blake3", "AAAA"))
    wire.expect(404, "nothing is stored with an unknown checksum", wire.ask("GET", "/kept/new"))


def test_a_copy_has_the_checksum_that_is_asked_for(wire):
    headers = {"x-amz-copy-source": "/kept/crc32", "x-amz-checksum-algorithm": "SHA256"}
    answer = wire.expect(200, "a copy with another checksum", wire.ask("PUT", "/kept/copy", headers=headers))
    assert ABC["sha256"].encode() in answer[2], f"a copy tells its checksum: {answer[2]}"


@pytest.mark.parametrize("end", [b"\r\n", b"\n\r\n"])
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
def test_a_trailer_binds(wire, signed, end):
    value = ABC["crc32"]
    answer = wire.trailed("/kept/line-ends", "x-amz-checksum-crc32", value, end, signed)
    wire.expect(200, f"a trailer that ends with {end}", answer)
    answer = wire.trailed("/kept/bad-line-ends", "x-amz-checksum-crc32", wrong(value), end, signed)
    wire.expect((400, "BadDigest"), f"a wrong trailer that ends with {end}", answer)
    wire.expect(404, "nothing is stored with a wrong trailer", wire.ask("GET", "/kept/bad-line-ends"))


@pytest.mark.parametrize("more", [
    pytest.param(f"x-amz-checksum-crc32:{wrong(ABC['crc32'])}", id="twice"),
    pytest.param(f"x-amz-checksum-sha1:{wrong(ABC['sha1'])}", id="not announced")])
def test_a_further_trailer_is_refused(wire, more):
    answer = wire.trailed("/kept/bad-line-ends", "x-amz-checksum-crc32", f"{ABC['crc32']}\r\n{more}")
    wire.expect((400, "MalformedTrailerError"), f"a trailer with {more}", answer)
    wire.expect(404, "nothing is stored with a wrong trailer", wire.ask("GET", "/kept/bad-line-ends"))


CRC32C = ABC["crc32c"]
OVER_PARTS = base64.b64encode(crc32c(base64.b64decode(CRC32C))).decode()
CRC64 = base64.b64encode(crc64nvme(b"abc")).decode()


@pytest.mark.parametrize(("claim", "wanted"), [
    (OVER_PARTS, 200), (OVER_PARTS + "-1", 200), (OVER_PARTS + "-2", (400, "BadDigest")), (CRC32C, (400, "BadDigest")), (wrong(OVER_PARTS), (400, "BadDigest"))])
def test_a_checksum_over_parts_binds_a_completion(wire, claim, wanted):
    upload = wire.upload("whole", x_amz_checksum_algorithm="CRC32C")
    etag = header_of(wire.part("whole", upload, headers={"x-amz-checksum-crc32c": CRC32C}), "etag")
    wire.expect(wanted, f"a completion with checksum {claim}", wire.complete("whole", upload, etag, headers={"x-amz-checksum-crc32c": claim}))


@pytest.mark.parametrize(("headers", "wanted"), [
    ({"x-amz-checksum-crc64nvme": CRC64}, 200), ({"x-amz-checksum-crc64nvme": CRC64, "x-amz-checksum-type": "FULL_OBJECT"}, 200),
    ({"x-amz-checksum-crc64nvme": wrong(CRC64)}, (400, "BadDigest")), ({"x-amz-checksum-sha256": ABC["sha256"]}, (400, "InvalidRequest")),
    ({"x-amz-checksum-sha512": ABC["sha512"]}, (400, "InvalidRequest")), ({"x-amz-checksum-blake3": "AAAA"}, (400, "InvalidRequest")),
    ({"x-amz-mp-object-size": "3"}, 200), ({"x-amz-mp-object-size": "4"}, (400, "InvalidRequest")), ({"x-amz-mp-object-size": "+3"}, (400, "InvalidRequest")),
    ({"x-amz-checksum-type": "COMPOSITE"}, (400, "InvalidRequest")), ({"x-amz-write-offset-bytes": "1"}, (501, "NotImplemented"))], ids=str)
def test_a_header_of_a_completion_binds(wire, headers, wanted):
    upload = wire.upload("plain")
    etag = header_of(wire.part("plain", upload), "etag")
    wire.expect(wanted, f"a completion with {headers}", wire.complete("plain", upload, etag, headers=headers))


@pytest.mark.parametrize(("element", "wanted"), [
    (f"<ChecksumMD5>{ABC['md5']}</ChecksumMD5>", 200), (f"<ChecksumCRC32>{ABC['crc32']}</ChecksumCRC32>", 200),
    (f"<ChecksumCRC32>{wrong(ABC['crc32'])}</ChecksumCRC32>", (400, "InvalidPart")), (f"<ChecksumSHA512>{wrong(ABC['sha512'])}</ChecksumSHA512>", (400, "InvalidPart")),
    ("<ChecksumCRC64NVME>x</ChecksumCRC64NVME>", (400, "BadDigest")), ("<ChecksumCRC64NVME>AAAA</ChecksumCRC64NVME>", (400, "InvalidRequest")), ("<ChecksumBLAKE3>AAAA</ChecksumBLAKE3>", (400, "InvalidRequest"))])
def test_a_checksum_of_a_part_binds_a_completion(wire, element, wanted):
    upload = wire.upload("plain")
    etag = header_of(wire.part("plain", upload, headers={"x-amz-checksum-crc32": ABC["crc32"]}), "etag")
    wire.expect(wanted, f"a completion of a part with {element}", wire.complete("plain", upload, etag, element))


NAME = 'attachment; filename="\u017elu\u0165ou\u010dk\u00fd.txt"'.encode()


@pytest.mark.parametrize("header", ["content-disposition", "cache-control", "content-language", "content-encoding", "content-type", "expires"])
def test_a_text_is_kept_byte_for_byte_or_refused(wire, header):
    wire.expect(200, f"{header} in UTF-8", wire.ask("PUT", "/kept/text", body=b"x", pairs=[(header, NAME)]))
    back = (header_of(wire.ask("GET", "/kept/text"), header) or "").encode("latin-1")
    assert back == NAME, f"{header} is given back as {back}"
    wire.expect((400, "InvalidArgument"), f"{header} in Latin-1", wire.ask("PUT", "/kept/text", body=b"y", pairs=[(header, b"caf\xe9")]))


def test_two_headers_of_codings_are_joined(wire):
    joined = wire.ask("PUT", "/kept/text", body=b"x", pairs=[("content-encoding", "aws-chunked"), ("content-encoding", "gzip")])
    wire.expect(200, "two headers of codings", joined)
    assert header_of(wire.ask("HEAD", "/kept/text"), "content-encoding") == "gzip", "the second coding is kept"


def test_a_condition_that_cannot_be_read_or_comes_twice_is_refused(wire):
    wire.expect(200, "an upload", wire.ask("PUT", "/kept/text", body=b"x"))
    tag = header_of(wire.ask("HEAD", "/kept/text"), "etag")
    for pairs in [[("if-match", '"\u017e"'.encode())], [("if-none-match", b"\xff")], [("if-match", tag), ("if-match", '"' + "0" * 32 + '"')]]:
        for method in ("PUT", "DELETE", "GET"):
            wire.expect(400, f"{method} with {pairs}", wire.ask(method, "/kept/text", body=b"lost" if method == "PUT" else b"", pairs=pairs))
    assert wire.ask("GET", "/kept/text")[2] == b"x", "the object stands"


@pytest.mark.parametrize("header", ["x-amz-expected-bucket-owner", "x-amz-source-expected-bucket-owner"])
def test_an_expected_owner_binds_a_copy(wire, owner, header):
    copy = {"x-amz-copy-source": "/kept/crc32"}
    wire.expect(200, f"a copy with {header}", wire.ask("PUT", "/kept/copied", headers={**copy, header: owner}))
    wire.expect((403, "AccessDenied"), f"a copy with {header} of nobody", wire.ask("PUT", "/kept/not-copied", headers={**copy, header: "f" * 64}))


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("PUT", "/kept"), ("PUT", "/made"), ("GET", "/kept"), ("DELETE", "/kept/crc32")])
def test_an_expected_owner_binds(wire, method, path):
    wire.expect(403, f"{method} {path} with an owner who is nobody", wire.ask(method, path, headers={"x-amz-expected-bucket-owner": "f" * 64}))
    wire.expect((404, "NoSuchBucket"), "no bucket was made", wire.ask("GET", "/made"))


def test_a_token_of_a_session_is_refused(wire):
    wire.expect((400, "InvalidToken"), "a session's token", wire.ask("GET", "/kept/crc32", headers={"x-amz-security-token": "anything"}))
    target = presigned("GET", "/kept/crc32", [("X-Amz-Security-Token", "anything")], wire.host)
    wire.expect((400, "InvalidToken"), "a session's token in the query", wire.send("GET", target, {"host": wire.host}, b""))


@pytest.mark.parametrize(("name", "value"), [
    ("x-amz-acl", "public-read"), ("x-amz-server-side-encryption", "AES256"), ("x-amz-write-offset-bytes", "1"), ("x-amz-checksum-crc32", "NSRBww==")])
def test_a_header_in_a_presigned_query_binds(wire, name, value):
    target = presigned("PUT", "/kept/signed", [(name.title(), value)], wire.host)
    answer = wire.send("PUT", target, {"host": wire.host, "content-length": "3"}, b"abc")
    assert answer[0] in (400, 501), f"{name} in a presigned query: {code(answer)}"
    wire.expect(404, "nothing is stored", wire.ask("GET", "/kept/signed"))


@pytest.mark.parametrize("element", ["<Tags><Tag><Key>a</Key><Value>b</Value></Tag></Tags>", "<Bucket><Type>Directory</Type></Bucket>"])
def test_a_bucket_with_what_is_not_there_is_refused(wire, element):
    document = f"<CreateBucketConfiguration>{element}</CreateBucketConfiguration>".encode()
    wire.expect((501, "NotImplemented"), f"a bucket with {element}", wire.ask("PUT", "/made", body=document))
    wire.expect((404, "NoSuchBucket"), "no bucket was made", wire.ask("GET", "/made"))


@pytest.mark.parametrize("query", ["acl", "retention", "legal-hold"])
def test_an_absent_key_has_no_subresource(wire, query):
    wire.expect((404, "NoSuchKey"), f"?{query} of an absent key", wire.ask("GET", "/kept/absent", query + "="))


def test_a_key_has_an_acl(wire):
    wire.expect(200, "?acl", wire.ask("GET", "/kept/crc32", "acl="))


def test_a_range_depends_on_its_condition(wire):
    tag = header_of(wire.ask("HEAD", "/kept/crc32"), "etag")
    for condition, wanted in [(tag, 206), ('"' + "0" * 32 + '"', 200)]:
        wire.expect(wanted, f"a range if it is {condition}", wire.ask("GET", "/kept/crc32", headers={"range": "bytes=0-1", "if-range": condition}))


def test_a_number_with_a_sign_is_none(wire):
    wire.expect(200, "a range with signs", wire.ask("GET", "/kept/crc32", headers={"range": "bytes=+0-+1"}))
    wire.expect((400, "InvalidArgument"), "max-keys with a sign", wire.ask("GET", "/kept", "max-keys=%2B5"))
    wire.expect((400, "InvalidArgument"), "partNumber with a sign", wire.part("x", wire.upload("x"), "%2B1"))
    target = presigned("GET", "/kept/crc32", [], wire.host, expires="+60")
    wire.expect((400, "AuthorizationQueryParametersError"), "an expiry with a sign", wire.send("GET", target, {"host": wire.host}, b""))


@pytest.mark.parametrize("value", ["Enabled", " Enabled ", "enabled", "x"])
def test_deletes_by_mfa_are_refused(wire, value):
    document = f"<VersioningConfiguration><Status>Enabled</Status><MfaDelete>{value}</MfaDelete></VersioningConfiguration>"
    wire.expect((501, "NotImplemented"), f"MfaDelete {value}", wire.ask("PUT", "/kept", "versioning=", body=document.encode()))
