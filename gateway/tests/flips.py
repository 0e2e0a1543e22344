"""One flipped bit at a time in the files of a real store, and the real binary over it.

Whatever bit it is: the right answers, or errors that name the file; no panic, no wrong byte, nothing silently
missing. A flip in a segment, manifest, key index or bulk file does not stop the server, and one in a block of
payload concerns the objects of that block only. `query/tests/it/flips.rs` goes over every byte in memory; this
takes a sample, evenly over the kinds of files.

Two states of one store are used: as kill -9 leaves it, with records that are not folded, and closed cleanly.

Left out: `LOCK` is empty. A flip in `credentials` changes who may ask, and the server cannot know: there, and
only there, a refused signature is a good answer. A name that is stored beside the bytes (of a file, a folder)
is the file system's affair.
"""
import argparse
import collections
import concurrent.futures
import dataclasses
import http.client
import json
import os
import pathlib
import queue
import random
import re
import shutil
import struct
import sys
import tempfile
import time
import urllib.parse

from lib.server import Server, basic

PAGE = 4096
FRAME = 65_536
FLAGS = ["--cut-seconds", "3600", "--inline-bytes-max", "2000", "--log-file-bytes", "16777216"]
# These may cost answers, never the start.
RUNS_ON = {"segment", "parquet", "sums", "keys", "more", "tags", "bulk"}
# Headers that must come back unchanged with an object.
KEPT_HEADERS = ["etag", "content-length", "content-type", "last-modified", "x-amz-version-id", "x-amz-meta-a",
                "x-amz-tagging-count", "x-amz-delete-marker"]
WORKERS = 2


def kind_of(path):
    name = path.rsplit("/", 1)[-1]
    if name in ("mark", "credentials"):
        return name
    if name.startswith("identity"):
        return "identity"
    if "/catalog/" in path:
        return "catalog"
    ending = name.rsplit(".", 1)[-1]
    return {"seg": "segment"}.get(ending, ending)


@dataclasses.dataclass
class File:
    """A file of a store: its length and the pages that are not all zeros."""
    size: int
    pages: dict


class Image:
    """A store's directory in memory. Log files are mostly zeros, which are not kept."""

    def __init__(self, name, folder):
        self.name = name
        self.folders, self.files = [], {}
        for where, folders, names in os.walk(folder):
            below = os.path.relpath(where, folder)
            self.folders += [f"{below}/{one}" for one in folders]
            for one in names:
                bytes = pathlib.Path(where, one).read_bytes()
                pages = {at: bytes[at:at + PAGE] for at in range(0, len(bytes), PAGE)}
                pages = {at: page for at, page in pages.items() if page.strip(b"\0")}
                self.files[os.path.normpath(f"{below}/{one}")] = File(len(bytes), pages)

    def write(self, folder):
        shutil.rmtree(folder, ignore_errors=True)
        os.mkdir(folder)
        for below in self.folders:
            os.makedirs(f"{folder}/{below}", exist_ok=True)
        for path, file in self.files.items():
            with open(f"{folder}/{path}", "wb") as out:
                out.truncate(file.size)
                for at, page in file.pages.items():
                    out.seek(at)
                    out.write(page)

    def bytes(self, path):
        file = self.files[path]
        return b"".join(file.pages.get(at, bytes(min(PAGE, file.size - at))) for at in range(0, file.size, PAGE))

    def places(self, kind):
        """Stretches to choose from: (path, begin, end). Zeros of log files are a kind of their own."""
        found = []
        for path, file in self.files.items():
            if kind_of(path) == "log":
                last = max(file.pages, default=-PAGE) + PAGE
                if kind == "log":
                    # The zeros that fill a page are as good as those behind the last one.
                    found += [(path, at, at + len(page.rstrip(b"\0"))) for at, page in file.pages.items()]
                elif kind == "log zeros":
                    found.append((path, last, file.size))
            elif kind_of(path) == kind and file.size:
                found.append((path, 0, file.size))
        return found


