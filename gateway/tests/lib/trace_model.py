"""The durable writes that a trace of system calls shows, and the rules that an acknowledgement must keep.

The model is small. A write is durable from the end of the first successful sync of its file that began after
the write had ended; the name of a file or folder from the end of the first such sync of the folder above. From
this follow the rules, which `Checker.check` states one by one.

Not checked: that a bulk file which only the log's tail refers to is kept (`faults/test_kills.py` reads the bytes back), and
the content of sealed files (fsck reads it).
"""
import bisect
import collections
import functools
import math
import os
import re
import struct

NEVER = math.inf
BATCH, LOG_HEADER = "SBT1", "SILTLOG1"
INLINE_BYTES_MAX = 256 << 10
COPY_SOURCE = re.compile(r"x-amz-copy-source: ?[^/]+/([^\\]+)", re.I)
TOKEN = re.compile(r"payload-[0-9a-f]{24}")
# A request's number as a record holds it: its length, then twenty digits.
RECORDED_ID = re.compile(rb"\x14([0-9A-F]{20})")
ANSWER = re.compile(r'"HTTP/1\.1 (\d+)')
REQUEST = re.compile(r'"(PUT|POST|DELETE|GET|HEAD) (\S+) HTTP/1\.1')
REQUEST_ID = re.compile(r"x-amz-request-id: ([0-9A-F]+)")
SEALED = (".seg", ".parquet", ".sums", ".keys", ".more", ".tags", ".state")
WRITES = ("write", "pwrite64", "writev", "pwritev", "pwritev2", "sendto", "sendmsg")
READS = ("recvfrom", "recvmsg", "read", "readv")


class Request:
    """A request that changes something, as it was read from a connection."""

    def __init__(self, begin, method, target):
        self.begin, self.method, self.target = begin, method, target
        path, _, self.query = target.partition("?")
        _, self.bucket, *key = path.split("/", 2)
        self.keys = [key[0]] if key and key[0] else []
        # The payload that it brings, or the key whose payload it copies.
        self.token = self.source = None
        # As the answer tells it.
        self.id = None

    def read(self, text):
        if found := TOKEN.search(text):
            self.token = found.group()
        if found := COPY_SOURCE.search(text):
            self.source = found.group(1)
        if self.query.startswith("delete"):
            self.keys += re.findall("<Key>([^<]*)</Key>", text)

    def kind(self, size):
        is_large = bool(size and size > INLINE_BYTES_MAX)
        if "tagging" in self.query:
            return "tags"
        if "uploads" in self.query:
            return "upload begun"
        if "partNumber" in self.query:
            return "large part" if is_large else "small part"
        if "uploadId" in self.query:
            return "upload completed" if self.method == "POST" else "upload aborted"
        if self.query.startswith("delete"):
            return "multi-delete"
        if not self.keys:
            return "bucket"
        if self.method == "DELETE":
            return "delete"
        if size is None:
            return "copy"
        return "large put" if is_large else "small put"


class Write:
    """A write to a file, and the place in the trace from which on it is durable."""

    def __init__(self, event, durable):
        self.event, self.durable = event, durable


class Batch(Write):
    """A write to a log file that begins with a batch, or with the file's header and a batch."""

    def __init__(self, event, durable):
        super().__init__(event, durable)
        self.data = event.data()
        head = self.data[4096:] if event.begins_with(LOG_HEADER) else self.data
        # The offset after its last record.
        self.end = 0
        if head.startswith(BATCH.encode()):
            count, = struct.unpack_from("<I", head, 28)
            base, = struct.unpack_from("<Q", head, 56)
            self.end = base + count
        # Everything before it in the log must be durable with it, or recovery would not come this far.
        self.durable_with_all_before = durable


class Catalog:
    """A generation as its bytes name it (docs/formats/catalog.md), and from when on it is published."""

    def __init__(self, data, event, durable):
        self.event, self.durable = event, durable
        self.generation, _, self.next = struct.unpack_from("<QQQ", data, 36)
        at = [36 + 24 + 8 + 80 + 32]

        def number(form):
            value, = struct.unpack_from("<" + form, data, at[0])
            at[0] += struct.calcsize(form)
            return value

        def count():
            value = shift = 0
            while True:
                byte = number("B")
                value |= (byte & 127) << shift
                shift += 7
                if byte < 128:
                    return value

        self.files = set()
        for _ in range(count()):
            run = number("Q")
            at[0] += 1 + 40 + 6 * 40
            self.files |= {f"runs/{run:010}{ending}" for ending in SEALED[1:]}
        for _ in range(count()):
            segment, place = number("Q"), number("B")
            assert place == 0, "the clients of a trace write nothing of the cold class"
            at[0] += 16 + 40
            self.files.add(f"segments/{segment:010}.seg")
        self.bulks = set()
        for _ in range(count()):
            self.bulks.add(f"bulk/{number('Q'):010}.bulk")
            at[0] += 8
        assert at[0] + 4 == len(data), "the catalog's bytes are all there and understood"


