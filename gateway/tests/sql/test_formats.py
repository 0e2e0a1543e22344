"""Programs that people read a store's metadata with: pandas and Polars on SQL's answers, DuckDB and Polars on the manifests in
place."""
import io
import pathlib
import re

import duckdb
import pandas
import polars
import pyarrow.ipc
import pytest

from lib import ROOT

QUERY = "SELECT key, size, last_modified, tags['team'] AS team FROM objects WHERE bucket IN ('plain', 'versions') ORDER BY key"

pytestmark = pytest.mark.usefixtures("filled")


@pytest.fixture(scope="module")
def server(serve, other_user):
    """A server that merges nothing by itself: a merge would remove a run between the moment when a program lists the folder and
    the one when it opens the file."""
    return serve("--compaction-policy", "manual", *other_user)


@pytest.fixture(scope="module")
def rows(server, filled):
    """The rows that every form must have."""
    rows = server.sql(QUERY)
    assert len(rows) > 60 and any(row["team"] == "green" for row in rows), f"{len(rows)} rows"
    return rows


@pytest.fixture(scope="module")
def arrow(server, filled):
    body, headers = server.sql_bytes(QUERY, format="arrow")
    assert headers["content-type"] == "application/vnd.apache.arrow.stream", f"the type of the answer: {headers['content-type']}"
    return body


@pytest.fixture(scope="module")
def parquet(server, filled):
    return server.sql_bytes(QUERY, format="parquet")[0]


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_pandas_reads_an_answer(rows, arrow, parquet, form):
    frame = pyarrow.ipc.open_stream(arrow).read_pandas() if form == "arrow" else pandas.read_parquet(io.BytesIO(parquet))
    assert list(frame["key"]) == [row["key"] for row in rows], f"{form}: keys"
    assert list(frame["size"]) == [row["size"] for row in rows], f"{form}: sizes"
    assert [None if pandas.isna(team) else team for team in frame["team"]] == [row["team"] for row in rows], f"{form}: tags"
    assert str(frame["last_modified"].dtype.tz) == "UTC", f"{form}: times are in UTC: {frame['last_modified'].dtype}"


def test_polars_reads_an_answer(rows, arrow, parquet):
    frame = polars.read_ipc_stream(io.BytesIO(arrow))
    assert frame["size"].sum() == sum(row["size"] for row in rows), "Polars: sizes"
    assert frame.height == polars.read_parquet(io.BytesIO(parquet)).height == len(rows), "Polars: rows"


def test_an_answer_without_rows_has_columns(server):
    empty, _ = server.sql_bytes("SELECT key, size FROM objects WHERE bucket = 'no-such'", format="arrow")
    assert pyarrow.ipc.open_stream(empty).read_all().schema.names == ["key", "size"], "no rows have columns, too"


def test_an_answer_of_many_batches_is_whole(server):
    query = "SELECT value FROM generate_series(1, 300000)"
    many = pyarrow.ipc.open_stream(server.sql_bytes(query, format="arrow")[0]).read_all()
    assert many.num_rows == 300_000, f"many batches: {many.num_rows}"
    many = pandas.read_parquet(io.BytesIO(server.sql_bytes(query, format="parquet")[0]))
    assert int(many["value"].sum()) == 300_000 * 300_001 // 2, "many rows in Parquet"


def test_lines_of_json(server):
    lines = server.sql_bytes("SELECT value FROM generate_series(1, 3)", format="jsonl")
    assert (lines[0], lines[1]["content-type"]) == (b'{"value":1}\n{"value":2}\n{"value":3}\n', "application/x-ndjson"), f"lines: {lines}"


def current_objects(runs):
    """The query that the manifest's page gives to readers, over these runs."""
    recipe = re.search("```sql\n(.*?);\n```", (ROOT / "docs/formats/manifest.md").read_text(), re.S)[1]
    return recipe.replace("p0000/runs", str(runs))


@pytest.fixture(scope="module")
def runs(server, filled):
    """The folder of the store's own Parquet files, which are read while the server runs."""
    server.cut()
    return pathlib.Path(server.data) / "p0000" / "runs"


def test_duckdb_reads_manifests_by_the_documented_query(server, runs):
    wanted = [(row["key"], row["size"], row["team"]) for row in server.sql(QUERY)]
    found = duckdb.sql(f"SELECT key, size, tags['team'] FROM ({current_objects(runs)}) ORDER BY key").fetchall()
    assert found == wanted, f"DuckDB: {len(found)} of {len(wanted)} rows"


def test_polars_reads_manifests(server, runs):
    wanted = [(row["key"], row["size"]) for row in server.sql(QUERY)]
    frame = polars.read_parquet(runs / "*.parquet")
    newest = frame.sort("later", descending=True).unique(["bucket_id", "key", "version"], keep="first")
    nulls = newest.filter(polars.col("is_null_version") | (polars.col("kind") == 4))
    nulls = nulls.sort("version", descending=True).unique(["bucket_id", "key"], keep="first")
    others = newest.filter(~(polars.col("is_null_version") | (polars.col("kind") == 4)))
    visible = polars.concat([nulls, others]).filter(polars.col("kind").is_in([1, 2]))
    latest = visible.sort("version", descending=True).unique(["bucket_id", "key"], keep="first").filter(polars.col("kind") == 1)
    found = latest.sort("key").select("key", "size").rows()
    assert found == wanted, f"Polars: {len(found)} of {len(wanted)} rows"