def fill(server):
    """A store with every kind of file: two cuts, bulk payload, markers, tags, an open upload, and records that
    are not folded yet. Gives what must be found: (bucket, key, version, bytes or none for a marker)."""
    s3 = server.client()
    known = {}

    def put(bucket, key, size, **more):
        body = bytes((at * 7 + len(key)) % 256 for at in range(size))
        version = s3.put_object(Bucket=bucket, Key=key, Body=body, **more).get("VersionId", "null")
        known[bucket, key, version] = body

    s3.create_bucket(Bucket="plain")
    s3.create_bucket(Bucket="versions")
    put("versions", "v/1", 33)
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for number in range(10):
        put("plain", f"small/{number}", 100 + 130 * number, ContentType="text/x", Metadata={"a": str(number)})
    put("plain", "large", 70_000)
    put("plain", "large/3", 3_000, Tagging="k=v")
    # Of a middling size, so that a segment has several blocks.
    for number in range(12):
        put("plain", f"middle/{number}", 1_500 + number)
    upload = s3.create_multipart_upload(Bucket="plain", Key="parts/open")["UploadId"]
    s3.upload_part(Bucket="plain", Key="parts/open", UploadId=upload, PartNumber=1, Body=b"p" * 3_000)
    server.cut()
    for number in range(6):
        put("versions", f"v/{number % 3}", 20 + 50 * number)
    known["versions", "v/1", s3.delete_object(Bucket="versions", Key="v/1")["VersionId"]] = None
    put("plain", "small/3", 77)
    s3.delete_object(Bucket="plain", Key="small/4")
    del known["plain", "small/4", "null"]
    s3.put_object_tagging(Bucket="plain", Key="small/6", Tagging={"TagSet": [{"Key": "x", "Value": "y"}]})
    server.cut()
    put("plain", "tail/inline", 700)
    put("plain", "tail/large", 5_000)
    s3.delete_object(Bucket="plain", Key="small/5")
    del known["plain", "small/5", "null"]
    done = s3.create_multipart_upload(Bucket="plain", Key="parts/done")["UploadId"]
    tag = s3.upload_part(Bucket="plain", Key="parts/done", UploadId=done, PartNumber=1, Body=b"q" * 2_500)["ETag"]
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    s3.complete_multipart_upload(Bucket="plain", Key="parts/done", UploadId=done, MultipartUpload=parts)
    known["plain", "parts/done", "null"] = b"q" * 2_500
    # Until the mark after the last batch is durable, rot there passes for a torn end: a stated limit.
    time.sleep(0.5)
    return known, upload


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: tuple
    body: bytes
    # Whether the whole body came.
    is_whole: bool = True

    def text(self):
        return self.body.decode(errors="replace")


class Asker:
    """Asks a server everything that is known, by requests that were signed once and for all."""

    def __init__(self, server, known, upload):
        s3 = server.client()

        def signed(operation, **arguments):
            url = urllib.parse.urlsplit(s3.generate_presigned_url(operation, Params=arguments, ExpiresIn=604_800))
            return f"{url.path}?{url.query}"

        self.server, self.authorization = server, basic(server.own_keys())
        self.objects = {one: signed("get_object", Bucket=one[0], Key=one[1], VersionId=one[2]) for one in known}
        self.listings = [signed("list_object_versions", Bucket=bucket) for bucket in ("plain", "versions")]
        self.listings += [signed("list_objects_v2", Bucket="plain", Prefix="", Delimiter="/"), signed("list_buckets"),
                          signed("list_multipart_uploads", Bucket="plain"),
                          signed("list_parts", Bucket="plain", Key="parts/open", UploadId=upload)]
        self.connections = {}

    def ask(self, port, method, target, body=None, headers=None):
        connection = self.connections.get(port)
        if not connection:
            connection = self.connections[port] = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request(method, target, body, headers or {})
            answer = connection.getresponse()
            headers = tuple((name, answer.getheader(name)) for name in KEPT_HEADERS)
            try:
                body = answer.read()
                # A delete marker's answer tells its request's number, and nothing else that counts here.
                return Answer(answer.status, headers, b"" if answer.status == 405 else body)
            except http.client.IncompleteRead as cut_off:
                connection.close()
                return Answer(answer.status, headers, cut_off.partial, False)
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            return Answer(0, (), repr(error).encode(), False)

    def close(self):
        for connection in self.connections.values():
            connection.close()
        self.connections = {}

    def all(self):
        """Every answer: objects by name, then listings, then SQL."""
        port, admin = self.server.port, self.server.admin_port
        objects = {one: self.ask(port, "GET", target) for one, target in self.objects.items()}
        listings = [self.ask(port, "GET", target) for target in self.listings]
        sql = self.ask(admin, "POST", "/sql", "SELECT * FROM versions", self.authorization)
        if sql.status == 200 and sql.is_whole:
            rows = sorted(json.dumps(row, sort_keys=True) for row in json.loads(sql.body))
            sql = dataclasses.replace(sql, headers=(), body="\n".join(rows).encode())
        return objects, listings, sql


class Wrong(Exception):
    """What must not happen after a flip."""


