"""Hostile requests as data: the bytes of a request on a socket, and all that must hold afterwards.

A `Row` says how the request is made (`Ask`, or `Raw` bytes), which responses the server sends, whether the connection
stays open, and which objects differ afterwards. The tables are in `lib/hostile_*.py`.
"""
import dataclasses
import datetime
import hashlib
import hmac
import re
import socket
import typing

from lib.server import ACCESS_KEY, SECRET_KEY
from lib.signing import sign

BUCKET = "hostile"
KEPT = b"kept"
EMPTY = hashlib.sha256(b"").hexdigest()
UNSIGNED = "UNSIGNED-PAYLOAD"
CHUNKED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"
CHUNKED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"
CHUNKED_UNSIGNED = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
# The length of the body that is really sent.
SENT = "sent"
# The time that a server has for all its responses to one row, in seconds.
PATIENCE = 15
# The time in which a server would send a response that no one asked for, in seconds.
SURPLUS = 0.04


def at(**offset):
    """The time of a signature, away from now."""
    return datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(**offset)


@dataclasses.dataclass(frozen=True)
class Place:
    """What a request can be made of: addresses, keys, and the id of an open upload of the key `open`."""

    host: str
    upload: str
    foreign_upload: str

    def filled(self, text):
        """A text or bytes with the names of this place in their places."""
        for name in ["host", "upload", "foreign_upload"]:
            mark, value = "{" + name + "}", getattr(self, name)
            text = text.replace(mark.encode(), value.encode()) if isinstance(text, bytes) else text.replace(mark, value)
        return text


class ChunkSigner:
    """Signs the chunks of a body, each with the signature of the one before."""

    def __init__(self, signature, key, stamp, scope):
        self.previous, self.key, self.stamp, self.scope = signature, key, stamp, scope

    def chain(self, kind, *hashes):
        text = "\n".join([kind, self.stamp, self.scope, self.previous, *hashes])
        self.previous = hmac.new(self.key, text.encode(), hashlib.sha256).hexdigest()
        return self.previous

    def signature(self, data):
        return self.chain("AWS4-HMAC-SHA256-PAYLOAD", EMPTY, hashlib.sha256(data).hexdigest())

    def chunk(self, data, size=None, end=b"\r\n"):
        return (b"%x" % len(data) if size is None else size) + b";chunk-signature=" + self.signature(data).encode() + b"\r\n" + data + end

    def trailer(self, line):
        canonical = hashlib.sha256(line + b"\n").hexdigest()
        signature = self.chain("AWS4-HMAC-SHA256-TRAILER", canonical)
        return line + b"\r\nx-amz-trailer-signature:" + signature.encode() + b"\r\n\r\n"


@dataclasses.dataclass(frozen=True)
class Ask:
    """A request, by default a signed PUT of b"abc" that would be accepted, with what is wrong with it.

    `headers` are signed, `lines` follow them unsigned and as they are. `path` is what is signed where that is not the
    target. `chunks` makes the body from a `ChunkSigner`. `edit` changes the finished bytes. Behind them comes `after`,
    and then the sending side is closed if `ends`.
    """

    method: str = "PUT"
    target: str = f"/{BUCKET}/new"
    headers: dict = dataclasses.field(default_factory=dict)
    body: bytes = b"abc"
    payload: str | None = None
    length: int | str | None = SENT
    lines: tuple = ()
    path: str | None = None
    signs: dict = dataclasses.field(default_factory=dict)
    is_signed: bool = True
    host: str | None = None
    chunks: typing.Callable | None = None
    edit: typing.Callable | None = None
    after: bytes = b""
    ends: bool = False

    def bytes(self, place):
        headers = {name: place.filled(value) for name, value in {"host": self.host or place.host, **self.headers}.items()}
        target, path = place.filled(self.target), place.filled(self.path or self.target)
        body, lines = place.filled(self.body), [place.filled(line) for line in self.lines]
        if self.is_signed:
            payload = self.payload or hashlib.sha256(body).hexdigest()
            how = {name: value() if callable(value) else value for name, value in self.signs.items()}
            headers, *signed = sign(self.method, path, headers, payload, **how)
            if self.chunks:
                body = self.chunks(ChunkSigner(*signed))
        if self.length is not None:
            lines.insert(0, b"content-length: %d" % (len(body) if self.length == SENT else self.length))
        lines = [f"{name}: {value}".encode() for name, value in headers.items()] + lines
        head = b"\r\n".join([f"{self.method} {target} HTTP/1.1".encode(), *lines, b"", b""])
        whole = head + body
        return (self.edit(whole) if self.edit else whole) + (self.after.bytes(place) if isinstance(self.after, Ask) else place.filled(self.after))

    @property
    def methods(self):
        return [self.method, self.after.method] if isinstance(self.after, Ask) else [self.method]


