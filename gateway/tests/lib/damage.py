"""Stores that are damaged while no server runs, and the real binary over them.

A store is made with every kind of file and kept in memory in two states: as kill -9 leaves it, with records that are not
folded, and closed cleanly. A damage is written with a copy of one of them, and everything that is known is requested from
a server over it: the right answers must come, or errors that name the file; no panic, no wrong byte, nothing silently
missing.
"""
import concurrent.futures
import dataclasses
import http.client
import json
import os
import pathlib
import queue
import shutil
import tempfile
import time
import urllib.parse

from lib.server import Server, basic

PAGE = 4096
FLAGS = ["--cut-seconds", "3600", "--inline-bytes-max", "2000", "--log-file-bytes", "16777216"]
# These may cost answers, never the start.
RUNS_ON = {"segment", "parquet", "sums", "keys", "more", "tags", "bulk"}
# Headers that must come back unchanged with an object.
KEPT_HEADERS = ["etag", "content-length", "content-type", "last-modified", "x-amz-version-id", "x-amz-meta-a",
                "x-amz-tagging-count", "x-amz-delete-marker"]
# Servers over damaged stores that run at the same time.
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


class Requester:
    """Requests everything that is known from a server; requests are signed once and for all."""

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
    """An effect of a damage that must not be."""


@dataclasses.dataclass
class Effect:
    """The cost of a damage: refused starts, objects, listings, scans of SQL, refused keys."""

    refused: int = 0
    lost: int = 0
    listings: int = 0
    scans: int = 0
    denied: int = 0


class Damage:
    """One damage of one file or folder. What it is, and how it is named in errors, is said by the classes below."""

    def __init__(self, image, kind, path):
        self.image, self.kind, self.path = image, kind, path

    def write(self, folder):
        """Writes the damaged store."""
        raise NotImplementedError

    def names(self, text):
        """Returns whether a text names what is damaged."""
        raise NotImplementedError

    def check_lost(self, lost):
        """Raises where more was lost than may be: the answers are those of objects that were not given."""

    def run(self, requester, wanted):
        """Starts a server over the damaged store and compares every answer; returns the effect."""
        server = requester.server
        self.write(server.data)
        open(server.data + ".log", "w").close()
        server.launch()
        try:
            if not server.is_ready(20, 0.004):
                return self.not_started(server)
            effect = self.compare(server, requester.all(), wanted)
            if server.process.poll() is not None:
                raise Wrong("the server ended")
            return effect
        finally:
            requester.close()
            server.kill()
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
        """Returns true for an error that names the file; any other answer that is not the wanted one is wrong."""
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
        self.check_lost(lost)
        effect.lost = len(lost)
        for answer, right in zip(listings, wanted_listings):
            effect.listings |= answer != right and self.is_error(answer, server, "a listing")
        effect.scans = int(sql != wanted_sql and self.is_error(sql, server, "SQL"))
        return effect


class Made:
    """Both states of the store, what a server answers over each of them, and servers for damaged copies."""

    def __init__(self, siltstone, scratch):
        self.scratch, self.requesters, self.wanted = scratch, queue.Queue(), {}
        server = Server(siltstone, f"{scratch}/made", *FLAGS, keys=None).start()
        self.known, upload = fill(server)
        server.kill()
        self.images = [Image("killed", server.data)]
        server.start()
        server.stop()
        server.fsck()
        self.images.append(Image("closed", server.data))
        for number in range(WORKERS):
            worker = Server(siltstone, f"{scratch}/worker-{number}", *FLAGS, keys=server.kept_keys())
            requester = Requester(worker, self.known, upload)
            worker.keys = None
            for image in self.images:
                answers = self.unspoiled(image, requester)
                assert answers == self.wanted.setdefault(image.name, answers), "two servers over one store answer differently"
            self.requesters.put(requester)

    def unspoiled(self, image, requester):
        """The answers where nothing is damaged; they must be what was written."""
        image.write(requester.server.data)
        requester.server.start()
        objects, listings, sql = requester.all()
        requester.server.kill()
        requester.close()
        for one, answer in objects.items():
            right = (answer.status, answer.body) == (200, self.known[one]) if self.known[one] is not None else answer.status == 405
            assert right, f"{one} of the unspoiled store: {answer}"
        listed = sum(answer.body.count(b"<VersionId>") for answer in listings)
        assert all(answer.status == 200 for answer in [*listings, sql]), f"the unspoiled store: {listings} {sql}"
        assert listed == len(sql.body.splitlines()) == len(self.known), f"the unspoiled store lists {listed} of {len(self.known)} versions: {listings} {sql}"
        return objects, listings, sql

    def kinds(self):
        """The kinds of files in which a bit can be flipped."""
        return {kind_of(path) for image in self.images for path, file in image.files.items() if file.size} | {"log zeros"}

    def try_all(self, damages):
        """Tries damages, some at a time; returns the sum of their effects, and a text for each that must not be. The stores
        of those stay."""
        def run(damage):
            requester = self.requesters.get()
            try:
                return damage, damage.run(requester, self.wanted), None
            except Wrong as wrong:
                return damage, None, wrong
            finally:
                self.requesters.put(requester)

        tally, failed = Tally(), []
        with concurrent.futures.ThreadPoolExecutor(WORKERS) as pool:
            for damage, effect, wrong in pool.map(run, damages):
                if wrong is None:
                    tally.effects.append(effect)
                    continue
                kept = tempfile.mkdtemp(prefix="failed-", dir=self.scratch)
                damage.write(kept)
                failed.append(f"{damage}: {wrong} (kept in {kept})")
        return tally, failed


class Tally:
    """Effects of damages of one kind."""

    def __init__(self):
        self.effects = []

    def __str__(self):
        effects = self.effects
        lost = [effect.lost for effect in effects]
        counts = {"harmless": sum(effect == Effect() for effect in effects), "refused starts": sum(effect.refused for effect in effects),
                  "with loss": sum(found > 0 for found in lost), "objects lost": sum(lost), "lost at most": max(lost, default=0),
                  "errors of listings": sum(effect.listings for effect in effects), "errors of SQL": sum(effect.scans for effect in effects),
                  "denied": sum(effect.denied for effect in effects)}
        return ", ".join([f"{len(effects)} tried", *(f"{number} {what}" for what, number in counts.items() if number)])