@dataclasses.dataclass
class Effect:
    refused: int = 0
    lost: int = 0
    listings: int = 0
    scans: int = 0
    denied: int = 0


def blocks(segment):
    """The blocks of a segment: begin, end, number of objects (docs/formats/segment.md)."""
    at, found = 0, []
    while at < len(segment):
        stored, objects = struct.unpack_from("<II", segment, at + 28)
        found.append((at, at + 60 + stored, objects))
        at = found[-1][1]
    return found


class Sample:
    """One flip: where, and what came of it."""

    def __init__(self, image, kind, chance):
        places = image.places(kind)
        path, begin, end = chance.choices(places, [end - begin for _, begin, end in places])[0]
        self.image, self.kind, self.path = image, kind, path
        self.position, self.bit = chance.randrange(begin, end), 1 << chance.randrange(8)

    def __str__(self):
        return f"{self.path} at {self.position} ^ {self.bit} in the store that was {self.image.name}"

    def names(self, text):
        """An error names what was flipped. A manifest and its sums are one thing; so are a log and its folder."""
        named = [self.path]
        if self.kind in ("parquet", "sums"):
            named = [re.sub(r"\w+$", ending, self.path) for ending in ("parquet", "sums")]
        if self.kind == "log":
            named.append("log/0000 ")
        return any(one in text for one in named)

    def write(self, folder):
        """Writes the store with its flipped bit."""
        self.image.write(folder)
        with open(f"{folder}/{self.path}", "r+b") as file:
            file.seek(self.position)
            byte = file.read(1)[0] ^ self.bit
            file.seek(self.position)
            file.write(bytes([byte]))

    def run(self, asker, wanted):
        server = asker.server
        self.write(server.data)
        open(server.data + ".log", "w").close()
        server.launch()
        try:
            if not server.is_ready(20, 0.004):
                return self.not_started(server)
            effect = self.compare(server, asker.all(), wanted)
            if server.process.poll() is not None:
                raise Wrong("the server ended")
            return effect
        finally:
            asker.close()
            server.process.kill()
            server.process.wait()
            if "panicked" in server.log_text():
                raise Wrong("a panic")

    def not_started(self, server):
        if server.process.poll() is None:
            raise Wrong("the server neither ends nor gets ready")
        if not self.names(server.log_text()):
            raise Wrong(f"a refused start does not name the file: {server.log_text()[-500:]}")
        if self.kind in RUNS_ON:
            raise Wrong(f"it stops the server: {server.log_text()[-500:]}")
        return Effect(refused=1)

    def is_error(self, answer, server, what):
        """Whether an answer that is not the wanted one is an error that names the file; nothing else may be."""
        if answer.status >= 500 or answer.status == 0 or not answer.is_whole:
            if self.names(answer.text()) or self.names(server.log_text()):
                return True
            raise Wrong(f"the error for {what} names no file: {answer.status} {answer.text()[:500]}")
        raise Wrong(f"a wrong answer for {what}: {answer.status} {answer.text()[:500]}")

    def compare(self, server, found, wanted):
        effect = Effect()
        (objects, listings, sql), (wanted_objects, wanted_listings, wanted_sql) = found, wanted[self.image.name]
        if self.kind == "credentials" and all(answer.status == 403 for answer in [*objects.values(), *listings]):
            if sql.status != 401:
                raise Wrong(f"SQL is answered to keys that are there no more: {sql.status}")
            return Effect(denied=1)
        lost = [answer for one, answer in objects.items()
                if answer != wanted_objects[one] and self.is_error(answer, server, one)]
        self.are_of_one_block(lost)
        effect.lost = len(lost)
        for answer, right in zip(listings, wanted_listings):
            effect.listings |= answer != right and self.is_error(answer, server, "a listing")
        effect.scans = int(sql != wanted_sql and self.is_error(sql, server, "SQL"))
        return effect

    def are_of_one_block(self, lost):
        """Errors about payload name the block or frame that holds the flipped byte, and concern no more objects
        than are in it."""
        if self.kind not in ("segment", "bulk") or not lost:
            return
        if self.kind == "segment":
            [(begin, end, most)] = [one for one in blocks(self.image.bytes(self.path)) if one[0] <= self.position < one[1]]
        else:
            # Frames begin where extents do, on pages; an upload is an object of its own here.
            begin, end, most = max(0, self.position - FRAME + 1), self.position + 1, 1
        for answer in lost:
            told = re.search(re.escape(self.path) + r" is corrupt at byte (\d+)", answer.text())
            if told and not begin <= int(told.group(1)) < end:
                raise Wrong(f"a flip in {begin} to {end} is told as one at {told.group(1)}")
        if len(lost) > most:
            raise Wrong(f"{len(lost)} objects are lost with a block of {most}")


