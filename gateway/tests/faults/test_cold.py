"""The cold folder: payload of GLACIER_IR lies there alone, survives `kill -9`, and a folder that is missing, another store's,
or goes away while the server runs costs no other payload and loses nothing.

A full cold device is shown by `query/simulation/tests/it/cold.rs`.
"""
import os
import pathlib
import shutil
import subprocess
import time

import pytest
from botocore.exceptions import ClientError

from lib.refusals import refused
from lib.server import Server, ServerError

COLD, HOT = "GLACIER_IR", "STANDARD"
# In the record, and in a bulk file.
SIZES = [1000, 200_000, 600_000]
FLAGS = ["--cut-seconds", "3600"]


class Store:
    """A store with its cold folder outside the data directory."""

    def __init__(self, siltstone, folder):
        self.data, self.cold = folder / "data", folder / "device" / "cold"
        self.server = Server(siltstone, self.data, *FLAGS, "--cold-folder", str(self.cold)).start()
        self.s3 = self.server.client()
        self.s3.create_bucket(Bucket="cold")
        self.kept = {}

    def put(self, key, size, storage):
        body = os.urandom(size)
        self.s3.put_object(Bucket="cold", Key=key, Body=body, StorageClass=storage)
        self.kept[key] = (body, storage)

    def put_all(self, prefix):
        for storage in (COLD, HOT):
            for size in SIZES:
                self.put(f"{prefix}-{storage}-{size}", size, storage)

    def upload(self, key, storage):
        parts = [os.urandom(5 << 20), os.urandom(1000)]
        upload = self.s3.create_multipart_upload(Bucket="cold", Key=key, StorageClass=storage)["UploadId"]
        tags = [self.s3.upload_part(Bucket="cold", Key=key, UploadId=upload, PartNumber=number, Body=part)["ETag"]
                for number, part in enumerate(parts, 1)]
        named = [{"PartNumber": number, "ETag": tag} for number, tag in enumerate(tags, 1)]
        self.s3.complete_multipart_upload(Bucket="cold", Key=key, UploadId=upload, MultipartUpload={"Parts": named})
        self.kept[key] = (b"".join(parts), storage)

    def copy(self, source, key, storage):
        self.s3.copy_object(Bucket="cold", Key=key, CopySource=f"cold/{source}", StorageClass=storage)
        self.kept[key] = (self.kept[source][0], storage)

    def check(self, but=()):
        for key, (body, storage) in self.kept.items():
            if storage not in but:
                assert self.s3.get_object(Bucket="cold", Key=key)["Body"].read() == body, key
            assert self.s3.head_object(Bucket="cold", Key=key).get("StorageClass", HOT) == storage, "the head needs no cold folder"

    def files(self):
        """The files with sealed payload: path and bytes, first those of the hot place, then those of the cold one."""
        def below(root):
            return {path: path.read_bytes() for kind in ("segments", "bulk") for path in (root / "p0000" / kind).iterdir()}
        return below(self.data), below(self.cold)

    def lies_right(self):
        """Every payload is in files of its place alone. A bulk file has a checksum in front of each frame of 64 KiB."""
        hot, cold = self.files()
        for key, (body, storage) in self.kept.items():
            right, wrong = (cold, hot) if storage == COLD else (hot, cold)
            assert any(body[:900] in content for content in right.values()), f"{key} is in its place"
            assert not any(body[:900] in content for content in wrong.values()), f"{key} is in its place alone"

    def restart(self, *flags):
        self.server = Server(self.server.binary, self.data, *FLAGS, *flags)
        self.server.start()
        self.s3 = self.server.client()

    def not_started(self, *words, flags=()):
        server = Server(self.server.binary, self.data, *FLAGS, *flags)
        with pytest.raises(ServerError):
            server.start()
        end = server.log_text().splitlines()[-1]
        assert all(word in end for word in words), end


@pytest.fixture
def store(siltstone, tmp_path):
    store = Store(siltstone, tmp_path)
    yield store
    if store.server.is_running():
        store.server.kill()


def fsck(store):
    return subprocess.run([store.server.binary, "fsck", store.data], capture_output=True, text=True)


