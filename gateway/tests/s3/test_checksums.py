"""Checksums that are kept with objects and parts: every algorithm, each place where clients see a checksum, and the
CRC64NVME of objects for which no client gave one."""
import base64
import hashlib
import os
import re

import pytest

from lib.refusals import refused
from lib.requests import Requests, code, header_of

ABC = {  # the published digests of b"abc"
    "CRC32": "NSRBwg==", "CRC32C": "Nks/tw==", "CRC64NVME": "BeXKuz/B+us=", "SHA1": base64.b64encode(hashlib.sha1(b"abc").digest()).decode(),
    "SHA256": base64.b64encode(hashlib.sha256(b"abc").digest()).decode(), "SHA512": base64.b64encode(hashlib.sha512(b"abc").digest()).decode(),
    "MD5": base64.b64encode(hashlib.md5(b"abc").digest()).decode(), "XXHASH64": base64.b64encode(bytes.fromhex("44bc2cf5ad770999")).decode(),
    "XXHASH3": base64.b64encode(bytes.fromhex("78af5f94892f3950")).decode(),
    "XXHASH128": base64.b64encode(bytes.fromhex("06b05ab6733a618578af5f94892f3950")).decode()}
CRCS = ["CRC32", "CRC32C", "CRC64NVME"]


class Bucket(Requests):
    """Raw requests to one bucket: SDKs do not know the newest algorithms, and verify what they know."""

    def __init__(self, server, name):
        super().__init__(server)
        self.name = name
        self.cut = server.cut

    def to(self, method, key="", query="", headers=None, body=b""):
        answer = self.ask(method, f"/{self.name}" + (f"/{key}" if key else ""), query, headers=headers, body=body)
        assert answer[0] in (200, 204, 206), f"{method} {key}?{query}: {code(answer)} {answer[2][:300]}"
        return answer

    def seen(self, key, query=""):
        """The checksums and the type in the answers of HEAD and GET, which are equal."""
        mode = {"x-amz-checksum-mode": "ENABLED"}
        told = [self.of_headers(self.to(method, key, query, mode)) for method in ("HEAD", "GET")]
        assert told[0] == told[1]
        return told[0]

    @staticmethod
    def of_headers(answer):
        prefix = "x-amz-checksum-"
        names = [name.lower() for name in answer[1] if name.lower().startswith(prefix)]
        return {name[len(prefix):].upper(): header_of(answer, name) for name in names}

    def listed(self, key):
        """The algorithms and the type that the three listings tell of a key, which are equal."""
        told = []
        for query in ("list-type=2", "", "versions="):
            text = self.to("GET", query=f"{query}&prefix={key}")[2].decode()
            told.append((re.findall("<ChecksumAlgorithm>(.*?)<", text), re.findall("<ChecksumType>(.*?)<", text)))
        assert told[0] == told[1] == told[2]
        return told[0]

    def attributes(self, key):
        text = self.to("GET", key, "attributes=", {"x-amz-object-attributes": "Checksum,ObjectParts"})[2].decode()
        return text

    def upload(self, key, algorithm, kind, parts=(b"abc",)):
        """A multipart upload whose last parts are small; the answer of its completion."""
        headers = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind} if algorithm else {}
        upload = re.search(rb"<UploadId>(.*?)<", self.to("POST", key, "uploads=", headers)[2]).group(1).decode()
        done = ""
        for number, body in enumerate(parts, 1):
            answer = self.to("PUT", key, f"partNumber={number}&uploadId={upload}", body=body)
            done += f"<Part><PartNumber>{number}</PartNumber><ETag>{header_of(answer, 'etag')}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{done}</CompleteMultipartUpload>".encode()
        completed = [self.to("POST", key, f"uploadId={upload}", body=document)[2].decode() for _ in range(2)]
        assert completed[0] == completed[1], "a repeated completion gets the first answer"
        return completed[0]


@pytest.fixture
def kept(server, bucket):
    return Bucket(server, bucket)


@pytest.mark.parametrize("algorithm", ABC)
def test_a_checksum_is_kept_and_seen_everywhere(kept, server, algorithm):
    header, value = f"x-amz-checksum-{algorithm.lower()}", ABC[algorithm]
    put = kept.to("PUT", "k", headers={header: value}, body=b"abc")
    wanted = {algorithm: value, "TYPE": "FULL_OBJECT"}
    assert kept.of_headers(put) == wanted
    for _ in range(2):
        assert kept.seen("k") == wanted
        assert kept.listed("k") == ([algorithm], ["FULL_OBJECT"])
        assert f"<Checksum{algorithm}>{value}</Checksum{algorithm}><ChecksumType>FULL_OBJECT</ChecksumType>" in kept.attributes("k")
        rows = server.sql(f"SELECT checksums['{algorithm}'] AS value, cardinality(checksums) AS n, checksum_type AS kind FROM objects WHERE bucket = '{kept.name}'")
        assert rows == [{"value": value, "n": 1, "kind": "FULL_OBJECT"}]
        kept.cut()


