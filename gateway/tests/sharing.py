"""What a user of SQL learns of others, and takes from them: nothing of the first, and never all of the second.

Usage: sharing.py BINARY
"""
import concurrent.futures
import hashlib
import os
import pathlib
import socket
import sys
import tempfile
import time
import urllib.error
import urllib.request

from botocore.auth import S3SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from lib.server import ACCESS_KEY, SECRET_KEY, Server, basic, free_port
from lib.signing import sign

PASSED = 0
OTHER_KEYS = ("AKIDOTHER", "another-secret")


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def asked(server, query, keys=OTHER_KEYS, **wishes):
    """Status and text of an answer, whatever it is."""
    try:
        body, _ = server.sql_bytes(query, keys, **wishes)
        return 200, body.decode()
    except urllib.error.HTTPError as error:
        return error.code, error.text


def secrets(server):
    """What answers tell a user is the same, whatever lies in buckets of others."""
    texts = ["SELECT key FROM objects", "SELECT key FROM objects WHERE tags['team'] = 't1'", "SELECT key FROM objects WHERE key = 'a/001'",
             "SELECT count(*) FROM versions", "SELECT * FROM tags WHERE name = 'team'", "SELECT * FROM changes", "SELECT * FROM uploads",
             "SELECT * FROM objects JOIN tags USING (bucket, key)", "SELECT * FROM segments", "SELECT * FROM list_objects('theirs')"]
    plans = lambda: [asked(server, f"EXPLAIN {text}") for text in texts]
    before = plans()
    check(all(status == 200 and "logical_plan" in told and "physical_plan" not in told for status, told in before), f"plans: {before}")
    s3 = server.client()
    s3.create_bucket(Bucket="asked")
    for number in range(200):
        s3.put_object(Bucket="asked", Key=f"a/{number:03}", Body=b"x", Tagging=f"team=t{number % 3}")
    s3.create_multipart_upload(Bucket="asked", Key="upload")
    server.cut()
    check(plans() == before, "plans tell of others' objects")
    for text in texts:
        for how in ["EXPLAIN ANALYZE", "EXPLAIN VERBOSE", "EXPLAIN ANALYZE VERBOSE", "EXPLAIN FORMAT TREE", "EXPLAIN FORMAT GRAPHVIZ", "EXPLAIN (ANALYZE)", "EXPLAIN (VERBOSE)",
                    "DESCRIBE ANALYZE", "EXPLAIN (FORMAT tree)", "explain/**/analyze"]:
            status, told = asked(server, f"{how} {text}")
            check(status == 400, f"{how} {text}: {status} {told[:200]}")
    check("physical_plan" in asked(server, "EXPLAIN SELECT key FROM objects", (ACCESS_KEY, SECRET_KEY))[1], "the root user sees all of it")
    check("row_groups_read" in asked(server, "EXPLAIN ANALYZE SELECT key FROM objects", (ACCESS_KEY, SECRET_KEY))[1], "and what it read")
    folder = str(pathlib.Path(server.data).parent)
    for text in ["SHOW ALL", "SELECT * FROM information_schema.df_settings", "SELECT * FROM siltstone.information_schema.DF_SETTINGS", "SELECT * FROM pg_catalog.pg_settings",
                 "SHOW datafusion.runtime.temp_directory", "SELECT * FROM information_schema.tables", "SELECT * FROM information_schema.views",
                 "SELECT * FROM information_schema.schemata", "SELECT * FROM information_schema.columns", "SELECT * FROM information_schema.routines",
                 "SELECT value FROM generate_series(1, 100000000) ORDER BY value % 7, value DESC", "SELECT * FROM objects WHERE key = '" + folder[:3] + "'"]:
        status, told = asked(server, text)
        check(folder not in told and "spill/" not in told, f"{text} tells of folders: {told[:300]}")
        check("consumers" not in told, f"{text} tells of others' queries: {told[:300]}")
    settings = server.sql("SELECT name FROM information_schema.df_settings", OTHER_KEYS)
    check(len(settings) > 20 and not any("runtime" in row["name"] for row in settings), f"settings: {settings[:3]}")


