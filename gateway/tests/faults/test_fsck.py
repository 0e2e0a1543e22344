"""Whatever is damaged or missing in a store that was killed: fsck does not call it clean unless the server then gives every
byte that was acknowledged.

The store holds every kind of file, and payload of a mebibyte that only the log names. Each file in turn is removed, and one
byte of it flipped (the first, one in the middle, one in the last page with anything in it); with `--every-damage` twenty
more. fsck must change nothing, and its verdict is compared with a server's answers over the same bytes. A verdict of damage
where the server answers well is no fault: what serves a start only, or a second copy, may be damaged, too.

Left out: `LOCK` is empty; `credentials` and `identity` name the store and who may ask, and are read by every start.
"""
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import time

import pytest

from lib.damage import kind_of
from lib.refusals import refused
from lib.server import Server

FLAGS = ["--cut-seconds", "3600", "--log-file-bytes", "16777216", "--inline-bytes-max", "20000"]
LEFT_OUT = {"LOCK", "credentials", "identity", "identity.b"}
KINDS = ["bulk", "catalog", "identity", "keys", "log", "mark", "more", "parquet", "segment", "state", "sums", "tags"]


def fill(server):
    """Puts everything there is; gives the bytes of each object."""
    s3 = server.client()
    known = {}

    def put(key, size):
        body = random.Random(key).randbytes(size)
        s3.put_object(Bucket="bucket", Key=key, Body=body)
        known[key] = body

    s3.create_bucket(Bucket="bucket")
    for number in range(8):
        put(f"sealed/small/{number}", 500 + number)
    for number in range(3):
        put(f"sealed/large/{number}", 1 << 20)
    s3.put_object_tagging(Bucket="bucket", Key="sealed/small/0", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    upload = s3.create_multipart_upload(Bucket="bucket", Key="sealed/parts")["UploadId"]
    piece = random.Random(7).randbytes(200_000)
    tag = s3.upload_part(Bucket="bucket", Key="sealed/parts", UploadId=upload, PartNumber=1, Body=piece)["ETag"]
    server.cut()
    # Another life writes to other bulk files, which only the log names.
    server.kill()
    server.start()
    s3 = server.client()
    for number in range(8):
        put(f"log/small/{number}", 300 + number)
    for number in range(3):
        put(f"log/large/{number}", 1 << 20)
    # Overwritten, removed and refused: what they named may be anything.
    put("log/large/0", 1 << 20)
    s3.delete_object(Bucket="bucket", Key="sealed/small/7")
    del known["sealed/small/7"]
    refused("PreconditionFailed", s3.put_object, Bucket="bucket", Key="log/large/1", Body=b"x" * 100_000, IfNoneMatch="*")
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    s3.complete_multipart_upload(Bucket="bucket", Key="sealed/parts", UploadId=upload, MultipartUpload=parts)
    known["sealed/parts"] = piece
    # Until the mark after the last batch is durable, rot there passes for a torn end: a stated limit.
    time.sleep(0.5)
    return known


def fingerprint(folder):
    """Names, lengths and content of all files but the lock."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(where, name)
            if name != "LOCK":
                found[str(path)] = (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
    return found


def answers_well(server, known):
    """Starts a server over these bytes; returns a text for the first thing that it does not give, or None."""
    server.launch()
    try:
        if not server.is_ready(20):
            return "the server does not start"
        s3 = server.client()
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
            listed = [one["Key"] for page in pages for one in page.get("Contents", [])]
            if listed != sorted(known):
                return f"the listing shows {len(listed)} of {len(known)} keys"
            for key, body in known.items():
                if s3.get_object(Bucket="bucket", Key=key)["Body"].read() != body:
                    return f"{key} has other bytes"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None
    finally:
        server.kill()


def places_of(path, chance):
    """The bytes that are flipped, one at a time; twenty more are drawn where there is a chance."""
    size = path.stat().st_size
    if not size:
        return []
    content = path.read_bytes()
    last = max(len(content.rstrip(b"\0")) - 1, 0)
    places = {0, last // 2, last}
    if chance:
        places |= {chance.randrange(max(last, 1)) for _ in range(20)}
    return sorted(places)


class Template:
    """A killed store, of which every damage gets a copy."""

    def __init__(self, siltstone, folder):
        self.siltstone, self.folder, self.data = siltstone, folder / "template", folder / "data"
        server = Server(siltstone, str(self.folder), *FLAGS).start()
        self.known = fill(server)
        server.kill()
        found = [path.relative_to(self.folder) for path in sorted(self.folder.rglob("*")) if path.is_file()]
        self.files = [path for path in found if path.name not in LEFT_OUT]

    def renew(self):
        shutil.rmtree(self.data, ignore_errors=True)
        shutil.copytree(self.folder, self.data)

    def fsck(self):
        return subprocess.run([self.siltstone, "fsck", self.data], capture_output=True, text=True)

    def damage(self, path, at):
        """Removes a file of a new copy, or flips a bit of a byte."""
        self.renew()
        if at is None:
            (self.data / path).unlink()
            return
        with open(self.data / path, "r+b") as file:
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 0x10]))

    def judge(self, path, at):
        """Damages a copy; returns fsck's verdict, what the server does not give, and what is wrong with the verdict."""
        self.damage(path, at)
        before = fingerprint(self.data)
        verdict, wrong = self.fsck(), []
        if fingerprint(self.data) != before:
            wrong.append("fsck has changed the store")
        missing = answers_well(Server(self.siltstone, str(self.data), *FLAGS), self.known)
        if verdict.returncode == 0 and missing:
            wrong.append(f"fsck calls it clean, and {missing}")
        if "panicked" in verdict.stderr:
            wrong.append(f"fsck panicked: {verdict.stderr}")
        what = f"{path} removed" if at is None else f"{path} flipped at byte {at}"
        return verdict.returncode == 0, missing, [f"{what}: {one}" for one in wrong]


@pytest.fixture(scope="module")
def template(siltstone, tmp_path_factory):
    return Template(siltstone, tmp_path_factory.mktemp("fsck"))


def test_the_store_has_every_kind_of_file(template):
    kinds = {kind_of(str(path)) for path in template.files}
    assert kinds == set(KINDS), f"kinds: {kinds}"
    bulks = {path for path in template.files if path.suffix == ".bulk"}
    assert len(bulks) >= 2, f"the store has too few bulk files for this test: {bulks}"


def test_an_undamaged_store_is_clean_and_not_changed(template):
    template.renew()
    before = fingerprint(template.data)
    whole = template.fsck()
    assert whole.returncode == 0, f"fsck of an undamaged store: {whole.stdout}{whole.stderr}"
    assert fingerprint(template.data) == before, "fsck has changed the store"


@pytest.mark.parametrize("how", ["removed", "flipped"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_damaged_file_is_not_called_clean_unless_all_is_served(template, sizes, seed, tell, count, kind, how):
    clean, needless, wrong, damages = 0, 0, [], []
    for path in [path for path in template.files if kind_of(str(path)) == kind]:
        chance = random.Random(f"{seed} {path}") if sizes.every_damage else None
        damages += [(path, at) for at in ([None] if how == "removed" else places_of(template.folder / path, chance))]
    for path, at in damages:
        is_clean, missing, found = template.judge(path, at)
        clean += is_clean
        needless += not is_clean and not missing
        wrong += found
    count("damages under fsck", len(damages))
    tell(f"{len(damages)} damages: {clean} harmless and called clean, {needless} named that a server lives with")
    assert not wrong, "\n".join(wrong)
