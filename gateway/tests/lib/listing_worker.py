"""Workers that change buckets and list them, and compare each page with what a plain model says, field by field.

Each worker has buckets of its own, without versioning, with it, and where it is switched on and off; so what they hold
is known at every moment. Keys are hostile. Walks through many pages stay open over changes and cuts. Of times it is
only checked that all listings tell the same.
"""
import collections
import hashlib
import http.client
import random
import re
import urllib.parse
import xml.etree.ElementTree

from lib import listing_model as model
from lib.listing_kinds import KINDS, Parts
from lib.signing import sign

# After so many pages a few changes come, and after so many a cut. In between the store makes cuts of its own.
CHANGES_EVERY, CUT_EVERY = 20, 300
WALKS_OPEN, FAILURES_MAX = 8, 3
COMPONENTS = ["a", "b", "ab", "aa", "aaa", "photos", "é", "e\u0301", "日本", "🎉", "🎉🎉", "\U00010000", "\U0010ffff", "\uffff", "\ufffe", "\u0085",
              "\u2028", "", "", "", "'", '"', "%", "_", "+", " ", "  ", "a b", "&<>", "&amp;", "]]>", "..", ".", "\\",
              "\t", "\n", "\r", "\r\n", "\x00", "\x01", "\x1f", "\x7f", "%2F", "%00", "null", "?a=b&c", "#", ";", "=", "~", "*", "z"]
KEYS = ["/", "//", "\x00", "a", "a/", "a//", "a/\x00", "a/a", "a/a/", "a\x00", "d/", "d/x", "d/x/", "d/x/y", "a" * 1024, "é" * 512, "🎉" * 256, "a/" * 512, "a" * 1023 + "/"]
# Elements whose text is encoded where that is asked for, and those that have elements in them.
ENCODED = {"Key", "Prefix", "Delimiter", "Marker", "NextMarker", "StartAfter", "KeyMarker", "NextKeyMarker"}
ROWS = {"Contents", "Version", "DeleteMarker", "CommonPrefixes", "Upload", "Part"}
# Characters that XML 1.0 cannot hold stand in private ones while a document is parsed.
REFERENCE = re.compile(rb"&#x([0-9A-F]+);")
PRIVATE = {0xE000 + code: chr(code) for code in range(32)} | {0xE0FE: "\ufffe", 0xE0FF: "\uffff"}


class Refused(Exception):
    pass


class S3:
    """Requests over one connection that stays open."""

    def __init__(self, port):
        self.host, self.connection = f"127.0.0.1:{port}", http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def ask(self, method, bucket="", key="", query=None, body=b""):
        path = f"/{bucket}" + (f"/{urllib.parse.quote(key)}" if key else "")
        if query:
            path += "?" + "&".join(f"{name}={urllib.parse.quote(value, safe='')}" for name, value in query.items())
        headers = sign(method, path, {"host": self.host}, hashlib.sha256(body).hexdigest())[0]
        self.connection.request(method, path, body, headers)
        answer = self.connection.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise Refused(f"{method} {path}: {answer.status} {text.decode()}")
        return text, answer.headers


def name_of(element):
    return element.tag.rpartition("}")[2]


def fields(elements, is_encoded):
    """Elements, each once: their texts, or what is in them."""
    found = {}
    for child in elements:
        name = name_of(child)
        if name in found:
            raise ValueError(f"{name} stands twice")
        found[name] = fields(child, is_encoded) if len(child) else text_of(child, name, is_encoded)
    return found


def text_of(element, name, is_encoded):
    text = (element.text or "").translate(PRIVATE)
    if is_encoded and name in ENCODED:
        if not re.fullmatch("[!-~]*", text):
            raise ValueError(f"{name} is not encoded: {text!r}")
        # For clients a plus is a space, too, so it must not stand for itself.
        return urllib.parse.unquote_plus(text)
    return text


def parse(document, is_encoded):
    """A listing's answer: its plain elements, and its rows in order, common prefixes last."""
    document = REFERENCE.sub(lambda found: chr(0xE000 + int(found[1], 16)).encode(), document)
    document = document.replace("\ufffe".encode(), "\ue0fe".encode()).replace("\uffff".encode(), "\ue0ff".encode())
    root = xml.etree.ElementTree.fromstring(document)
    rows = [(name_of(child), fields(child, is_encoded)) for child in root if name_of(child) in ROWS]
    plain = fields([child for child in root if name_of(child) not in ROWS], is_encoded)
    return plain, sorted(rows, key=lambda row: row[0] == "CommonPrefixes")


def difference(found, wanted):
    """The first thing that differs."""
    (found, found_rows), (wanted, wanted_rows) = found, wanted
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            return f"{name}: {found.get(name)!r} instead of {wanted.get(name)!r}"
    for number, (one, other) in enumerate(zip(found_rows, wanted_rows)):
        if one != other:
            return f"row {number} of {len(found_rows)}: {one!r} instead of {other!r}"
    if len(found_rows) != len(wanted_rows):
        more = max(found_rows, wanted_rows, key=len)
        return f"{len(found_rows)} rows instead of {len(wanted_rows)}, the first more is {more[min(len(found_rows), len(wanted_rows))]!r}"
    return None


