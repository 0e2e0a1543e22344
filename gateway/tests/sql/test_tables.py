"""Tables of SQL over what S3 writes: objects, versions, buckets, uploads, tags, checksums and the log, before a cut and
after it. SQL sees what was acknowledged, and only reads."""
import json

import pytest

from lib.refusals import refused, refused_sql
from lib.server import ACCESS_KEY, OTHER_ID, OTHER_KEYS


class Asked:
    """Two buckets with objects of every fate."""

    def __init__(self, s3, many, one):
        self.many, self.one = many, one
        s3.create_bucket(Bucket=many)
        s3.create_bucket(Bucket=one)
        s3.put_bucket_versioning(Bucket=many, VersioningConfiguration={"Status": "Enabled"})
        s3.put_object(Bucket=one, Key="a/1", Body=b"12345")
        for number in range(50):
            s3.put_object(Bucket=many, Key=f"a/{number:02}", Body=b"x" * number, ContentType="text/plain",
                          Metadata={"number": str(number)}, Tagging=f"project={'even' if number % 2 == 0 else 'odd'}")
        s3.put_object(Bucket=many, Key="b", Body=b"old")
        self.newest = s3.put_object(Bucket=many, Key="b", Body=b"new")
        self.marker = s3.delete_object(Bucket=many, Key="a/00")["VersionId"]

    def rows(self):
        """Queries and the rows that must come."""
        many, one, newest = self.many, self.one, self.newest
        return [
            (f"SELECT count(*), sum(size) FROM objects WHERE bucket = '{many}'", [(50, sum(range(50)) + 3)]),
            (f"SELECT count(*) FROM objects WHERE bucket = '{many}' AND tags['project'] = 'even'", [(24,)]),
            (f"SELECT key FROM objects WHERE bucket = '{many}' AND metadata['number'] = '7'", [("a/07",)]),
            (f"SELECT key, size FROM objects WHERE bucket = '{many}' AND key LIKE 'a/4%' ORDER BY key LIMIT 2", [("a/40", 40), ("a/41", 41)]),
            (f"SELECT version_id, etag, content_type FROM objects WHERE bucket = '{many}' AND key = 'b'", [(newest["VersionId"], newest["ETag"].strip('"'), None)]),
            (f"SELECT size, is_latest FROM versions WHERE bucket = '{many}' AND key = 'b' ORDER BY version_id DESC", [(3, True), (3, False)]),
            (f"SELECT version_id, is_latest, size FROM versions WHERE bucket = '{many}' AND is_delete_marker", [(self.marker, True, None)]),
            (f"SELECT bucket, count(*) FROM objects WHERE bucket IN ('{many}', '{one}') GROUP BY bucket ORDER BY bucket", [(many, 50), (one, 1)]),
            (f"SELECT name, versioning FROM buckets WHERE name IN ('{many}', '{one}') ORDER BY name", [(many, "Enabled"), (one, "Off")]),
            ("SELECT count(*) FROM objects WHERE bucket = 'no-such'", [(0,)]),
            (f"SELECT key FROM objects WHERE bucket = '{many}' AND starts_with(key, 'a/1') AND key > 'a/17' ORDER BY key", [("a/18",), ("a/19",)]),
        ]


@pytest.fixture(scope="module")
def asked(server, s3):
    found = Asked(s3, "asked", "asked-one")
    server.cut()
    return found


@pytest.fixture(scope="module")
def theirs(server):
    """The client of the second user, whose only bucket is `theirs`."""
    client = server.client(OTHER_KEYS)
    client.create_bucket(Bucket="theirs")
    client.put_object(Bucket="theirs", Key="secret/key", Body=b"theirs", Tagging="project=hidden")
    client.create_multipart_upload(Bucket="theirs", Key="secret/upload")
    return client


def plan_of(server, text):
    return "\n".join(str(row) for row in server.sql(text))


