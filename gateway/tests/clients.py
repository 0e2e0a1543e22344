"""Real clients against a live server: boto3, aws cli, rclone, s3cmd; and requests that must be refused."""
import datetime
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.exceptions import ClientError

from lib.server import ACCESS_KEY, SECRET_KEY, Server
from lib.signing import sign
from tree import Tree, copy_files

PASSED = 0


def check(condition, what):
    global PASSED
    if not condition:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def refused(code, call, *args, **kwargs):
    try:
        call(*args, **kwargs)
    except ClientError as error:
        got = error.response["Error"]["Code"]
        check(got == code, f"{call.__name__}: {got} instead of {code}")
        return error.response
    sys.exit(f"FAILED: {call.__name__} was not refused with {code}")


def boto(server):
    s3 = server.client()
    s3.create_bucket(Bucket="boto")
    s3.create_bucket(Bucket="boto")
    check([b["Name"] for b in s3.list_buckets()["Buckets"]] == ["boto"], "one bucket")
    for size in [0, 1, 1000, 300_000, 2_000_000]:
        body = os.urandom(size)
        put = s3.put_object(Bucket="boto", Key=f"size/{size}", Body=body, ContentType="text/x",
                            Metadata={"a": "b"}, Tagging="k=v&l=w")
        check(put["ETag"] == '"%s"' % hashlib.md5(body).hexdigest(), "the ETag is the MD5")
        for again in range(2):
            got = s3.get_object(Bucket="boto", Key=f"size/{size}", ChecksumMode="ENABLED")
            check(got["Body"].read() == body, f"{size} bytes come back")
            check(got["Metadata"] == {"a": "b"} and got["ContentType"] == "text/x", "metadata come back")
            if size:
                part = s3.get_object(Bucket="boto", Key=f"size/{size}", Range=f"bytes={size // 3}-{size // 2}")
                check(part["Body"].read() == body[size // 3:size // 2 + 1], "a range comes back")
            server.cut()
    tags = s3.get_object_tagging(Bucket="boto", Key="size/1")["TagSet"]
    check(tags == [{"Key": "k", "Value": "v"}, {"Key": "l", "Value": "w"}], "tags come back")
    s3.put_object_tagging(Bucket="boto", Key="size/1", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
    check(s3.get_object(Bucket="boto", Key="size/1")["Body"].read(), "still there after tagging")
    for algorithm in ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]:
        s3.put_object(Bucket="boto", Key=algorithm, Body=b"abc", ChecksumAlgorithm=algorithm)
        head = s3.head_object(Bucket="boto", Key=algorithm, ChecksumMode="ENABLED")
        check(f"Checksum{algorithm}" in head, f"{algorithm} is kept")
    refused("PreconditionFailed", s3.put_object, Bucket="boto", Key="CRC32", Body=b"", IfNoneMatch="*")
    refused("PreconditionFailed", s3.put_object, Bucket="boto", Key="CRC32", Body=b"", IfMatch='"%032d"' % 0)
    etag = s3.head_object(Bucket="boto", Key="CRC32")["ETag"]
    s3.put_object(Bucket="boto", Key="CRC32", Body=b"new", IfMatch=etag)
    keys = ["a/1", "a/2", "b", "c/d/e", "../up", "//", "sp ace+%", "é/€", "z" * 1024]
    for key in keys:
        s3.put_object(Bucket="boto", Key="k/" + key if len(key) < 1000 else key, Body=key.encode())
    listed = s3.list_objects_v2(Bucket="boto", Prefix="k/", Delimiter="/")
    check([p["Prefix"] for p in listed["CommonPrefixes"]] == ["k/../", "k//", "k/a/", "k/c/", "k/é/"], str(listed.get("CommonPrefixes")))
    check([o["Key"] for o in listed["Contents"]] == ["k/b", "k/sp ace+%"], str(listed["Contents"]))
    every = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="boto", PaginationConfig={"PageSize": 3}):
        every += [o["Key"] for o in page.get("Contents", [])]
    check(every == sorted(every, key=str.encode) and len(every) == len(set(every)), "pages are in order")
    s3.copy_object(Bucket="boto", Key="copied", CopySource="boto/size/2000000")
    check(s3.head_object(Bucket="boto", Key="copied")["ContentLength"] == 2_000_000, "a copy")
    deleted = s3.delete_objects(Bucket="boto", Delete={"Objects": [{"Key": k} for k in every + ["copied"]]})
    check(len(deleted["Deleted"]) == len(every) + 1 and "Errors" not in deleted, "all deleted")
    check("Contents" not in s3.list_objects_v2(Bucket="boto"), "nothing is left")
    refused("NoSuchKey", s3.get_object, Bucket="boto", Key="b")
    refused("NoSuchBucket", s3.list_objects_v2, Bucket="nowhere")
    refused("KeyTooLongError", s3.put_object, Bucket="boto", Key="k" * 1025, Body=b"")
    refused("NotImplemented", s3.put_object, Bucket="boto", Key="x", Body=b"", ServerSideEncryption="AES256")
    refused("NotImplemented", s3.put_bucket_policy, Bucket="boto", Policy="{}")
    refused("NoSuchBucketPolicy", s3.get_bucket_policy, Bucket="boto")
    refused("NoSuchLifecycleConfiguration", s3.get_bucket_lifecycle_configuration, Bucket="boto")
    refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket="boto")
    check(s3.get_bucket_acl(Bucket="boto")["Grants"][0]["Permission"] == "FULL_CONTROL", "the owner's grant")


def versions(server):
    s3 = server.client()
    s3.create_bucket(Bucket="versions")
    first = s3.put_object(Bucket="versions", Key="k", Body=b"null").get("VersionId")
    check(first is None, "no version id before versioning")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket="versions", Key="k", Body=b"one")["VersionId"]
    server.cut()
    two = s3.put_object(Bucket="versions", Key="k", Body=b"two")["VersionId"]
    marker = s3.delete_object(Bucket="versions", Key="k")
    check(marker["DeleteMarker"], "a delete leaves a marker")
    refused("NoSuchKey", s3.get_object, Bucket="versions", Key="k")
    refused("MethodNotAllowed", s3.get_object, Bucket="versions", Key="k", VersionId=marker["VersionId"])
    server.cut()
    for version, body in [(one, b"one"), (two, b"two"), ("null", b"null")]:
        got = s3.get_object(Bucket="versions", Key="k", VersionId=version)["Body"].read()
        check(got == body, f"version {version}")
    listed = s3.list_object_versions(Bucket="versions")
    check([v["VersionId"] for v in listed["Versions"]] == [two, one, "null"], "versions, newest first")
    check(listed["DeleteMarkers"][0]["IsLatest"], "the marker is the latest")
    paged = []
    for page in s3.get_paginator("list_object_versions").paginate(Bucket="versions", PaginationConfig={"PageSize": 1}):
        paged += [v["VersionId"] for v in page.get("Versions", [])]
    check(paged == [two, one, "null"], f"versions page by page: {paged}")
    s3.delete_object(Bucket="versions", Key="k", VersionId=marker["VersionId"])
    check(s3.get_object(Bucket="versions", Key="k")["Body"].read() == b"two", "the marker is gone")
    refused("BucketNotEmpty", s3.delete_bucket, Bucket="versions")
    for version in [one, two, "null"]:
        s3.delete_object(Bucket="versions", Key="k", VersionId=version)
    s3.delete_bucket(Bucket="versions")


