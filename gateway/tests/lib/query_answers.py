"""SQL's answers beside DuckDB's over a copy of the tables: what the tables are filled with, the copy, the comparison."""
import collections
import decimal
import http.client
import io
import math
import random
import threading

import duckdb
import pyarrow
import pyarrow.ipc
import pyarrow.parquet

from lib import query_texts
from lib.query_dialects import DuckDB
from lib.server import basic

TABLES = ["objects", "versions", "buckets", "uploads"]
# What keys are made of: everything that some layer might take for its own.
COMPONENTS = ["a", "b", "photos", "Photos", "é", "e\u0301", "日本", "🎉", "\uffff", "\U00010000", "ß", "", "", "'", '"', "%", "_", "a_b", "50%", "+", " ", "a b", "\\", "\\%", ";--",
              "&<>", "..", ".", "x.tar.gz", "img.JPG", ".hidden", "2024", "0001", "\t", "\n", "\x01", "\x00", "%2F", "NULL", "?versionId=1", "{}", "$1", "/*", "abc"]
TYPES = [None, None, "text/plain", "image/jpeg", "application/json", "text/plain; charset=utf-8", "TEXT/PLAIN"]
TAGS = [{}, {}, {"team": "red"}, {"team": "blue"}, {"team": "rot-é"}, {"team": "", "it:s": "so"}, {"it:s": "50_=/", "é": "1"}, {"team": "red", "a": "1", "z": "26"}]
CAMERAS = [None, None, "old", "new one", "red", "100%"]


