"""kill -9 at random moments under concurrent writers: what was acknowledged is there, and nothing else."""
import hashlib
import random
import threading
import time

import botocore.exceptions
import pytest

WRITERS = 16


class Writer(threading.Thread):
    """Writes, overwrites, renames, deletes and uploads in parts under keys of its own; remembers what was answered."""

    def __init__(self, server, number, seed):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.random = random.Random(seed * 1000 + number)
        self.known = {}      # key -> digest, or None when deleted
        self.pending = {}    # what becomes known once the request under way is answered
        self.operations = 0
        self.stopping = threading.Event()
        self.error = None

    def run(self):
        s3 = self.server.client()
        while not self.stopping.is_set():
            key = f"writer-{self.number}/{self.random.randrange(12)}"
            try:
                self.step(s3, key)
                self.operations += 1
            except (botocore.exceptions.BotoCoreError, botocore.exceptions.HTTPClientError, ConnectionError):
                return
            except botocore.exceptions.ClientError as error:
                if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                    self.error = error
                return

    def step(self, s3, key):
        kind = self.random.random()
        if kind < 0.15:
            self.pending = {key: None}
            s3.delete_object(Bucket="kills", Key=key)
            self.answered()
            return
        source = f"writer-{self.number}/{self.random.randrange(12)}"
        if kind < 0.25 and self.known.get(source) and source != key:
            self.pending = {source: None, key: self.known[source]}
            s3.rename_object(Bucket="kills", Key=key, RenameSource=source)
            self.answered()
            return
        size = self.random.choice([0, 100, 4000, 4000, 50_000, 400_000])
        body = self.random.randbytes(size) + f"{key} {self.operations} {time.time()}".encode()
        digest = hashlib.sha256(body).hexdigest()
        if kind < 0.35:
            upload = s3.create_multipart_upload(Bucket="kills", Key=key)["UploadId"]
            put = s3.upload_part(Bucket="kills", Key=key, UploadId=upload, PartNumber=1, Body=body)
            parts = {"Parts": [{"PartNumber": 1, "ETag": put["ETag"]}]}
            self.pending = {key: digest}
            s3.complete_multipart_upload(Bucket="kills", Key=key, UploadId=upload, MultipartUpload=parts)
        else:
            self.pending = {key: digest}
            s3.put_object(Bucket="kills", Key=key, Body=body)
        self.answered()

    def answered(self):
        self.known.update(self.pending)
        self.pending = {}


def verify(server, writers):
    s3 = server.client()
    listed = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="kills"):
        listed |= {o["Key"] for o in page.get("Contents", [])}
    for writer in writers:
        assert writer.error is None, f"a request was refused: {writer.error}"
        state = {}
        for key in {**writer.known, **writer.pending}:
            found = None
            try:
                got = s3.get_object(Bucket="kills", Key=key)
                found = hashlib.sha256(got["Body"].read()).hexdigest()
            except botocore.exceptions.ClientError as error:
                assert error.response["Error"]["Code"] == "NoSuchKey", f"{key}: {error}"
            state[key] = found
            assert (key in listed) == (found is not None), f"{key} is {'not ' if key not in listed else ''}listed, and its bytes say otherwise"
        # All of the request under way is done, or nothing: a rename has two keys.
        before = {key: writer.known.get(key) for key in state}
        allowed = [before, {**before, **writer.pending}]
        assert state in allowed, f"{state} is there, allowed are {allowed}"
        writer.known, writer.pending = state, {}


@pytest.fixture(scope="module")
def server(serve):
    server = serve("--cut-bytes", "3000000", "--cut-seconds", "1", "--bulk-file-bytes", "8000000", "--log-file-bytes", "16777216")
    server.client().create_bucket(Bucket="kills")
    return server


def test_what_was_acknowledged_survives_kills_and_nothing_else_is_there(server, sizes, seed, tell, count):
    chance, operations = random.Random(seed), 0
    known = [{} for _ in range(WRITERS)]
    for number in range(sizes.kills):
        writers = [Writer(server, n, seed + number) for n in range(WRITERS)]
        for writer, before in zip(writers, known):
            writer.known = before
            writer.start()
        time.sleep(chance.uniform(0.2, 3))
        server.kill()
        for writer in writers:
            writer.stopping.set()
            writer.join(60)
        server.fsck()
        server.start()
        verify(server, writers)
        known = [writer.known for writer in writers]
        operations += sum(writer.operations for writer in writers)
    count("kills", sizes.kills)
    tell(f"{sizes.kills} kills, {operations} acknowledged operations, none lost")
