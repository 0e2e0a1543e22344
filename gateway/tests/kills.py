"""kill -9 at random moments under concurrent writers: what was acknowledged is there, and nothing else."""
import argparse
import hashlib
import os
import random
import sys
import tempfile
import threading
import time

import botocore.exceptions

from lib.server import Server

WRITERS = 16


class Writer(threading.Thread):
    """Writes, overwrites, deletes and uploads in parts under keys of its own; remembers what was answered."""

    def __init__(self, server, number, seed):
        super().__init__(daemon=True)
        self.server, self.number = server, number
        self.random = random.Random(seed * 1000 + number)
        self.known = {}      # key -> digest, or None when deleted
        self.pending = None  # (key, digest or None): asked and not answered
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
            self.pending = (key, None)
            s3.delete_object(Bucket="kills", Key=key)
            self.known[key], self.pending = None, None
            return
        size = self.random.choice([0, 100, 4000, 4000, 50_000, 400_000])
        body = self.random.randbytes(size) + f"{key} {self.operations} {time.time()}".encode()
        digest = hashlib.sha256(body).hexdigest()
        if kind < 0.25:
            upload = s3.create_multipart_upload(Bucket="kills", Key=key)["UploadId"]
            put = s3.upload_part(Bucket="kills", Key=key, UploadId=upload, PartNumber=1, Body=body)
            parts = {"Parts": [{"PartNumber": 1, "ETag": put["ETag"]}]}
            self.pending = (key, digest)
            s3.complete_multipart_upload(Bucket="kills", Key=key, UploadId=upload, MultipartUpload=parts)
        else:
            self.pending = (key, digest)
            s3.put_object(Bucket="kills", Key=key, Body=body)
        self.known[key], self.pending = digest, None


def verify(server, writers):
    s3 = server.client()
    listed = set()
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket="kills"):
        listed |= {o["Key"] for o in page.get("Contents", [])}
    for writer in writers:
        if writer.error:
            sys.exit(f"FAILED: a request was refused: {writer.error}")
        keys = set(writer.known) | ({writer.pending[0]} if writer.pending else set())
        for key in keys:
            found = None
            try:
                got = s3.get_object(Bucket="kills", Key=key)
                found = hashlib.sha256(got["Body"].read()).hexdigest()
            except botocore.exceptions.ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchKey":
                    sys.exit(f"FAILED: {key}: {error}")
            allowed = {writer.known.get(key)}
            if writer.pending and writer.pending[0] == key:
                allowed.add(writer.pending[1])
            if found not in allowed:
                sys.exit(f"FAILED: {key} is {found}, allowed are {allowed}")
            if (key in listed) != (found is not None):
                sys.exit(f"FAILED: {key} is {'not ' if key not in listed else ''}listed, and its bytes say otherwise")
            writer.known[key] = found
        writer.pending = None


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--kills", type=int, default=8)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments = arguments.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    chance = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as scratch:
        server = Server(os.path.abspath(arguments.binary), scratch + "/data",
                        "--cut-bytes", "3000000", "--cut-seconds", "1", "--bulk-file-bytes", "8000000",
                        "--log-file-bytes", "16777216").start()
        try:
            server.client().create_bucket(Bucket="kills")
            known = [{} for _ in range(WRITERS)]
            operations = 0
            for round_number in range(arguments.kills):
                writers = [Writer(server, n, arguments.seed + round_number) for n in range(WRITERS)]
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
            server.stop()
            server.fsck()
        finally:
            if server.process.poll() is None:
                server.process.kill()
    print(f"{arguments.kills} kills, {operations} acknowledged operations, none lost")
    print(f"{arguments.kills} passed, 0 failed")


main()
