"""Users of one server: SQL tells a user nothing of others' objects, and one user's queries never take all there is."""
import concurrent.futures
import hashlib
import pathlib
import socket
import time
import urllib.error
import urllib.request

import pytest
from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lib.server import ACCESS_KEY, OTHER_KEYS, ROOT_KEYS, SECRET_KEY, basic, free_port
from lib.signing import sign

pytestmark = pytest.mark.serial

TEXTS = ["SELECT key FROM objects", "SELECT key FROM objects WHERE tags['team'] = 't1'", "SELECT key FROM objects WHERE key = 'a/001'",
         "SELECT count(*) FROM versions", "SELECT * FROM tags WHERE name = 'team'", "SELECT * FROM changes", "SELECT * FROM uploads",
         "SELECT * FROM objects JOIN tags USING (bucket, key)", "SELECT * FROM segments", "SELECT * FROM list_objects('theirs')"]
EXPLAINS = ["EXPLAIN ANALYZE", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE VERBOSE", "EXPLAIN FORMAT TREE", "EXPLAIN FORMAT GRAPHVIZ", "EXPLAIN (ANALYZE)",
            "EXPLAIN (VERBOSE)", "DESCRIBE ANALYZE", "EXPLAIN (FORMAT tree)", "explain/**/analyze"]


@pytest.fixture(scope="module")
def server(serve, other_user):
    server = serve(*other_user, "--postgres", f"127.0.0.1:{free_port()}", "--sql-seconds", "30", "--sql-memory-bytes", str(16 << 20),
                   "--sql-spill-bytes", str(16 << 20))
    theirs = server.client(OTHER_KEYS)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="own", Body=b"1", Tagging="team=t1")
    return server


def asked(server, query, keys=OTHER_KEYS, **wishes):
    """Status and text of an answer, whatever the answer is."""
    try:
        body, _ = server.sql_bytes(query, keys, **wishes)
        return 200, body.decode()
    except urllib.error.HTTPError as error:
        return error.code, error.text


def plans(server):
    return [asked(server, f"EXPLAIN {text}") for text in TEXTS]


@pytest.fixture(scope="module")
def plans_before(server):
    """Plans before there are objects of others."""
    before = plans(server)
    assert all(status == 200 and "logical_plan" in told and "physical_plan" not in told for status, told in before), f"plans: {before}"
    return before


@pytest.fixture(scope="module")
def filled(server, plans_before):
    """Objects of another user than the one who asks."""
    s3 = server.client()
    s3.create_bucket(Bucket="asked")
    for number in range(200):
        s3.put_object(Bucket="asked", Key=f"a/{number:03}", Body=b"x", Tagging=f"team=t{number % 3}")
    s3.create_multipart_upload(Bucket="asked", Key="upload")
    server.cut()


def test_plans_do_not_depend_on_objects_of_others(server, plans_before, filled):
    assert plans(server) == plans_before, "plans tell of others' objects"


@pytest.mark.parametrize("how", EXPLAINS)
def test_what_a_query_read_is_not_explained_to_a_user(server, filled, how):
    wrong = []
    for text in TEXTS:
        status, told = asked(server, f"{how} {text}")
        wrong += [f"{how} {text}: {status} {told[:200]}"] if status != 400 else []
    assert not wrong, "\n".join(wrong)


def test_the_root_user_sees_plans_and_what_was_read(server, filled):
    assert "physical_plan" in asked(server, "EXPLAIN SELECT key FROM objects", ROOT_KEYS)[1], "the root user sees all of it"
    assert "row_groups_read" in asked(server, "EXPLAIN ANALYZE SELECT key FROM objects", ROOT_KEYS)[1], "and what it read"


