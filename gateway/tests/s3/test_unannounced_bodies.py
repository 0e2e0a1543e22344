"""Bodies without a length, in chunks of HTTP: what arrives is what was sent, or nothing."""
import base64
import hashlib
import http.client
import itertools
import shutil
import socket
import subprocess
import zlib

import pytest

from lib.requests import code, head
from lib.server import ACCESS_KEY, SECRET_KEY
from lib.signing import presigned, sign

UNSIGNED = "UNSIGNED-PAYLOAD"
# Around the bounds of memory (256 KiB), frames (64 KiB) and announcements (8 MiB).
SIZES = [0, 1, 65_504, 262_144, 262_145, 1 << 20, 128 * 65_504 - 1, 128 * 65_504, 128 * 65_504 + 1, 20 << 20]


def same(found, body):
    """True for equal bytes. Compared by digest: pytest would compute the difference of megabytes for hours."""
    return hashlib.sha256(found).digest() == hashlib.sha256(body).digest()


def content(size):
    return bytes(itertools.islice(itertools.cycle(range(251)), size))


def pieces(body, step=60_000):
    return [body[at:at + step] for at in range(0, len(body), step)]


class Sender:
    """Sends signed bodies in chunks of HTTP."""

    def __init__(self, server):
        self.server = server

    def put(self, target, body, payload=UNSIGNED, headers=None, step=60_000):
        connection = http.client.HTTPConnection(self.server.address, timeout=60)
        signed, *_ = sign("PUT", target, {"host": self.server.address, **(headers or {})}, payload)
        connection.request("PUT", target, iter(pieces(body, step)), {**signed, "transfer-encoding": "chunked"}, encode_chunked=True)
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return answer

    def cut_off(self, target, body, ends):
        """Sends a part of a body; the connection then ends well or by a reset."""
        signed, *_ = sign("PUT", target, {"host": self.server.address}, UNSIGNED)
        with socket.create_connection(("127.0.0.1", self.server.port), timeout=30) as connection:
            connection.sendall(head("PUT", target, {**signed, "transfer-encoding": "chunked"}))
            for piece in pieces(body):
                connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
            if ends:
                connection.shutdown(socket.SHUT_WR)
                return connection.recv(65536)
        return None


@pytest.fixture(scope="module")
def sender(server):
    return Sender(server)


@pytest.mark.parametrize("size", SIZES)
def test_a_body_without_a_length_is_stored_as_it_is(server, s3, bucket, sender, size):
    body = content(size)
    answer = sender.put(f"/{bucket}/k", body)
    assert code(answer) == (200, None)
    got = s3.get_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")
    assert got["ContentLength"] == size and got["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert same(got["Body"].read(), body)
    server.cut()
    assert same(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), body)


@pytest.mark.parametrize("step", [1, 1000, 1 << 20])
def test_the_chunks_of_http_do_not_matter(s3, bucket, sender, step):
    body = content(3000 if step == 1 else 700_000)
    assert code(sender.put(f"/{bucket}/k", body, step=step)) == (200, None)
    assert same(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), body)


def test_parts_without_a_length_make_an_object(s3, bucket, sender):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    bodies, parts = [content(9 << 20), content(300_000), b""], []
    for number, body in enumerate(bodies, 1):
        answer = sender.put(f"/{bucket}/k?partNumber={number}&uploadId={upload}", body)
        assert code(answer) == (200, None)
        parts.append({"PartNumber": number, "ETag": f'"{hashlib.md5(body).hexdigest()}"'})
    s3.complete_multipart_upload(Bucket=bucket, Key="k", UploadId=upload, MultipartUpload={"Parts": parts[:2]})
    assert same(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), b"".join(bodies))


@pytest.mark.parametrize("size", [0, 1000, 1 << 20])
def test_digests_of_the_whole_body_are_verified(s3, bucket, sender, size):
    body = content(size)
    sha256, md5 = hashlib.sha256(body), base64.b64encode(hashlib.md5(body).digest()).decode()
    crc32 = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
    wrong = hashlib.sha256(b"another body").hexdigest()
    for payload, headers, wanted in [
        (wrong, {}, (400, "XAmzContentSHA256Mismatch")),
        (UNSIGNED, {"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, (400, "BadDigest")),
        (UNSIGNED, {"x-amz-checksum-crc32": "AAAAAQ=="}, (400, "BadDigest")),
        (UNSIGNED, {"x-amz-checksum-crc32": "AAAA"}, (400, "InvalidRequest")),
    ]:
        assert code(sender.put(f"/{bucket}/k", body, payload, headers)) == wanted
        assert "Contents" not in s3.list_objects_v2(Bucket=bucket)
    for payload, headers in [(sha256.hexdigest(), {}), (UNSIGNED, {"content-md5": md5}), (UNSIGNED, {"x-amz-checksum-crc32": crc32})]:
        assert code(sender.put(f"/{bucket}/k", body, payload, headers)) == (200, None)
    assert s3.head_object(Bucket=bucket, Key="k", ChecksumMode="ENABLED")["ChecksumCRC32"] == crc32


@pytest.mark.parametrize("ends", [True, False], ids=["ends", "broken off"])
@pytest.mark.parametrize("size", [1000, 9 << 20])
def test_a_body_that_is_cut_off_leaves_nothing(server, s3, bucket, sender, size, ends):
    s3.put_object(Bucket=bucket, Key="k", Body=b"before")
    answer = sender.cut_off(f"/{bucket}/k", content(size), ends)
    assert answer is None or b"IncompleteBody" in answer
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == b"before"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == ["k"]


@pytest.mark.long
def test_more_than_five_gibibytes_are_refused_as_they_come(server, s3, bucket):
    piece = b"%x\r\n%s\r\n" % (1 << 24, bytes(1 << 24))
    target = f"/{bucket}/k"
    signed, *_ = sign("PUT", target, {"host": server.address}, UNSIGNED)
    with socket.create_connection(("127.0.0.1", server.port), timeout=600) as connection:
        connection.sendall(head("PUT", target, {**signed, "transfer-encoding": "chunked"}))
        try:
            for _ in range(321):
                connection.sendall(piece)
        except OSError:
            pass
        answer = connection.recv(65536)
    assert answer.startswith(b"HTTP/1.1 400") and b"EntityTooLarge" in answer
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_chunks_of_s3_need_their_decoded_length(s3, bucket, sender):
    for payload in ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
        answer = sender.put(f"/{bucket}/k", b"3\r\nabc\r\n0\r\n\r\n", payload, {"content-encoding": "aws-chunked"})
        assert code(answer) == (411, "MissingContentLength")
    assert "Contents" not in s3.list_objects_v2(Bucket=bucket)


def test_documents_without_a_length_are_read(s3, bucket, sender):
    body = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b</Value></Tag></TagSet></Tagging>"
    digest = {"content-md5": base64.b64encode(hashlib.md5(body).digest()).decode()}
    assert code(sender.put(f"/{bucket}?tagging", body, hashlib.sha256(body).hexdigest(), digest))[0] in (200, 204)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]


@pytest.mark.skipif(shutil.which("curl") is None, reason="the machine has no curl")
def test_curl_sends_its_input(server, s3, bucket):
    body = content(5 << 20)
    url = f"http://{server.address}" + presigned("PUT", f"/{bucket}/k", [], server.address, access=ACCESS_KEY, secret=SECRET_KEY)
    subprocess.run(["curl", "--silent", "--show-error", "--fail", "-T", "-", url], input=body, check=True, timeout=60)
    assert same(s3.get_object(Bucket=bucket, Key="k")["Body"].read(), body)