def test_rows_are_the_same_before_a_cut_and_after_it(server, s3):
    asked, wrong = Asked(s3, "rows-many", "rows-one"), []
    for when in ["before a cut", "after a cut"]:
        for query, wanted in asked.rows():
            got = [tuple(row.values()) for row in server.sql(query)]
            wrong += [f"{when}: {query}: {got} instead of {wanted}"] if got != wanted else []
        server.cut()
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("query", [
    "SELEC", "SELECT nothing FROM objects", "DROP TABLE objects", "INSERT INTO buckets SELECT * FROM buckets",
    "SET datafusion.execution.batch_size = 1", "SELECT * FROM '/etc/passwd'", "CREATE EXTERNAL TABLE t STORED AS CSV LOCATION '/etc/passwd'",
    "COPY objects TO '/tmp/x.csv'"])
def test_a_statement_that_is_no_query_is_refused(server, query):
    refused_sql(400, server, query)


@pytest.mark.parametrize(("query", "place"), [
    ("SELECT key,\n  nothing FROM objects", "line 2, column 3"), ("SELECT 1 FROM objects\nWHERE", "line 2, column 6"),
    ("SELECT key FROM nowhere", "line 1, column 17")])
def test_an_error_has_a_place(server, query, place):
    text = refused_sql(400, server, query)
    assert place in text, f"{query}: no place in {text}"


@pytest.mark.parametrize("query", [
    "SELECT repeat(key, 1000000000) FROM objects", "SELECT repeat('x', 2000000000)", "SELECT lpad(key, 2000000000) FROM objects",
    "SELECT replace(repeat('a', 100000), 'a', repeat('b', 100000)) FROM objects", "SELECT array_repeat(key, 100000000) FROM objects"])
def test_a_text_that_would_be_too_long_is_refused(server, asked, query):
    refused_sql(422, server, query)


def test_texts_within_bounds_are_made(server):
    got = server.sql("SELECT repeat('ab', 3) AS r, lpad('7', 3, '0') AS p, replace('a-b', '-', '+') AS s")
    assert got == [{"r": "ababab", "p": "007", "s": "a+b"}], "within bounds"


def test_one_page_is_read_for_a_range_of_keys(server, asked):
    plan = plan_of(server, "EXPLAIN ANALYZE SELECT count(*) FROM objects WHERE bucket = 'asked' AND key LIKE 'a/%'")
    assert "key_pages_read=1" in plan and "row_groups_read=1" in plan, f"one page is read: {plan}"


