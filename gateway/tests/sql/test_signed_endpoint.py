"""SQL on the S3 endpoint, with signed requests: the same answers as on the admin endpoint, for the user who signs."""
import hashlib
import json
import subprocess
import urllib.error
import urllib.request

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lib.server import OTHER_KEYS, ROOT_KEYS, key_environment


@pytest.fixture(scope="module", autouse=True)
def filled(server, s3):
    s3.create_bucket(Bucket="asked")
    for number in range(50):
        s3.put_object(Bucket="asked", Key=f"a/{number:02}", Body=b"x" * number)
    theirs = server.client(OTHER_KEYS)
    theirs.create_bucket(Bucket="theirs")
    for key in ["secret/key", "secret/other"]:
        theirs.put_object(Bucket="theirs", Key=key, Body=b"theirs")


@pytest.fixture
def post(server):
    """Sends a query; returns status, body and headers of the answer."""
    def post(query, keys=ROOT_KEYS, path="/-/sql", method="POST", sign=True, **wishes):
        request = AWSRequest(method, server.url + path, params=wishes, data=query.encode())
        if sign:
            request.headers["X-Amz-Content-SHA256"] = hashlib.sha256(query.encode()).hexdigest()
            S3SigV4Auth(Credentials(*keys), "s3", "us-east-1").add_auth(request)
        request = request.prepare()
        sent = urllib.request.Request(request.url, data=query.encode(), headers=dict(request.headers), method=method)
        try:
            with urllib.request.urlopen(sent, timeout=60) as answer:
                return answer.status, answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            return error.code, error.read(), error.headers

    return post


QUERY = "SELECT bucket, key, size FROM objects WHERE bucket IN ('asked', 'theirs') ORDER BY bucket, key"


@pytest.mark.parametrize("form", ["json", "csv", "arrow"])
def test_answers_are_those_of_the_admin_endpoint(server, post, form):
    status, body, headers = post(QUERY, format=form)
    wanted, told = server.sql_bytes(QUERY, format=form)
    assert (status, body, headers["content-type"]) == (200, wanted, told["content-type"]), f"{form}: {status} {body[:300]}"
    assert headers["x-siltstone-offset"] == told["x-siltstone-offset"] and headers["x-amz-request-id"], f"the offset of the answer: {headers}"


def test_rows_are_those_of_the_user_who_signs(post):
    theirs = json.loads(post(QUERY, OTHER_KEYS)[1])
    assert {row["bucket"] for row in theirs} == {"theirs"}, f"rows of the user who signs: {theirs}"


def test_a_query_sees_the_write_whose_offset_it_names(s3, post, bucket):
    at = s3.put_object(Bucket=bucket, Key="offset", Body=b"1")["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    status, body, _ = post(f"SELECT size FROM objects WHERE bucket = '{bucket}' AND key = 'offset'", min_offset=at)
    assert (status, json.loads(body)) == (200, [{"size": 1}]), f"after a write: {status} {body}"


@pytest.mark.parametrize(("status", "word", "query", "options"), [
    pytest.param(400, b"SELEC", "SELEC", {}, id="no query"),
    pytest.param(400, b"format", "SELECT 1", {"format": "xls"}, id="a wrong format"),
    pytest.param(400, b"InvalidArgument", "SELECT 1", {"limit": "1"}, id="a wrong parameter"),
    pytest.param(403, b"AccessDenied", "SELECT 1", {"sign": False}, id="nobody"),
    pytest.param(403, b"SignatureDoesNotMatch", "SELECT 1", {"keys": (ROOT_KEYS[0], "wrong")}, id="another secret"),
    pytest.param(403, b"InvalidAccessKeyId", "SELECT 1", {"keys": ("NOBODY", "wrong")}, id="another user"),
    pytest.param(405, b"MethodNotAllowed", "SELECT 1", {"method": "PUT"}, id="another method"),
    pytest.param(400, b"InvalidBucketName", "SELECT 1", {"path": "/-/other"}, id="another path"),
    pytest.param(400, b"MalformedXML", "SELECT 1 -- " + "x" * (1 << 20), {}, id="a large query"),
])
def test_a_wrong_request_is_refused(post, status, word, query, options):
    told = post(query, **options)
    assert told[0] == status and word in told[1], f"{told[0]} {told[1][:300]}"


def run(siltstone, *words, keys=ROOT_KEYS):
    return subprocess.run([siltstone, *words], capture_output=True, text=True, env=key_environment(keys))


def test_the_sql_command_reaches_it(siltstone, server):
    told = run(siltstone, "sql", "--endpoint", server.url, "--format", "csv", "SELECT count(*) AS n FROM objects WHERE bucket = 'asked'")
    assert (told.stdout, told.returncode) == ("n\n50\n", 0), f"the command: {told}"


@pytest.mark.parametrize(("extra", "word"), [
    (["--access-key", "NOBODY", "SELECT 1"], "InvalidAccessKeyId"), (["--secret-key", "wrong", "SELECT 1"], "403"), (["SELEC"], "400"),
    (["--admin", "http://127.0.0.1:1", "SELECT 1"], "cannot be used")])
def test_the_sql_command_says_why_it_fails(siltstone, server, extra, word):
    told = run(siltstone, "sql", "--endpoint", server.url, "--format", "csv", *extra)
    assert told.returncode != 0 and word in told.stderr, f"{extra}: {told}"


def test_the_export_command_writes_an_inventory_of_the_users_bucket(siltstone, server):
    export = ["export", "theirs", "--endpoint", server.url, "--format", "jsonl"]
    told = run(siltstone, *export, "--access-key", OTHER_KEYS[0], "--secret-key", OTHER_KEYS[1])
    keys = [json.loads(line)["key"] for line in told.stdout.splitlines()]
    assert keys == ["secret/key", "secret/other"] and "2 rows" in told.stderr, f"an inventory: {told}"
    told = run(siltstone, *export)
    assert told.returncode == 1 and "NoSuchBucket" in told.stderr and told.stdout == "", f"of another user's bucket: {told}"