def test_cold_payload_is_in_the_cold_folder_alone_and_survives(store):
    store.put_all("first")
    store.upload("upload-cold", COLD)
    store.upload("upload-hot", HOT)
    store.server.cut()
    store.lies_right()
    for key, storage in [(f"first-{HOT}-{SIZES[0]}", COLD), (f"first-{COLD}-{SIZES[0]}", HOT), ("upload-cold", HOT), (f"first-{HOT}-{SIZES[2]}", COLD)]:
        body = store.kept[key][0]
        store.copy(key, f"{key}-copy", storage)
        assert store.s3.get_object(Bucket="cold", Key=f"{key}-copy")["Body"].read() == body
    store.put_all("second")
    store.server.kill()
    # The link is enough; the setting says the same.
    for flags in [(), ("--cold-folder", str(store.cold))]:
        store.restart(*flags)
        store.check()
        store.server.kill()
    assert fsck(store).returncode == 0
    store.restart()
    store.server.cut()
    store.check()
    report = store.server.status()
    assert report["cold_bytes"] > sum(len(body) for body, storage in store.kept.values() if storage == COLD)
    assert report["cold_free_bytes"] > 0 and store.server.metric("siltstone_cold_ready") == 1
    for key, (_, storage) in list(store.kept.items()):
        if storage == COLD:
            store.s3.put_object_tagging(Bucket="cold", Key=key, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    store.server.cut()
    store.server.post("/merge")
    store.check()
    store.server.stop()
    store.server.fsck()


def test_another_or_missing_folder_is_refused(store, siltstone, tmp_path):
    store.put_all("kept")
    store.server.stop()
    other = Server(siltstone, tmp_path / "other", *FLAGS, "--cold-folder", str(store.cold))
    with pytest.raises(ServerError):
        other.start()
    assert "another store" in other.log_text()
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    store.not_started("to move it", flags=["--cold-folder", str(elsewhere)])
    away = store.cold.with_name("away")
    store.cold.rename(away)
    store.not_started("mount it")
    store.not_started("cannot be used", flags=["--cold-folder", str(store.cold)])
    # The device is not mounted: an empty folder is there.
    store.cold.mkdir()
    store.not_started("mount it", flags=["--cold-folder", str(store.cold)])
    checked = fsck(store)
    assert checked.returncode != 0 and "mounted" in checked.stdout + checked.stderr
    assert list(store.cold.iterdir()) == [], "nothing was made in it"
    store.cold.rmdir()
    # Moved as the page says.
    shutil.copytree(away, elsewhere, dirs_exist_ok=True)
    link = store.data / "cold"
    link.unlink()
    link.symlink_to(elsewhere)
    store.restart("--cold-folder", str(elsewhere))
    store.check()


def test_a_folder_that_goes_away_costs_cold_payload_only(store):
    store.put_all("sealed")
    store.server.cut()
    store.put_all("above")
    away = store.cold.with_name("away")
    store.cold.rename(away)
    deadline = time.monotonic() + 20
    while store.server.metric("siltstone_cold_ready") == 1 and time.monotonic() < deadline:
        time.sleep(0.1)
    for size in SIZES:
        refused("SlowDown" if size < 300_000 else "ServiceUnavailable", store.s3.put_object, Bucket="cold", Key="new", Body=b"x" * size, StorageClass=COLD)
    store.put("hot-meanwhile", 1000, HOT)
    store.put("large-meanwhile", 600_000, HOT)
    store.server.cut()
    store.check(but=[COLD])
    # A file that is open is read as before; after a restart of the readers' handles nothing is.
    answers = []
    for size in SIZES:
        try:
            store.s3.get_object(Bucket="cold", Key=f"sealed-{COLD}-{size}")["Body"].read()
            answers.append(200)
        except ClientError as error:
            answers.append(error.response["ResponseMetadata"]["HTTPStatusCode"])
    assert set(answers) <= {200, 503}, answers
    # Small payload above the cut went to the hot place.
    for size in SIZES[:2]:
        assert store.s3.get_object(Bucket="cold", Key=f"above-{COLD}-{size}")["Body"].read() == store.kept[f"above-{COLD}-{size}"][0]
    assert any("cold place cannot be used" in line for line in store.server.log_text().splitlines())
    report = subprocess.run([store.server.binary, "status", "--admin", store.server.admin], capture_output=True, text=True)
    assert "not there" in report.stdout, report
    away.rename(store.cold)
    while store.server.metric("siltstone_cold_ready") == 0 and time.monotonic() < deadline + 20:
        time.sleep(0.1)
    store.check()
    store.put_all("after")
    store.server.cut()
    store.server.stop()
    store.server.fsck()
    assert pathlib.Path(store.data, "cold").is_symlink()