def multipart(server):
    s3 = server.client()
    s3.create_bucket(Bucket="multi")
    parts = [os.urandom(5 << 20), os.urandom(6 << 20), os.urandom(1000)]
    for algorithm in [None, "CRC32", "SHA256"]:
        extra = {"ChecksumAlgorithm": algorithm} if algorithm else {}
        upload = s3.create_multipart_upload(Bucket="multi", Key="m", **extra)["UploadId"]
        done = []
        for number, part in enumerate(parts, 1):
            put = s3.upload_part(Bucket="multi", Key="m", UploadId=upload, PartNumber=number, Body=part, **extra)
            done.append({"PartNumber": number, "ETag": put["ETag"]})
            if algorithm:
                done[-1][f"Checksum{algorithm}"] = put[f"Checksum{algorithm}"]
            server.cut()
        check(len(s3.list_parts(Bucket="multi", Key="m", UploadId=upload)["Parts"]) == 3, "three parts")
        check(s3.list_multipart_uploads(Bucket="multi")["Uploads"][0]["UploadId"] == upload, "one upload")
        for again in range(2):
            whole = s3.complete_multipart_upload(Bucket="multi", Key="m", UploadId=upload, MultipartUpload={"Parts": done})
            wanted = hashlib.md5(b"".join(hashlib.md5(p).digest() for p in parts)).hexdigest()
            check(whole["ETag"] == f'"{wanted}-3"', "the ETag of parts")
            if algorithm:
                break
        check(s3.get_object(Bucket="multi", Key="m")["Body"].read() == b"".join(parts), "the parts in order")
        middle = s3.get_object(Bucket="multi", Key="m", Range=f"bytes={(5 << 20) - 3}-{(5 << 20) + 3}")["Body"].read()
        check(middle == parts[0][-3:] + parts[1][:4], "a range over two parts")
        check(s3.get_object(Bucket="multi", Key="m", PartNumber=2)["Body"].read() == parts[1], "one part")
    begun = {key: s3.create_multipart_upload(Bucket="multi", Key=key)["UploadId"] for key in ["d/a/1", "d/a/2", "d/b", "d/c/1", "d/e"]}
    pages, marker = [], {}
    while True:
        page = s3.list_multipart_uploads(Bucket="multi", Prefix="d/", Delimiter="/", MaxUploads=1, **marker)
        pages.append([u["Key"] for u in page.get("Uploads", [])] + [p["Prefix"] for p in page.get("CommonPrefixes", [])])
        if not page["IsTruncated"]:
            break
        marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}
    check(pages == [["d/a/"], ["d/b"], ["d/c/"], ["d/e"]], f"uploads by delimiter: {pages}")
    for key, upload in begun.items():
        s3.abort_multipart_upload(Bucket="multi", Key=key, UploadId=upload)
    small = s3.create_multipart_upload(Bucket="multi", Key="s")["UploadId"]
    tags = [s3.upload_part(Bucket="multi", Key="s", UploadId=small, PartNumber=n, Body=b"x")["ETag"] for n in (1, 2)]
    named = [{"PartNumber": n, "ETag": t} for n, t in zip((1, 2), tags)]
    refused("EntityTooSmall", s3.complete_multipart_upload, Bucket="multi", Key="s", UploadId=small, MultipartUpload={"Parts": named})
    refused("InvalidPartOrder", s3.complete_multipart_upload, Bucket="multi", Key="s", UploadId=small, MultipartUpload={"Parts": named[::-1]})
    s3.abort_multipart_upload(Bucket="multi", Key="s", UploadId=small)
    refused("NoSuchUpload", s3.list_parts, Bucket="multi", Key="s", UploadId=small)


def uploads(server):
    """Uploads, parts and buckets page by page, whether they are in the tail or in runs."""
    s3 = server.client()
    s3.create_bucket(Bucket="pages")
    keys = [f"u/{number % 4}/{number:02}" for number in range(24)] + ["u/2/02"] * 3 + ["a b+é", "u", "u/", "u/2/", "v"]
    begun = []
    for number, key in enumerate(keys):
        begun.append((key, s3.create_multipart_upload(Bucket="pages", Key=key)["UploadId"]))
        if number % 10 == 9:
            server.cut()
    for key, upload in begun[3:24:7]:
        s3.abort_multipart_upload(Bucket="pages", Key=key, UploadId=upload)
    left = sorted((key.encode(), upload) for key, upload in begun if (key, upload) not in begun[3:24:7])

    def wanted(prefix, delimiter):
        found = []
        for key, upload in left:
            rest = key[len(prefix):]
            if key.startswith(prefix):
                common = prefix + rest[:rest.index(delimiter) + 1] if delimiter and delimiter in rest else None
                found.append(common or (key, upload))
        return list(dict.fromkeys(found))

    def listed(size, prefix, delimiter, **more):
        found, marker = [], {}
        while True:
            page = s3.list_multipart_uploads(Bucket="pages", MaxUploads=size, Prefix=prefix.decode(), Delimiter=delimiter.decode(), **marker, **more)
            here = [(u["Key"].encode(), u["UploadId"]) for u in page.get("Uploads", [])]
            here += [p["Prefix"].encode() for p in page.get("CommonPrefixes", [])]
            check(len(here) <= size and all(u["Owner"] == u["Initiator"] for u in page.get("Uploads", [])), f"a page: {page}")
            found += sorted(here, key=lambda one: one if isinstance(one, bytes) else one[0])
            if not page["IsTruncated"]:
                return found
            marker = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page.get("NextUploadIdMarker", "")}

    for size in [1, 2, 5, 1000]:
        for prefix in [b"", b"u", b"u/", b"u/2/", b"u/2/02", b"x"]:
            for delimiter in [b"", b"/"]:
                got = listed(size, prefix, delimiter)
                check(got == wanted(prefix, delimiter), f"{size} of {prefix} by {delimiter}: {got}")
    after = s3.list_multipart_uploads(Bucket="pages", KeyMarker="u/2/02")["Uploads"]
    check([(u["Key"].encode(), u["UploadId"]) for u in after] == [one for one in left if one[0] > b"u/2/02"], "after all of a key's uploads")
    refused("InvalidArgument", s3.list_multipart_uploads, Bucket="pages", KeyMarker="u", UploadIdMarker="nonsense")
    page = s3.list_multipart_uploads(Bucket="pages", MaxUploads=1, EncodingType="url", Prefix="a b")
    check((page["EncodingType"], page["Prefix"], page["Uploads"][0]["Key"]) == ("url", "a%20b", "a%20b%2B%C3%A9"), f"encoded: {page}")
    check(s3.list_multipart_uploads(Bucket="pages", MaxUploads=0)["IsTruncated"] is False, "a page of none")
    got = server.sql("SELECT key, upload_id FROM uploads WHERE bucket = 'pages'")
    check([(row["key"].encode(), row["upload_id"]) for row in got] == left, f"SQL: {got}")
    upload = s3.create_multipart_upload(Bucket="pages", Key="parts", ChecksumAlgorithm="CRC32", ChecksumType="FULL_OBJECT")["UploadId"]
    for number in [1, 3, 4, 9, 10]:
        s3.upload_part(Bucket="pages", Key="parts", UploadId=upload, PartNumber=number, Body=b"x" * number, ChecksumAlgorithm="CRC32")
        if number == 4:
            server.cut()
    parts = {"Bucket": "pages", "Key": "parts", "UploadId": upload}
    page = s3.list_parts(**parts, MaxParts=2, PartNumberMarker=1)
    check([part["PartNumber"] for part in page["Parts"]] == [3, 4] and page["IsTruncated"] and page["NextPartNumberMarker"] == 4, f"parts: {page}")
    check((page["ChecksumAlgorithm"], page["ChecksumType"], page["StorageClass"], page["PartNumberMarker"]) == ("CRC32", "FULL_OBJECT", "STANDARD", 1), f"about them: {page}")
    check(page["Owner"] == page["Initiator"] and all("ChecksumCRC32" in part for part in page["Parts"]), f"whose: {page}")
    every = [part["PartNumber"] for page in s3.get_paginator("list_parts").paginate(**parts, PaginationConfig={"PageSize": 2}) for part in page["Parts"]]
    check(every == [1, 3, 4, 9, 10], f"all parts: {every}")
    check("Parts" not in s3.list_parts(**parts, PartNumberMarker=2_000_000_000) and not s3.list_parts(**parts, MaxParts=0)["IsTruncated"], "no parts")
    for name in ["list-a", "list-b", "list-c", "other-list"]:
        s3.create_bucket(Bucket=name)
    pages = list(s3.get_paginator("list_buckets").paginate(Prefix="list-", PaginationConfig={"PageSize": 2}))
    check([[b["Name"] for b in page["Buckets"]] for page in pages] == [["list-a", "list-b"], ["list-c"]] and pages[0]["Prefix"] == "list-", f"buckets: {pages}")
    check(len(s3.list_buckets(BucketRegion="us-east-1", Prefix="list-")["Buckets"]) == 3 and s3.list_buckets(BucketRegion="eu-west-1")["Buckets"] == [], "by region")


