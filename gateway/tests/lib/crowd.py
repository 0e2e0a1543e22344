"""Many connections that do nothing, or next to nothing, in a process of their own.

    python -m lib.crowd PORT '{"idle": 1500, "heads": 150, "bodies": 150, "readers": 150}'

They open idle connections, send halves of heads and bodies drop by drop, request objects and do not read them, and open
anew what is closed. A line on the standard output says that all have come.
"""
import json
import resource
import selectors
import socket
import sys
import time

from lib.requests import head
from lib.signing import sign

# Connections that a crowd opens anew each second, at the most.
ANEW = 200


class Crowd:
    """Connections of each kind to one port."""

    def __init__(self, port, wanted):
        self.port, self.wanted = port, wanted
        self.selector = selectors.DefaultSelector()
        self.open = {kind: set() for kind in wanted}
        self.closed = dict.fromkeys(wanted, 0)

    def join(self, kind):
        client = socket.socket()
        if kind == "readers":
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(10)
        client.connect(("127.0.0.1", self.port))
        if kind == "heads":
            client.send(b"GET /bucket/small HTTP/1.1\r\nHost: x\r\nX-Long: ")
        elif kind == "bodies":
            client.send(self.head("PUT", "/bucket/slow", **{"content-length": "1000000"}) + b"drop")
        elif kind == "readers":
            client.send(self.head("GET", "/bucket/big"))
        client.setblocking(False)
        self.open[kind].add(client)
        # Readers do not read; all others learn when they have been closed.
        if kind != "readers":
            self.selector.register(client, selectors.EVENT_READ, kind)

    def head(self, method, path, **headers):
        signed, *_ = sign(method, path, {"host": f"127.0.0.1:{self.port}"}, "UNSIGNED-PAYLOAD")
        return head(method, path, {**signed, **headers})

    def leave(self, client, kind):
        if kind != "readers":
            self.selector.unregister(client)
        self.open[kind].discard(client)
        self.closed[kind] += 1
        client.close()

    def watch(self, wait):
        for key, _ in self.selector.select(wait):
            try:
                if key.fileobj.recv(4096):
                    continue
            except OSError:
                pass
            self.leave(key.fileobj, key.data)

    def drop(self):
        """A byte more of each head and body."""
        for kind in ["heads", "bodies"]:
            for client in list(self.open[kind]):
                try:
                    client.send(b"x")
                except OSError:
                    self.leave(client, kind)

    def run(self):
        for kind, count in self.wanted.items():
            for number in range(count):
                try:
                    self.join(kind)
                except OSError:
                    self.closed[kind] += 1
                if number % 50 == 0:
                    self.watch(0)
        print("all came", flush=True)
        while True:
            began = time.monotonic()
            self.drop()
            for _ in range(ANEW):
                kind = max(self.wanted, key=lambda kind: self.wanted[kind] - len(self.open[kind]))
                if len(self.open[kind]) >= self.wanted[kind]:
                    break
                try:
                    self.join(kind)
                except OSError:
                    self.closed[kind] += 1
                self.watch(0)
            while (left := began + 1 - time.monotonic()) > 0:
                self.watch(left)


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    Crowd(int(sys.argv[1]), json.loads(sys.argv[2])).run()
