"""DuckDB with its extension httpfs: queries over Parquet, CSV and JSON in a bucket, and COPY into one."""
import importlib.metadata
import json
import sys

import pytest

from lib import ROOT
from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

# Of its own, because the extension on the package index fits another version of DuckDB than the one that other tests read with.
PLACE = ROOT / ".tools" / "duckdb"


def version():
    return next(importlib.metadata.distributions(name="duckdb", path=[str(PLACE)])).version


CLIENT = Client("DuckDB (httpfs)", version, ("CREATE SECRET (TYPE s3, ENDPOINT 'host:port', USE_SSL false, URL_STYLE path, …)",), "PyPI duckdb, duckdb-extension-httpfs")
pytestmark = pytest.mark.skipif(not PLACE.exists(), reason="deploy/setup --test installs DuckDB with its extension")
PROGRAM = """
import json, pathlib, sys
import duckdb, duckdb_extension_httpfs
folder = pathlib.Path(duckdb_extension_httpfs.__file__).parent
connection = duckdb.connect(config={"autoinstall_known_extensions": False})
connection.load_extension(str(next(folder.rglob("httpfs.duckdb_extension"))))
for statement in json.loads(sys.argv[1]):
    rows = connection.execute(statement).fetchall()
print(json.dumps(rows, default=str))
"""


@pytest.fixture
def duckdb(run, server):
    """Runs statements in a process of its own; returns the rows of the last one."""
    def ask(*statements, style="path", endpoint=server.address, more="", **options):
        secret = f"CREATE SECRET (TYPE s3, KEY_ID '{ACCESS_KEY}', SECRET '{SECRET_KEY}', ENDPOINT '{endpoint}', USE_SSL false, URL_STYLE '{style}', REGION 'us-east-1'{more})"
        told = run(sys.executable, "-c", PROGRAM, json.dumps(["SET enable_progress_bar = false", secret, *statements]), PYTHONPATH=str(PLACE), **options)
        return json.loads(told) if not options.get("code") else told

    return ask


ROWS = "SELECT i AS id, i % 3 AS part, 'text ü ' || i AS text, i / 7 AS number FROM range(200000) t(i)"
ALL = "SELECT string_agg(id || text || number, ',' ORDER BY id) FROM"


def same(compared, ask, rows, *statements):
    """Compares all rows that the last statement tells with those that were written."""
    compared.same(ask(*statements)[0][0].encode(), ask(f"{ALL} ({rows})")[0][0].encode(), "the rows")


@job("COPY to {kind} and read it back")
@pytest.mark.parametrize("kind", ["parquet", "csv", "json"])
def test_copy(duckdb, bucket, compared, kind):
    where = f"s3://{bucket}/folder ü/rows+.{kind}"
    same(compared, duckdb, ROWS, f"COPY ({ROWS}) TO '{where}'", f"{ALL} '{where}'")


@job("read some columns and rows of Parquet: ranges of the object")
def test_ranges(duckdb, bucket):
    where = f"s3://{bucket}/rows.parquet"
    got = duckdb(f"COPY ({ROWS}) TO '{where}' (ROW_GROUP_SIZE 10000)", f"SELECT sum(id), max(text) FROM '{where}' WHERE id BETWEEN 150000 AND 150009")
    assert [[int(number), text] for number, text in got] == [[sum(range(150000, 150010)), "text ü 150009"]]


@job("COPY in partitions, and read them by a pattern")
def test_partitions(duckdb, bucket, s3, compared):
    where = f"s3://{bucket}/data"
    same(compared, duckdb, ROWS, f"COPY ({ROWS}) TO '{where}' (FORMAT parquet, PARTITION_BY part)", f"{ALL} read_parquet('{where}/*/*.parquet')")
    assert {one["Key"].split("/")[1] for one in s3.list_objects_v2(Bucket=bucket)["Contents"]} == {"part=0", "part=1", "part=2"}
    assert duckdb(f"SELECT count(*) FROM read_parquet('{where}/**', hive_partitioning=true) WHERE part = 1") == [[66667]]


@job("glob finds more keys than a page has")
def test_glob(duckdb, crowd):
    bucket, contents = crowd
    assert duckdb(f"SELECT count(*) FROM glob('s3://{bucket}/**')") == [[len(contents)]]
    assert duckdb(f"SELECT count(*) FROM glob('s3://{bucket}/1/*')") == [[sum(key.startswith("1/") for key in contents)]]


@job("read_blob and read_text: whole objects")
def test_blobs(duckdb, s3, bucket, samples, compared):
    for name in ["one", "small.txt", "folder/8 MiB and one"]:
        s3.put_object(Bucket=bucket, Key=name, Body=samples[name])
        compared.same(bytes.fromhex(duckdb(f"SELECT hex(content) FROM read_blob('s3://{bucket}/{name}')")[0][0]), samples[name], name)


@job("a large COPY goes in parts")
def test_parts(duckdb, s3, bucket, compared):
    where = f"s3://{bucket}/large.parquet"
    rows = "SELECT i AS id, md5(i::VARCHAR) || md5((-i)::VARCHAR) AS text, i AS number FROM range(1200000) t(i)"
    same(compared, duckdb, rows, f"COPY ({rows}) TO '{where}' (COMPRESSION uncompressed)", f"{ALL} '{where}'")
    assert "-" in s3.head_object(Bucket=bucket, Key="large.parquet")["ETag"]


@job("a database in the bucket is attached and read")
def test_attach(duckdb, s3, bucket, compared, tmp_path):
    duckdb(f"ATTACH '{tmp_path / 'file.db'}' AS file", f"CREATE TABLE file.t AS {ROWS}", "DETACH file")
    s3.upload_file(str(tmp_path / "file.db"), bucket, "file.db")
    same(compared, duckdb, ROWS, f"ATTACH 's3://{bucket}/file.db' AS file (READ_ONLY)", f"{ALL} file.t")


@job("virtual-host addressing", flags="ENDPOINT 'localhost:port', URL_STYLE vhost")
def test_virtual_hosts(duckdb, server, bucket):
    where = f"s3://{bucket}/k.csv"
    got = duckdb(f"COPY (SELECT 7 AS a) TO '{where}'", f"SELECT a FROM '{where}'", style="vhost", endpoint=f"localhost:{server.port}")
    assert got == [[7]]


@job("a key that is not there is told")
def test_absent(duckdb, bucket):
    assert b"404" in duckdb(f"SELECT * FROM 's3://{bucket}/absent.parquet'", code=1)
