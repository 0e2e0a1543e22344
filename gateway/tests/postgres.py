"""PostgreSQL's clients against a live server: psycopg, SQLAlchemy with pandas, psql, and clients that mean no good.

Usage: postgres.py BINARY
"""
import datetime
import json
import os
import pathlib
import random
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import pandas
import psycopg
import sqlalchemy

from lib.server import ACCESS_KEY, SECRET_KEY, Server, free_port

PASSED = 0
OTHER_KEYS = ("AKIDOTHER", "another-secret-for-tests")


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


class Postgres:
    """Where it listens."""

    def __init__(self, port):
        self.port = port

    def connect(self, keys=(ACCESS_KEY, SECRET_KEY), **options):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=keys[0], password=keys[1], dbname="siltstone", connect_timeout=10,
                               autocommit=True, **options)

    def psql(self, *arguments, text=None, keys=(ACCESS_KEY, SECRET_KEY)):
        env = dict(os.environ, PGPASSWORD=keys[1], PGCONNECT_TIMEOUT="10", PSQLRC="/dev/null", PAGER="cat")
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", keys[0], "-d", "siltstone", "-v", "ON_ERROR_STOP=1", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=60)


def fails(code, run, *arguments):
    """Runs what must fail, and gives the error."""
    try:
        run(*arguments)
    except psycopg.Error as error:
        check(error.sqlstate == code, f"{arguments}: {error.sqlstate} {error}")
        return error
    sys.exit(f"FAILED: {arguments} does not fail")


def fill(server):
    s3 = server.client()
    s3.create_bucket(Bucket="asked")
    for number in range(300):
        s3.put_object(Bucket="asked", Key=f"a/{number:03}", Body=b"x" * number, ContentType="text/plain", Tagging=f"team=t{number % 3}&n={number}")
    server.cut()
    s3.put_object(Bucket="asked", Key="ä/in-the-tail", Body=b"tail", Metadata={"camera": "old"})
    theirs = server.client(OTHER_KEYS)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="secret", Body=b"1")