@dataclasses.dataclass(frozen=True)
class Raw:
    """The bytes of a request as they are, but for the names of the place."""

    text: bytes
    ends: bool = False
    methods: tuple = ("GET",)

    def bytes(self, place):
        return place.filled(self.text)


@dataclasses.dataclass(frozen=True)
class Row:
    """A hostile request.

    `answers` are the responses in order, each a status, or a status and an S3 code, with `|` between those that are
    right; none means that the connection is closed without a response. `stays` says whether the connection is open
    afterwards; `None` where both are right. `writes` are the objects that exist afterwards and did not before.
    """

    name: str
    reason: str
    ask: Ask | Raw
    answers: tuple | str
    stays: bool | None = None
    writes: dict = dataclasses.field(default_factory=dict)

    @property
    def wanted(self):
        return (self.answers,) if isinstance(self.answers, str) else tuple(self.answers)


@dataclasses.dataclass(frozen=True)
class Got:
    """One response of the server."""

    status: int
    headers: dict
    body: bytes

    @property
    def code(self):
        found = re.search(rb"<Code>(.*?)</Code>", self.body)
        return found.group(1).decode() if found else None

    def is_wanted(self, wanted):
        for choice in wanted.split("|"):
            status, _, code = choice.strip().partition(" ")
            if int(status) == self.status and code in ("", self.code):
                return True
        return False

    def __str__(self):
        return f"{self.status} {self.code or self.body[:120]}"


class Conversation:
    """One connection on which a row is sent: reads whole responses, and knows what is left over."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer, self.is_closed = b"", False

    def send(self, ask, place):
        try:
            self.socket.sendall(ask.bytes(place))
            if ask.ends:
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            # Refused before the end; the response is still there to be read.
            pass

    def more(self, wait):
        """Receives more; false when the server has closed or nothing came in time."""
        if self.is_closed:
            return False
        self.socket.settimeout(wait)
        try:
            piece = self.socket.recv(65536)
        except TimeoutError:
            return False
        except OSError:
            piece = b""
        self.is_closed = not piece
        self.buffer += piece
        return not self.is_closed

    def response(self, method):
        """The next whole response, or `None` if the connection ends or stays silent before."""
        while b"\r\n\r\n" not in self.buffer:
            if not self.more(PATIENCE):
                return None
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = int(first.split(" ")[1])
        has_body = method != "HEAD" and status >= 200 and status not in (204, 304)
        length = int(headers.get("content-length", 0)) if has_body else 0
        self.buffer = rest
        while len(self.buffer) < length:
            if not self.more(PATIENCE):
                return None
        body, self.buffer = self.buffer[:length], self.buffer[length:]
        return Got(status, headers, body)

    def is_open(self):
        """Returns whether the connection is open after the last response, and nothing more has come."""
        self.more(SURPLUS)
        return not self.is_closed

    def close(self):
        self.socket.close()


def converse(port, place, row):
    """Sends a row; returns the responses and whether the connection is open after them, and fails for surplus bytes."""
    talk = Conversation(port)
    try:
        talk.send(row.ask, place)
        methods = list(row.ask.methods)
        got = []
        for index, _ in enumerate(row.wanted):
            response = talk.response(methods[min(index, len(methods) - 1)])
            if response is None:
                break
            got.append(response)
        if row.stays is False or not row.wanted:
            # The connection must end, and not stay silent.
            while talk.more(PATIENCE):
                pass
            is_open = not talk.is_closed
        else:
            is_open = talk.is_open()
        surplus = talk.buffer
    finally:
        talk.close()
    return got, is_open, surplus


def is_user(access=ACCESS_KEY, secret=SECRET_KEY):
    """How a request is signed by a user."""
    return {"access": access, "secret": secret}