class Fill:
    """Puts objects of every fate into buckets of every kind; cuts in between leave runs and a tail."""

    def __init__(self, server, chance):
        self.server, self.s3, self.chance = server, server.client(), chance

    def put(self, bucket, key, size):
        chance = self.chance
        camera, kind, tags = chance.choice(CAMERAS), chance.choice(TYPES), chance.choice(TAGS)
        extra = {"ContentType": kind} if kind else {}
        if chance.random() < 0.2:
            extra["CacheControl"] = chance.choice(["no-cache", "max-age=60"])
        metadata = {"camera": camera} if camera else {}
        if chance.random() < 0.5:
            metadata["number"] = str(chance.randrange(-5, 100))
        put = self.s3.put_object(Bucket=bucket, Key=key, Body=bytes([chance.randrange(3)]) * size, Metadata=metadata, **extra)
        if tags:
            self.s3.put_object_tagging(Bucket=bucket, Key=key, Tagging={"TagSet": [{"Key": k, "Value": v} for k, v in tags.items()]})
        return put.get("VersionId", "null")

    def key(self):
        return "/".join(self.chance.choice(COMPONENTS) for _ in range(self.chance.randint(1, 4)))[:300] or "/"

    def run(self):
        versioning = {"plain": None, "versions": "Enabled", "suspended": "Suspended", "few": None, "empty": None}
        for bucket, status in versioning.items():
            self.s3.create_bucket(Bucket=bucket)
            if status:
                self.s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        keys = sorted({self.key() for _ in range(180)}) + ["chain", "chain/", "chain/0", "chain/0/", "chain0", "x" * 1024, "é" * 512]
        self.many()
        for step in range(4):
            for bucket in ["plain", "versions", "suspended"]:
                for key in self.chance.sample(keys, 50):
                    version = self.put(bucket, key, self.chance.choice([0, 1, 2, 7, 10, 100, 1000, self.chance.randrange(5000)]))
                    if self.chance.random() < 0.2:
                        self.s3.delete_object(Bucket=bucket, Key=key)
                    if version != "null" and self.chance.random() < 0.15:
                        self.s3.delete_object(Bucket=bucket, Key=key, VersionId=version)
            self.put("few", f"few/{step}", step)
            if step == 2:
                self.s3.put_bucket_versioning(Bucket="suspended", VersioningConfiguration={"Status": "Suspended"})
            self.parts("versions", f"parts/{step}", last=step == 1)
            for bucket in ["plain", "empty"]:
                # The answer repeats the key in XML, which boto3 does not read where XML cannot hold it.
                self.s3.create_multipart_upload(Bucket=bucket, Key=self.chance.choice([key for key in keys if key.isprintable()]))
            if step < 3:
                self.server.cut()

    def parts(self, bucket, key, last):
        upload = self.s3.create_multipart_upload(Bucket=bucket, Key=key, ContentType="image/jpeg")["UploadId"]
        bodies = ([b"p" * (5 << 20)] if last else []) + [b"last"]
        done = [{"PartNumber": n, "ETag": self.s3.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=n, Body=body)["ETag"]} for n, body in enumerate(bodies, 1)]
        self.s3.complete_multipart_upload(Bucket=bucket, Key=key, UploadId=upload, MultipartUpload={"Parts": done})

    def many(self):
        """More than one page of a manifest in one bucket, so that conditions choose between pages."""
        self.s3.create_bucket(Bucket="many")

        def put(s3, numbers):
            for number in numbers:
                s3.put_object(Bucket="many", Key=f"many/{number % 7}/{number:04}.bin", Body=b"m" * (number % 50))

        threads = [threading.Thread(target=put, args=(self.server.client(), range(first, 1300, 6))) for first in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


class Sql:
    """Queries over one connection that stays open."""

    def __init__(self, server):
        self.connection, self.headers = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=120), basic(server.own_keys())

    def ask(self, query):
        self.connection.request("POST", "/sql?format=arrow", query.encode(), self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{answer.status} {body.decode()}")
        return pyarrow.ipc.open_stream(body).read_all()


def copied(server):
    """The tables in DuckDB. Parquet and Arrow carry two each."""
    copy = duckdb.connect()
    for table in TABLES:
        form = "parquet" if table in ("versions", "buckets") else "arrow"
        body = server.sql_bytes(f"SELECT * FROM {table}", format=form)[0]
        copy.register("incoming", pyarrow.parquet.read_table(io.BytesIO(body)) if form == "parquet" else pyarrow.ipc.open_stream(body).read_all())
        copy.execute(f"CREATE TABLE {table} AS SELECT * FROM incoming")
        copy.unregister("incoming")
    for statement in DuckDB.SETUP:
        copy.execute(statement)
    return copy


def compare_with_s3(s3, copy):
    """Checks that the copy has what S3 lists: otherwise two answers could be equal and wrong. Returns the number of versions."""
    listed = []
    for bucket in [one["Name"] for one in s3.list_buckets()["Buckets"]]:
        for page in s3.get_paginator("list_object_versions").paginate(Bucket=bucket):
            listed += [(bucket, v["Key"], v["VersionId"], v["IsLatest"], v.get("Size"), v.get("ETag", "").strip('"') or None)
                       for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    for table, wanted in [("versions", listed), ("objects", [one for one in listed if one[3] and one[4] is not None])]:
        latest = "is_latest" if table == "versions" else "TRUE"
        found = copy.execute(f"SELECT bucket, key, version_id, {latest}, size, etag FROM {table}").fetchall()
        assert collections.Counter(found) == collections.Counter(wanted), f"{table}: {set(found) ^ set(wanted)}"
    return len(listed)


def values(table):
    """An answer as rows of plain values: times in microseconds of UTC, whatever their unit and zone."""
    columns = []
    for column in table.columns:
        if pyarrow.types.is_timestamp(column.type):
            column = column.cast(pyarrow.timestamp("us", column.type.tz)).cast(pyarrow.int64())
        columns.append(column.to_pylist())
    return list(zip(*columns))


def plain(value):
    if isinstance(value, decimal.Decimal):
        return int(value) if value == int(value) else float(value)
    return value


def ordering(row):
    """Numbers last: they are the only values that are compared roughly, and a whole one may come as a float."""
    is_number = [isinstance(value, (int, float)) and not isinstance(value, bool) for value in row]
    return str([None if number else value for number, value in zip(is_number, row)]), [float(value) for number, value in zip(is_number, row) if number]


def is_same(one, other):
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return one == other or math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-9) or (one != one and other != other)
    return one == other


def compare(found, wanted, is_ordered):
    """The first difference between two answers; None where they are the same."""
    found, wanted = ([tuple(map(plain, row)) for row in rows] for rows in (found, wanted))
    if len(found) != len(wanted):
        return f"{len(found)} rows instead of {len(wanted)}"
    if not is_ordered:
        found, wanted = (sorted(rows, key=ordering) for rows in (found, wanted))
    for number, (one, other) in enumerate(zip(found, wanted)):
        if len(one) != len(other) or not all(map(is_same, one, other)):
            return f"row {number}: {one!r:.700} instead of {other!r:.700}"
    return None


class Run:
    """Queries of one class after the other; counts them and keeps what differs."""

    def __init__(self, server, copy, seed):
        self.sql, self.copy, self.seed = Sql(server), copy, seed
        self.asked, self.with_rows, self.wrong = collections.Counter(), collections.Counter(), collections.defaultdict(list)
        self.rows = {}
        for table in ("objects", "versions"):
            answer = copy.execute(f"SELECT * FROM {table} ORDER BY bucket, key, version_id")
            names = [column[0] for column in answer.description]
            self.rows[table] = [dict(zip(names, row)) for row in answer.fetchall()]

    def ask(self, number):
        """One query, of both."""
        of = query_texts.CLASSES[number % len(query_texts.CLASSES)]
        kind, chance = of.__name__, random.Random(f"{self.seed} {number}")
        self.asked[kind] += 1
        # An empty answer says little. Mostly another query is drawn then, up to twice.
        for _ in range(3):
            text, duckdb_text, is_ordered = query_texts.make(of, chance, self.rows)
            try:
                wanted = values(self.copy.sql(duckdb_text).to_arrow_table())
            except duckdb.Error as error:
                return self.fail(number, kind, text, duckdb_text, f"DuckDB: {error}")
            if wanted or chance.random() < 0.2:
                break
        self.with_rows[kind] += bool(wanted)
        try:
            found = values(self.sql.ask(text))
        except (RuntimeError, pyarrow.ArrowInvalid) as error:
            return self.fail(number, kind, text, duckdb_text, f"refused: {error}")
        if difference := compare(found, wanted, is_ordered):
            self.fail(number, kind, text, duckdb_text, difference)

    def fail(self, number, kind, text, duckdb_text, why):
        self.wrong[kind].append(f"query {number}: {why}\n  {text}" + (f"\n  in DuckDB: {duckdb_text}" if duckdb_text != text else ""))
