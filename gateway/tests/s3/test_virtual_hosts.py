"""Buckets that the host names: boto3's virtual addressing, presigned URLs of both versions, and raw requests."""
import socket
import urllib.parse

import boto3
import pytest
from botocore.config import Config

from lib import signers
from lib.exchange import send
from lib.requests import code, header_of
from lib.server import ACCESS_KEY, SECRET_KEY
from lib.signers import Draft

DOMAIN = "s3.example.com"
KEYS = ["a", "a b/c+d", "dir//x", "ü/日本", "/lead", "-/sql", "?x=1", "..", "%41"]


@pytest.fixture(scope="module")
def server(serve):
    return serve("--domains", f"{DOMAIN},example.com", "--signature-v2", "on")


@pytest.fixture
def resolver(monkeypatch):
    """Resolves the names below localhost and the domains to this machine."""
    resolve = socket.getaddrinfo

    def getaddrinfo(host, *rest, **options):
        name = host.decode() if isinstance(host, bytes) else host
        is_here = isinstance(name, str) and name.endswith(("localhost", "example.com"))
        return resolve("127.0.0.1" if is_here else host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)


def client(server, host, version="s3v4", style="virtual"):
    config = Config(signature_version=version, s3={"addressing_style": style}, retries={"max_attempts": 1})
    return boto3.client("s3", endpoint_url=f"http://{host}:{server.port}", region_name="eu-west-3", config=config,
                        aws_access_key_id=ACCESS_KEY, aws_secret_access_key=SECRET_KEY)


@pytest.mark.parametrize("version", ["s3v4", "s3"])
@pytest.mark.parametrize("host", ["localhost", DOMAIN, "example.com"])
def test_boto3_with_virtual_addressing(server, resolver, host, version):
    s3, plain = client(server, host, version), client(server, "127.0.0.1", style="path")
    bucket = f"virtual-{version}-{host.partition('.')[0]}"
    sent = []
    s3.meta.events.register("before-send.s3", lambda request, **_: sent.append(request.url))
    s3.create_bucket(Bucket=bucket)
    for key in KEYS:
        s3.put_object(Bucket=bucket, Key=key, Body=key.encode(), Metadata={"k": "v"})
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode()
        assert plain.get_object(Bucket=bucket, Key=key)["Body"].read() == key.encode(), "the same object by its path"
    assert [found["Key"] for found in s3.list_objects_v2(Bucket=bucket)["Contents"]] == sorted(KEYS, key=str.encode)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="m")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="m", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    done = s3.complete_multipart_upload(Bucket=bucket, Key="m", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    assert done["Location"] == f"http://{bucket}.{host}:{server.port}/m"
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "ü/日本"})
    s3.put_object_tagging(Bucket=bucket, Key="copy", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    deleted = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in [*KEYS, "m", "copy"]]})
    assert len(deleted["Deleted"]) == len(KEYS) + 2
    s3.delete_bucket(Bucket=bucket)
    assert sent and all(f"//{bucket}.{host}:" in url for url in sent), "the bucket is in the host"


@pytest.mark.parametrize("version", ["s3v4", "s3"])
@pytest.mark.parametrize("style", ["virtual", "path"])
def test_presigned_urls(server, resolver, style, version):
    """Uploads, reads, lists and deletes by URLs alone."""
    s3 = client(server, "localhost", version, style)
    bucket = f"urls.{version}.{style}"
    s3.create_bucket(Bucket=bucket)

    def visit(operation, body=b"", headers=(), **parameters):
        url = urllib.parse.urlsplit(s3.generate_presigned_url(operation, {"Bucket": bucket, **parameters}))
        assert (f"//{bucket}.localhost" in url.geturl()) == (style == "virtual")
        method = {"put": "PUT", "get": "GET", "lis": "GET", "del": "DELETE"}[operation[:3]]
        return send(server, method, f"{url.path}?{url.query}", [("host", url.netloc), *headers], body)

    # Version 4 signs headers, version 2 has them in the query.
    headers = [("content-type", "text/plain"), *[("x-amz-meta-a", "b")] * (version == "s3v4")]
    for key in KEYS:
        answer = visit("put_object", key.encode(), headers, Key=key, ContentType="text/plain", Metadata={"a": "b"})
        assert answer[0] == 200, answer
        answer = visit("get_object", Key=key, ResponseContentDisposition='attachment; filename="a&b.txt"')
        assert (answer[0], answer[2]) == (200, key.encode()), answer
        assert header_of(answer, "content-disposition") == 'attachment; filename="a&b.txt"'
        assert header_of(answer, "x-amz-meta-a") == "b", "headers in the query are headers"
    answer = visit("list_objects_v2")
    assert answer[0] == 200 and answer[2].count(b"<Key>") == len(KEYS)
    assert code(visit("put_object", b"", [("content-type", "text/html")], Key="k", ContentType="text/plain")) == (403, "SignatureDoesNotMatch")
    for key in KEYS:
        assert visit("delete_object", Key=key)[0] == 204
    s3.delete_bucket(Bucket=bucket)