class Worker:
    def __init__(self, server, number, seed, keys):
        self.server, self.s3, self.number, self.chance = server, S3(server.port), number, random.Random(f"{seed} {number}")
        self.counts, self.failures, self.walks = collections.Counter(), [], []
        self.keys = sorted({self.drawn_key() for _ in range(keys)} | set(KEYS))
        self.buckets = [model.Bucket(f"{kind}-{number}") for kind in ("off", "enabled", "suspended")]
        for bucket in self.buckets:
            self.s3.ask("PUT", bucket.name)
            if not bucket.name.startswith("off"):
                self.set_versioning(bucket, "Enabled")
        self.owner = fields(xml.etree.ElementTree.fromstring(self.s3.ask("GET")[0]).find("{*}Owner"), False)

    def drawn_key(self):
        delimiter = self.chance.choice(["/", "/", "/", "", "//", "é"])
        return delimiter.join(self.chance.choice(COMPONENTS) for _ in range(self.chance.randint(1, 5))) or "/"

    # Changes, in the store and in the model.

    def set_versioning(self, bucket, status):
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
        self.s3.ask("PUT", bucket.name, query={"versioning": ""}, body=body)
        bucket.versioning = status

    def put(self, bucket, key):
        body = self.chance.randbytes(self.chance.choice([0, 1, 2, 5, 100]))
        headers = self.s3.ask("PUT", bucket.name, key, body=body)[1]
        bucket.put(key, headers.get("x-amz-version-id", "null"), f'"{hashlib.md5(body).hexdigest()}"', len(body))

    def change(self):
        bucket, what = self.chance.choice(self.buckets), self.chance.random()
        held = sorted(bucket.keys)
        if what < 0.45 or not held:
            self.put(bucket, self.chance.choice(self.keys))
        elif what < 0.65:
            key = self.chance.choice(held + self.keys)
            bucket.delete(key, self.s3.ask("DELETE", bucket.name, key)[1].get("x-amz-version-id", "null"))
        elif what < 0.82:
            key = self.chance.choice(held)
            id = self.chance.choice(bucket.keys[key]).id
            self.s3.ask("DELETE", bucket.name, key, {"versionId": id})
            bucket.remove(key, id)
        elif what < 0.95:
            self.change_upload(bucket)
        elif bucket.name.startswith("suspended"):
            self.set_versioning(bucket, self.chance.choice(["Enabled", "Suspended"]))

    def change_upload(self, bucket):
        what = self.chance.random()
        if not bucket.uploads or (what < 0.4 and len(bucket.uploads) < 20):
            # Few keys, so that some have several uploads.
            key = self.chance.choice(self.keys[::max(1, len(self.keys) // 8)] + ["d/", "d/x", "d/x/", "d/x/y"])
            answer = self.s3.ask("POST", bucket.name, key, {"uploads": ""})[0]
            bucket.uploads[re.search(rb"<UploadId>(\w+)<", answer)[1].decode()] = model.Upload(key, {})
            return
        id = self.chance.choice(sorted(bucket.uploads))
        upload = bucket.uploads[id]
        if what < 0.5:
            self.s3.ask("DELETE", bucket.name, upload.key, {"uploadId": id})
            del bucket.uploads[id]
            return
        number, body = self.chance.choice([1, 2, 3, 9, 10, 255, 256, 10000, self.chance.randint(1, 10000)]), self.chance.randbytes(self.chance.randrange(20))
        etag = self.s3.ask("PUT", bucket.name, upload.key, {"uploadId": id, "partNumber": str(number)}, body)[1]["etag"]
        upload.parts[number] = model.Version(str(number), etag, len(body))

    # Listings.

    def begin(self):
        kind, bucket = self.chance.choices(list(KINDS), list(KINDS.values()))[0], self.chance.choice(self.buckets)
        if kind is Parts and not bucket.uploads:
            kind = next(iter(KINDS))
        return kind(bucket, self.chance, self.keys, self.owner)

    def step(self):
        """One page of a walk: of one that is open, or the first of another."""
        self.walks = [walk for walk in self.walks if not walk.is_lost()]
        is_open = self.walks and (len(self.walks) >= WALKS_OPEN or self.chance.random() < 0.6)
        walk = self.walks.pop(self.chance.randrange(len(self.walks))) if is_open else self.begin()
        self.counts[type(walk).__name__] += 1
        page, asked = walk.page(), dict(walk.query)
        try:
            found = parse(self.s3.ask("GET", walk.bucket.name, walk.key, walk.query)[0], walk.is_encoded)
        except (Refused, ValueError, xml.etree.ElementTree.ParseError) as error:
            return self.fail(walk, asked, repr(error))
        if wrong := difference(found, walk.wanted(page)):
            return self.fail(walk, asked, wrong)
        self.counts["rows"] += len(found[1])
        if page.is_truncated:
            walk.go_on(found[0], page)
            # Most walks go on to their end, the others leave room for new ones.
            if self.chance.random() < 0.97:
                self.walks.append(walk)
        else:
            self.counts["walks to their end"] += 1

    def fail(self, walk, asked, why):
        self.failures.append(f"worker {self.number}, {type(walk).__name__} of {walk.bucket.name} {walk.key!r} {asked}: {why:.900}")

    def fill(self):
        for bucket in self.buckets:
            for key in self.chance.sample(self.keys, len(self.keys)):
                self.put(bucket, key)
                if self.chance.random() < 0.3:
                    self.change()
            for _ in range(20):
                self.change_upload(bucket)

    def run(self, listings):
        self.fill()
        for number in range(1, listings + 1):
            if number % CHANGES_EVERY == 0:
                for _ in range(self.chance.randint(1, 6)):
                    self.change()
            if number % CUT_EVERY == self.number:
                self.server.cut()
                self.counts["cuts"] += 1
            self.step()
            if len(self.failures) == FAILURES_MAX:
                break
        return self.counts, self.failures


def work(server, number, seed, keys, listings):
    """Runs one worker, in a process of its own; returns its counts and what was wrong."""
    # One worker's buckets hold more than the longest page.
    return Worker(server, number, seed, keys * (4 if number == 0 else 1)).run(listings)
