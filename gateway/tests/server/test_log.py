"""The log as an operator reads it: refused requests with code, operation, key and address, and of a flood no more than a
number. Secrets and what clients send are not in it."""
import http.client
import re
import time

import pytest
from botocore.exceptions import ClientError

from lib.refusals import refused_sql
from lib.requests import head
from lib.server import ACCESS_KEY, SECRET_KEY
from lib.signing import sign
from lib.sockets import send

WRONG_KEYS = (ACCESS_KEY, "not-the-secret-of-it")


@pytest.fixture(scope="module", autouse=True)
def filled(s3):
    s3.create_bucket(Bucket="bucket")
    s3.put_object(Bucket="bucket", Key="small", Body=b"small")


@pytest.fixture
def lines(server):
    """Lines of the log since the test began that contain all words."""
    before = len(server.log_text())

    def lines(*words):
        time.sleep(0.1)
        return [line for line in server.log_text()[before:].splitlines() if all(word in line for word in words)]

    return lines


def signed(server, method, path, **headers):
    headers = sign(method, path, {"host": server.address, **headers}, "UNSIGNED-PAYLOAD")[0]
    return head(method, path, {**headers, "connection": "close"})


def test_a_wrong_secret_is_in_the_log(server, lines):
    with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
        server.client(keys=WRONG_KEYS).get_object(Bucket="bucket", Key="small")
    assert lines("WARN", "SignatureDoesNotMatch", "GetObject", ACCESS_KEY, "127.0.0.1:"), "a wrong secret"


def test_an_unknown_access_key_is_in_the_log(server, lines):
    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        server.client(keys=("AKIDNOBODY", "x" * 20)).list_buckets()
    assert lines("WARN", "InvalidAccessKeyId", "ListBuckets", "AKIDNOBODY", "127.0.0.1:"), "an unknown key"


def test_a_failed_login_of_sql_is_in_the_log(server, lines):
    refused_sql(401, server, "SELECT 1", WRONG_KEYS)
    assert lines("WARN", "SQL", ACCESS_KEY, "127.0.0.1:"), "a failed login of SQL"


def test_a_refused_request_is_in_the_log_with_its_user(server, lines):
    send(server.port, signed(server, "PUT", "/bucket/k?tagging", **{"x-amz-acl": "public-read"}))
    assert lines("WARN", "NotImplemented", "PutObjectTagging", "root", "/bucket/k"), "a refused request, with its user"


def test_a_missing_key_is_no_news(server, lines):
    send(server.port, signed(server, "GET", "/bucket/absent"))
    assert not lines("absent"), "a missing key is told of"


def test_a_flood_is_a_number(server):
    flood = len(server.log_text())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(1000):
        connection.request("GET", "/" + "k" * 3000)
        connection.getresponse().read()
    written = len(server.log_text()) - flood
    assert written < 200_000, f"1000 refusals are {written} bytes of log"
    time.sleep(0.3)
    connection.request("GET", "/")
    connection.getresponse().read()
    unsaid = sum(int(number) for number in re.findall(r"unsaid=(\d+)", server.log_text()[flood:]))
    assert 500 < unsaid <= 1001, f"{unsaid} of 1000 refusals were not told of, as the log has it"


def test_neither_colours_nor_secrets_are_in_the_log(server):
    credential = "\x1b[31mEVIL" + "L" * 4000 + "/20200101/us-east-1/s3/aws4_request"
    evil = {"host": "x", "connection": "close", "authorization": f"AWS4-HMAC-SHA256 Credential={credential},SignedHeaders=host,Signature=00"}
    send(server.port, head("GET", "/%1b[31m/k", evil))
    refused_sql(401, server, "SELECT 1", WRONG_KEYS)
    time.sleep(0.1)
    text = server.log_text()
    assert "\x1b" not in text, "colours, or what a client sent, in the log"
    assert SECRET_KEY not in text and WRONG_KEYS[1] not in text, "a secret in the log"
