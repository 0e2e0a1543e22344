"""What people read a store's metadata with: pandas and Polars on SQL's answers, DuckDB and Polars on the manifests in
place, and the shell in a terminal.

Usage: frames.py BINARY
"""
import csv
import fcntl
import io
import json
import os
import pathlib
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
import urllib.parse

import duckdb
import pandas
import polars
import pyarrow.ipc

from lib.server import ACCESS_KEY, SECRET_KEY, Server

PASSED = 0

MANIFEST = pathlib.Path(__file__).resolve().parents[2] / "docs" / "formats" / "manifest.md"


def current_objects(runs):
    """The query that the manifest's page gives to readers, over these runs."""
    recipe = re.search("```sql\n(.*?);\n```", MANIFEST.read_text(), re.S)[1]
    return recipe.replace("p0000/runs", str(runs))


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def fill(server):
    """Objects of every fate: overwritten, deleted, removed by version, tagged later; in several runs and in the tail."""
    s3 = server.client()
    s3.create_bucket(Bucket="plain")
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for step in range(4):
        for number in range(60):
            tags = f"team={'red' if number % 3 else 'blue'}"
            s3.put_object(Bucket="plain", Key=f"plain/{number % 40:03}-é{step if number > 40 else ''}", Body=b"x" * (number + step), Tagging=tags)
        for number in range(20):
            put = s3.put_object(Bucket="versions", Key=f"versions/{number:03}", Body=b"y" * (number + 100 * step))
            if number % 5 == step:
                s3.delete_object(Bucket="versions", Key=f"versions/{number:03}")
            if number % 7 == step:
                s3.delete_object(Bucket="versions", Key=f"versions/{number:03}", VersionId=put["VersionId"])
        s3.put_object_tagging(Bucket="plain", Key=f"plain/{step:03}-é", Tagging={"TagSet": [{"Key": "team", "Value": "green"}]})
        s3.delete_object(Bucket="plain", Key=f"plain/{step + 20:03}-é")
        server.cut()
    s3.put_object(Bucket="plain", Key="plain/in-the-tail", Body=b"tail")


QUERY = "SELECT key, size, last_modified, tags['team'] AS team FROM objects WHERE bucket IN ('plain', 'versions') ORDER BY key"


