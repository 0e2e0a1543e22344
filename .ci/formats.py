#!/usr/bin/env python3
"""Reads the golden records by their page alone: docs/formats/record.md must give every field, its width and its order.

    python3 .ci/formats.py

Each line of ingest/tests/golden/records-v3.hex is taken apart by the tables "Head", "Kinds" and "Pieces". A page that says
another width, order or number than the code writes leaves bytes over, or has too few.
"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PAGE, GOLDEN = ROOT / "docs/formats/record.md", ROOT / "ingest/tests/golden/records-v3.hex"
WIDTHS = {"u8": 1, "u16": 2, "u32": 4, "u64": 8, "i64": 8}
FIELD = re.compile(r"(?:(.+) )?(u8|u16|u32|u64|i64|varint|text|bytes|\d+)")
CASE = re.compile(r"(\d+) [^,(]*(?:\(([^)]*)\))?")


class Drift(Exception):
    """The page and the bytes differ."""


def table(page, title):
    """The rows of the first table below a heading, without its head."""
    part = page.split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0]
    rows = [line.strip().strip("|").split("|") for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in row] for row in rows[2:]]


def fields(text):
    """The fields of a list, split at its commas outside parentheses."""
    found, depth = [""], 0
    for character in text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            found.append("")
        else:
            found[-1] += character
    return [field.strip() for field in found]


def layout(cell):
    """A cell without what it explains."""
    return cell if cell.startswith("u8: ") else re.split(r": |\. ", cell)[0]


class Page:
    def __init__(self, text):
        self.head = [(width, name.split(":")[0]) for width, name in table(text, "Head")]
        self.kinds = {int(number): (name, layout(body)) for number, name, body in table(text, "Kinds")}
        self.pieces = {name: layout(cell) for name, cell in table(text, "Pieces")}
        # A name that has its type once has it everywhere.
        typed = [FIELD.fullmatch(field) for _, body in self.kinds.values() for field in fields(body)]
        self.types = {found[1]: found[2] for found in typed if found and found[1]}

    def record(self, data):
        """Takes a record apart; returns the name of its kind."""
        reader = Reader(data)
        values = {name: reader.primitive(width) for width, name in self.head}
        name, body = self.kinds[int.from_bytes(values["kind"], "little")]
        self.take(reader, body)
        if reader.at != len(data):
            raise Drift(f"{name}: {len(data) - reader.at} bytes are left behind what the page says")
        return name

    def take(self, reader, body):
        present = True
        for field in fields(body):
            if field == "none":
                continue
            conditional = field.endswith(" if present")
            if conditional and not present:
                continue
            value = self.field(reader, field.removesuffix(" if present"))
            if field == "present u8":
                present = value != b"\0"

    def field(self, reader, field):
        items = re.fullmatch(r"list of \((.*)\)", field)
        if items:
            for _ in range(reader.varint()):
                self.take(reader, items[1])
            return None
        found = FIELD.fullmatch(field)
        if found:
            return reader.primitive(found[2])
        if field in self.pieces:
            return self.piece(reader, field)
        if field in self.types:
            return reader.primitive(self.types[field])
        raise Drift(f"the page does not say what {field!r} is")

    def piece(self, reader, name):
        text = self.pieces[name]
        if not text.startswith("u8: "):
            return self.take(reader, text)
        cases = {int(found[1]): found[2] for found in map(CASE.match, fields(text.removeprefix("u8: "))) if found}
        number = reader.primitive("u8")[0]
        if number not in cases:
            raise Drift(f"{name}: the page has no case {number}")
        if cases[number]:
            self.take(reader, cases[number])


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def raw(self, count):
        if self.at + count > len(self.data):
            raise Drift(f"the bytes end {self.at + count - len(self.data)} before the fields of the page")
        self.at += count
        return self.data[self.at - count:self.at]

    def varint(self):
        value, shift = 0, 0
        while True:
            byte = self.raw(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def primitive(self, kind):
        if kind == "varint":
            return self.varint()
        if kind in ("bytes", "text"):
            data = self.raw(self.varint())
            return data.decode() if kind == "text" else data
        return self.raw(WIDTHS.get(kind) or int(kind))


def drifts(page, records):
    """The faults of a page against records, and the kinds that were read."""
    faults, read = [], set()
    for line, record in enumerate(records, 1):
        try:
            read.add(page.record(bytes.fromhex(record)))
        except (Drift, UnicodeDecodeError, KeyError) as fault:
            faults.append(f"record {line}: {fault!r}")
    return faults, read


def seeded(text, records):
    """The changes of the page that go unnoticed: each field of a kind gets another width."""
    unnoticed = []
    other = {"u16": "u32", "u32": "u64", "u64": "u32", "i64": "u32", "16": "24"}
    for found in re.finditer(r"(?<=[ (])(u16|u32|u64|i64|16)(?=[,:|) ])", text.split("\n## Kinds\n")[1].split("## Limits")[0]):
        start = text.index("\n## Kinds\n") + len("\n## Kinds\n") + found.start()
        changed = text[:start] + other[found[1]] + text[start + len(found[1]):]
        row = text.rfind("\n", 0, start) + 1
        if text[row:].startswith(("| entry value", "| place")):
            continue  # pieces of segments, not of records
        if not drifts(Page(changed), records)[0]:
            unnoticed.append(text[row:text.index("\n", row)])
    return unnoticed


def main():
    text, records = PAGE.read_text(), GOLDEN.read_text().split()
    page = Page(text)
    faults, read = drifts(page, records)
    faults += [f"no golden record of {name}" for name, _ in page.kinds.values() if name not in read]
    faults += [f"another width goes unnoticed in: {row}" for row in seeded(text, records)]
    print("\n".join(faults) or f"{len(records)} records of {len(read)} kinds are as record.md says")
    return bool(faults)


if __name__ == "__main__":
    sys.exit(main())
