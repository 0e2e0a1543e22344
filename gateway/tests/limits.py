"""Queries that want too much: each ends in bounded memory with a clear error, and nobody else is harmed.

Usage: limits.py BINARY

Beside every one of them objects are written and read and a small query is asked, and the server's memory is watched.
How long answers take is not judged here; that is a benchmark's affair.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time
import urllib.error

from lib.server import Server, basic

PASSED = 0
# Bytes that all queries together may hold, and how much more than before a process may take at most: what holds
# rows on their way to clients, the allocator's own, and what is not asked for before it is taken.
MEMORY = 64 << 20
SPILL = 64 << 20
SLACK = 256 << 20


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def resident(server):
    status = pathlib.Path(f"/proc/{server.process.pid}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
    return int(line.split()[1]) << 10


class Others(threading.Thread):
    """Everybody else: writes, reads and small queries, one after the other, each of which must be right."""

    def __init__(self, server):
        super().__init__()
        self.server, self.s3 = server, server.client()
        self.stop, self.rounds, self.trouble, self.most = threading.Event(), 0, None, 0

    def run(self):
        try:
            while not self.stop.is_set():
                body = str(self.rounds).encode()
                self.s3.put_object(Bucket="others", Key=f"k{self.rounds % 50}", Body=body)
                got = self.s3.get_object(Bucket="others", Key=f"k{self.rounds % 50}")["Body"].read()
                if got != body:
                    raise ValueError(f"{got} is not {body}")
                self.most = max(self.most, resident(self.server))
                self.rounds += 1
        except Exception as error:  # Whatever it is, the test tells it.
            self.trouble = error


def beside(server, what, act):
    """Does something while others go on, and holds the server to its memory."""
    before = resident(server)
    others = Others(server)
    others.start()
    began = time.monotonic()
    try:
        answer = act()
    finally:
        others.stop.set()
        others.join()
    grown = max(others.most, resident(server)) - before
    check(others.trouble is None, f"{what}: others: {others.trouble}")
    check(others.rounds > 0, f"{what}: nobody else got anything done")
    check(grown <= MEMORY + SLACK, f"{what}: {grown >> 20} MiB more than before")
    check(server.sql("SELECT 1 AS one") == [{"one": 1}], f"{what}: a small query afterwards")
    print(f"{what}: {time.monotonic() - began:.1f} s, {grown >> 20} MiB more at the most, {others.rounds} rounds of others", flush=True)
    return answer


def refused(server, query, **wishes):
    """The status and text of a query that is not answered to its end."""
    try:
        body, _ = server.sql_bytes(query, **wishes)
        sys.exit(f"FAILED: {query} is answered: {body[:200]}")
    except urllib.error.HTTPError as error:
        return error.code, error.text
    except (http.client.HTTPException, ConnectionError) as error:
        return None, str(error)


def behind(server):
    """Threads of queries run where nobody else wants a processor; no other thread does."""
    server.sql("SELECT 1")
    tasks = [int(task.name) for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()]
    idle = {(pathlib.Path(f"/proc/{server.process.pid}/task/{task}/comm").read_text().strip(), os.sched_getscheduler(task) == os.SCHED_IDLE) for task in tasks}
    check(("sql", True) in idle and all((name == "sql") == is_idle for name, is_idle in idle), f"who steps back: {idle}")


def too_much(server):
    """100 GB of rows to sort: neither memory nor disk has room for them."""
    wide = "SELECT value, repeat('x', 1000) || value AS wide FROM generate_series(1, 100000000)"
    code, text = beside(server, "sorting 100 GB", lambda: refused(server, f"SELECT * FROM ({wide}) ORDER BY wide DESC, value"))
    check(code == 507 or "spill" in text or "memory" in text.lower() or "limit" in text.lower(), f"sorting 100 GB: {code} {text}")
    code, text = beside(server, "an array of all", lambda: refused(server, f"SELECT array_agg(wide) FROM ({wide})"))
    check("memory" in text.lower() or "alloc" in text.lower(), f"an array of all: {code} {text}")


def cartesian(server):
    """A product of everything with everything: it is ended by its deadline, and at once when its client has gone."""
    product = "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b WHERE a.value + b.value < 0"
    began = time.monotonic()
    code, text = beside(server, "a cartesian product", lambda: refused(server, product))
    check("ended after" in text, f"a cartesian product: {code} {text}")
    check(time.monotonic() - began < 60, "the deadline bites")
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port)
    connection.request("POST", "/sql", body=product, headers=basic(server.own_keys()))
    time.sleep(0.5)
    connection.close()
    # Its place is free again: as many as may run at a time, beside it, are answered.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.sql("SELECT count(*) AS n FROM buckets"), range(16)))
    check(all(answer[0]["n"] >= 1 for answer in answers), "queries after one whose client has gone")


def crowd(server):
    """A thousand queries at once: some are answered, the others are turned away, or ended at their deadline, and told so."""
    def ask(_):
        connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
        try:
            connection.request("POST", "/sql", body="SELECT count(*) AS n FROM generate_series(1, 3000000)",
                               headers=basic(server.own_keys()))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def act():
        with concurrent.futures.ThreadPoolExecutor(1000) as pool:
            return list(pool.map(ask, range(1000)))
    answers = beside(server, "a thousand queries", act)
    right = [text for status, text in answers if status == 200]
    turned = [text for status, text in answers if status == 503]
    # Whoever waits long for a processor that others take first ends as a query that takes long does.
    late = [text for status, text in answers if status == 422]
    check(len(right) + len(turned) + len(late) == 1000, f"a thousand queries: {sorted({status for status, _ in answers})}")
    check(right and all(json.loads(text) == [{"n": 3000000}] for text in right), "those that are answered are right")
    check(all("too many queries" in text for text in turned), f"those that are not are told why: {turned[:1]}")
    check(all("ended after" in text for text in late), f"and so are those that were too late: {late[:1]}")
    print(f"a thousand queries: {len(right)} answered, {len(turned)} turned away, {len(late)} too late", flush=True)


def deaf(server):
    """Clients that ask for very much and read nothing."""
    def act():
        connections = []
        for _ in range(8):
            client = socket.create_connection(("127.0.0.1", server.admin_port))
            body = b"SELECT value, repeat('x', 1000) FROM generate_series(1, 100000000)"
            head = f"POST /sql?format=csv HTTP/1.1\r\nHost: 127.0.0.1:{server.admin_port}\r\nAuthorization: {basic(server.own_keys())['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
            client.sendall(head.encode() + body)
            connections.append(client)
        time.sleep(5)
        for client in connections:
            client.close()
    beside(server, "clients that stop reading", act)


def main():
    binary = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        server = Server(binary, folder + "/data", "--sql-memory-bytes", str(MEMORY), "--sql-spill-bytes", str(SPILL), "--sql-seconds", "12")
        server.start()
        try:
            server.client().create_bucket(Bucket="others")
            for step in [behind, too_much, cartesian, crowd, deaf]:
                step(server)
            check("panicked" not in server.log_text(), "the server's log tells of a panic")
        finally:
            server.stop()
    print(f"{PASSED} passed, 0 failed")


if __name__ == "__main__":
    main()
