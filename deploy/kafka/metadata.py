"""Asks one broker what it believes: which brokers live, who leads which partition, who is in step.

The answer is that broker's view and may be stale: a leader that was cut off goes on naming itself. Ask several where it
matters. This speaks just the one request of Kafka's protocol that is needed (Metadata, version 1), so that a test can
ask many times a second without a Java process each time.
"""
import dataclasses
import socket
import struct

METADATA, VERSION = 3, 1
# Of a cluster of ours; a longer answer is not one.
ANSWER_BYTES_MAX = 16 << 20


@dataclasses.dataclass(frozen=True)
class Partition:
    """One partition as a broker sees it; `leader` is -1 where there is none."""

    leader: int
    replicas: tuple
    in_step: tuple


@dataclasses.dataclass(frozen=True)
class View:
    """What one broker answered: the ids of living brokers, and topic name -> partition number -> `Partition`."""

    brokers: tuple
    topics: dict


class Reader:
    """Takes an answer apart."""

    def __init__(self, body):
        self.body, self.position = body, 0

    def take(self, form):
        values = struct.unpack_from(">" + form, self.body, self.position)
        self.position += struct.calcsize(">" + form)
        return values if len(values) > 1 else values[0]

    def text(self):
        length = self.take("h")
        if length < 0:
            return None
        start, self.position = self.position, self.position + length
        return self.body[start:self.position].decode()

    def many(self, one):
        return tuple(one() for _ in range(self.take("i")))

    def number(self):
        return self.take("i")


def receive(connection, length):
    body = b""
    while len(body) < length:
        piece = connection.recv(length - len(body))
        if not piece:
            raise ConnectionError("the broker closed the connection")
        body += piece
    return body


def ask(address, timeout=2):
    """The view of the broker at `host:port`. Raises OSError where it does not answer in time."""
    host, port = address.rsplit(":", 1)
    client = b"siltstone-test"
    # Correlation 0, then the client's name; topics: null, which means all.
    request = struct.pack(f">hhih{len(client)}si", METADATA, VERSION, 0, len(client), client, -1)
    with socket.create_connection((host, int(port)), timeout) as connection:
        connection.settimeout(timeout)
        connection.sendall(struct.pack(">i", len(request)) + request)
        length, = struct.unpack(">i", receive(connection, 4))
        if not 0 <= length <= ANSWER_BYTES_MAX:
            raise OSError(f"{address} is no Kafka broker")
        return parse(receive(connection, length))


def parse(body):
    reader = Reader(body)
    reader.number()  # the correlation

    def broker():
        member = reader.number()
        reader.text(), reader.number(), reader.text()  # host, port, rack
        return member

    def partition():
        _, number, leader = reader.take("hii")
        return number, Partition(leader, reader.many(reader.number), reader.many(reader.number))

    def topic():
        _, name, _ = reader.take("h"), reader.text(), reader.take("b")
        return name, dict(reader.many(partition))

    brokers = reader.many(broker)
    reader.number()  # the controller; KRaft names any broker here
    return View(tuple(sorted(brokers)), dict(reader.many(topic)))
