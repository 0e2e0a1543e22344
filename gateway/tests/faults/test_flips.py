"""One flipped bit at a time in the files of a real store, and the real binary over it, see `lib/damage.py`.

A flip in a segment, manifest, key index or bulk file does not stop the server, and one in a block of payload concerns the
objects of that block only. `query/simulation/tests/it/flips.rs` goes over every byte in memory; this takes a sample, evenly over the
kinds of files.

Left out: `LOCK` is empty. A flip in `credentials` changes who may ask, and the server cannot know: there, and only there,
a refused signature is a good answer. A name that is stored beside the bytes (of a file, a folder) is the file system's
affair.
"""
import random
import re
import struct

import pytest

from lib.damage import Damage, Wrong

FRAME = 65_536
KINDS = ["bulk", "catalog", "credentials", "identity", "keys", "log", "log zeros", "mark", "more", "parquet", "segment", "state", "sums", "tags"]


def blocks(segment):
    """The blocks of a segment: begin, end, number of objects (docs/formats/segment.md)."""
    at, found = 0, []
    while at < len(segment):
        stored, objects = struct.unpack_from("<II", segment, at + 28)
        found.append((at, at + 60 + stored, objects))
        at = found[-1][1]
    return found


class Flip(Damage):
    """One flipped bit."""

    def __init__(self, image, kind, chance):
        places = image.places(kind)
        path, begin, end = chance.choices(places, [end - begin for _, begin, end in places])[0]
        super().__init__(image, kind, path)
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

    def check_lost(self, lost):
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


def test_every_kind_of_file_is_known(made):
    assert made.kinds() == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_flipped_bit_costs_what_it_touches_and_errors_name_it(made, sizes, seed, tell, count, kind):
    flips = []
    for number in range(KINDS.index(kind), sizes.samples, len(KINDS)):
        chance = random.Random(f"{seed} {number}")
        flips.append(Flip(chance.choice([image for image in made.images if image.places(kind)]), kind, chance))
    # Folded records are not needed from the log any more, so there the two stores differ.
    groups = [[flip for flip in flips if flip.image is image] for image in made.images] if kind == "log" else [flips]
    failed = []
    for group in filter(None, groups):
        tally, wrong = made.try_all(group)
        failed += wrong
        tell(f"{tally}{f' ({group[0].image.name})' if kind == 'log' else ''}")
    count("flipped bits", len(flips))
    assert not failed, "\n".join(failed)