@pytest.mark.parametrize("body", [b"", b"abc", os.urandom(3 << 20)], ids=len)
def test_an_object_without_a_checksum_of_its_client_has_a_crc64nvme(kept, s3, body):
    put = kept.to("PUT", "k", body=body)
    told = kept.of_headers(put)
    assert sorted(told) == ["CRC64NVME", "TYPE"] and told["TYPE"] == "FULL_OBJECT"
    if body == b"abc":
        assert told["CRC64NVME"] == ABC["CRC64NVME"]
    assert kept.seen("k") == told and kept.listed("k") == (["CRC64NVME"], ["FULL_OBJECT"])
    # The client that claims this value for the same bytes is believed, and for others not.
    kept.to("PUT", "again", headers={"x-amz-checksum-crc64nvme": told["CRC64NVME"]}, body=body)
    assert code(kept.ask("PUT", f"/{kept.name}/other", headers={"x-amz-checksum-crc64nvme": told["CRC64NVME"]}, body=body + b"x")) == (400, "BadDigest")
    kept.cut()
    assert kept.seen("k") == told and kept.listed("k") == (["CRC64NVME"], ["FULL_OBJECT"])


@pytest.mark.parametrize("algorithm", [None, *ABC])
@pytest.mark.parametrize("kind", ["COMPOSITE", "FULL_OBJECT"])
def test_parts_have_checksums_of_their_own(kept, algorithm, kind):
    may_be = kind == "FULL_OBJECT" if algorithm in (None, "CRC64NVME") else kind == "COMPOSITE" or algorithm in CRCS
    if not may_be:
        headers = {"x-amz-checksum-algorithm": algorithm or "CRC64NVME", "x-amz-checksum-type": kind}
        assert code(kept.ask("POST", f"/{kept.name}/k", "uploads=", headers=headers)) == (400, "InvalidRequest")
        return
    first, name = os.urandom(5 << 20), algorithm or "CRC64NVME"
    done = kept.upload("k", algorithm, kind, [first, b"abc"])
    whole = re.search(f"<Checksum{name}>(.*?)<", done).group(1)
    assert f"<ChecksumType>{kind}</ChecksumType>" in done and whole.endswith("-2") == (kind == "COMPOSITE")
    # The whole object in one piece has the same checksum of the whole, and another one over parts.
    kept.to("PUT", "piece", headers={"x-amz-sdk-checksum-algorithm": name}, body=first + b"abc")
    assert (kept.seen("piece")[name] == whole) == (kind == "FULL_OBJECT")
    kept.to("PUT", "first", headers={"x-amz-sdk-checksum-algorithm": name}, body=first)
    of_first = kept.seen("first")[name]
    for _ in range(2):
        assert kept.seen("k") == {name: whole, "TYPE": kind}
        assert kept.seen("k", "partNumber=1") == {name: of_first, "TYPE": kind}
        assert kept.seen("k", "partNumber=2") == {name: ABC[name], "TYPE": kind}
        assert kept.listed("k") == ([name], [kind])
        text = kept.attributes("k")
        assert re.findall(f"<Checksum{name}>(.*?)<", text) == [whole, of_first, ABC[name]]
        kept.cut()


@pytest.mark.parametrize("wanted", [None, *ABC])
@pytest.mark.parametrize("source", [None, "SHA256", "composite"])
def test_a_copy_has_the_checksum_that_is_asked_for_or_that_of_its_source(kept, source, wanted):
    if source == "composite":
        kept.upload("source", "SHA1", "COMPOSITE")
    else:
        kept.to("PUT", "source", headers={"x-amz-sdk-checksum-algorithm": source} if source else {}, body=b"abc")
    headers = {"x-amz-checksum-algorithm": wanted} if wanted else {}
    done = kept.to("PUT", "copy", headers={"x-amz-copy-source": f"/{kept.name}/source", **headers})[2].decode()
    # A checksum over parts becomes one of the whole object, of the same algorithm.
    name = wanted or {None: "CRC64NVME", "composite": "SHA1"}.get(source, source)
    assert f"<Checksum{name}>{ABC[name]}</Checksum{name}><ChecksumType>FULL_OBJECT</ChecksumType>" in done
    assert kept.seen("copy") == {name: ABC[name], "TYPE": "FULL_OBJECT"}


