"""delta-rs: tables that many writers commit to, with conditional puts instead of a lock service, which is its default."""
import pyarrow
import pytest

import deltalake
from deltalake import DeltaTable, write_deltalake

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

CLIENT = Client("deltalake", lambda: deltalake.__version__, ("AWS_ENDPOINT_URL", "AWS_ALLOW_HTTP=true"), "PyPI deltalake")


@pytest.fixture(scope="module")
def options(server):
    return {"AWS_ENDPOINT_URL": server.url, "AWS_ALLOW_HTTP": "true", "AWS_REGION": "us-east-1", "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}


def rows(first, last, text="row"):
    return pyarrow.table({"id": pyarrow.array(range(first, last), pyarrow.int64()), "part": [number % 3 for number in range(first, last)], "text": [f"{text} {number} ü" for number in range(first, last)]})


def same(compared, table, wanted):
    got = table.to_pyarrow_table().select(["id", "part", "text"]).sort_by("id").to_pylist()
    compared.same(repr(got).encode(), repr(wanted.sort_by("id").to_pylist()).encode(), "the rows")


@job("create, append, overwrite, and read old versions")
def test_table(options, bucket, compared):
    place = f"s3://{bucket}/table"
    write_deltalake(place, rows(0, 1000), storage_options=options, partition_by=["part"])
    write_deltalake(place, rows(1000, 2000), mode="append", storage_options=options)
    same(compared, DeltaTable(place, storage_options=options), rows(0, 2000))
    write_deltalake(place, rows(5000, 5010), mode="overwrite", storage_options=options)
    same(compared, DeltaTable(place, storage_options=options), rows(5000, 5010))
    same(compared, DeltaTable(place, version=1, storage_options=options), rows(0, 2000))


@job("delete, update, merge, optimize, checkpoint and vacuum")
def test_changes(options, bucket, compared):
    place = f"s3://{bucket}/table"
    for first in range(0, 1000, 100):
        write_deltalake(place, rows(first, first + 100), mode="append", storage_options=options)
    table = DeltaTable(place, storage_options=options)
    table.delete("id >= 900")
    table.merge(rows(800, 950, "merged"), "t.id = s.id", source_alias="s", target_alias="t").when_matched_update_all().when_not_matched_insert_all().execute()
    table.optimize.compact()
    table.create_checkpoint()
    table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    same(compared, DeltaTable(place, storage_options=options), pyarrow.concat_tables([rows(0, 800), rows(800, 950, "merged")]))


@job("two writers race for each version: exactly one wins")
def test_race_for_versions(options, s3, bucket, at_once, compared):
    place, rounds = f"s3://{bucket}/table", 5
    write_deltalake(place, rows(0, 1), storage_options=options)
    kept = [rows(0, 1)]
    for number in range(1, rounds + 1):
        # Both read the table first, so both want to write the same version. Without retries one of them must lose.
        writers = [DeltaTable(place, storage_options=options) for _ in range(2)]
        properties = deltalake.CommitProperties(max_commit_retries=0)
        contents = [rows(1000 * number + 100 * writer, 1000 * number + 100 * writer + 10) for writer in range(2)]
        told = at_once(*[lambda writer=writer: write_deltalake(writers[writer], contents[writer], mode="append", commit_properties=properties) for writer in range(2)])
        winners = [writer for writer, error in enumerate(told) if error is None]
        assert len(winners) == 1, told
        [loser] = [error for error in told if error is not None]
        assert "version" in str(loser).lower() or isinstance(loser, deltalake.exceptions.CommitFailedError), loser
        kept.append(contents[winners[0]])
        same(compared, DeltaTable(place, storage_options=options), pyarrow.concat_tables(kept))
    assert DeltaTable(place, storage_options=options).version() == rounds


@job("many writers append with retries: no commit is lost")
def test_crowd_of_writers(options, bucket, at_once, compared):
    place, writers, rounds = f"s3://{bucket}/table", 4, 4
    write_deltalake(place, rows(0, 1), storage_options=options)

    def write(writer):
        for number in range(rounds):
            first = 1 + 10 * (writer * rounds + number)
            write_deltalake(place, rows(first, first + 10), mode="append", storage_options=options, commit_properties=deltalake.CommitProperties(max_commit_retries=1000))

    told = at_once(*[lambda writer=writer: write(writer) for writer in range(writers)])
    assert told == [None] * writers
    table = DeltaTable(place, storage_options=options)
    assert table.version() == writers * rounds
    same(compared, table, rows(0, 1 + 10 * writers * rounds))
