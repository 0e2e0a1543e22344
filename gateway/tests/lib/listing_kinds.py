"""The five kinds of listings: which parameters are drawn, what must come, and how the next page is asked for."""
import re

from lib import listing_model as model

DELIMITERS = [None, None, None, "/", "/", "/", "/", "//", "a", "aa", "é", "🎉", " ", "&", "\x01", "\x00", "/a", "\uffff", "no such", "z"]
TIME = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Told:
    """Equal to a time, and from then on to no other."""

    def __init__(self, of):
        self.of = of

    def __eq__(self, text):
        if self.of.told is None and TIME.fullmatch(text or ""):
            self.of.told = text
        return self.of.told == text

    def __repr__(self):
        return repr(self.of.told)


class Something:
    """Equal to every text that says something: what only the store can read."""

    def __eq__(self, text):
        return bool(text)

    def __repr__(self):
        return "something"


class Listing:
    """A listing on its way through its pages. `query` asks for the next one; what is not in `is_after` was told."""

    kind = most_name = root = None

    def __init__(self, bucket, chance, keys, owner):
        self.bucket, self.owner, self.key = bucket, owner, ""
        self.query, self.is_after = dict(self.kind), model.after_nothing
        self.draw(chance, keys)

    @property
    def prefix(self):
        return self.query.get("prefix", "")

    @property
    def delimiter(self):
        return self.query.get("delimiter", "")

    @property
    def most(self):
        return min(int(self.query.get(self.most_name, 1000)), 1000)

    @property
    def is_encoded(self):
        return self.query.get("encoding-type") == "url"

    def is_lost(self):
        """Whether what the next page would begin after is gone, so that its place is unknown."""
        return False

    def draw(self, chance, keys):
        key = chance.choice(keys)
        if chance.random() < 0.6:
            self.query["prefix"] = chance.choice([key[:chance.randint(1, len(key))], key[:1], key[:1], key, "no such", "", "a/", "d/"])
        if delimiter := chance.choice(DELIMITERS):
            self.query["delimiter"] = delimiter
        most = chance.choice([None, 1, 2, 3, 5, 10, 30, 100, 999, 1000, 1001, chance.randint(0, 1000)])
        if most is not None:
            self.query[self.most_name] = str(most)
        if chance.random() < 0.5:
            self.query["encoding-type"] = "url"
        if chance.random() < 0.4:
            key = chance.choice(keys)
            self.draw_marker(chance, chance.choice([key, key[:chance.randint(1, len(key))], key + "\x00", "~~~", "d/", "d/x/"]))

    def page(self):
        return model.page(self.entries(), self.prefix, self.delimiter, self.is_after, self.most)

    def wanted(self, page):
        """What must come: plain elements and rows."""
        plain = {"Name": self.bucket.name, "Prefix": self.prefix, self.most_element: str(self.most), "IsTruncated": str(page.is_truncated).lower()}
        if self.delimiter:
            plain["Delimiter"] = self.delimiter
        if self.is_encoded:
            plain["EncodingType"] = "url"
        self.say_place(plain, page)
        return plain, [self.row(*one) for one in page.listed] + [("CommonPrefixes", {"Prefix": prefix}) for prefix in page.prefixes]

    most_element = "MaxKeys"

    def object_row(self, key, version, with_owner):
        row = {"Key": key, "LastModified": Told(version)}
        if version.etag:
            row |= {"ETag": version.etag, "Size": str(version.size), "StorageClass": "STANDARD",
                    "ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        return row | ({"Owner": self.owner} if with_owner else {})


class ObjectsV1(Listing):
    kind, most_name = {}, "max-keys"

    def draw_marker(self, chance, marker):
        self.begin_after(marker)

    def begin_after(self, marker):
        self.query["marker"], self.is_after = marker, model.after_marker(marker, self.prefix, self.delimiter)

    def entries(self):
        return self.bucket.objects()

    def say_place(self, plain, page):
        plain["Marker"] = self.query.get("marker", "")
        if page.is_truncated and self.delimiter:
            plain["NextMarker"] = page.last[0]

    def row(self, key, version):
        return "Contents", self.object_row(key, version, with_owner=True)

    def go_on(self, found, page):
        # Without a delimiter the last key is the next marker.
        self.begin_after(found.get("NextMarker", page.last[0]))


class ObjectsV2(Listing):
    kind, most_name = {"list-type": "2"}, "max-keys"

    def draw(self, chance, keys):
        super().draw(chance, keys)
        if chance.random() < 0.3:
            self.query["fetch-owner"] = chance.choice(["true", "false"])

    def draw_marker(self, chance, marker):
        # A key, even where it looks like a common prefix.
        self.query["start-after"], self.is_after = marker, model.after_key(marker)

    def entries(self):
        return self.bucket.objects()

    def say_place(self, plain, page):
        plain["KeyCount"] = str(len(page.listed) + len(page.prefixes))
        for name, element in [("start-after", "StartAfter"), ("continuation-token", "ContinuationToken")]:
            if name in self.query:
                plain[element] = self.query[name]
        if page.is_truncated:
            plain["NextContinuationToken"] = Something()

    def row(self, key, version):
        return "Contents", self.object_row(key, version, with_owner=self.query.get("fetch-owner") == "true")

    def go_on(self, found, page):
        self.query["continuation-token"] = found["NextContinuationToken"]
        last, version = page.last
        self.is_after = model.after_key(last) if version else model.after_prefix(last)


class Versions(Listing):
    kind, most_name = {"versions": ""}, "max-keys"
    after = None

    def draw_marker(self, chance, marker):
        named = list(self.entries())
        if named and chance.random() < 0.7:
            self.after = key, version = chance.choice(named)
            self.query |= {"key-marker": key, "version-id-marker": version.id}
            in_prefix = key.startswith(self.prefix) and model.common_prefix(key, self.prefix, self.delimiter)
            self.is_after = model.after_prefix(in_prefix) if in_prefix else model.after_version(key, version, self.bucket)
        else:
            self.query["key-marker"], self.is_after = marker, model.after_marker(marker, self.prefix, self.delimiter)

    def entries(self):
        return self.bucket.versions()

    def is_lost(self):
        return bool(self.after) and self.after[1] not in self.bucket.keys.get(self.after[0], [])

    def say_place(self, plain, page):
        plain |= {"KeyMarker": self.query.get("key-marker", ""), "VersionIdMarker": self.query.get("version-id-marker", "")}
        if page.is_truncated:
            plain["NextKeyMarker"], version = page.last
            if version:
                plain["NextVersionIdMarker"] = Something()

    def row(self, key, version):
        row = {"VersionId": version.id, "IsLatest": str(version is self.bucket.keys[key][0]).lower()}
        return "Version" if version.etag else "DeleteMarker", row | self.object_row(key, version, with_owner=True)

    def go_on(self, found, page):
        self.query["key-marker"], self.query["version-id-marker"] = found["NextKeyMarker"], found.get("NextVersionIdMarker", "")
        last, version = page.last
        self.after = page.last if version else None
        self.is_after = model.after_version(last, version, self.bucket) if version else model.after_prefix(last)


class Uploads(Listing):
    kind, most_name, most_element = {"uploads": ""}, "max-uploads", "MaxUploads"

    def draw_marker(self, chance, marker):
        if self.bucket.uploads and chance.random() < 0.7:
            self.query["key-marker"], self.query["upload-id-marker"] = place = chance.choice(self.bucket.open_uploads())
            self.is_after = model.after_upload(*place)
        else:
            self.query["key-marker"], self.is_after = marker, model.after_marker(marker, self.prefix, self.delimiter)

    def entries(self):
        return self.bucket.open_uploads()

    def say_place(self, plain, page):
        plain["Bucket"] = plain.pop("Name")
        plain |= {"KeyMarker": self.query.get("key-marker", ""), "UploadIdMarker": self.query.get("upload-id-marker", "")}
        if page.is_truncated:
            plain["NextKeyMarker"], plain["NextUploadIdMarker"] = page.last[0], page.last[1] or ""

    def row(self, key, id):
        return "Upload", {"Key": key, "UploadId": id, "Initiator": self.owner, "Owner": self.owner, "StorageClass": "STANDARD", "Initiated": Told(self.bucket.uploads[id])}

    def go_on(self, found, page):
        self.query["key-marker"], self.query["upload-id-marker"] = found["NextKeyMarker"], found["NextUploadIdMarker"]
        last, id = page.last
        self.is_after = model.after_upload(last, id) if id else model.after_prefix(last)


class Parts(Listing):
    kind, most_name = {}, "max-parts"

    def draw(self, chance, keys):
        self.id = self.query["uploadId"] = chance.choice(sorted(self.bucket.uploads))
        self.key = self.bucket.uploads[self.id].key
        if chance.random() < 0.8:
            self.query[self.most_name] = str(chance.choice([1, 1, 2, 3, 1000]))
        if chance.random() < 0.4:
            self.begin_after(chance.choice([0, 1, 9, 300, 9999, 10000]))

    def begin_after(self, marker):
        self.query["part-number-marker"] = str(marker)

    def is_lost(self):
        return self.id not in self.bucket.uploads

    def page(self):
        marker = int(self.query.get("part-number-marker", 0))
        beyond = [(number, part) for number, part in sorted(self.bucket.uploads[self.id].parts.items()) if number > marker]
        listed = beyond[:self.most]
        return model.Page(listed, [], len(beyond) > len(listed), listed[-1] if listed else None)

    def wanted(self, page):
        plain = {"Bucket": self.bucket.name, "Key": self.key, "UploadId": self.id, "Initiator": self.owner, "Owner": self.owner, "StorageClass": "STANDARD",
                 "PartNumberMarker": self.query.get("part-number-marker", "0"), "MaxParts": str(self.most), "IsTruncated": str(page.is_truncated).lower()}
        if page.last:
            plain["NextPartNumberMarker"] = str(page.last[0])
        return plain, [("Part", {"PartNumber": str(number), "LastModified": Told(part), "ETag": part.etag, "Size": str(part.size), "ChecksumCRC64NVME": Something()}) for number, part in page.listed]

    def go_on(self, found, page):
        self.begin_after(int(found["NextPartNumberMarker"]))


# With how often each is drawn.
KINDS = {ObjectsV1: 25, ObjectsV2: 28, Versions: 25, Uploads: 16, Parts: 6}
