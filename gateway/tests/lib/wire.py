"""PostgreSQL's protocol, message by message: for tests that send what no driver would."""
import base64
import hashlib
import hmac
import socket
import struct

from lib.server import ACCESS_KEY, SECRET_KEY


def message(kind, body):
    return kind + struct.pack("!i", len(body) + 4) + body


def startup(user):
    body = b"user\0" + user.encode() + b"\0database\0siltstone\0\0"
    return struct.pack("!ii", len(body) + 8, 196608) + body


def query(text):
    return message(b"Q", text.encode() + b"\0")


def extended(text, name=b"", portal=b""):
    return (message(b"P", name + b"\0" + text.encode() + b"\0\0\0") + message(b"B", portal + b"\0" + name + b"\0\0\0\0\0\0\0")
            + message(b"D", b"P" + portal + b"\0") + message(b"E", portal + b"\0\0\0\0\0") + message(b"S", b""))


def first_of_scram():
    return message(b"p", b"SCRAM-SHA-256\0" + struct.pack("!i", 3 + len(b"n=,r=abcdefgh")) + b"n,,n=,r=abcdefgh")


def proof_of_scram(question, secret):
    """The client's last message, for what the server asked."""
    told = dict(pair.split("=", 1) for pair in question.decode().split(","))
    salted = hashlib.pbkdf2_hmac("sha256", secret.encode(), base64.b64decode(told["s"]), int(told["i"]))
    key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    final = b"c=biws,r=" + told["r"].encode()
    signed = b"n=,r=abcdefgh," + question + b"," + final
    signature = hmac.new(hashlib.sha256(key).digest(), signed, hashlib.sha256).digest()
    return message(b"p", final + b",p=" + base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))))


WRONG = message(b"p", b"c=biws,r=whatever,p=" + base64.b64encode(b"x" * 32))


class Talk:
    """A connection, message by message."""

    def __init__(self, port, timeout=120):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, data):
        try:
            self.socket.sendall(data)
            return True
        except OSError:
            return False

    def exactly(self, count):
        got = b""
        while len(got) < count:
            try:
                some = self.socket.recv(count - len(got))
            except ConnectionError:
                return None
            if not some:
                return None
            got += some
        return got

    def next(self):
        """The next message; none where the server has hung up."""
        head = self.exactly(5)
        if head is None:
            return None
        body = self.exactly(struct.unpack("!i", head[1:])[0] - 4)
        return None if body is None else (head[:1], body)

    def until(self, kinds):
        """All messages up to one of some kinds, or to the end."""
        got = []
        while True:
            one = self.next()
            if one is None:
                return got
            got.append(one)
            if one[0] in kinds:
                return got

    def rest(self, seconds):
        """Reads and forgets what comes, for a while."""
        self.socket.settimeout(seconds)
        try:
            while self.socket.recv(1 << 16):
                pass
        except OSError:
            pass

    def log_in(self, user=ACCESS_KEY, secret=SECRET_KEY):
        self.send(startup(user))
        self.next()
        self.send(first_of_scram())
        kind, body = self.next()
        self.send(proof_of_scram(body[4:], secret))
        got = self.until([b"Z", b"E"])
        if not got or got[-1][0] != b"Z":
            raise ConnectionError(f"a login with good keys fails: {got}")
        return self


def kinds(messages):
    return b"".join(kind for kind, _ in messages).decode()


def code(messages):
    """The code of the first error."""
    for kind, body in messages:
        if kind == b"E":
            return next(field[1:] for field in body.split(b"\0") if field[:1] == b"C").decode()
    return None