def payload_bytes(written):
    """What a write to a bulk file holds besides the frames' headers (docs/formats/bulk.md)."""
    return written - 32 * -(-written // 65_536)


def first_and_last_token(text):
    first = TOKEN.search(text)
    if not first:
        return set()
    # The very last one may be cut short, the one before is whole.
    last = text.rfind("payload-")
    last = TOKEN.match(text, last) or TOKEN.match(text, max(text.rfind("payload-", 0, last), 0)) or first
    return {first.group(), last.group()}


@functools.cache
def recorded_ids(data):
    return [found.decode() for found in RECORDED_ID.findall(data)]


def tail_of(path):
    """The last two names of a path."""
    return "/".join(path.split("/")[-2:])


class Checker:
    """Takes events of one store's life, in order; `check` gives what is wrong, in sentences."""

    def __init__(self, events, data, port, sizes):
        self.events, self.data, self.port, self.sizes = events, data, f":{port}->", sizes
        self.wrong = []
        self.kinds = collections.Counter()
        self.syncs = collections.defaultdict(list)
        for event in events:
            if event.name in ("fsync", "fdatasync") and event.result == 0:
                self.syncs[event.path].append(event)
        for syncs in self.syncs.values():
            syncs.sort(key=lambda event: event.begin)
        self.read_files()
        self.read_answers()

    def is_ours(self, path):
        return path == self.data or path.startswith(self.data + "/")

    def durable(self, path, after):
        """When everything that ended by `after` on a file or in a folder is durable."""
        syncs = self.syncs.get(path, [])
        first = bisect.bisect_right(syncs, after, key=lambda event: event.begin)
        return min((sync.end for sync in syncs[first:first + 20]), default=NEVER)

    def read_files(self):
        self.writes = collections.defaultdict(list)
        self.batches = []
        self.records = collections.defaultdict(list)  # request -> the batches with its records
        self.payload = collections.defaultdict(list)  # token -> the writes to bulk files with it
        self.names = collections.defaultdict(list)  # path -> the calls that gave it a name
        self.removals = []
        self.renames = []
        for event in self.events:
            if not self.is_ours(event.path):
                continue
            made = event.name.startswith("mkdir") or (event.name in ("openat", "open", "creat") and "O_CREAT" in event.text)
            if made and event.is_done():
                self.names[event.path].append(event)
            elif event.name.startswith("rename") and event.is_done():
                self.names[event.to].append(event)
                self.renames.append(event)
            elif event.name.startswith("unlink") and event.is_done():
                self.removals.append(event)
            elif event.name in WRITES and event.result != -1:
                self.add_write(event)
        durable = 0
        for batch in self.batches:
            durable = max(durable, batch.durable)
            batch.durable_with_all_before = durable

    def add_write(self, event):
        durable = self.durable(event.path, event.end)
        if event.path.endswith(".log") and event.begins_with(BATCH, LOG_HEADER):
            batch = Batch(event, durable)
            self.batches.append(batch)
            for request in set(recorded_ids(batch.data)):
                self.records[request].append(batch)
        write = Write(event, durable)
        self.writes[event.path].append(write)
        if event.path.endswith(".bulk"):
            # A write to a bulk file is of one upload, but a copy may have the end of one part and another.
            for token in first_and_last_token(event.text):
                self.payload[token].append(write)

    def name_durable(self, path, before):
        """When a path's name is durable, with those of the folders above up to the data directory."""
        durable = 0
        while path != self.data:
            made = [event for event in self.names[path] if event.begin < before]
            if made:
                durable = max(durable, self.durable(os.path.dirname(path), made[-1].end))
            path = os.path.dirname(path)
        return durable

    def read_answers(self):
        """Pairs each good answer to a request that changes something with that request."""
        self.answers = []
        self.kept = collections.defaultdict(list)  # key -> the payloads that make up its object
        self.parts = collections.defaultdict(dict)  # upload -> target of a part -> its payload
        asked = {}
        for event in self.events:
            if self.port not in event.path or not event.is_done():
                continue
            if event.name in READS and event.result > 0:
                request = REQUEST.search(event.text[:5000])
                if event.path not in asked and request:
                    asked[event.path] = Request(event.begin, *request.groups())
                if event.path in asked:
                    asked[event.path].read(event.text)
            elif event.name in WRITES and (status := ANSWER.search(event.text[:500])) and event.path in asked:
                if status.group(1).startswith("1"):
                    continue
                request = asked.pop(event.path)
                if request.method not in ("GET", "HEAD") and status.group(1).startswith("2"):
                    request.id = REQUEST_ID.search(event.text).group(1)
                    self.answers.append((request, event))

    def batches_of(self, request, answer):
        """The batches with a request's records that were written before its answer."""
        return [batch for batch in self.records[request.id] if batch.event.begin < answer.begin]

    def check(self):
        self.read_catalogs()
        self.check_root()
        for answer in self.answers:
            self.check_answer(*answer)
        for catalog in self.catalogs:
            self.check_catalog(catalog)
        for removal in self.removals + [event for event in self.renames if event.path.endswith(".log")]:
            self.check_removal(removal)
        return self.wrong

    def require(self, holds, what):
        if not holds:
            self.wrong.append(what)

    def check_root(self):
        """The data directory itself, if the server made it, must be there after a loss of power."""
        made = self.names[self.data]
        if made and self.answers:
            durable = self.durable(os.path.dirname(self.data), made[0].end)
            self.require(durable < self.answers[0][1].begin, f"line {made[0].begin}: the data directory was made and its name never synced")

    def check_answer(self, request, answer):
        size = self.sizes[request.token] if request.token else None
        kind = request.kind(size)
        self.kinds[kind] += 1
        who = f"line {answer.begin}: {kind} {request.target} was answered"
        batches = self.batches_of(request, answer)
        self.require(batches, f"{who} and no record of it was written to the log")
        if not batches:
            return
        for key in request.keys:
            self.require(any(key.encode() in batch.data for batch in batches), f"{who} and no record names {key}")
        # The last one decides: a record that was judged anew is written again.
        batch = batches[-1]
        file = tail_of(batch.event.path)
        self.require(batch.durable < answer.begin, f"{who} before its record in {file} was synced")
        self.require(batch.durable_with_all_before < answer.begin, f"{who} before an earlier record was synced")
        self.require(self.name_durable(batch.event.path, batch.event.begin) < answer.begin,
                     f"{who} before the name of {file} was synced")
        for token in self.payloads(request):
            # Small payload lies in the record.
            if token.encode() not in batch.data:
                self.check_bulk(who, request, token, batch)

    def payloads(self, request):
        """The payloads that a request made durable; answers come here in their order, so it learns from them."""
        upload = re.search("uploadId=([0-9a-f]+)", request.query)
        if request.source:
            self.kept[request.keys[0]] = self.kept[request.source]
            return self.kept[request.source]
        if upload and request.method == "POST":
            self.kept[request.keys[0]] = list(self.parts[upload.group(1)].values())
        elif upload and request.token:
            self.parts[upload.group(1)][request.query] = request.token
        elif request.token:
            self.kept[request.keys[0]] = [request.token]
        return [request.token] if request.token else []

    def check_bulk(self, who, request, token, batch):
        record = batch.event.begin
        # The same payload may have been written before, and may be again: by a copy.
        writes = [write for write in self.payload[token] if request.begin < write.event.begin < record]
        written = sum(payload_bytes(write.event.result or 0) for write in writes if write.event.end < record)
        self.require(written >= self.sizes[token], f"{who} and not all payload was written before its record")
        self.require(all(write.durable < record for write in writes), f"{who} and its payload was not synced before its record was written")
        for path in {write.event.path for write in writes}:
            self.require(self.name_durable(path, record) < record,
                         f"{who} and the name of {tail_of(path)} was not synced before its record was written")

    def read_catalogs(self):
        """Each generation is published by the first rename of one of its two copies."""
        self.catalogs = []
        for event in self.renames:
            if not re.search(r"/catalog/\d+\.[ab]$", event.to):
                continue
            made = max((made.begin for made in self.names[event.path] if made.begin < event.begin), default=0)
            writes = [write for write in self.writes[event.path] if made < write.event.begin < event.begin]
            self.require(writes and all(write.durable < event.begin for write in writes),
                         f"line {event.begin}: {tail_of(event.to)} was published before its bytes were synced")
            data = b"".join(write.event.data() for write in writes)
            durable = self.durable(os.path.dirname(event.to), event.end)
            catalog = Catalog(data, event, durable)
            if all(known.generation != catalog.generation for known in self.catalogs):
                self.catalogs.append(catalog)

    def check_catalog(self, catalog):
        when = catalog.event.begin
        root = os.path.dirname(os.path.dirname(catalog.event.to))
        for file in sorted(catalog.files | catalog.bulks):
            path = f"{root}/{file}"
            who = f"line {when}: generation {catalog.generation} was published before {file}"
            self.require(self.names[path], f"{who} was made")
            self.require(self.name_durable(path, when) < when, f"{who} had its name synced")
            if file in catalog.files:
                self.require(all(write.durable < when for write in self.writes[path]), f"{who} had its bytes synced")

    def check_removal(self, event):
        """Nothing goes that a generation names which the next start may find."""
        published = [catalog for catalog in self.catalogs if catalog.event.begin < event.begin]
        durable = [catalog for catalog in published if catalog.durable < event.begin]
        floor = max(durable, key=lambda catalog: catalog.generation, default=None)
        findable = [catalog for catalog in published if floor is None or catalog.generation >= floor.generation]
        file = tail_of(event.path)
        who = f"line {event.begin}: {file} was removed or reused"
        for catalog in findable:
            self.require(file not in catalog.files | catalog.bulks, f"{who} while generation {catalog.generation} named it")
        if file.endswith(".log"):
            ends = [batch.end for batch in self.batches if batch.event.path == event.path and batch.event.begin < event.begin]
            below = floor.next if floor else 0
            self.require(max(ends, default=0) <= below, f"{who} while only what is below {below} was durably published")
        if found := re.fullmatch(r"catalog/(\d+)\.[ab]", file):
            self.require(floor and int(found.group(1)) < floor.generation, f"{who} while no newer generation was durable")