# The host -> the bucket that a request for `/in-path/key` concerns.
HOSTS = {
    "127.0.0.1:{port}": "in-path", "localhost:{port}": "in-path", "LOCALHOST": "in-path", f"{DOMAIN}:{{port}}": "in-path",
    "example.com": "in-path", "[::1]:{port}": "in-path", "bucket.other.com": "in-path", "in-host.localhost.other.com": "in-path",
    "localhost.": "in-path", "in-host.localhost": "in-host", "in-host.localhost:{port}": "in-host", "IN-Host.LocalHost:80": "in-host",
    f"in-host.{DOMAIN}": "in-host", f"In-Host.{DOMAIN.upper()}.:1": "in-host", "in-host.example.com": "in-host",
    f"a.dotted.{DOMAIN}": "a.dotted", "a.dotted.localhost:{port}": "a.dotted", "a..b.localhost": "a..b", "-.localhost": "-",
}


@pytest.mark.parametrize("maker", [signers.botocore_v4, signers.botocore_v4_query, signers.crt_v4, signers.botocore_v2, signers.botocore_v2_query])
def test_hosts(server, s3, maker):
    """Which bucket a request concerns, and that its error says so. A proxy's `x-forwarded-host` says nothing."""
    for host, bucket in HOSTS.items():
        host = host.format(port=server.port)
        is_virtual = bucket != "in-path"
        key = "in-path/key" if is_virtual else "key"
        wire = maker(Draft("GET", host, bucket, key, [], [], is_virtual=is_virtual))
        status, _, body = send(server, "GET", wire.target, [*wire.headers, ("x-forwarded-host", "evil.localhost")])
        text = body.decode()
        wanted = "InvalidBucketName" if bucket == "-" else "NoSuchBucket"
        assert f"<Code>{wanted}</Code>" in text, f"{host}: {status} {text}"
        assert f"<BucketName>{bucket}</BucketName>" in text, f"{host}: {text}"
        assert f"<Resource>/{bucket}/{key}</Resource>" in text, f"{host}: {text}"


@pytest.mark.parametrize("maker", [signers.botocore_v4, signers.botocore_v2, signers.botocore_v2_query])
def test_targets_in_absolute_form(server, s3, maker):
    for is_virtual in (False, True):
        host = f"absolute.localhost:{server.port}" if is_virtual else f"127.0.0.1:{server.port}"
        wire = maker(Draft("GET", host, "absolute", "k", [], [], is_virtual=is_virtual))
        absolute = f"http://{host}{wire.target}"
        assert code(send(server, "GET", absolute, wire.headers)) == (404, "NoSuchBucket")
        other = f"http://other.localhost:{server.port}{wire.target}"
        assert code(send(server, "GET", other, wire.headers)) == (400, "InvalidRequest"), "two hosts"
        twice = [("host", "other.localhost"), *wire.headers]
        assert code(send(server, "GET", wire.target, twice)) == (400, "InvalidRequest"), "the header twice"


def test_a_host_is_signed(server, s3):
    """A signature for one bucket is none for another: version 4 signs the host, version 2 the bucket."""
    for maker in (signers.botocore_v4, signers.botocore_v4_query, signers.botocore_v2, signers.botocore_v2_query):
        wire = maker(Draft("GET", f"mine.localhost:{server.port}", "mine", "k", [], [], is_virtual=True))
        headers = [(name, value.replace("mine", "your")) for name, value in wire.headers]
        assert code(send(server, "GET", wire.target, headers)) == (403, "SignatureDoesNotMatch")


def test_sql_and_health_stay_where_they_are(server):
    """Below a domain `/-/sql` is a key like any other; at the host of the server it is SQL."""
    body = b"SELECT 1"
    draft = Draft("POST", f"127.0.0.1:{server.port}", "-", "sql", [], [], body, signers.hashlib.sha256(body).hexdigest())
    wire = signers.botocore_v4(draft)
    assert send(server, "POST", wire.target, wire.headers, body)[0] == 200
    wire = signers.botocore_v2(draft)
    assert code(send(server, "POST", wire.target, wire.headers, body)) == (403, "AccessDenied"), "version 2 does not cover the body"
    wire = signers.botocore_v2_query(draft)
    assert code(send(server, "POST", wire.target, wire.headers, body)) == (403, "AccessDenied"), "nor does a URL"
    assert server.is_ready()