def sql(server, binary):
    """SQL sees what was acknowledged, before a cut and after it, and only reads."""
    s3 = server.client()
    s3.create_bucket(Bucket="asked")
    s3.create_bucket(Bucket="other")
    s3.put_bucket_versioning(Bucket="asked", VersioningConfiguration={"Status": "Enabled"})
    s3.put_object(Bucket="other", Key="a/1", Body=b"12345")
    for number in range(50):
        s3.put_object(Bucket="asked", Key=f"a/{number:02}", Body=b"x" * number, ContentType="text/plain",
                      Metadata={"number": str(number)}, Tagging=f"project={'even' if number % 2 == 0 else 'odd'}")
    s3.put_object(Bucket="asked", Key="b", Body=b"old")
    newest = s3.put_object(Bucket="asked", Key="b", Body=b"new")
    marker = s3.delete_object(Bucket="asked", Key="a/00")["VersionId"]

    def answers():
        def same(query, wanted):
            got = [tuple(row.values()) for row in server.sql(query)]
            check(got == wanted, f"{query}: {got} instead of {wanted}")

        same("SELECT count(*), sum(size) FROM objects WHERE bucket = 'asked'", [(50, sum(range(50)) + 3)])
        same("SELECT count(*) FROM objects WHERE bucket = 'asked' AND tags['project'] = 'even'", [(24,)])
        same("SELECT key FROM objects WHERE metadata['number'] = '7'", [("a/07",)])
        same("SELECT key, size FROM objects WHERE bucket = 'asked' AND key LIKE 'a/4%' ORDER BY key LIMIT 2", [("a/40", 40), ("a/41", 41)])
        same("SELECT version_id, etag, content_type FROM objects WHERE key = 'b'", [(newest["VersionId"], newest["ETag"].strip('"'), None)])
        same("SELECT size, is_latest FROM versions WHERE key = 'b' ORDER BY version_id DESC", [(3, True), (3, False)])
        same("SELECT version_id, is_latest, size FROM versions WHERE bucket = 'asked' AND is_delete_marker", [(marker, True, None)])
        same("SELECT bucket, count(*) FROM objects WHERE bucket IN ('asked', 'other') GROUP BY bucket ORDER BY bucket", [("asked", 50), ("other", 1)])
        same("SELECT name, versioning FROM buckets WHERE name IN ('asked', 'other') ORDER BY name", [("asked", "Enabled"), ("other", "Off")])
        same("SELECT count(*) FROM objects WHERE bucket = 'no-such'", [(0,)])
        same("SELECT key FROM objects WHERE bucket = 'asked' AND starts_with(key, 'a/1') AND key > 'a/17' ORDER BY key", [("a/18",), ("a/19",)])

    answers()
    server.cut()
    answers()
    for text, status in [("SELEC", 400), ("SELECT nothing FROM objects", 400), ("DROP TABLE objects", 400),
                         ("INSERT INTO buckets SELECT * FROM buckets", 400), ("SET datafusion.execution.batch_size = 1", 400),
                         ("SELECT * FROM '/etc/passwd'", 400), ("CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'", 400),
                         ("COPY objects TO '/tmp/x.csv'", 400)]:
        try:
            server.sql(text)
            check(False, f"{text} is refused")
        except urllib.error.HTTPError as error:
            check(error.code == status, f"{text}: {error.code} {error.text}")
    for text, place in [("SELECT key,\n  nothing FROM objects", "line 2, column 3"), ("SELECT 1 FROM objects\nWHERE", "line 2, column 6"),
                        ("SELECT key FROM nowhere", "line 1, column 17")]:
        try:
            server.sql(text)
            check(False, f"{text} is refused")
        except urllib.error.HTTPError as error:
            check(place in error.text, f"{text}: no place in {error.text}")
    for text in ["SELECT repeat(key, 1000000000) FROM objects", "SELECT repeat('x', 2000000000)", "SELECT lpad(key, 2000000000) FROM objects",
                 "SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000)) FROM objects", "SELECT array_repeat(key, 100000000) FROM objects"]:
        try:
            server.sql(text)
            check(False, f"{text} is refused")
        except urllib.error.HTTPError as error:
            check(error.code == 422, f"{text}: {error.code} {error.text}")
    check(server.sql("SELECT repeat('ab', 3) AS r, lpad('7', 3, '0') AS p, replace('a-b', '-', '+') AS s") == [{"r": "ababab", "p": "007", "s": "a+b"}], "within bounds")
    plan = "\n".join(str(row) for row in server.sql("EXPLAIN ANALYZE SELECT count(*) FROM objects WHERE bucket = 'asked' AND key LIKE 'a/%'"))
    check("key_pages_read=1" in plan and "row_groups_read=1" in plan, f"one page is read: {plan}")
    upload = s3.create_multipart_upload(Bucket="other", Key="parts/later.bin")["UploadId"]
    got = server.sql("SELECT bucket, key, upload_id, initiated IS NOT NULL AS dated FROM uploads")
    check({"bucket": "other", "key": "parts/later.bin", "upload_id": upload, "dated": True} in got, f"uploads: {got}")
    s3.abort_multipart_upload(Bucket="other", Key="parts/later.bin", UploadId=upload)
    check(server.sql("SELECT count(*) AS n FROM uploads WHERE bucket = 'other'") == [{"n": 0}], "an upload that was given up is gone")
    got = server.sql("SELECT prefix(key, '/', 1) AS folder, count(*) AS n FROM objects WHERE bucket = 'asked' GROUP BY 1 ORDER BY 1")
    check(got == [{"folder": "", "n": 1}, {"folder": "a/", "n": 49}], f"prefix: {got}")
    s3.put_object(Bucket="other", Key="x/y.tar.gz")
    check(server.sql("SELECT extension(key) AS e FROM objects WHERE bucket = 'other' ORDER BY key") == [{"e": None}, {"e": "gz"}], "extension")
    got = server.sql("SELECT key, is_prefix FROM list_objects('asked', '', '/')")
    check(got == [{"key": "a/", "is_prefix": True}, {"key": "b", "is_prefix": False}], f"list_objects: {got}")
    got = server.sql("SELECT key FROM list_objects('asked', 'a/', '', 'a/10', 3)")
    check([row["key"] for row in got] == ["a/11", "a/12", "a/13"], f"list_objects in pages: {got}")
    sees_only_its_own(server)
    after_a_write(server, s3)
    checksums(server, s3)
    tags(server, s3)
    changes(server, s3)
    from_afar(server, binary)
    ask = [binary, "sql", "--admin", server.admin]
    env = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    for form, wanted in [("csv", "n\n50\n"), ("json", '[\n{"n":50}\n]\n')]:
        told = subprocess.run([*ask, "--format", form, "SELECT count(*) AS n FROM objects WHERE bucket = 'asked'"], capture_output=True, text=True, env=env)
        check(told.stdout == wanted, f"{form}: {told.stdout}{told.stderr}")
    told = subprocess.run([*ask, "SELECT key, tags FROM objects WHERE bucket = 'asked' LIMIT 1"], capture_output=True, text=True, env=env)
    check(told.returncode == 0 and "{project: odd}" in told.stdout, f"a table: {told.stdout}{told.stderr}")
    wrong = subprocess.run([*ask, "SELEC"], capture_output=True, text=True, env=env)
    check(wrong.returncode == 1 and "400" in wrong.stderr, f"a wrong query: {wrong.stderr}")
    nobody = subprocess.run([*ask, "--access-key", ACCESS_KEY, "--secret-key", "wrong", "SELECT 1"], capture_output=True, text=True, env=env)
    check(nobody.returncode == 1 and "401" in nobody.stderr, f"wrong keys: {nobody.stderr}")


