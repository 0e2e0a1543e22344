"""Load on one server in an open loop: requests are sent at their times, whatever became of those before.

    python -m lib.overload PORT RATE SECONDS DEADLINE [CLOSED]

Requests are small PUTs and GETs in turn, signed beforehand, so that one process can send many. A request counts as good if its
response is 200 and comes within the deadline; the client gives up one whose deadline is over, and closes its connection. With
`CLOSED` connections instead of a rate, each sends its next request when the last was answered. The result is a line of JSON.
"""
import collections
import heapq
import json
import resource
import selectors
import socket
import sys
import time

from lib.requests import head
from lib.signing import sign

BODY = b"x" * 1024
# Requests that are signed beforehand.
SIGNED = 400
# The most connections at a time; a request without one is given up at once.
CONNECTIONS_MAX = 3000


def requests(port):
    """The bytes of requests, PUT and GET in turn."""
    made = []
    for number in range(SIGNED):
        method, path = ("PUT", "GET")[number % 2], f"/bucket/k{number // 2}"
        headers, *_ = sign(method, path, {"host": f"127.0.0.1:{port}"}, "UNSIGNED-PAYLOAD")
        if method == "PUT":
            headers["content-length"] = str(len(BODY))
        made.append(head(method, path, headers) + (BODY if method == "PUT" else b""))
    return made


class Link:
    """A connection, with the request that is under way on it."""

    def __init__(self, port):
        self.socket = socket.socket()
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))
        self.began = self.left = None
        self.out = self.got = b""
        self.status, self.closes = 0, False

    def begin(self, data, began):
        self.began, self.out, self.got, self.left = began, data, b"", None

    def flush(self):
        """Sends what is left; false if the connection is broken."""
        try:
            sent = self.socket.send(self.out)
            self.out = self.out[sent:]
        except BlockingIOError:
            pass
        except OSError:
            # A connection that is not there yet is tried again; a broken one is seen by its read.
            return self.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
        return True

    def receive(self):
        """Reads; returns whether the response is whole, or `None` if the connection is broken."""
        try:
            piece = self.socket.recv(65536)
        except BlockingIOError:
            return False
        except OSError:
            return None
        if not piece:
            return None
        if self.left is None:
            self.got += piece
            end = self.got.find(b"\r\n\r\n")
            if end < 0:
                return False
            text = self.got[:end].lower()
            self.status = int(text[9:12])
            self.closes = b"connection: close" in text
            begin = text.find(b"content-length: ")
            length = int(text[begin + 16:].split(b"\r\n", 1)[0]) if begin >= 0 else 0
            self.left = length - (len(self.got) - end - 4)
        else:
            self.left -= len(piece)
        return self.left <= 0


class Load:
    """An open loop of a rate, or a closed one of some connections."""

    def __init__(self, port, deadline):
        self.port, self.deadline, self.requests = port, deadline, requests(port)
        self.selector = selectors.EpollSelector()
        self.idle, self.open, self.due = [], 0, []
        self.number = 0
        self.results, self.times = collections.Counter(), []

    def begin(self, now):
        self.number += 1
        if self.idle:
            link = self.idle.pop()
        elif self.open < CONNECTIONS_MAX:
            link = Link(self.port)
            self.open += 1
            self.selector.register(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)
        else:
            self.results["no connection"] += 1
            return
        link.begin(self.requests[self.number % SIGNED], now)
        heapq.heappush(self.due, (now + self.deadline, self.number, link))
        self.step(link, selectors.EVENT_WRITE, now)

    def drop(self, link):
        self.selector.unregister(link.socket)
        link.socket.close()
        link.began = None
        self.open -= 1

    def end(self, link, result, now, is_whole):
        self.results[result] += 1
        if result == "good":
            self.times.append(now - link.began)
        link.began = None
        if is_whole and not link.closes:
            self.idle.append(link)
        else:
            self.drop(link)

    def step(self, link, events, now):
        if events & selectors.EVENT_WRITE and link.out and link.flush() and not link.out:
            self.selector.modify(link.socket, selectors.EVENT_READ, link)
        elif link.out:
            self.selector.modify(link.socket, selectors.EVENT_READ | selectors.EVENT_WRITE, link)
        if not events & selectors.EVENT_READ:
            return
        whole = link.receive()
        if link.began is None:
            # Closed by the server between requests.
            if whole is None and link in self.idle:
                self.idle.remove(link)
                self.drop(link)
        elif whole is None:
            self.end(link, "broken", now, False)
        elif whole:
            names = {200: "good", 503: "slow down"}
            self.end(link, names.get(link.status, f"status {link.status}"), now, True)

    def poll(self, wait):
        for key, events in self.selector.select(wait):
            self.step(key.data, events, time.monotonic())
        now = time.monotonic()
        while self.due and self.due[0][0] <= now:
            due, _, link = heapq.heappop(self.due)
            if link.began is not None and link.began + self.deadline <= due + 1e-9:
                self.end(link, "late", now, False)

    def run(self, rate, seconds, closed):
        began = last = time.monotonic()
        sent = 0
        while (now := time.monotonic()) - began < seconds:
            if closed:
                for _ in range(closed - (self.open - len(self.idle))):
                    self.begin(now)
                    sent += 1
            else:
                while sent < (now - began) * rate:
                    self.begin(now)
                    sent += 1
            self.poll(0.001)
            last = now
        for _ in range(int(self.deadline * 1000)):
            if self.open == len(self.idle):
                break
            self.poll(0.001)
        self.times.sort()
        at = lambda share: round(self.times[int(len(self.times) * share)] * 1000, 1) if self.times else None
        return {"sent": round(sent / (last - began)), "good": round(self.results["good"] / (last - began)), "p50": at(0.5), "p99": at(0.99),
                "results": dict(self.results)}


if __name__ == "__main__":
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port, rate, seconds, deadline, *more = sys.argv[1:]
    print(json.dumps(Load(int(port), float(deadline)).run(float(rate), float(seconds), int(more[0]) if more else 0)))