def drivers(postgres, server):
    for keys in [(ACCESS_KEY, "wrong"), ("nobody", "wrong"), (ACCESS_KEY, "")]:
        try:
            postgres.connect(keys).close()
            sys.exit(f"FAILED: {keys} may log in")
        except psycopg.OperationalError as error:
            check("password" in str(error).lower(), f"{keys}: {error}")
    denied = [line for line in server.log_text().splitlines() if "PostgreSQL login" in line and "28P01" in line]
    check(denied and all("127.0.0.1:" in line for line in denied), f"failed logins are told of, with their address: {denied}")
    with postgres.connect() as connection:
        rows = connection.execute("SELECT key, size, last_modified, content_type, tags FROM objects WHERE bucket = 'asked' ORDER BY key LIMIT 2").fetchall()
        key, size, modified, content_type, tags = rows[1]
        check((key, size, content_type) == ("a/001", 1, "text/plain"), f"a row: {rows[1]}")
        check(modified.tzinfo is not None and abs(modified - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=5), f"a time: {modified}")
        check(json.loads(tags) == {"team": "t1", "n": "1"}, f"a map: {tags}")
        for binary in [False, True]:
            with connection.cursor(binary=binary) as cursor:
                for parameters, wanted in [((5, "a/%"), 5), ((2**40, "a/%"), 300), ((5, "ä%"), 1)]:
                    cursor.execute("SELECT count(*) FROM objects WHERE size < %s AND key LIKE %s", parameters)
                    check(cursor.fetchone() == (wanted,), f"{parameters}, binary={binary}")
                cursor.execute("SELECT size, key, last_modified, size > 1 AS large, 1.5::double precision AS half, NULL::text AS nothing FROM objects WHERE key = %b", ("a/007",))
                row = cursor.fetchone()
                check(row[:2] == (7, "a/007") and row[2].tzinfo is not None and row[3:] == (True, 1.5, None), f"types, binary={binary}: {row}")
                since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
                cursor.execute("SELECT count(*) FROM objects WHERE last_modified > %s", (since,))
                check(cursor.fetchone() == (301,), f"a time as parameter, binary={binary}")
        for _ in range(3):
            found = connection.execute("SELECT key FROM objects WHERE tags['n'] = %s", ("299",), prepare=True).fetchall()
            check(found == [("a/299",)], f"a prepared statement: {found}")
        with connection.transaction():
            check(connection.execute("SELECT 1").fetchone() == (1,), "in a transaction")
        check(connection.execute("SHOW server_version").fetchone()[0].startswith("16"), "a setting")
        with connection.cursor() as cursor:
            cursor.execute("SELECT key FROM objects ORDER BY key")
            check(len(cursor.fetchall()) == 301, "all rows")
        many = connection.execute("SELECT value FROM generate_series(1, 200000)").fetchall()
        check(len(many) == 200_000 and many[-1] == (200_000,), "many rows")
        # What is wrong has a code, and a place where there is one; the connection goes on.
        error = fails("42000", connection.execute, "SELECT key,\n nothing FROM objects")
        check(error.diag.statement_position == "14", f"its place: {error.diag.statement_position} {error}")
        error = fails("42000", connection.execute, "SELEC 1")
        check(error.diag.statement_position == "1", f"its place: {error.diag.statement_position} {error}")
        for text in ["DROP TABLE objects", "INSERT INTO buckets SELECT * FROM buckets", "CREATE TABLE t (a int)", "COPY objects TO '/tmp/x'",
                     "SELECT * FROM nowhere", "UPDATE objects SET size = 1", "DELETE FROM objects"]:
            fails("42000", connection.execute, text)
        fails("0A000", connection.execute, "SET client_encoding = 'LATIN1'")
        fails("42704", connection.execute, "SHOW nonsense")
        fails("22000", connection.execute, "SELECT 1 / (size - size) FROM objects WHERE size = 1")
        check(connection.execute("SELECT 1").fetchone() == (1,), "after all that it goes on")
        check(connection.execute("SELECT DISTINCT bucket FROM objects").fetchall() == [("asked",)], "others' rows do not exist")
        check(connection.execute("SELECT name FROM buckets").fetchall() == [("asked",)], "nor their buckets")
    with postgres.connect(OTHER_KEYS) as connection:
        check(connection.execute("SELECT bucket, key FROM versions").fetchall() == [("theirs", "secret")], "they see theirs")
        check(connection.execute("SELECT * FROM segments").fetchall() == [], "and nothing of what the store is made of")
    with postgres.connect() as connection:
        begun = time.monotonic()
        timer = threading.Timer(1, connection.cancel)
        timer.start()
        fails("57014", connection.execute, "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b")
        check(time.monotonic() - begun < 20, "a query is cancelled")
        check(connection.execute("SELECT 2").fetchone() == (2,), "and the connection goes on")


def frames(postgres, server):
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{ACCESS_KEY}:{SECRET_KEY}@127.0.0.1:{postgres.port}/siltstone")
    try:
        inspector = sqlalchemy.inspect(engine)
        tables = set(inspector.get_table_names()) | set(inspector.get_view_names())
        check({"objects", "versions", "buckets", "uploads"} <= tables, f"tables: {tables}")
        columns = {column["name"]: column["type"] for column in inspector.get_columns("objects")}
        check({"bucket", "key", "size", "last_modified"} <= set(columns), f"columns: {columns}")
        check(isinstance(columns["size"], sqlalchemy.BIGINT), f"its type: {columns['size']!r}")
        objects = sqlalchemy.Table("objects", sqlalchemy.MetaData(), autoload_with=engine)
        query = sqlalchemy.select(objects.c.key, objects.c.size).where(objects.c.size.between(10, 12)).order_by(objects.c.key)
        with engine.connect() as connection:
            found = [tuple(row) for row in connection.execute(query)]
        check(found == [("a/010", 10), ("a/011", 11), ("a/012", 12)], f"rows: {found}")
        frame = pandas.read_sql("SELECT bucket, count(*) AS n, sum(size) AS bytes FROM objects GROUP BY bucket", engine)
        check(frame.to_dict("records") == [{"bucket": "asked", "n": 301, "bytes": sum(range(300)) + 4}], f"a frame: {frame}")
    finally:
        engine.dispose()