OTHER_KEYS = ("AKIDOTHER", "another-secret-for-tests")


def sees_only_its_own(server):
    """Through SQL, rows of a bucket that is not the asker's do not exist, whatever is asked."""
    theirs = server.client(OTHER_KEYS)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="secret/key", Body=b"theirs", Tagging="project=hidden")
    theirs.create_multipart_upload(Bucket="theirs", Key="secret/upload")
    for query in ["SELECT * FROM objects WHERE bucket = 'theirs'", "SELECT * FROM versions WHERE key = 'secret/key'",
                  "SELECT * FROM buckets WHERE name = 'theirs'", "SELECT * FROM tags WHERE value = 'hidden'", "SELECT * FROM uploads WHERE bucket = 'theirs'"]:
        check(server.sql(query, OTHER_KEYS) != [], f"whose they are sees them: {query}")
        check(server.sql(query) == [], f"nobody else sees them: {query}")
    check(server.sql("SELECT DISTINCT bucket FROM objects", OTHER_KEYS) == [{"bucket": "theirs"}], "and they see nothing else")
    try:
        server.sql("SELECT * FROM list_objects('theirs')")
        check(False, "a listing of their bucket is refused")
    except urllib.error.HTTPError as error:
        check(error.code == 400, f"their bucket: {error.code} {error.text}")
    check(server.sql("SELECT * FROM segments", OTHER_KEYS) == [], "what the store is made of is not for them")
    check(server.sql("SELECT count(*) > 0 AS some FROM segments") == [{"some": True}], "who runs the store sees its segments")
    for keys in [(ACCESS_KEY, "wrong"), ("nobody", "wrong"), (ACCESS_KEY, "")]:
        try:
            server.sql("SELECT 1", keys)
            check(False, f"{keys} may ask")
        except urllib.error.HTTPError as error:
            check(error.code == 401, f"{keys}: {error.code}")


