"""Polars: scans and sinks of Parquet, CSV and Arrow files."""
import polars
import pytest

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

CLIENT = Client("Polars", lambda: polars.__version__, ("aws_endpoint_url", "aws_allow_http=true"), "PyPI polars")


@pytest.fixture(scope="module")
def options(server):
    return {"aws_endpoint_url": server.url, "aws_allow_http": "true", "aws_region": "us-east-1", "aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}


@pytest.fixture(scope="module")
def rows():
    number = polars.int_range(200_000, eager=True)
    return polars.DataFrame({"id": number, "part": number % 3, "text": number.cast(polars.String) + " ü", "float": number / 7})


def same(compared, got, rows):
    compared.same(got.sort("id").select(rows.columns).write_csv().encode(), rows.write_csv().encode(), "the rows")


@job("write and read Parquet")
def test_parquet(options, bucket, rows, compared):
    for name in ["rows.parquet", "folder/with space+ü.parquet"]:
        rows.write_parquet(f"s3://{bucket}/{name}", storage_options=options)
        same(compared, polars.read_parquet(f"s3://{bucket}/{name}", storage_options=options), rows)


@job("sink and scan {kind} with a filter")
@pytest.mark.parametrize("kind", ["parquet", "csv", "ipc", "ndjson"])
def test_sink(options, bucket, rows, compared, kind):
    getattr(rows.lazy(), f"sink_{kind}")(f"s3://{bucket}/rows.{kind}", storage_options=options)
    scan = getattr(polars, f"scan_{kind}")(f"s3://{bucket}/rows.{kind}", storage_options=options)
    same(compared, scan.collect(), rows)
    some = scan.filter(polars.col("id") > 199_990).select("id", "text").collect()
    assert some.sort("id").rows() == rows.filter(polars.col("id") > 199_990).select("id", "text").rows()


@job("a dataset in partitions, found by its listing")
def test_partitions(options, bucket, rows, compared):
    for (part,), some in rows.group_by("part"):
        some.drop("part").write_parquet(f"s3://{bucket}/data/part={part}/rows.parquet", storage_options=options)
    scan = polars.scan_parquet(f"s3://{bucket}/data/", hive_partitioning=True, storage_options=options)
    same(compared, scan.collect(), rows)
    assert scan.filter(polars.col("part") == 2).select(polars.len()).collect().item() == len(rows.filter(polars.col("part") == 2))
    same(compared, polars.scan_parquet(f"s3://{bucket}/data/*/*.parquet", hive_partitioning=True, storage_options=options).collect(), rows)


@job("a large frame goes in parts")
def test_large(options, s3, bucket, draw, sizes, compared):
    # Parts of this client have 64 MiB.
    content = [draw(f"row {number}", 1 << 20) for number in range(64 + sizes.client_mib)]
    frame = polars.DataFrame({"id": range(len(content)), "content": content})
    frame.lazy().sink_parquet(f"s3://{bucket}/large", compression="uncompressed", storage_options=options)
    assert "-" in s3.head_object(Bucket=bucket, Key="large")["ETag"]
    got = polars.read_parquet(f"s3://{bucket}/large", storage_options=options).sort("id")
    compared.same(b"".join(got["content"]), b"".join(content))