@pytest.mark.parametrize("query", [
    "SHOW ALL", "SELECT * FROM information_schema.df_settings", "SELECT * FROM siltstone.information_schema.DF_SETTINGS", "SELECT * FROM pg_catalog.pg_settings",
    "SHOW datafusion.runtime.temp_directory", "SELECT * FROM information_schema.tables", "SELECT * FROM information_schema.views",
    "SELECT * FROM information_schema.schemata", "SELECT * FROM information_schema.columns", "SELECT * FROM information_schema.routines",
    "SELECT value FROM generate_series(1, 100000000) ORDER BY value % 7, value DESC", "SELECT * FROM objects WHERE key = '{top}'"])
def test_no_answer_tells_of_folders_or_of_others_queries(server, filled, query):
    folder = str(pathlib.Path(server.data).parent)
    _, told = asked(server, query.replace("{top}", folder[:3]))
    assert folder not in told and "spill/" not in told, f"{query} tells of folders: {told[:300]}"
    assert "consumers" not in told, f"{query} tells of others' queries: {told[:300]}"


def test_settings_are_shown_without_those_of_the_machine(server):
    settings = server.sql("SELECT name FROM information_schema.df_settings", OTHER_KEYS)
    assert len(settings) > 20 and not any("runtime" in row["name"] for row in settings), f"settings: {settings[:3]}"


BODY = b"SELECT 1 AS one"
DIGEST = hashlib.sha256(BODY).hexdigest()


def post(server, path, headers, data=BODY):
    try:
        request = urllib.request.Request(server.url + path, data=data, headers=headers, method="POST")
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@pytest.mark.parametrize(("payload", "wanted"), [
    (DIGEST, 200), ("UNSIGNED-PAYLOAD", 403), ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", 403), (hashlib.sha256(b"SELECT 2").hexdigest(), 400)])
def test_a_signature_must_cover_the_query(server, payload, wanted):
    headers, *_ = sign("POST", "/-/sql", {"host": server.address}, payload)
    if payload.startswith("STREAMING"):
        headers["x-amz-decoded-content-length"] = str(len(BODY))
    status, told = post(server, "/-/sql", headers)
    assert status == wanted, f"{payload}: {status} {told[:200]}"


@pytest.mark.parametrize("extra", [{}, {"x-amz-content-sha256": DIGEST}], ids=["without a digest", "with a digest"])
@pytest.mark.parametrize("data", [BODY, b"SELECT name FROM buckets"], ids=bytes.decode)
def test_a_presigned_query_is_refused(server, extra, data):
    request = AWSRequest("POST", server.url + "/-/sql", headers=extra)
    S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1", 60).add_auth(request)
    status, told = post(server, request.url[len(server.url):], extra, data)
    assert status == 403, f"presigned: {status} {told[:200]}"


def test_very_many_queries_of_one_user_do_not_shut_out_another(server):
    """The queries ask for very much and read nothing: each keeps the place that it has, and no processor."""
    body = b"SELECT value, repeat('x', 1000) FROM generate_series(1, 100000000)"
    head = f"POST /sql?format=csv HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(OTHER_KEYS)['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    deaf = [socket.create_connection(("127.0.0.1", server.admin_port)) for _ in range(80)]
    try:
        for client in deaf:
            client.sendall(head.encode() + body)
        time.sleep(3)
        for _ in range(3):
            status, text = asked(server, "SELECT 1 AS one", ROOT_KEYS)
            assert status == 200, f"another user's query beside 80: {status} {text}"
    finally:
        for client in deaf:
            client.close()


def test_queries_for_an_offset_that_never_comes_take_nobodys_place(server):
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        told = list(pool.map(lambda _: asked(server, "SELECT 1", min_offset="0:99999999999"), range(80)))
    assert all(status in (400, 503) for status, _ in told), f"offsets that never come: {told[:2]}"
    assert any(status == 400 and "beyond the end of the log" in text for status, text in told), f"told why: {told[:2]}"
    assert time.monotonic() - began < 10, "at once"
    end = server.sql_bytes("SELECT 1")[1]["x-siltstone-offset"]
    assert asked(server, "SELECT 1 AS one", min_offset=end)[0] == 200, "the log's end itself is there"
