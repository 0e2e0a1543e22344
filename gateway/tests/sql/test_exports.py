"""The command `siltstone export`: inventories with S3 Inventory's columns, all rows in key order, in three forms. A file is
whole or not there."""
import csv
import io
import json
import re
import subprocess
import urllib.parse

import pandas
import pytest

from lib.server import key_environment

CURRENT = ["bucket", "key", "size", "last_modified_date", "e_tag", "storage_class", "is_multipart_uploaded", "encryption_status", "checksum_algorithm",
           "object_owner"]


@pytest.fixture(scope="module", autouse=True)
def more(filled, s3):
    """An object with an odd key, and one of parts."""
    s3.put_object(Bucket="plain", Key="plain/odd, \"name\"+ %/é", Body=b"", ChecksumAlgorithm="SHA256")
    upload = s3.create_multipart_upload(Bucket="plain", Key="plain/parts")["UploadId"]
    part = s3.upload_part(Bucket="plain", Key="plain/parts", UploadId=upload, PartNumber=1, Body=b"part")["ETag"]
    s3.complete_multipart_upload(Bucket="plain", Key="plain/parts", UploadId=upload, MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part}]})


@pytest.fixture
def export(siltstone, server):
    def export(bucket, *arguments):
        command = [siltstone, "export", bucket, "--admin", server.admin, *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=key_environment())

    return export


def listed_by(s3):
    return [one for page in s3.get_paginator("list_objects_v2").paginate(Bucket="plain") for one in page["Contents"]]


def test_an_inventory_in_parquet_has_all_columns_of_all_objects(export, s3, tmp_path):
    listed = listed_by(s3)
    told = export("plain", "--format", "parquet", "--output", str(tmp_path / "plain.parquet"))
    assert told.returncode == 0 and re.fullmatch(rf"{len(listed)} rows at offset 0:\d+\n", told.stderr), f"told: {told}"
    frame = pandas.read_parquet(tmp_path / "plain.parquet")
    assert list(frame.columns) == CURRENT, f"columns: {list(frame.columns)}"
    assert list(frame["key"]) == [o["Key"] for o in listed] and list(frame["size"]) == [o["Size"] for o in listed], "keys in order, sizes"
    assert list(frame["e_tag"]) == [o["ETag"].strip('"') for o in listed] and set(frame["storage_class"]) == {"STANDARD"}, "entity tags"
    assert list(frame[frame["is_multipart_uploaded"]]["key"]) == ["plain/parts"] and set(frame["encryption_status"]) == {"NOT-SSE"}, "multipart, encryption"
    sums = {o["Key"]: ",".join(o["ChecksumAlgorithm"]) for o in listed if "ChecksumAlgorithm" in o}
    assert {k: a for k, a in zip(frame["key"], frame["checksum_algorithm"]) if isinstance(a, str)} == sums and "SHA256" in sums.values(), "checksums"
    assert set(frame["object_owner"]) == {s3.list_buckets()["Owner"]["ID"]}, "owners"
    assert [path.name for path in tmp_path.iterdir()] == ["plain.parquet"], "nothing else is left behind"


def test_an_inventory_in_csv_has_encoded_keys(export, s3):
    told = export("plain", "--format", "csv")
    rows = list(csv.reader(io.StringIO(told.stdout)))
    keys = [one["Key"] for one in listed_by(s3)]
    assert [urllib.parse.unquote_plus(row[1]) for row in rows] == [urllib.parse.unquote(row[1]) for row in rows] == keys, "keys are encoded in CSV"
    assert all(re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d\d\dZ", row[3]) for row in rows) and told.stdout.startswith('"plain","'), f"CSV: {told.stdout[:200]}"


def test_an_inventory_of_versions_has_the_newest_first(export, s3, tmp_path):
    history = [v for page in s3.get_paginator("list_object_versions").paginate(Bucket="versions") for v in page.get("Versions", []) + page.get("DeleteMarkers", [])]
    wanted = {(v["Key"], v["VersionId"]): (v["IsLatest"], "Size" not in v, v.get("Size")) for v in history}
    told = export("versions", "--format", "jsonl", "--versions", "--output", str(tmp_path / "versions.jsonl"))
    rows = [json.loads(line) for line in (tmp_path / "versions.jsonl").read_text().splitlines()]
    got = {(row["key"], row["version_id"]): (row["is_latest"], row["is_delete_marker"], row["size"]) for row in rows}
    assert got == wanted and len(rows) == len(wanted) and any(row[1] for row in got.values()), f"versions: {told}"
    assert [row["key"] for row in rows] == sorted(row["key"] for row in rows), "in key order"
    assert all(row["is_latest"] == (before is None or before["key"] != row["key"]) for before, row in zip([None, *rows], rows)), "newest first"
    assert list(rows[0]) == CURRENT[:2] + ["version_id", "is_latest", "is_delete_marker"] + CURRENT[2:], f"columns: {list(rows[0])}"
    assert [path.name for path in tmp_path.iterdir()] == ["versions.jsonl"], "nothing else is left behind"


@pytest.mark.parametrize(("bucket", "path", "word"), [("no-such", "none.csv", "NoSuchBucket"), ("plain", "no/folder.csv", "cannot write")])
def test_an_inventory_that_fails_leaves_no_file(export, tmp_path, bucket, path, word):
    told = export(bucket, "--format", "csv", "--output", str(tmp_path / path))
    assert told.returncode == 1 and word in told.stderr, f"{bucket} to {path}: {told}"
    assert list(tmp_path.iterdir()) == [], "nothing is left behind"