def make(binary, scratch):
    """Makes both images and what a server answers over each of them when nothing is flipped."""
    server = Server(binary, f"{scratch}/made", *FLAGS, keys=None).start()
    known, upload = fill(server)
    server.kill()
    images = [Image("killed", server.data)]
    server.start()
    server.stop()
    server.fsck()
    images.append(Image("closed", server.data))
    askers = queue.Queue()
    wanted = {}
    for number in range(WORKERS):
        worker = Server(binary, f"{scratch}/worker-{number}", *FLAGS, keys=server.kept_keys())
        asker = Asker(worker, known, upload)
        worker.keys = None
        for image in images:
            answers = unspoiled(image, asker, known)
            if answers != wanted.setdefault(image.name, answers):
                sys.exit("FAILED: two servers over one store answer differently")
        askers.put(asker)
    return images, known, wanted, askers


def unspoiled(image, asker, known):
    """What a server answers when nothing is flipped; it must be what was written."""
    image.write(asker.server.data)
    asker.server.start()
    objects, listings, sql = asker.all()
    asker.server.kill()
    asker.close()
    for one, answer in objects.items():
        right = (answer.status, answer.body) == (200, known[one]) if known[one] is not None else answer.status == 405
        if not right:
            sys.exit(f"FAILED: {one} of the unspoiled store: {answer}")
    listed = sum(answer.body.count(b"<VersionId>") for answer in listings)
    if any(answer.status != 200 for answer in [*listings, sql]) or listed != len(known) or len(sql.body.splitlines()) != len(known):
        sys.exit(f"FAILED: the unspoiled store lists {listed} of {len(known)} versions: {listings} {sql}")
    return objects, listings, sql


COLUMNS = ["flips", "harmless", "refused start", "flips with loss", "objects lost", "at most", "listing errors", "SQL errors",
           "denied"]


class Tally:
    """Counts for one kind of file."""

    def __init__(self):
        self.effects = []

    def row(self):
        effects = self.effects
        harmless = sum(effect == Effect() for effect in effects)
        return [len(effects), harmless, sum(effect.refused for effect in effects), sum(effect.lost > 0 for effect in effects),
                sum(effect.lost for effect in effects), max(effect.lost for effect in effects),
                sum(effect.listings for effect in effects), sum(effect.scans for effect in effects),
                sum(effect.denied for effect in effects)]


def report(images, known, tallies):
    for image in images:
        used = sum(len(page.rstrip(b"\0")) for file in image.files.values() for page in file.pages.values())
        print(f"{image.name}: {len(image.files)} files, {used} bytes, zeros that fill pages aside; {len(known)} versions")
    print(f"{'kind':12}" + "".join(f"{column:>16}" for column in COLUMNS))
    for kind, tally in sorted(tallies.items()):
        print(f"{kind:12}" + "".join(f"{count:16}" for count in tally.row()))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments.add_argument("--samples", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=int(time.time()))
    arguments = arguments.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    scratch = tempfile.mkdtemp()
    images, known, wanted, askers = make(os.path.abspath(arguments.binary), scratch)
    kinds = sorted({kind_of(path) for image in images for path, file in image.files.items() if file.size} | {"log zeros"})
    tallies = collections.defaultdict(Tally)
    wrong = []

    def sample(number):
        chance = random.Random(f"{arguments.seed} {number}")
        kind = kinds[number % len(kinds)]
        flip = Sample(chance.choice([image for image in images if image.places(kind)]), kind, chance)
        asker = askers.get()
        try:
            # What is folded is not needed from the log any more, so there it makes a difference which store it is.
            counted = f"{kind}, {flip.image.name}" if kind == "log" else kind
            tallies[counted].effects.append(flip.run(asker, wanted))
        except Wrong as what:
            flip.write(f"{scratch}/failed-{number}")
            wrong.append(f"sample {number}, {flip}: {what} (kept in {scratch}/failed-{number})")
            print("FAILED:", wrong[-1], flush=True)
        finally:
            askers.put(asker)

    begun = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(sample, range(arguments.samples)))
    report(images, known, tallies)
    print(f"{arguments.samples} flips in {time.monotonic() - begun:.0f} s")
    if wrong:
        sys.exit(f"{len(wrong)} failed, seed {arguments.seed}")
    shutil.rmtree(scratch)
    print(f"{arguments.samples} passed, 0 failed")


if __name__ == "__main__":
    main()
