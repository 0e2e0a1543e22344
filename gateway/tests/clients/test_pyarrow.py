"""pyarrow: its file system, and Parquet datasets on it."""
import uuid

import pyarrow
import pyarrow.compute
import pyarrow.dataset
import pyarrow.parquet
import pytest
from pyarrow import fs

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB

CLIENT = Client("pyarrow", lambda: pyarrow.__version__, ('scheme="http"', "endpoint_override"), "PyPI pyarrow")


@pytest.fixture(scope="module")
def files(server):
    return fs.S3FileSystem(access_key=ACCESS_KEY, secret_key=SECRET_KEY, scheme="http", endpoint_override=server.address, region="us-east-1", allow_bucket_creation=True, allow_bucket_deletion=True)


@job("write and read files, large ones in parts")
def test_files(files, s3, bucket, samples, stored, compared):
    for name, content in samples.items():
        with files.open_output_stream(f"{bucket}/{name}", metadata={"Content-Type": "text/x"}) as stream:
            for begin in range(0, len(content), 3 * MIB):
                stream.write(content[begin:begin + 3 * MIB])
    compared.same_tree(stored(bucket), samples)
    assert {s3.head_object(Bucket=bucket, Key=name)["ContentType"] for name in samples} == {"text/x"}
    for name, content in samples.items():
        with files.open_input_stream(f"{bucket}/{name}") as stream:
            compared.same(stream.read(), content, name)


@job("read ranges of a file at random")
def test_ranges(files, s3, bucket, samples, compared):
    content = samples["folder/8 MiB and one"]
    s3.put_object(Bucket=bucket, Key="k", Body=content)
    with files.open_input_file(f"{bucket}/k") as file:
        assert file.size() == len(content)
        for begin in [8 * MIB, 0, 5 * MIB - 1, 77]:
            file.seek(begin)
            compared.same(file.read(1000), content[begin:begin + 1000])
            compared.same(file.read_at(10, begin), content[begin:begin + 10])


@job("copy, move and delete files and folders")
def test_changes(files, bucket, samples, stored, compared):
    large = samples["folder/8 MiB and one"]
    for name in ["a/one", "a/b/two", "c"]:
        with files.open_output_stream(f"{bucket}/{name}") as stream:
            stream.write(large)
    files.copy_file(f"{bucket}/a/one", f"{bucket}/copy ü")
    files.move(f"{bucket}/c", f"{bucket}/moved")
    files.delete_dir(f"{bucket}/a")
    files.delete_file(f"{bucket}/moved")
    compared.same_tree({key: content for key, content in stored(bucket).items() if not key.endswith("/")}, {"copy ü": large})


@job("folders and listings of more keys than a page has; buckets")
def test_listings(files, crowd):
    bucket, contents = crowd
    found = files.get_file_info(fs.FileSelector(bucket, recursive=True))
    assert {one.path: one.size for one in found if one.is_file} == {f"{bucket}/{key}": len(content) for key, content in contents.items()}
    assert {one.path for one in files.get_file_info(fs.FileSelector(bucket))} == {f"{bucket}/{number}" for number in range(3)}
    assert files.get_file_info(f"{bucket}/none").type == fs.FileType.NotFound
    name = f"arrow-{uuid.uuid4()}"
    files.create_dir(f"{name}/folder/inner")
    assert files.get_file_info(f"{name}/folder").type == fs.FileType.Directory
    files.delete_dir(name)
    assert files.get_file_info(name).type == fs.FileType.NotFound


@job("Parquet: write a dataset in partitions, read it with a filter")
def test_dataset(files, bucket, compared):
    rows = pyarrow.table({"part": [number % 3 for number in range(30_000)], "id": range(30_000), "text": [f"row {number} ü" for number in range(30_000)]})
    pyarrow.dataset.write_dataset(rows, f"{bucket}/data", filesystem=files, format="parquet", partitioning=["part"], partitioning_flavor="hive", max_rows_per_file=4000, max_rows_per_group=1000)
    found = pyarrow.dataset.dataset(f"{bucket}/data", filesystem=files, partitioning="hive")
    assert len(found.files) == 9
    got = found.to_table(columns=["part", "id", "text"]).sort_by("id")
    compared.same(repr(got.to_pydict()).encode(), repr(rows.to_pydict()).encode(), "the rows")
    some = found.to_table(filter=(pyarrow.compute.field("part") == 1) & (pyarrow.compute.field("id") > 29_000), columns=["id"])
    assert sorted(some["id"].to_pylist()) == [number for number in range(29_001, 30_000) if number % 3 == 1]
