"""Clients of several nodes: one for each, and writers that read through another node than they wrote through."""
import hashlib
import http.client
import itertools
import random
import threading
import time

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

# A writer rests so many seconds after each object: what it wrote is read again through every node at the end.
REST = 0.05
# Seconds after which a client under a fault gives up, and then does not know the outcome.
PATIENCE = 15


def client(url, keys):
    # One attempt: a repeated conditional write would lose against itself.
    config = Config(signature_version="s3v4", retries={"total_max_attempts": 1}, max_pool_connections=32,
                    connect_timeout=3, read_timeout=PATIENCE)
    return boto3.client("s3", endpoint_url=url, region_name="us-east-1", config=config,
                        aws_access_key_id=keys[0], aws_secret_access_key=keys[1])


def code_of(call, **arguments):
    """The error code that a call is answered with, or None."""
    try:
        call(**arguments)
    except ClientError as error:
        return error.response["Error"]["Code"]
    return None


def body_of(s3, bucket, key):
    return s3.get_object(Bucket=bucket, Key=key)["Body"].read()


def keys_of(s3, bucket):
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 100})
    return [found["Key"] for page in pages for found in page.get("Contents", [])]


def together(calls):
    """Runs calls side by side; what one of them raises is raised here."""
    raised = []

    def run(call):
        try:
            call()
        except Exception as error:
            raised.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if raised:
        raise raised[0]


class Writer(threading.Thread):
    """Writes objects of its own, each once, and reads each through another node as soon as it is acknowledged."""

    def __init__(self, nodes, bucket, number, seed):
        super().__init__(daemon=True)
        self.nodes, self.bucket, self.number = nodes, bucket, number
        self.chance = random.Random(f"{seed} {number}")
        self.acknowledged = {}  # key -> digest
        self.unknown = {}       # the same, where no answer came, or one that promises nothing
        self.reads = 0
        self.stopping = threading.Event()
        self.wrong = None

    def run(self):
        for number in itertools.count():
            if self.stopping.wait(REST) or self.wrong:
                return
            writer, reader = self.chance.sample(self.nodes, 2) if len(self.nodes) > 1 else self.nodes * 2
            key, body = f"{self.number}/{number:06}", self.chance.randbytes(self.chance.choice([10, 3000, 50_000, 400_000]))
            try:
                self.step(writer, reader, key, body)
            except Exception as error:
                self.wrong = f"{key}: {error!r}"

    def step(self, writer, reader, key, body):
        digest = hashlib.sha256(body).hexdigest()
        self.unknown[key] = digest
        if not self.answered(lambda: writer.put_object(Bucket=self.bucket, Key=key, Body=body)):
            return
        self.acknowledged[key] = self.unknown.pop(key)
        found = []
        if self.answered(lambda: found.append(body_of(reader, self.bucket, key))):
            self.reads += 1
            if hashlib.sha256(found[0]).hexdigest() != digest:
                self.wrong = f"{key} is read with other bytes than were written"

    def answered(self, call):
        """Returns whether a call succeeded. A fault excuses no answer and a 5xx; anything else is wrong."""
        try:
            call()
            return True
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] < 500:
                raise
        except (BotoCoreError, HTTPClientError, OSError, http.client.HTTPException):
            pass
        time.sleep(0.1)
        return False
