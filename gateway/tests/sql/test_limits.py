"""Queries that want too much: each ends in bounded memory with a clear error, and nobody else is harmed.

Beside every one of them objects are written and read, a small query is sent, and the server's memory is watched. How long
answers take is not judged here; that is a benchmark's affair.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import socket
import threading
import time
import urllib.error

import pytest

from lib.server import basic

pytestmark = pytest.mark.serial

# Bytes that all queries together may hold, and how much more than before a process may take at most: what holds
# rows on their way to clients, the allocator's own, and what is not asked for before it is taken.
MEMORY = 64 << 20
SPILL = 64 << 20
SLACK = 256 << 20
WIDE = "SELECT value, repeat('x', 1000) || value AS wide FROM generate_series(1, 100000000)"
PRODUCT = "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b WHERE a.value + b.value < 0"


@pytest.fixture(scope="module")
def server(serve):
    server = serve("--sql-memory-bytes", str(MEMORY), "--sql-spill-bytes", str(SPILL), "--sql-seconds", "12")
    server.client().create_bucket(Bucket="others")
    return server


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
                self.most = max(self.most, self.server.resident())
                self.rounds += 1
        except Exception as error:  # Whatever it is, the test tells it.
            self.trouble = error


@pytest.fixture
def beside(server, tell):
    """Does something while others go on, and holds the server to its memory."""
    def beside(act):
        before = server.resident()
        others = Others(server)
        others.start()
        began = time.monotonic()
        try:
            answer = act()
        finally:
            others.stop.set()
            others.join()
        grown = max(others.most, server.resident()) - before
        assert others.trouble is None, f"others: {others.trouble}"
        assert others.rounds > 0, "nobody else got anything done"
        assert grown <= MEMORY + SLACK, f"{grown >> 20} MiB more than before"
        assert server.sql("SELECT 1 AS one") == [{"one": 1}], "a small query afterwards"
        tell(f"{time.monotonic() - began:.1f} s, {grown >> 20} MiB more at the most, {others.rounds} rounds of others")
        return answer

    return beside


def unanswered(server, query):
    """The status and text of a query that is not answered to its end."""
    try:
        body, _ = server.sql_bytes(query)
    except urllib.error.HTTPError as error:
        return error.code, error.text
    except (http.client.HTTPException, ConnectionError) as error:
        return None, str(error)
    pytest.fail(f"{query} is answered: {body[:200]}")


def test_only_threads_of_queries_run_where_nobody_else_wants_a_processor(server):
    server.sql("SELECT 1")
    tasks = [int(task.name) for task in pathlib.Path(f"/proc/{server.process.pid}/task").iterdir()]
    idle = {(pathlib.Path(f"/proc/{server.process.pid}/task/{task}/comm").read_text().strip(), os.sched_getscheduler(task) == os.SCHED_IDLE) for task in tasks}
    assert ("sql", True) in idle and all((name == "sql") == is_idle for name, is_idle in idle), f"idle threads: {idle}"


def test_100_gb_to_sort_are_too_much_for_memory_and_disk(server, beside):
    code, text = beside(lambda: unanswered(server, f"SELECT * FROM ({WIDE}) ORDER BY wide DESC, value"))
    assert code == 507 or "spill" in text or "memory" in text.lower() or "limit" in text.lower(), f"sorting 100 GB: {code} {text}"


def test_an_array_of_100_gb_is_too_much_for_memory(server, beside):
    code, text = beside(lambda: unanswered(server, f"SELECT array_agg(wide) FROM ({WIDE})"))
    assert "memory" in text.lower() or "alloc" in text.lower(), f"an array of all: {code} {text}"


def test_a_product_of_everything_with_everything_ends_at_its_deadline(server, beside):
    began = time.monotonic()
    code, text = beside(lambda: unanswered(server, PRODUCT))
    assert "ended after" in text, f"a cartesian product: {code} {text}"
    assert time.monotonic() - began < 60, "the deadline bites"


def test_a_query_ends_when_its_client_has_gone(server):
    connection = http.client.HTTPConnection("127.0.0.1", server.admin_port)
    connection.request("POST", "/sql", body=PRODUCT, headers=basic(server.own_keys()))
    time.sleep(0.5)
    connection.close()
    # Its place is free again: as many as may run at a time, beside it, are answered.
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: server.sql("SELECT count(*) AS n FROM buckets"), range(16)))
    assert all(answer[0]["n"] >= 1 for answer in answers), "queries after one whose client has gone"


def test_of_a_thousand_queries_each_is_answered_turned_away_or_too_late(server, beside, tell):
    """The clients of those that are not answered are told why."""
    def ask(_):
        connection = http.client.HTTPConnection("127.0.0.1", server.admin_port, timeout=60)
        try:
            connection.request("POST", "/sql", body="SELECT count(*) AS n FROM generate_series(1, 3000000)", headers=basic(server.own_keys()))
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def act():
        with concurrent.futures.ThreadPoolExecutor(1000) as pool:
            return list(pool.map(ask, range(1000)))

    answers = beside(act)
    right = [text for status, text in answers if status == 200]
    turned = [text for status, text in answers if status == 503]
    # A query that waits long for a processor that others take first ends as a query that takes long does.
    late = [text for status, text in answers if status == 422]
    assert len(right) + len(turned) + len(late) == 1000, f"a thousand queries: {sorted({status for status, _ in answers})}"
    assert right and all(json.loads(text) == [{"n": 3000000}] for text in right), "those that are answered are right"
    assert all("too many queries" in text for text in turned), f"those that are turned away are told why: {turned[:1]}"
    assert all("ended after" in text for text in late), f"those that were too late are told why: {late[:1]}"
    tell(f"{len(right)} answered, {len(turned)} turned away, {len(late)} too late")


def test_clients_that_ask_for_very_much_and_read_nothing(server, beside):
    def act():
        body = b"SELECT value, repeat('x', 1000) FROM generate_series(1, 100000000)"
        head = f"POST /sql?format=csv HTTP/1.1\r\nHost: 127.0.0.1:{server.admin_port}\r\nAuthorization: {basic(server.own_keys())['Authorization']}\r\nContent-Length: {len(body)}\r\n\r\n"
        connections = [socket.create_connection(("127.0.0.1", server.admin_port)) for _ in range(8)]
        for client in connections:
            client.sendall(head.encode() + body)
        time.sleep(5)
        for client in connections:
            client.close()

    beside(act)