def answers(server):
    """SQL's answers as data frames: the same rows in every form, with their types."""
    rows = server.sql(QUERY)
    check(len(rows) > 60 and any(row["team"] == "green" for row in rows), f"{len(rows)} rows")
    arrow, headers = server.sql_bytes(QUERY, format="arrow")
    check(headers["content-type"] == "application/vnd.apache.arrow.stream", f"what it is: {headers['content-type']}")
    parquet = server.sql_bytes(QUERY, format="parquet")[0]
    for name, frame in [("arrow", pyarrow.ipc.open_stream(arrow).read_pandas()), ("parquet", pandas.read_parquet(io.BytesIO(parquet)))]:
        check(list(frame["key"]) == [row["key"] for row in rows], f"{name}: keys")
        check(list(frame["size"]) == [row["size"] for row in rows], f"{name}: sizes")
        check([None if pandas.isna(team) else team for team in frame["team"]] == [row["team"] for row in rows], f"{name}: tags")
        check(str(frame["last_modified"].dtype.tz) == "UTC", f"{name}: times are in UTC: {frame['last_modified'].dtype}")
    frame = polars.read_ipc_stream(io.BytesIO(arrow))
    check(frame["size"].sum() == sum(row["size"] for row in rows), "Polars: sizes")
    check(frame.height == polars.read_parquet(io.BytesIO(parquet)).height == len(rows), "Polars: rows")
    empty, _ = server.sql_bytes("SELECT key, size FROM objects WHERE bucket = 'no-such'", format="arrow")
    check(pyarrow.ipc.open_stream(empty).read_all().schema.names == ["key", "size"], "no rows have columns, too")
    many = pyarrow.ipc.open_stream(server.sql_bytes("SELECT value FROM generate_series(1, 300000)", format="arrow")[0]).read_all()
    check(many.num_rows == 300_000, f"many batches: {many.num_rows}")
    many = pandas.read_parquet(io.BytesIO(server.sql_bytes("SELECT value FROM generate_series(1, 300000)", format="parquet")[0]))
    check(int(many["value"].sum()) == 300_000 * 300_001 // 2, "many rows in Parquet")


def manifests(server):
    """The store's own Parquet files, read in place while the server runs."""
    server.cut()
    runs = pathlib.Path(server.data) / "p0000" / "runs"
    wanted = [(row["key"], row["size"], row["team"]) for row in server.sql(QUERY)]
    found = duckdb.sql(f"SELECT key, size, tags['team'] FROM ({current_objects(runs)}) ORDER BY key").fetchall()
    check(found == wanted, f"DuckDB: {len(found)} of {len(wanted)} rows")
    frame = polars.read_parquet(runs / "*.parquet")
    newest = frame.sort("later", descending=True).unique(["bucket_id", "key", "version"], keep="first")
    nulls = newest.filter(polars.col("is_null_version") | (polars.col("kind") == 4))
    nulls = nulls.sort("version", descending=True).unique(["bucket_id", "key"], keep="first")
    others = newest.filter(~(polars.col("is_null_version") | (polars.col("kind") == 4)))
    visible = polars.concat([nulls, others]).filter(polars.col("kind").is_in([1, 2]))
    latest = visible.sort("version", descending=True).unique(["bucket_id", "key"], keep="first").filter(polars.col("kind") == 1)
    found = latest.sort("key").select("key", "size").rows()
    check(found == [row[:2] for row in wanted], f"Polars: {len(found)} of {len(wanted)} rows")


def exports(binary, server, folder):
    """Inventories: S3 Inventory's columns, all rows in key order, in three forms; a file is whole or not there."""
    env = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)

    def export(*args, bucket="versions"):
        return subprocess.run([binary, "export", bucket, "--admin", server.admin, *args], capture_output=True, text=True, env=env)

    s3 = server.client()
    s3.put_object(Bucket="plain", Key="plain/odd, \"name\"+ %/é", Body=b"", ChecksumAlgorithm="SHA256")
    upload = s3.create_multipart_upload(Bucket="plain", Key="plain/parts")["UploadId"]
    part = s3.upload_part(Bucket="plain", Key="plain/parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(Bucket="plain", Key="plain/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})
    listed = [o for page in s3.get_paginator("list_objects_v2").paginate(Bucket="plain") for o in page["Contents"]]
    current = ["bucket", "key", "size", "last_modified_date", "e_tag", "storage_class", "is_multipart_uploaded", "encryption_status", "checksum_algorithm", "object_owner"]
    told = export("--format", "parquet", "--output", str(folder / "plain.parquet"), bucket="plain")
    check(told.returncode == 0 and re.fullmatch(rf"{len(listed)} rows at offset 0:\d+\n", told.stderr), f"told: {told}")
    frame = pandas.read_parquet(folder / "plain.parquet")
    check(list(frame.columns) == current, f"columns: {list(frame.columns)}")
    check(list(frame["key"]) == [o["Key"] for o in listed] and list(frame["size"]) == [o["Size"] for o in listed], "keys in order, sizes")
    check(list(frame["e_tag"]) == [o["ETag"].strip('"') for o in listed] and set(frame["storage_class"]) == {"STANDARD"}, "entity tags")
    check(list(frame[frame["is_multipart_uploaded"]]["key"]) == ["plain/parts"] and set(frame["encryption_status"]) == {"NOT-SSE"}, "how they came")
    sums = {o["Key"]: ",".join(o["ChecksumAlgorithm"]) for o in listed if "ChecksumAlgorithm" in o}
    check({k: a for k, a in zip(frame["key"], frame["checksum_algorithm"]) if isinstance(a, str)} == sums and "SHA256" in sums.values(), "checksums")
    check(set(frame["object_owner"]) == {s3.list_buckets()["Owner"]["ID"]}, "owners")
    told = export("--format", "csv", bucket="plain")
    rows = list(csv.reader(io.StringIO(told.stdout)))
    check([urllib.parse.unquote_plus(row[1]) for row in rows] == [urllib.parse.unquote(row[1]) for row in rows] == list(frame["key"]), "keys are encoded in CSV")
    check(all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", row[3]) for row in rows) and told.stdout.startswith('"plain","'), f"CSV: {told.stdout[:200]}")
    history = [v for page in s3.get_paginator("list_object_versions").paginate(Bucket="versions") for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    wanted = {(v["Key"], v["VersionId"]): (v["IsLatest"], "Size" not in v, v.get("Size")) for v in history}
    told = export("--format", "jsonl", "--versions", "--output", str(folder / "versions.jsonl"))
    rows = [json.loads(line) for line in (folder / "versions.jsonl").read_text().splitlines()]
    got = {(row["key"], row["version_id"]): (row["is_latest"], row["is_delete_marker"], row["size"]) for row in rows}
    check(got == wanted and len(rows) == len(wanted) and any(row[1] for row in got.values()), f"versions: {told}")
    check([row["key"] for row in rows] == sorted(row["key"] for row in rows), "in key order")
    check(all(row["is_latest"] == (before is None or before["key"] != row["key"]) for before, row in zip([None, *rows], rows)), "newest first")
    check(list(rows[0]) == current[:2] + ["version_id", "is_latest", "is_delete_marker"] + current[2:], f"columns: {list(rows[0])}")
    told = export("--format", "csv", "--output", str(folder / "none.csv"), bucket="no-such")
    check(told.returncode == 1 and "NoSuchBucket" in told.stderr, f"no such bucket: {told}")
    told = export("--format", "csv", "--output", str(folder / "no" / "folder.csv"), bucket="plain")
    check(told.returncode == 1 and "cannot write" in told.stderr, f"no such folder: {told}")
    check(sorted(path.name for path in folder.glob("*.*")) == ["plain.parquet", "versions.jsonl"], "nothing else is left behind")
    lines = server.sql_bytes("SELECT value FROM generate_series(1, 3)", format="jsonl")
    check((lines[0], lines[1]["content-type"]) == (b'{"value":1}\n{"value":2}\n{"value":3}\n', "application/x-ndjson"), f"lines: {lines}")


class Terminal:
    """A shell that believes that somebody sits before it."""

    def __init__(self, binary, server, home):
        self.shown = ""
        self.side, inner = pty.openpty()
        fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
        env = dict(os.environ, HOME=str(home), TERM="xterm", PAGER="sed -u 's/^/paged /; 30q'", AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
        self.process = subprocess.Popen([binary, "sql", "--admin", server.admin], stdin=inner, stdout=inner, stderr=inner, env=env,
                                        start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
        os.close(inner)

    def type(self, keys):
        os.write(self.side, keys.encode())

    def until(self, pattern, within=20):
        """Reads until something is shown; forgets what came before its end."""
        deadline = time.monotonic() + within
        while not (found := re.search(pattern, self.shown, re.S)):
            if time.monotonic() > deadline or self.process.poll() is not None:
                sys.exit(f"FAILED: the shell does not show {pattern!r} but\n{self.shown}")
            if select.select([self.side], [], [], 0.1)[0]:
                self.shown += os.read(self.side, 65536).decode(errors="replace")
        self.shown = self.shown[found.end():]
        return found

    def end(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.side)


def shell(binary, server, home):
    terminal = Terminal(binary, server, home)
    try:
        terminal.until("siltstone> ")
        terminal.type("\\d\r")
        terminal.until("buckets.*objects.*uploads.*versions.*siltstone> ")
        terminal.type("\\d objects\r")
        terminal.until("last_modified.*Timestamp.*siltstone> ")
        terminal.type("SELECT count(*) AS many\r")
        terminal.until(r"\.\.\.> ")
        terminal.type("FROM buckets;\r")
        terminal.until(r"many.*\| 2 .*siltstone> ")
        terminal.type("SELECT max(last_mo\t) AS newest FROM objects;\r")
        terminal.until(r"newest.*20\d\d-.*siltstone> ")
        terminal.type("SELECT nothing FROM objects;\r")
        terminal.until("400.*siltstone> ")
        terminal.type("\\timing\r")
        terminal.until("timing is on.*siltstone> ")
        terminal.type("SELECT 41 + 1 AS answer;\r")
        terminal.until(r"42.*[\d.]+ ms.*siltstone> ")
        # What is taller than the terminal goes through the pager, unless that is off.
        terminal.type("SELECT value AS tall FROM generate_series(1, 40);\r")
        terminal.until(r"paged \S+.*paged \| tall.*paged \| 20 .*siltstone> ")
        terminal.type("SELECT value AS low FROM generate_series(1, 18);\r")
        check("paged" not in terminal.until(r"\| low .*\| 18 .*siltstone> ")[0], "what fits is shown as it is")
        terminal.type("\\pset pager off\r")
        terminal.until("pager is off.*siltstone> ")
        terminal.type("SELECT value AS tall FROM generate_series(1, 40);\r")
        check("paged" not in terminal.until(r"\| tall .*\| 40 .*siltstone> ")[0], "the pager is off")
        terminal.type("\\pset pager\r")
        terminal.until("pager is on.*siltstone> ")
        # A pager that is left early ends the answer, and no more.
        terminal.type("\\format csv\r")
        terminal.until("siltstone> ")
        terminal.type("SELECT value FROM generate_series(1, 50000000);\r")
        terminal.until(r"paged 29\r.*siltstone> ", within=40)
        terminal.type("\\format table\r")
        terminal.until("siltstone> ")
        terminal.type("\\nonsense\r")
        terminal.until("no such command.*siltstone> ")
        # A query for hours is ended by Ctrl-C, and the shell goes on.
        terminal.type("SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b;\r")
        time.sleep(1)
        terminal.process.send_signal(signal.SIGINT)
        terminal.until("the query was ended.*siltstone> ")
        # The line before, by the arrow key.
        terminal.type("SELECT 'once' AS word;\r")
        terminal.until("once.*once.*siltstone> ")
        terminal.type("\x1b[A\r")
        terminal.until(r"\| once .*siltstone> ")
        terminal.type("\\q\r")
        check(terminal.process.wait(10) == 0, "the shell ends")
    finally:
        terminal.end()
    check("SELECT 'once' AS word;" in (home / ".siltstone_history").read_text(), "the history is kept")
    env = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY)
    ask = [binary, "sql", "--admin", server.admin, "--format", "csv"]
    told = subprocess.run(ask, input="SELECT 1 AS a;\nSELECT\n 2 AS b;\nSELECT 3 AS c", capture_output=True, text=True, env=env)
    check(told.stdout == "a\n1\nb\n2\nc\n3\n" and told.returncode == 0, f"a file of statements: {told}")
    told = subprocess.run(ask, input="SELECT 1 AS a;\nSELEC;\nSELECT 3 AS c;", capture_output=True, text=True, env=env)
    check(told.stdout == "a\n1\n" and told.returncode == 1, f"it ends at the first error: {told}")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(binary, scratch + "/data").start()
        try:
            fill(server)
            answers(server)
            manifests(server)
            (pathlib.Path(scratch) / "exports").mkdir()
            exports(binary, server, pathlib.Path(scratch) / "exports")
            shell(binary, server, pathlib.Path(scratch))
            server.stop()
            server.fsck()
        finally:
            if server.process.poll() is None:
                server.process.kill()
    print(f"{PASSED} passed, 0 failed")


main()