def places(server):
    """A user with very many queries does not shut out others."""
    # They ask for very much and read nothing: each keeps the place that it has, and no processor.
    body = b"SELECT value, repeat('x', 1000) FROM generate_series(1, 100000000)"
    head = f"POST /sql?format=csv HTTP/1.1\r\nHost: x\r\nAuthorization: {basic(OTHER_KEYS)['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
    deaf = [socket.create_connection(("127.0.0.1", server.admin_port)) for _ in range(80)]
    for client in deaf:
        client.sendall(head.encode() + body)
    time.sleep(3)
    for _ in range(3):
        status, text = asked(server, "SELECT 1 AS one", (ACCESS_KEY, SECRET_KEY))
        check(status == 200, f"another user's query beside 80: {status} {text}")
    for client in deaf:
        client.close()
    # Queries that wait for what never comes take nobody's place, and are told so.
    began = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(80) as pool:
        told = list(pool.map(lambda _: asked(server, "SELECT 1", min_offset="0:99999999999"), range(80)))
    check(all(status in (400, 503) for status, _ in told), f"offsets that never come: {told[:2]}")
    check(any(status == 400 and "beyond the log's end" in text for status, text in told), f"told why: {told[:2]}")
    check(time.monotonic() - began < 10, "at once")
    end = server.sql_bytes("SELECT 1")[1]["x-siltstone-offset"]
    check(asked(server, "SELECT 1 AS one", min_offset=end)[0] == 200, "the log's end itself is there")


def signatures(server):
    """A signature that does not cover the query is good for none."""
    host = f"127.0.0.1:{server.port}"
    body = b"SELECT 1 AS one"

    def post(path, headers, data=body):
        try:
            request = urllib.request.Request(server.url + path, data=data, headers=headers, method="POST")
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    digest = hashlib.sha256(body).hexdigest()
    for payload, wanted in [(digest, 200), ("UNSIGNED-PAYLOAD", 403), ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", 403), (hashlib.sha256(b"SELECT 2").hexdigest(), 400)]:
        headers, *_ = sign("POST", "/-/sql", {"host": host}, payload)
        if payload.startswith("STREAMING"):
            headers["x-amz-decoded-content-length"] = str(len(body))
        status, told = post("/-/sql", headers)
        check(status == wanted, f"{payload}: {status} {told[:200]}")
    for extra in [{}, {"x-amz-content-sha256": digest}]:
        request = AWSRequest("POST", server.url + "/-/sql", headers=extra)
        S3SigV4QueryAuth(Credentials(ACCESS_KEY, SECRET_KEY), "s3", "us-east-1", 60).add_auth(request)
        for data in [body, b"SELECT name FROM buckets"]:
            status, told = post(request.url[len(server.url):], extra, data)
            check(status == 403, f"presigned: {status} {told[:200]}")


def main():
    with tempfile.TemporaryDirectory() as scratch:
        config = pathlib.Path(scratch) / "other.toml"
        config.write_text(f'[[users]]\nname = "other"\nid = "{"c" * 64}"\ndisplay_name = "Other"\nemail = ""\n'
                          f'access_key = "{OTHER_KEYS[0]}"\nsecret_key = "{OTHER_KEYS[1]}"\n')
        config.chmod(0o600)
        server = Server(os.path.abspath(sys.argv[1]), scratch + "/data", "--config", str(config), "--postgres", f"127.0.0.1:{free_port()}",
                        "--sql-seconds", "30", "--sql-memory-bytes", str(16 << 20), "--sql-spill-bytes", str(16 << 20))
        server.start()
        try:
            theirs = server.client(OTHER_KEYS)
            theirs.create_bucket(Bucket="theirs")
            theirs.put_object(Bucket="theirs", Key="own", Body=b"1", Tagging="team=t1")
            for part in [secrets, signatures, places]:
                part(server)
                print(f"{part.__name__}: ok", flush=True)
            check("panicked" not in server.log_text(), "the log tells of a panic")
            server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()
    print(f"{PASSED} passed, 0 failed")


main()
