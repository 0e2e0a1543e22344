"""Clients of a traced server: requests of every kind that changes something, with payloads that tell whose they are."""
import random
import secrets
import threading

BUCKET = "traced"
# The largest batch is of one small payload for each connection.
SMALL_BYTES_MAX = 16_000


class Sizes(dict):
    """The payloads that were sent: token to length. A payload is its token again and again, so that any
    stretch of it tells whose it is."""

    def payload(self, size):
        token = "payload-" + secrets.token_hex(12)
        self[token] = size
        return (token * (size // len(token) + 1))[:size].encode()


class Writer(threading.Thread):
    """Requests of every kind that changes something, one after the other, on a connection of its own."""

    def __init__(self, server, number, requests, sizes, seed):
        super().__init__(daemon=True)
        self.s3, self.name = server.client(), f"writer-{number}"
        self.left, self.sizes = requests, sizes
        self.random = random.Random(f"{seed} {number}")
        self.keys = []
        self.made = 0
        self.error = None

    def run(self):
        steps = [self.small] * 7 + [self.large] * 3 + [self.tag] * 2 + [self.delete] * 2 + \
            [self.delete_many, self.upload, self.upload_and_abort, self.copy]
        try:
            while self.left > 0:
                self.random.choice(steps)()
        except Exception as error:
            self.error = error

    def key(self):
        self.made += 1
        return f"{self.name}/{self.made:05}"

    def ask(self, operation, **arguments):
        self.left -= 1
        return getattr(self.s3, operation)(Bucket=BUCKET, **arguments)

    def put(self, size):
        key = self.key()
        self.ask("put_object", Key=key, Body=self.sizes.payload(size))
        self.keys.append(key)

    def small(self):
        self.put(self.random.choice([40, 1_000, SMALL_BYTES_MAX]))

    def large(self):
        self.put(self.random.choice([270_000, 400_000, 1_200_000]))

    def known(self):
        return self.keys[self.random.randrange(len(self.keys))] if self.keys else None

    def tag(self):
        if key := self.known():
            self.ask("put_object_tagging", Key=key, Tagging={"TagSet": [{"Key": "k", "Value": str(self.left)}]})

    def delete(self):
        if key := self.known():
            self.keys.remove(key)
            self.ask("delete_object", Key=key)

    def delete_many(self):
        gone, self.keys = self.keys[:3], self.keys[3:]
        if gone:
            self.ask("delete_objects", Delete={"Objects": [{"Key": key} for key in gone]})

    def copy(self):
        if key := self.known():
            self.ask("copy_object", Key=self.key(), CopySource=f"{BUCKET}/{key}")

    def parts(self, key, *sizes):
        upload = self.ask("create_multipart_upload", Key=key)["UploadId"]
        done = []
        for number, size in enumerate(sizes, 1):
            put = self.ask("upload_part", Key=key, UploadId=upload, PartNumber=number, Body=self.sizes.payload(size))
            done.append({"PartNumber": number, "ETag": put["ETag"]})
        return upload, done

    def upload(self):
        key = self.key()
        upload, done = self.parts(key, *self.random.choice([(900,), (300_000,), (5 << 20, 700)]))
        self.ask("complete_multipart_upload", Key=key, UploadId=upload, MultipartUpload={"Parts": done})
        self.keys.append(key)

    def upload_and_abort(self):
        key = self.key()
        upload, _ = self.parts(key, 300_000)
        self.ask("abort_multipart_upload", Key=key, UploadId=upload)
