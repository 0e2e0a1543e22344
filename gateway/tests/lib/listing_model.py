"""A bucket's content, and what S3's listings must say of it, written so plainly that the model is obviously right.

A listing is the bucket's entries in order: those that begin with the prefix and lie after the marker, keys under a
common prefix told as one, up to a number. Keys are ordered as UTF-8, which for Python's texts is their own order.
"""
import collections
import dataclasses


@dataclasses.dataclass(eq=False)
class Version:
    """A version of a key; also a part of an upload, whose id is its number. A delete marker has no entity tag."""

    id: str
    etag: str = None
    size: int = None
    # The time that the first listing told; all others must tell the same.
    told: str = None


@dataclasses.dataclass(eq=False)
class Upload:
    key: str
    parts: dict
    told: str = None


class Bucket:
    """Keys with their versions, newest first; and uploads under way by their ids."""

    def __init__(self, name):
        self.name, self.versioning, self.keys, self.uploads = name, "Off", {}, {}

    def put(self, key, id, etag, size):
        self.add(key, Version(id, etag, size))

    def delete(self, key, id):
        """A delete that names no version."""
        if self.versioning == "Off":
            self.keys.pop(key, None)
        else:
            self.add(key, Version(id))

    def add(self, key, version):
        """A key has one version `null` at most: a new one takes the old one's place, wherever that was."""
        if version.id == "null":
            self.remove(key, "null")
        self.keys.setdefault(key, []).insert(0, version)

    def remove(self, key, id):
        left = [version for version in self.keys.pop(key, []) if version.id != id]
        if left:
            self.keys[key] = left

    def objects(self):
        """Current objects, by key."""
        return [(key, self.keys[key][0]) for key in sorted(self.keys) if self.keys[key][0].etag]

    def versions(self):
        """All versions and delete markers, by key, newest first."""
        return [(key, version) for key in sorted(self.keys) for version in self.keys[key]]

    def open_uploads(self):
        """By key. Amazon tells those of one key in the order in which they were begun, the store by their ids."""
        return sorted((upload.key, id) for id, upload in self.uploads.items())


def common_prefix(key, prefix, delimiter):
    """The common prefix that a key is listed as; None where the key stands for itself."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return None if at < 0 else key[:at + len(delimiter)]


# Where a listing begins: whether an entry lies beyond what was told.

def after_nothing(key, entry):
    return True


def after_key(marker):
    return lambda key, entry: key > marker


def after_prefix(marker):
    return lambda key, entry: key > marker and not key.startswith(marker)


def after_marker(marker, prefix, delimiter):
    """A marker within a common prefix stands for all keys under the prefix, which was told with an earlier one."""
    common = common_prefix(marker, prefix, delimiter) if marker.startswith(prefix) else None
    return after_key(marker) if common is None else after_prefix(common)


def after_version(marker, version, bucket):
    """Older versions of the same key are still to come."""
    def is_after(key, entry):
        places = bucket.keys[key]
        return key > marker or (key == marker and places.index(entry) > places.index(version))
    return is_after


def after_upload(marker, id):
    return lambda key, entry: (key, entry) > (marker, id)


Page = collections.namedtuple("Page", "listed prefixes is_truncated last")


def page(entries, prefix, delimiter, is_after, most):
    """Keys with their entries, common prefixes, whether more would follow, and what the page ends with: a key and its
    entry, or a common prefix and nothing."""
    listed, prefixes, last = [], [], None
    for key, entry in entries:
        if not key.startswith(prefix) or not is_after(key, entry):
            continue
        common = common_prefix(key, prefix, delimiter)
        if common is not None and common in prefixes[-1:]:
            continue
        if len(listed) + len(prefixes) == most:
            # A page that may hold nothing is no beginning of a walk.
            return Page(listed, prefixes, most > 0, last)
        if common is None:
            listed.append((key, entry))
            last = (key, entry)
        else:
            prefixes.append(common)
            last = (common, None)
    return Page(listed, prefixes, False, last)