def test_a_range_has_no_checksum(kept):
    kept.to("PUT", "k", headers={"x-amz-checksum-crc32": ABC["CRC32"]}, body=b"abc")
    answer = kept.to("GET", "k", headers={"range": "bytes=0-1", "x-amz-checksum-mode": "ENABLED"})
    assert kept.of_headers(answer) == {} and kept.of_headers(kept.to("GET", "k")) == {}


def test_a_part_that_is_not_there_is_named(s3, kept):
    kept.to("PUT", "plain", body=b"abc")
    kept.upload("parts", None, None)
    for key in ("plain", "parts"):
        error = refused("InvalidPartNumber", s3.get_object, Bucket=kept.name, Key=key, PartNumber=2)
        assert error["ResponseMetadata"]["HTTPStatusCode"] == 416
        assert (error["Error"]["ActualPartCount"], error["Error"]["PartNumberRequested"]) == ("1", "2")
        assert kept.to("GET", key, "partNumber=1")[2] == b"abc"


@pytest.mark.parametrize("algorithm", ABC)
@pytest.mark.parametrize("way", ["header", "trailer", "copy"])
def test_a_part_with_another_checksum_than_its_upload_is_refused(kept, algorithm, way):
    """No completion could take it, and the client would learn so only then."""
    kind = "FULL_OBJECT" if algorithm == "CRC64NVME" else "COMPOSITE"
    create = {"x-amz-checksum-algorithm": algorithm, "x-amz-checksum-type": kind}
    upload = re.search(rb"<UploadId>(.*?)<", kept.to("POST", "k", "uploads=", create)[2]).group(1).decode()
    kept.to("PUT", "source", body=b"abc")

    def put(name):
        path, query = f"/{kept.name}/k", f"partNumber=1&uploadId={upload}"
        if way == "header":
            return kept.ask("PUT", path, query, {f"x-amz-checksum-{name.lower()}": ABC[name]}, b"abc")
        if way == "copy":
            return kept.ask("PUT", path, query, {f"x-amz-checksum-{name.lower()}": ABC[name], "x-amz-copy-source": f"/{kept.name}/source"})
        headers = {"x-amz-trailer": f"x-amz-checksum-{name.lower()}", "x-amz-decoded-content-length": "3", "content-encoding": "aws-chunked"}
        body = f"3\r\nabc\r\n0\r\nx-amz-checksum-{name.lower()}:{ABC[name]}\r\n\r\n".encode()
        return kept.ask("PUT", path, query, headers, body, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")

    for other in ABC:
        answer = put(other)
        if way == "copy":
            # A copy has no body to bind.
            assert code(answer) == (501, "NotImplemented")
        elif other == algorithm:
            assert answer[0] == 200 and header_of(answer, f"x-amz-checksum-{other.lower()}") == ABC[other]
        else:
            told = f"Checksum Type mismatch occurred, expected checksum Type: {algorithm.lower()}, actual checksum Type: {other.lower()}"
            assert code(answer) == (400, "InvalidRequest") and told.encode() in answer[2]
    listed = kept.to("GET", "k", f"uploadId={upload}")[2].decode()
    assert re.findall("<Checksum(?!Algorithm|Type)(.*?)>", listed) == ([] if way == "copy" else [algorithm])


def test_a_part_of_an_upload_without_an_algorithm_may_have_any_checksum(kept):
    upload = re.search(rb"<UploadId>(.*?)<", kept.to("POST", "k", "uploads=")[2]).group(1).decode()
    for number, (name, value) in enumerate(ABC.items(), 1):
        kept.to("PUT", "k", f"partNumber={number}&uploadId={upload}", {f"x-amz-checksum-{name.lower()}": value}, b"abc")


def test_an_empty_part_is_no_range(kept):
    """A range has a byte at least: `Content-Range: bytes 5-4/5` is not one, and clients refuse it."""
    kept.upload("k", "CRC32", "COMPOSITE", [os.urandom(5 << 20), b""])
    kept.upload("empty", "CRC32", "COMPOSITE", [b""])
    for key, number, count in [("k", 2, "2"), ("empty", 1, "1")]:
        for method in ("GET", "HEAD"):
            answer = kept.to(method, key, f"partNumber={number}", {"x-amz-checksum-mode": "ENABLED"})
            assert (answer[0], answer[2], header_of(answer, "content-length")) == (200, b"", "0")
            assert (header_of(answer, "content-range"), header_of(answer, "x-amz-mp-parts-count")) == (None, count)
            assert kept.of_headers(answer)["CRC32"] == "AAAAAA=="
    first = kept.to("GET", "k", "partNumber=1")
    assert (first[0], header_of(first, "content-range")) == (206, f"bytes 0-{(5 << 20) - 1}/{5 << 20}")