def shell(postgres):
    told = postgres.psql("-Atc", "SELECT count(*), sum(size) FROM objects")
    check(told.stdout == f"301|{sum(range(300)) + 4}\n", f"psql: {told}")
    for command, wanted in [(r"\d", ["objects", "versions", "buckets"]), (r"\dt", ["objects"]), (r"\d objects", ["last_modified", "bigint", "key"]),
                            (r"\l", ["siltstone"]), (r"\dn", ["public"]), (r"\conninfo", ["siltstone"])]:
        told = postgres.psql("-c", command)
        check(told.returncode == 0 and all(word in told.stdout for word in wanted), f"{command}: {told.stdout}{told.stderr}")
    told = postgres.psql("-At", text="BEGIN;\nSELECT 1;\nSELECT key FROM objects\n WHERE size = 3;\nCOMMIT;\n\\timing\nSELECT 2;\n")
    check(told.returncode == 0 and "a/003" in told.stdout and "Time:" in told.stdout, f"a script: {told}")
    told = postgres.psql("-c", "SELECT key, nothing FROM objects")
    check(told.returncode == 1 and "LINE 1: SELECT key, nothing" in told.stderr and "^" in told.stderr, f"the place of an error: {told.stderr}")
    told = postgres.psql("-c", "SELECT 1", keys=(ACCESS_KEY, "wrong"))
    check(told.returncode == 2 and "password" in told.stderr.lower(), f"wrong keys: {told.stderr}")


def hostile(postgres, server):
    """Messages that no client would send. The server answers or hangs up, and goes on for everybody else."""
    chance = random.Random(7)
    startup = struct.pack("!ii", 0, 196608) + b"user\0" + ACCESS_KEY.encode() + b"\0database\0siltstone\0\0"
    startup = struct.pack("!i", len(startup)) + startup[4:]
    for number in range(120):
        with socket.create_connection(("127.0.0.1", postgres.port), timeout=5) as raw:
            message = [lambda: chance.randbytes(chance.randrange(1, 300)),
                       lambda: startup[:chance.randrange(1, len(startup))],
                       lambda: struct.pack("!ii", chance.choice([0, 4, 7, 2**31 - 1, -1]), 196608),
                       lambda: startup + bytes([chance.choice(b"QPBDEpXdcf")]) + struct.pack("!i", chance.choice([0, 3, 4, 2**30, -5])) + chance.randbytes(40),
                       lambda: startup + b"p" + struct.pack("!i", 4 + 20 + 4 + 3) + b"SCRAM-SHA-256\0" + chance.randbytes(11),
                       lambda: struct.pack("!iiii", 16, 80877102, chance.randrange(100), chance.randrange(2**31))][number % 6]()
            try:
                raw.sendall(message)
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except OSError:
                pass
    with postgres.connect() as connection:
        check(connection.execute("SELECT 1").fetchone() == (1,), "others are served on")
        # Texts that are no queries, through an honest driver.
        for number in range(100):
            text = "".join(chance.choice(["SELECT", "FROM", "objects", "(", ")", "'", "\"", ";", "$1", "::", "WHERE", "size", "+", "é", "--", "/*", "IN", "ORDER BY", "\n", " "])
                           for _ in range(chance.randrange(1, 25)))
            try:
                connection.execute(text.replace("%", "%%"))
            except psycopg.Error as error:
                check(error.sqlstate is not None, f"{text!r}: {error!r}")
            if connection.closed:
                sys.exit(f"FAILED: {text!r} ends the connection")
        check(connection.execute("SELECT 1").fetchone() == (1,), "the connection goes on")
    # A client that reads nothing holds up nobody.
    stuck = [postgres.connect() for _ in range(3)]
    for connection in stuck:
        connection.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 10000000)")
    check(server.sql("SELECT count(*) AS n FROM objects") == [{"n": 301}], "others are answered while some do not read")
    for connection in stuck:
        connection.close()
    panics = [line for line in server.log_text().splitlines() if "panicked" in line]
    check(not panics, f"nothing panicked: {panics}")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory() as scratch:
        config = pathlib.Path(scratch) / "other.toml"
        config.write_text(f'[[users]]\nname = "other"\nid = "{"c" * 64}"\ndisplay_name = "Other"\nemail = ""\n'
                          f'access_key = "{OTHER_KEYS[0]}"\nsecret_key = "{OTHER_KEYS[1]}"\n')
        postgres = Postgres(free_port())
        server = Server(binary, scratch + "/data", "--config", str(config), "--postgres", f"127.0.0.1:{postgres.port}").start()
        try:
            fill(server)
            for part, arguments in [(drivers, (postgres, server)), (frames, (postgres, server)), (shell, (postgres,)), (hostile, (postgres, server))]:
                part(*arguments)
                print(f"{part.__name__}: ok", flush=True)
            server.stop()
        finally:
            if server.process.poll() is None:
                server.process.kill()
    print(f"{PASSED} passed, 0 failed")


main()
