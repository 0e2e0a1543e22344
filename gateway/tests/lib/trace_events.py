"""Reads what strace wrote: system calls as events, with the places where they began and ended.

A place is a line number. strace holds a thread at every stop until it has written the line, so whatever
happened before something else stands before it in the file, whichever threads they were.
"""
import ast
import dataclasses
import functools
import re

CALLS = ("openat,open,creat,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate,write,"
         "pwrite64,writev,pwritev,pwritev2,sendto,sendmsg,recvfrom,recvmsg,read,readv,fsync,fdatasync")

LINE = re.compile(r"(\d+) +\d+\.\d+ (.*)")
CALL = re.compile(r"(\w+)\((.*)\) += (-?\d+|\?)(.*)", re.S)
HANDLE = re.compile(r"(\d+)<((?:TCP|TCPv6|UNIX[^:]*):\[.*?\]|[^>]*)>")
RESUMED = re.compile(r"<\.\.\. (\w+) resumed>")


@dataclasses.dataclass(frozen=True)
class Event:
    """One system call. `path` is the file, folder or connection behind its handle, or the name it is given."""
    begin: int
    end: int
    name: str
    path: str
    # The second name of a rename.
    to: str
    # Arguments as printed.
    text: str
    # What it returned; none when the process was killed before.
    result: int | None

    def is_done(self):
        return self.result is not None and self.result >= 0

    def begins_with(self, *words):
        """Whether the data begin so; for words without anything that strace escapes."""
        return self.text.startswith(words, self.text.find('"') + 1)

    def data(self):
        """The first bytes that are printed; cut short where strace cut them."""
        first, last = self.text.find('"'), self.text.rfind('"')
        return unescape(self.text[first + 1:last]) if 0 <= first < last else b""


@functools.cache
def unescape(text):
    return ast.literal_eval('b"' + text + '"')


def read(path, first=0):
    """The events of one trace, in order of their beginnings. Places count from `first`."""
    begun, events = {}, []
    place = first
    with open(path, encoding="latin-1", newline="\n") as lines:
        for place, line in enumerate(lines, first + 1):
            thread, text = LINE.fullmatch(line.rstrip("\n")).groups()
            if text.endswith("<unfinished ...>"):
                begun[thread] = (place, text[:-len("<unfinished ...>")].rstrip(" "))
            elif resumed := RESUMED.match(text):
                began, start = begun.pop(thread)
                add(events, began, place, start + text[resumed.end():])
            else:
                add(events, place, place, text)
    # A call that a kill cut off may have been done, or not.
    for began, start in begun.values():
        add(events, began, place, start + ") = ?")
    return sorted(events, key=lambda event: event.begin), place + 1


def add(events, begin, end, text):
    parsed = CALL.fullmatch(text)
    if not parsed:
        return
    name, arguments, result, _ = parsed.groups()
    names = []
    if name.startswith(("open", "creat", "mkdir", "rename", "unlink")):
        names = [unescape(found).decode() for found in re.findall(r'"((?:[^"\\]|\\.)*)"', arguments)]
    handle = HANDLE.match(arguments)
    path = names[0] if names else handle.group(2) if handle else ""
    result = None if result == "?" else int(result)
    events.append(Event(begin, end, name, path, names[1] if len(names) > 1 else "", arguments, result))