def test_uploads_come_and_go(server, s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts/later.bin")["UploadId"]
    got = server.sql("SELECT bucket, key, upload_id, initiated IS NOT NULL AS dated FROM uploads")
    assert {"bucket": bucket, "key": "parts/later.bin", "upload_id": upload, "dated": True} in got, f"uploads: {got}"
    s3.abort_multipart_upload(Bucket=bucket, Key="parts/later.bin", UploadId=upload)
    assert server.sql(f"SELECT count(*) AS n FROM uploads WHERE bucket = '{bucket}'") == [{"n": 0}], "an aborted upload is gone"


def test_functions_of_keys(server, s3, asked, bucket):
    got = server.sql("SELECT prefix(key, '/', 1) AS folder, count(*) AS n FROM objects WHERE bucket = 'asked' GROUP BY 1 ORDER BY 1")
    assert got == [{"folder": "", "n": 1}, {"folder": "a/", "n": 49}], f"prefix: {got}"
    for key in ["a/1", "x/y.tar.gz"]:
        s3.put_object(Bucket=bucket, Key=key)
    assert server.sql(f"SELECT extension(key) AS e FROM objects WHERE bucket = '{bucket}' ORDER BY key") == [{"e": None}, {"e": "gz"}], "extension"


def test_listings_as_a_table_function(server, asked):
    got = server.sql("SELECT key, is_prefix FROM list_objects('asked', '', '/')")
    assert got == [{"key": "a/", "is_prefix": True}, {"key": "b", "is_prefix": False}], f"list_objects: {got}"
    got = server.sql("SELECT key FROM list_objects('asked', 'a/', '', 'a/10', 3)")
    assert [row["key"] for row in got] == ["a/11", "a/12", "a/13"], f"list_objects in pages: {got}"


@pytest.mark.parametrize("query", [
    "SELECT * FROM objects WHERE bucket = 'theirs'", "SELECT * FROM versions WHERE key = 'secret/key'", "SELECT * FROM buckets WHERE name = 'theirs'",
    "SELECT * FROM tags WHERE value = 'hidden'", "SELECT * FROM uploads WHERE bucket = 'theirs'"])
def test_rows_of_another_users_bucket_do_not_exist(server, theirs, query):
    assert server.sql(query, OTHER_KEYS) != [], f"the owner sees them: {query}"
    assert server.sql(query) == [], f"nobody else sees them: {query}"


def test_a_user_sees_nothing_but_their_buckets(server, asked, theirs):
    assert server.sql("SELECT DISTINCT bucket FROM objects", OTHER_KEYS) == [{"bucket": "theirs"}], "they see nothing else"
    refused_sql(400, server, "SELECT * FROM list_objects('theirs')")
    assert server.sql("SELECT * FROM segments", OTHER_KEYS) == [], "segments are not for them"
    assert server.sql("SELECT count(*) > 0 AS some FROM segments") == [{"some": True}], "the root user sees segments"


@pytest.mark.parametrize("keys", [(ACCESS_KEY, "wrong"), ("nobody", "wrong"), (ACCESS_KEY, "")])
def test_wrong_keys_are_refused(server, keys):
    refused_sql(401, server, "SELECT 1", keys)


def test_a_query_sees_the_write_whose_offset_it_names(server, s3, bucket):
    """A write has an offset; a query that names the offset sees the write."""
    put = s3.put_object(Bucket=bucket, Key="offset", Body=b"1")
    at = put["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    body, headers = server.sql_bytes(f"SELECT size FROM objects WHERE bucket = '{bucket}' AND key = 'offset'", min_offset=at)
    assert json.loads(body) == [{"size": 1}], f"the write is there: {body}"
    partition, offset = at.split(":")
    told = dict(pair.split(":") for pair in headers["x-siltstone-offset"].split(","))
    assert int(told[partition]) >= int(offset), f"{headers['x-siltstone-offset']} is not before {at}"
    deleted = s3.delete_object(Bucket=bucket, Key="offset")["ResponseMetadata"]["HTTPHeaders"]["x-siltstone-offset"]
    assert int(deleted.split(":")[1]) > int(offset), f"a delete comes after: {deleted}"


@pytest.mark.parametrize("wrong", ["x", "999:1", "0"])
def test_an_offset_that_is_none_is_refused(server, wrong):
    refused_sql(400, server, "SELECT 1", min_offset=wrong)


def test_checksums_and_storage_classes_are_those_of_head_and_listings(server, s3):
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
    assert wanted["parts/SHA256"][0]["SHA256"].endswith("-2") and len(wanted) == 8, f"a checksum over parts: {wanted}"
    for _ in range(2):
        for table in ["objects", "versions"]:
            rows = server.sql(f"SELECT key, checksums, checksum_type, storage_class FROM {table} WHERE bucket = 'sums' AND key <> 'gone'")
            got = {row["key"]: (row["checksums"], row["checksum_type"], row["storage_class"]) for row in rows}
            assert got == wanted, f"{table}: {got} instead of {wanted}"
        got = server.sql("SELECT storage_class, checksum_type, checksums['CRC32'] AS crc FROM versions WHERE bucket = 'sums' AND is_delete_marker")
        assert got == [{"storage_class": None, "checksum_type": None, "crc": None}], f"a delete marker has neither: {got}"
        server.cut()


def test_tags_are_rows_in_the_tail_and_in_runs(server, s3):
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
    for _ in range(2):
        got = [tuple(row.values()) for row in server.sql("SELECT key, name, value FROM tags WHERE bucket = 'tagged' ORDER BY key, name")]
        wanted = [("t/01", "team", "blue"), ("t/03", "later", "yes"), ("t/03", "team", "")]
        for number in [5, 7, 8, 10, 11]:
            wanted += [(f"t/{number:02}", "number", str(number)), (f"t/{number:02}", "team", "red")]
        assert got == wanted, f"tags: {got} instead of {wanted}"
        got = server.sql("SELECT * FROM tags WHERE bucket = 'tagged' AND name = 'later'")
        assert got == [{"bucket": "tagged", "key": "t/03", "version_id": tagged, "name": "later", "value": "yes"}], f"all columns: {got}"
        got = server.sql("SELECT key FROM tags WHERE bucket = 'tagged' AND key > 't/05' ORDER BY key LIMIT 3")
        assert [row["key"] for row in got] == ["t/07", "t/07", "t/08"], f"in key order: {got}"
        assert server.sql("SELECT count(*) AS n FROM tags WHERE bucket = 'tagged'") == [{"n": 13}], "counted without a column"
        got = server.sql("SELECT t.key, size FROM tags t JOIN objects o ON o.bucket = t.bucket AND o.key = t.key WHERE t.bucket = 'tagged' AND name = 'number' AND value IN ('5', '7') ORDER BY 1")
        assert got == [{"key": "t/05", "size": 0}, {"key": "t/07", "size": 0}], f"joined: {got}"
        server.cut()
    plan = "\n".join(str(row) for row in server.sql("EXPLAIN SELECT key FROM tags WHERE bucket = 'tagged' AND key LIKE 't/1%' AND name = 'team' ORDER BY key"))
    assert "Objects of tagged, keys from" in plan and "SortExec" not in plan, f"bounds go down, and keys come in order: {plan}"


def test_the_log_is_a_table_of_what_was_asked_in_order(server, s3, theirs):
    """Nothing beyond the answer's offset is in it."""
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
    assert got == wanted, f"changes: {got} instead of {wanted}"
    assert rows[2]["principal"] == rows[0]["principal"] != rows[-1]["principal"] == OTHER_ID, "who asked"
    assert all(row["request_id"] and row["partition"] == 0 for row in rows), "which request it was"
    own = server.sql(f"SELECT operation, bucket FROM changes WHERE offset >= {since['o']} ORDER BY offset", OTHER_KEYS)
    assert [(row["operation"], row["bucket"]) for row in own] == [row[:2] for row in wanted[13:]], f"others see their own: {own}"
    # Following: a page begins behind the last, reads no more than it tells, and sorts nothing.
    page = server.sql(f"SELECT offset, operation FROM changes WHERE partition = 0 AND offset > {rows[4]['offset']} ORDER BY offset LIMIT 3")
    assert [row["operation"] for row in page] == ["DeleteObject", "DeleteObject", "CreateMultipartUpload"], f"a page: {page}"
    plan = "\n".join(str(row) for row in server.sql(f"EXPLAIN ANALYZE SELECT operation FROM changes WHERE partition = 0 AND offset BETWEEN {rows[4]['offset']} AND {rows[6]['offset']} ORDER BY offset"))
    assert f"records_read={rows[6]['offset'] - rows[4]['offset'] + 1}" in plan and "SortExec" not in plan, f"only these are read: {plan}"
    assert server.sql("SELECT count(*) AS n FROM changes WHERE partition = 7") == [{"n": 0}], "there is no such partition"
    _, headers = server.sql_bytes("SELECT 1")
    at = int(headers["x-siltstone-offset"].split(":")[1])
    assert server.sql(f"SELECT count(*) AS n FROM changes WHERE offset >= {at}") == [{"n": 0}], "nothing beyond the answer's offset"
    [bounds] = server.sql("SELECT first_offset AS first, next_offset AS next FROM partitions")
    assert bounds["first"] <= rows[0]["offset"] and rows[-1]["offset"] < bounds["next"], f"these are still there: {bounds}"
    server.cut()
    [bounds] = server.sql("SELECT first_offset AS first FROM partitions")
    assert bounds["first"] > rows[-1]["offset"], f"a cut has let go of them: {bounds}"
    assert server.sql(f"SELECT * FROM changes WHERE offset <= {rows[-1]['offset']}") == [], "and they are not told of"