def after_a_write(server, s3):
    """A write tells its offset; a query that asks for it sees the write, and one that asks for more waits in vain."""
    put = s3.put_object(Bucket="other", Key="offset", Body=b"1")
    at = put["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    body, headers = server.sql_bytes("SELECT size FROM objects WHERE key = 'offset'", min_offset=at)
    check(json.loads(body) == [{"size": 1}], f"the write is there: {body}")
    partition, offset = at.split(":")
    told = dict(pair.split(":") for pair in headers["x-siltstone-offset"].split(","))
    check(int(told[partition]) >= int(offset), f"{headers['x-siltstone-offset']} is not before {at}")
    deleted = s3.delete_object(Bucket="other", Key="offset")["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    check(int(deleted.split(":")[1]) > int(offset), f"a delete comes after: {deleted}")
    for wrong in ["x", "999:1", "0"]:
        try:
            server.sql("SELECT 1", min_offset=wrong)
            check(False, f"min_offset={wrong} is refused")
        except urllib.error.HTTPError as error:
            check(error.code == 400, f"{wrong}: {error.code}")


def checksums(server, s3):
    """SQL tells checksums and storage classes as HEAD and listings do, before a cut and after it."""
    s3.create_bucket(Bucket="sums")
    s3.put_bucket_versioning(Bucket="sums", VersioningConfiguration={"Status": "Enabled"})
    algorithms = ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"]
    for algorithm in algorithms:
        s3.put_object(Bucket="sums", Key=f"whole/{algorithm}", Body=b"abc", ChecksumAlgorithm=algorithm)
    for algorithm, kind in [("SHA256", "COMPOSITE"), ("CRC32C", "COMPOSITE"), ("CRC32", "FULL_OBJECT")]:
        key = f"parts/{algorithm}"
        upload = s3.create_multipart_upload(Bucket="sums", Key=key, ChecksumAlgorithm=algorithm, ChecksumType=kind)["UploadId"]
        done = []
        for number, size in [(1, 5 << 20), (2, 10)]:
            put = s3.upload_part(Bucket="sums", Key=key, UploadId=upload, PartNumber=number, Body=b"p" * size, ChecksumAlgorithm=algorithm)
            done.append({"PartNumber": number, "ETag": put["ETag"], f"Checksum{algorithm}": put[f"Checksum{algorithm}"]})
        s3.complete_multipart_upload(Bucket="sums", Key=key, UploadId=upload, MultipartUpload={"Parts": done})
    s3.put_object(Bucket="sums", Key="gone", Body=b"")
    s3.delete_object(Bucket="sums", Key="gone")
    wanted = {}
    for listed in s3.list_objects_v2(Bucket="sums")["Contents"]:
        head = s3.head_object(Bucket="sums", Key=listed["Key"], ChecksumMode="ENABLED")
        wanted[listed["Key"]] = ({a: head[f"Checksum{a}"] for a in algorithms if f"Checksum{a}" in head}, head["ChecksumType"], listed["StorageClass"])
    check(wanted["parts/SHA256"][0]["SHA256"].endswith("-2") and len(wanted) == 8, f"a checksum over parts: {wanted}")
    for again in range(2):
        for table in ["objects", "versions"]:
            rows = server.sql(f"SELECT key, checksums, checksum_type, storage_class FROM {table} WHERE bucket = 'sums' AND key <> 'gone'")
            got = {row["key"]: (row["checksums"], row["checksum_type"], row["storage_class"]) for row in rows}
            check(got == wanted, f"{table}: {got} instead of {wanted}")
        got = server.sql("SELECT storage_class, checksum_type, checksums['CRC32'] AS crc FROM versions WHERE bucket = 'sums' AND is_delete_marker")
        check(got == [{"storage_class": None, "checksum_type": None, "crc": None}], f"a delete marker has neither: {got}")
        server.cut()


def tags(server, s3):
    """One row for each tag of each current object, in the tail and in runs alike."""
    s3.create_bucket(Bucket="tagged")
    s3.put_bucket_versioning(Bucket="tagged", VersioningConfiguration={"Status": "Enabled"})
    for number in range(12):
        s3.put_object(Bucket="tagged", Key=f"t/{number:02}", Body=b"", Tagging=f"team=red&number={number}" if number % 3 else "")
    s3.put_object(Bucket="tagged", Key="t/01", Body=b"", Tagging="team=blue")
    s3.delete_object(Bucket="tagged", Key="t/02")
    tagged = s3.put_object(Bucket="tagged", Key="t/03", Body=b"")["VersionId"]
    server.cut()
    s3.put_object_tagging(Bucket="tagged", Key="t/03", Tagging={"TagSet": [{"Key": "later", "Value": "yes"}, {"Key": "team", "Value": ""}]})
    s3.delete_object_tagging(Bucket="tagged", Key="t/04")
    for again in range(2):
        got = [tuple(row.values()) for row in server.sql("SELECT key, name, value FROM tags WHERE bucket = 'tagged' ORDER BY key, name")]
        wanted = [("t/01", "team", "blue"), ("t/03", "later", "yes"), ("t/03", "team", "")]
        for number in [5, 7, 8, 10, 11]:
            wanted += [(f"t/{number:02}", "number", str(number)), (f"t/{number:02}", "team", "red")]
        check(got == wanted, f"tags: {got} instead of {wanted}")
        got = server.sql("SELECT * FROM tags WHERE bucket = 'tagged' AND name = 'later'")
        check(got == [{"bucket": "tagged", "key": "t/03", "version_id": tagged, "name": "later", "value": "yes"}], f"all columns: {got}")
        got = server.sql("SELECT key FROM tags WHERE bucket = 'tagged' AND key > 't/05' ORDER BY key LIMIT 3")
        check([row["key"] for row in got] == ["t/07", "t/07", "t/08"], f"in key order: {got}")
        check(server.sql("SELECT count(*) AS n FROM tags WHERE bucket = 'tagged'") == [{"n": 13}], "counted without a column")
        got = server.sql("SELECT t.key, size FROM tags t JOIN objects o ON o.bucket = t.bucket AND o.key = t.key WHERE t.bucket = 'tagged' AND name = 'number' AND value IN ('5', '7') ORDER BY 1")
        check(got == [{"key": "t/05", "size": 0}, {"key": "t/07", "size": 0}], f"joined: {got}")
        server.cut()
    plan = "\n".join(str(row) for row in server.sql("EXPLAIN SELECT key FROM tags WHERE bucket = 'tagged' AND key LIKE 't/1%' AND name = 'team' ORDER BY key"))
    check("Objects of tagged, keys from" in plan and "SortExec" not in plan, f"bounds go down, and keys come in order: {plan}")


def changes(server, s3):
    """The log as a table: what was asked, in order, and what became of it; nothing beyond the answer's offset."""
    theirs = server.client(OTHER_KEYS)
    server.cut()
    [since] = server.sql("SELECT next_offset AS o FROM partitions")
    s3.create_bucket(Bucket="logged")
    s3.put_bucket_versioning(Bucket="logged", VersioningConfiguration={"Status": "Enabled"})
    one = s3.put_object(Bucket="logged", Key="k", Body=b"one")["VersionId"]
    s3.put_object_tagging(Bucket="logged", Key="k", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    refused("PreconditionFailed", s3.put_object, Bucket="logged", Key="k", Body=b"twice", IfNoneMatch="*")
    marker = s3.delete_object(Bucket="logged", Key="k")["VersionId"]
    s3.delete_object(Bucket="logged", Key="k", VersionId=one)
    upload = s3.create_multipart_upload(Bucket="logged", Key="m")["UploadId"]
    part = s3.upload_part(Bucket="logged", Key="m", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    whole = s3.complete_multipart_upload(Bucket="logged", Key="m", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})["VersionId"]
    given_up = s3.create_multipart_upload(Bucket="logged", Key="n")["UploadId"]
    s3.abort_multipart_upload(Bucket="logged", Key="n", UploadId=given_up)
    large = s3.put_object(Bucket="logged", Key="large", Body=b"l" * 1_500_000)["VersionId"]
    theirs.create_bucket(Bucket="theirs-logged")
    theirs.put_object(Bucket="theirs-logged", Key="secret", Body=b"")
    theirs.delete_object(Bucket="theirs-logged", Key="secret")
    theirs.delete_bucket(Bucket="theirs-logged")
    theirs.put_object(Bucket="theirs", Key="secret/other", Body=b"")
    rows = server.sql(f"SELECT * FROM changes WHERE offset >= {since['o']} ORDER BY offset")
    got = [(row["operation"], row["bucket"], row["key"], row["version_id"], row["size"], row["changed"]) for row in rows]
    wanted = [("CreateBucket", "logged", None, None, None, True), ("PutBucketVersioning", "logged", None, None, None, True),
              ("PutObject", "logged", "k", one, 3, True), ("PutObjectTagging", "logged", "k", one, None, True),
              ("PutObject", "logged", "k", None, 5, False), ("DeleteObject", "logged", "k", marker, None, True),
              ("DeleteObject", "logged", "k", one, None, True), ("CreateMultipartUpload", "logged", "m", None, None, True),
              ("UploadPart", "logged", "m", None, 4, True), ("CompleteMultipartUpload", "logged", "m", whole, 4, True),
              ("CreateMultipartUpload", "logged", "n", None, None, True), ("AbortMultipartUpload", "logged", "n", None, None, True),
              ("PutObject", "logged", "large", large, 1_500_000, True), ("CreateBucket", "theirs-logged", None, None, None, True),
              ("PutObject", None, "secret", "null", 0, True), ("DeleteObject", None, "secret", "null", None, True),
              ("DeleteBucket", None, None, None, None, True), ("PutObject", "theirs", "secret/other", "null", 0, True)]
    check(got == wanted, f"changes: {got} instead of {wanted}")
    check(rows[2]["principal"] == rows[0]["principal"] != rows[-1]["principal"] == "c" * 64, "who asked")
    check(all(row["request_id"] and row["partition"] == 0 for row in rows), "which request it was")
    own = server.sql(f"SELECT operation, bucket FROM changes WHERE offset >= {since['o']} ORDER BY offset", OTHER_KEYS)
    check([(row["operation"], row["bucket"]) for row in own] == [row[:2] for row in wanted[13:]], f"others see their own: {own}")
    # Following: a page begins behind the last, reads no more than it tells, and sorts nothing.
    page = server.sql(f"SELECT offset, operation FROM changes WHERE partition = 0 AND offset > {rows[4]['offset']} ORDER BY offset LIMIT 3")
    check([row["operation"] for row in page] == ["DeleteObject", "DeleteObject", "CreateMultipartUpload"], f"a page: {page}")
    plan = "\n".join(str(row) for row in server.sql(f"EXPLAIN ANALYZE SELECT operation FROM changes WHERE partition = 0 AND offset BETWEEN {rows[4]['offset']} AND {rows[6]['offset']} ORDER BY offset"))
    check(f"records_read={rows[6]['offset'] - rows[4]['offset'] + 1}" in plan and "SortExec" not in plan, f"only these are read: {plan}")
    check(server.sql("SELECT count(*) AS n FROM changes WHERE partition = 7") == [{"n": 0}], "there is no such partition")
    _, headers = server.sql_bytes("SELECT 1")
    at = int(headers["x-siltstone-offset"].split(":")[1])
    check(server.sql(f"SELECT count(*) AS n FROM changes WHERE offset >= {at}") == [{"n": 0}], "nothing beyond the answer's offset")
    [bounds] = server.sql("SELECT first_offset AS first, next_offset AS next FROM partitions")
    check(bounds["first"] <= rows[0]["offset"] and rows[-1]["offset"] < bounds["next"], f"these are still there: {bounds}")
    server.cut()
    [bounds] = server.sql("SELECT first_offset AS first FROM partitions")
    check(bounds["first"] > rows[-1]["offset"], f"a cut has let go of them: {bounds}")
    check(server.sql(f"SELECT * FROM changes WHERE offset <= {rows[-1]['offset']}") == [], "and they are not told of")


def from_afar(server, binary):
    """SQL on the S3 address, signed: the same answers as on the admin address, for whoever signs."""
    def post(query, keys=(ACCESS_KEY, SECRET_KEY), path="/-/sql", method="POST", sign=True, **wishes):
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

    query = "SELECT bucket, key, size FROM objects WHERE bucket IN ('asked', 'theirs') ORDER BY bucket, key"
    for form in ["json", "csv", "arrow"]:
        status, body, headers = post(query, format=form)
        wanted, told = server.sql_bytes(query, format=form)
        check((status, body, headers["content-type"]) == (200, wanted, told["content-type"]), f"{form}: {status} {body[:300]}")
        check(headers["x-siltstone-offset"] == told["x-siltstone-offset"] and headers["x-amz-request-id"], f"where it stands: {headers}")
    theirs = json.loads(post(query, OTHER_KEYS)[1])
    check({row["bucket"] for row in theirs} == {"theirs"}, f"rows of whoever signs: {theirs}")
    at = server.client().put_object(Bucket="other", Key="offset", Body=b"1")["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    status, body, _ = post("SELECT size FROM objects WHERE bucket = 'other' AND key = 'offset'", min_offset=at)
    check((status, json.loads(body)) == (200, [{"size": 1}]), f"after a write: {status} {body}")
    for what, wanted, told in [("no query", (400, b"SELEC"), post("SELEC")), ("a wrong format", (400, b"format"), post("SELECT 1", format="xls")),
                               ("a wrong parameter", (400, b"InvalidArgument"), post("SELECT 1", limit="1")),
                               ("nobody", (403, b"AccessDenied"), post("SELECT 1", sign=False)),
                               ("another secret", (403, b"SignatureDoesNotMatch"), post("SELECT 1", (ACCESS_KEY, "wrong"))),
                               ("another user", (403, b"InvalidAccessKeyId"), post("SELECT 1", ("NOBODY", "wrong"))),
                               ("another method", (405, b"MethodNotAllowed"), post("SELECT 1", method="PUT")),
                               ("another path", (400, b"InvalidBucketName"), post("SELECT 1", path="/-/other")),
                               ("a large query", (400, b"MalformedXML"), post("SELECT 1 -- " + "x" * (1 << 20)))]:
        check(told[0] == wanted[0] and wanted[1] in told[1], f"{what}: {told[0]} {told[1][:300]}")
    ask = [binary, "sql", "--endpoint", server.url, "--format", "csv"]
    env = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    told = subprocess.run([*ask, "SELECT count(*) AS n FROM objects WHERE bucket = 'asked'"], capture_output=True, text=True, env=env)
    check((told.stdout, told.returncode) == ("n\n50\n", 0), f"the command: {told}")
    for extra, wanted in [(["--region", "eu-west-1", "SELECT 1"], "eu-west-1"), (["--secret-key", "wrong", "SELECT 1"], "403"), (["SELEC"], "400"),
                          (["--admin", server.admin, "SELECT 1"], "cannot be used")]:
        told = subprocess.run([*ask, *extra], capture_output=True, text=True, env=env)
        check(told.returncode != 0 and wanted in told.stderr, f"{extra}: {told}")
    export = [binary, "export", "theirs", "--endpoint", server.url, "--format", "jsonl"]
    told = subprocess.run([*export, "--access-key", OTHER_KEYS[0], "--secret-key", OTHER_KEYS[1]], capture_output=True, text=True)
    check([json.loads(line)["key"] for line in told.stdout.splitlines()] == ["secret/key", "secret/other"] and "2 rows" in told.stderr, f"an inventory from afar: {told}")
    told = subprocess.run(export, capture_output=True, text=True, env=env)
    check(told.returncode == 1 and "NoSuchBucket" in told.stderr and told.stdout == "", f"of a bucket that is not the asker's: {told}")


def small_tree(server, scratch):
    """This project's own files come and go; tree.py does the same with many more."""
    source, copy = pathlib.Path(__file__).resolve().parents[2], scratch / "tree"
    copy_files(source, copy, left_out=["target", ".git", ".tools", "data"])
    tree = Tree(server, copy, check)
    tree.come_and_go()
    config = scratch / "s3cfg"
    config.write_text(f"[default]\naccess_key={ACCESS_KEY}\nsecret_key={SECRET_KEY}\nhost_base=127.0.0.1:{server.port}\nhost_bucket=127.0.0.1:{server.port}\nuse_https=False\nbucket_location=us-east-1\n")
    tree.run("s3cmd", "-c", config, "mb", "s3://cmd")
    tree.run("s3cmd", "-c", config, "put", copy / "README.md", "s3://cmd/readme")
    tree.run("s3cmd", "-c", config, "get", "--force", "s3://cmd/readme", scratch / "readme")
    check((scratch / "readme").read_bytes() == (copy / "README.md").read_bytes(), "s3cmd")
    tree.run("s3cmd", "-c", config, "del", "--recursive", "--force", "s3://cmd")
    tree.run("s3cmd", "-c", config, "rb", "s3://cmd")


def hostile(server):
    """Requests that must be refused, each with the code that S3 documents, and change nothing."""
    s3 = server.client()
    s3.create_bucket(Bucket="hostile")
    s3.put_object(Bucket="hostile", Key="kept", Body=b"kept")
    host = f"127.0.0.1:{server.port}"
    empty = hashlib.sha256(b"").hexdigest()

    def ask(method, path, headers, body=b"", short=False):
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
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

    def expect(what, wanted, got):
        status, text = got
        check(any(f"<Code>{w}</Code>" in text or w == status for w in wanted), f"{what}: {status} {text[:300]}")

    def put(body, payload=None, path="/hostile/new", extra=None, length=None, **how):
        payload = payload or hashlib.sha256(body).hexdigest()
        headers = {"host": host, "content-length": str(len(body) if length is None else length), **(extra or {})}
        signed, *_ = sign("PUT", path, headers, payload, **how)
        return signed

    now = datetime.datetime.now(datetime.timezone.utc)
    expect("a short body", ["IncompleteBody", 0], ask("PUT", "/hostile/new", put(b"abc", length=10, payload="UNSIGNED-PAYLOAD"), b"abc", short=True))
    expect("a wrong sha256", ["XAmzContentSHA256Mismatch"], ask("PUT", "/hostile/new", put(b"abc", payload=empty), b"abc"))
    expect("a wrong md5", ["BadDigest"], ask("PUT", "/hostile/new", put(b"abc", extra={"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}), b"abc"))
    expect("a scrap of md5", ["InvalidDigest"], ask("PUT", "/hostile/new", put(b"abc", extra={"content-md5": "AAAA"}), b"abc"))
    expect("a wrong crc32", ["BadDigest"], ask("PUT", "/hostile/new", put(b"abc", extra={"x-amz-checksum-crc32": "AAAAAA=="}), b"abc"))
    expect("a scrap of crc32", ["InvalidRequest"], ask("PUT", "/hostile/new", put(b"abc", extra={"x-amz-checksum-crc32": "AA=="}), b"abc"))
    expect("two checksums", ["InvalidRequest"], ask("PUT", "/hostile/new", put(b"abc", extra={"x-amz-checksum-crc32": "AAAAAA==", "x-amz-checksum-sha1": "qZk+NkcGgWq6PiVxeFDCbJzQ2J0="}), b"abc"))
    expect("another secret", ["SignatureDoesNotMatch"], ask("PUT", "/hostile/new", put(b"abc", secret="wrong"), b"abc"))
    expect("another user", ["InvalidAccessKeyId"], ask("PUT", "/hostile/new", put(b"abc", access="NOBODY"), b"abc"))
    expect("another region", ["AuthorizationHeaderMalformed"], ask("PUT", "/hostile/new", put(b"abc", region="eu-west-1"), b"abc"))
    expect("an old request", ["RequestTimeTooSkewed"], ask("PUT", "/hostile/new", put(b"abc", when=now - datetime.timedelta(minutes=16)), b"abc"))
    expect("a request of tomorrow", ["RequestTimeTooSkewed"], ask("PUT", "/hostile/new", put(b"abc", when=now + datetime.timedelta(days=1)), b"abc"))
    expect("a changed path", ["SignatureDoesNotMatch"], ask("PUT", "/hostile/kept", put(b"abc"), b"abc"))
    signed = put(b"abc")
    expect("an unsigned header", ["AccessDenied"], ask("PUT", "/hostile/new", {**signed, "x-amz-meta-a": "b"}, b"abc"))
    expect("no credentials", ["AccessDenied"], ask("PUT", "/hostile/new", {"host": host, "content-length": "3"}, b"abc"))
    expect("signature version 2", ["InvalidRequest"], ask("GET", "/hostile/kept", {"host": host, "authorization": "AWS AKID:abc"}))
    expect("a scrap of authorization", ["AuthorizationHeaderMalformed"], ask("GET", "/hostile/kept", {"host": host, "authorization": "AWS4-HMAC-SHA256 nothing"}))
    expect("giant metadata", ["MetadataTooLarge"], ask("PUT", "/hostile/new", put(b"abc", extra={"x-amz-meta-big": "m" * 2100}), b"abc"))
    expect("large headers", ["RequestHeaderSectionTooLarge"], ask("GET", "/hostile/kept", {"host": host, "x-big": "h" * (16 << 10)}))
    expect("giant headers", [431, 0], ask("GET", "/hostile/kept", {"host": host, "x-big": "h" * 400_000}))
    expect("a path that is not UTF-8", ["InvalidURI", "SignatureDoesNotMatch"], ask("PUT", "/hostile/%ff%fe", put(b"abc", path="/hostile/%ff%fe"), b"abc"))
    expect("no length", [411, "MissingContentLength"], ask("PUT", "/hostile/new", {k: v for k, v in sign("PUT", "/hostile/new", {"host": host}, "UNSIGNED-PAYLOAD")[0].items()}))
    expect("a giant length", ["EntityTooLarge"], ask("PUT", "/hostile/new", put(b"", length=(5 << 30) + 1, payload="UNSIGNED-PAYLOAD"), b""))
    bomb = b'<!DOCTYPE d [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><Delete><Object><Key>&b;</Key></Object></Delete>'
    for what, document in [("an XML bomb", bomb), ("no XML", b"{}"), ("an open element", b"<Delete><Object>"), ("nothing to delete", b"<Delete></Delete>")]:
        headers, *_ = sign("POST", "/hostile?delete", {"host": host, "content-length": str(len(document))}, hashlib.sha256(document).hexdigest())
        expect(what, ["MalformedXML"], ask("POST", "/hostile?delete", headers, document))

    def chunked(body, flip=False, decoded=3, payload="STREAMING-AWS4-HMAC-SHA256-PAYLOAD"):
        headers = {"host": host, "content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded)}
        frame = lambda data, sig: b"%x;chunk-signature=%s\r\n" % (len(data), sig.encode()) + data + b"\r\n"
        size = len(frame(body, "0" * 64)) + len(b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n")
        headers, previous, key, stamp, scope = sign("PUT", "/hostile/new", {**headers, "content-length": str(size)}, payload)
        out = b""
        for data in [body, b""]:
            text = "\n".join(["AWS4-HMAC-SHA256-PAYLOAD", stamp, scope, previous, empty, hashlib.sha256(data).hexdigest()])
            previous = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
            out += frame(data, previous)
        if flip:
            out = out.replace(b"\r\nabc", b"\r\nabd")
        return ask("PUT", "/hostile/new", headers, out)

    expect("a broken chunk signature", ["SignatureDoesNotMatch"], chunked(b"abc", flip=True))
    expect("more than decoded", ["IncompleteBody"], chunked(b"abc", decoded=2))
    expect("less than decoded", ["IncompleteBody"], chunked(b"abc", decoded=4))
    presigned = s3.generate_presigned_url("get_object", Params={"Bucket": "hostile", "Key": "kept"}, ExpiresIn=60)
    path = presigned[len(server.url):]
    status, text = ask("GET", path, {"host": host})
    check((status, text) == (200, "kept"), f"a presigned GET: {status} {text[:300]}")
    expect("a changed presigned GET", ["SignatureDoesNotMatch"], ask("GET", path.replace("/kept", "/other"), {"host": host}))
    expect("a presigned GET for too long", ["AuthorizationQueryParametersError"], ask("GET", path.replace("Expires=60", "Expires=604801"), {"host": host}))
    listed = s3.list_object_versions(Bucket="hostile")
    check([v["Key"] for v in listed["Versions"]] == ["kept"], "nothing was changed")
    status, text = chunked(b"abc")
    check(status == 200 and s3.get_object(Bucket="hostile", Key="new")["Body"].read() == b"abc", f"a good chunked body: {status} {text}")


def empty_bodies(server):
    """botocore takes an early final answer for one to its next request, unless the connection ends: then
    each object after an empty one took half a minute."""
    s3 = server.client()
    s3.create_bucket(Bucket="empty")
    began = time.monotonic()
    for number in range(6):
        put = s3.put_object(Bucket="empty", Key=f"{number}", Body=b"" if number % 2 else b"full")
        check("ETag" in put, "the answer is to this request")
    refused("NoSuchBucket", s3.put_object, Bucket="not-there", Key="k", Body=b"refused before it is sent")
    check("ETag" in s3.put_object(Bucket="empty", Key="after", Body=b"a refusal"), "the answer is to this request")
    # Not a measure of speed: a stall is thirty seconds long, and there are six chances for one.
    check(time.monotonic() - began < 30, "nothing stalls behind an empty body or a refusal")


def users(binary, scratch):
    """Several users from a file: a bucket belongs to its creator. The root user's keys are made once."""
    config = scratch / "users.toml"
    config.write_text("".join(
        f'[[users]]\nname = "{name}"\nid = "{digit * 64}"\ndisplay_name = "{name.title()}"\nemail = "{name}@example.com"\n'
        f'access_key = "AKID{name}"\nsecret_key = "the secret of {name}"\n' for name, digit in [("alice", "a"), ("bob", "b")]))
    server = Server(binary, str(scratch / "users"), "--config", str(config), keys=None).start()
    try:
        alice, bob = (server.client(keys=(f"AKID{name}", f"the secret of {name}")) for name in ["alice", "bob"])
        root = server.client()
        check(os.stat(server.data + "/credentials").st_mode & 0o777 == 0o600, "only the owner reads the keys")
        check(server.data + "/credentials" in server.log_text(), "where the keys are is told")
        alice.create_bucket(Bucket="alices")
        alice.put_object(Bucket="alices", Key="k", Body=b"hers")
        for other in [bob, root]:
            refused("AccessDenied", other.get_object, Bucket="alices", Key="k")
            refused("AccessDenied", other.put_object, Bucket="alices", Key="k", Body=b"theirs")
            refused("AccessDenied", other.delete_object, Bucket="alices", Key="k")
            refused("AccessDenied", other.list_objects_v2, Bucket="alices")
            refused("AccessDenied", other.delete_bucket, Bucket="alices")
            refused("AccessDenied", other.copy_object, Bucket="alices", Key="l", CopySource="alices/k")
            refused("BucketAlreadyExists", other.create_bucket, Bucket="alices")
            check(other.list_buckets()["Buckets"] == [], "others do not see the bucket")
        bob.create_bucket(Bucket="bobs")
        refused("AccessDenied", bob.copy_object, Bucket="bobs", Key="k", CopySource="alices/k")
        owner = alice.list_buckets()["Owner"]
        check(owner["ID"] == "a" * 64, f"her id: {owner}")
        check(alice.get_object(Bucket="alices", Key="k")["Body"].read() == b"hers", "it is as she left it")
        kept = server.kept_keys()
        server.stop()
        server.start()
        check(server.kept_keys() == kept and server.log_text().count("credentials") == 1, "the keys are made once")
        check(kept[1] not in server.log_text(), "the secret key is not told")
        check(server.client().list_buckets()["Buckets"] == [], "root comes in with them")
        server.stop()
    finally:
        if server.process.poll() is None:
            server.process.kill()


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        config = scratch / "other.toml"
        config.write_text(f'[[users]]\nname = "other"\nid = "{"c" * 64}"\ndisplay_name = "Other"\nemail = ""\n'
                          f'access_key = "{OTHER_KEYS[0]}"\nsecret_key = "{OTHER_KEYS[1]}"\n')
        server = Server(binary, str(scratch / "data"), "--config", str(config)).start()
        try:
            second = subprocess.run([binary, "server", "--data", server.data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], capture_output=True, text=True)
            check(second.returncode == 1 and "in use" in second.stderr, "a second server on the directory refuses")
            for part in [boto, empty_bodies, versions, multipart, uploads, hostile]:
                part(server)
                print(f"{part.__name__}: ok", flush=True)
            sql(server, binary)
            print("sql: ok", flush=True)
            small_tree(server, scratch)
            print("tree: ok", flush=True)
            server.stop()
            server.fsck()
        finally:
            if server.process.poll() is None:
                server.process.kill()
        users(binary, scratch)
        print("users: ok", flush=True)
    print(f"{PASSED} passed, 0 failed")


main()
