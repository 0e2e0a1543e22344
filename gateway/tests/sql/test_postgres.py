"""PostgreSQL's clients against a live server: psycopg, SQLAlchemy with pandas, psql."""
import datetime
import json
import os
import random
import socket
import struct
import subprocess
import threading
import time

import pandas
import psycopg
import pytest
import sqlalchemy

from lib.server import ACCESS_KEY, OTHER_KEYS, ROOT_KEYS, SECRET_KEY, free_port


class Postgres:
    """The PostgreSQL endpoint of a server, and its clients."""

    def __init__(self, port):
        self.port = port

    def connect(self, keys=ROOT_KEYS, **options):
        return psycopg.connect(host="127.0.0.1", port=self.port, user=keys[0], password=keys[1], dbname="siltstone", connect_timeout=10,
                               autocommit=True, **options)

    def psql(self, *arguments, text=None, keys=ROOT_KEYS):
        env = dict(os.environ, PGPASSWORD=keys[1], PGCONNECT_TIMEOUT="10", PSQLRC="/dev/null", PAGER="cat")
        command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", keys[0], "-d", "siltstone", "-v", "ON_ERROR_STOP=1", *arguments]
        return subprocess.run(command, input=text, capture_output=True, text=True, env=env, timeout=60)


@pytest.fixture(scope="module")
def postgres():
    return Postgres(free_port())


@pytest.fixture(scope="module")
def server(serve, other_user, postgres):
    server = serve(*other_user, "--postgres", f"127.0.0.1:{postgres.port}")
    s3 = server.client()
    s3.create_bucket(Bucket="asked")
    for number in range(300):
        s3.put_object(Bucket="asked", Key=f"a/{number:03}", Body=b"x" * number, ContentType="text/plain", Tagging=f"team=t{number % 3}&n={number}")
    server.cut()
    s3.put_object(Bucket="asked", Key="ä/in-the-tail", Body=b"tail", Metadata={"camera": "old"})
    theirs = server.client(OTHER_KEYS)
    theirs.create_bucket(Bucket="theirs")
    theirs.put_object(Bucket="theirs", Key="secret", Body=b"1")
    return server


@pytest.fixture
def connection(server, postgres):
    with postgres.connect() as connection:
        yield connection


def fails(code, connection, query):
    """Runs a query that must fail with this code; returns the error."""
    with pytest.raises(psycopg.Error) as raised:
        connection.execute(query)
    assert raised.value.sqlstate == code, f"{query}: {raised.value.sqlstate} {raised.value}"
    return raised.value


def refused_login(postgres, keys):
    with pytest.raises(psycopg.OperationalError) as raised:
        postgres.connect(keys).close()
    assert "password" in str(raised.value).lower(), f"{keys}: {raised.value}"


@pytest.mark.parametrize("keys", [(ACCESS_KEY, "wrong"), ("nobody", "wrong"), (ACCESS_KEY, "")])
def test_wrong_keys_do_not_log_in(server, postgres, keys):
    refused_login(postgres, keys)


def test_a_failed_login_is_in_the_log_with_its_address(server, postgres):
    before = len(server.log_text())
    refused_login(postgres, (ACCESS_KEY, "wrong"))
    denied = [line for line in server.log_text()[before:].splitlines() if "PostgreSQL login" in line and "28P01" in line]
    assert denied and all("127.0.0.1:" in line for line in denied), f"failed logins with their address: {denied}"


def test_rows_have_types(connection):
    rows = connection.execute("SELECT key, size, last_modified, content_type, tags FROM objects WHERE bucket = 'asked' ORDER BY key LIMIT 2").fetchall()
    key, size, modified, content_type, tags = rows[1]
    assert (key, size, content_type) == ("a/001", 1, "text/plain"), f"a row: {rows[1]}"
    assert modified.tzinfo is not None and abs(modified - datetime.datetime.now(datetime.timezone.utc)) < datetime.timedelta(minutes=5), f"a time: {modified}"
    assert json.loads(tags) == {"team": "t1", "n": "1"}, f"a map: {tags}"


@pytest.mark.parametrize("binary", [False, True])
def test_parameters_and_types_as_text_and_binary(connection, binary):
    with connection.cursor(binary=binary) as cursor:
        for parameters, wanted in [((5, "a/%"), 5), ((2**40, "a/%"), 300), ((5, "ä%"), 1)]:
            cursor.execute("SELECT count(*) FROM objects WHERE size < %s AND key LIKE %s", parameters)
            assert cursor.fetchone() == (wanted,), f"{parameters}, binary={binary}"
        cursor.execute("SELECT size, key, last_modified, size > 1 AS large, 1.5::double precision AS half, NULL::text AS nothing FROM objects WHERE key = %b", ("a/007",))
        row = cursor.fetchone()
        assert row[:2] == (7, "a/007") and row[2].tzinfo is not None and row[3:] == (True, 1.5, None), f"types, binary={binary}: {row}"
        since = datetime.datetime.now(datetime.timezone.utc) - datetime.timedelta(hours=1)
        cursor.execute("SELECT count(*) FROM objects WHERE last_modified > %s", (since,))
        assert cursor.fetchone() == (301,), f"a time as parameter, binary={binary}"


def test_a_prepared_statement_runs_again(connection):
    for _ in range(3):
        found = connection.execute("SELECT key FROM objects WHERE tags['n'] = %s", ("299",), prepare=True).fetchall()
        assert found == [("a/299",)], f"a prepared statement: {found}"


def test_transactions_and_settings(connection):
    with connection.transaction():
        assert connection.execute("SELECT 1").fetchone() == (1,), "in a transaction"
    assert connection.execute("SHOW server_version").fetchone()[0].startswith("16"), "a setting"


def test_many_rows_come(connection):
    with connection.cursor() as cursor:
        cursor.execute("SELECT key FROM objects ORDER BY key")
        assert len(cursor.fetchall()) == 301, "all rows"
    many = connection.execute("SELECT value FROM generate_series(1, 200000)").fetchall()
    assert len(many) == 200_000 and many[-1] == (200_000,), "many rows"


@pytest.mark.parametrize(("query", "place"), [("SELECT key,\n nothing FROM objects", "14"), ("SELEC 1", "1")])
def test_an_error_has_a_code_and_a_place(connection, query, place):
    error = fails("42000", connection, query)
    assert error.diag.statement_position == place, f"its place: {error.diag.statement_position} {error}"


@pytest.mark.parametrize(("code", "query"), [
    *[("42000", query) for query in ["DROP TABLE objects", "INSERT INTO buckets SELECT * FROM buckets", "CREATE TABLE t (a int)", "COPY objects TO '/tmp/x'",
                                     "SELECT * FROM nowhere", "UPDATE objects SET size = 1", "DELETE FROM objects"]],
    ("0A000", "SET client_encoding = 'LATIN1'"), ("42704", "SHOW nonsense"), ("22000", "SELECT 1 / (size - size) FROM objects WHERE size = 1")])
def test_a_wrong_statement_fails_and_the_connection_goes_on(connection, code, query):
    fails(code, connection, query)
    assert connection.execute("SELECT 1").fetchone() == (1,), "after the error the connection goes on"


def test_rows_of_other_users_do_not_exist(connection, postgres):
    assert connection.execute("SELECT DISTINCT bucket FROM objects").fetchall() == [("asked",)], "others' rows do not exist"
    assert connection.execute("SELECT name FROM buckets").fetchall() == [("asked",)], "nor their buckets"
    with postgres.connect(OTHER_KEYS) as theirs:
        assert theirs.execute("SELECT bucket, key FROM versions").fetchall() == [("theirs", "secret")], "they see theirs"
        assert theirs.execute("SELECT * FROM segments").fetchall() == [], "segments are not for them"


def test_a_query_is_cancelled_and_the_connection_goes_on(connection):
    begun = time.monotonic()
    timer = threading.Timer(1, connection.cancel)
    timer.start()
    fails("57014", connection, "SELECT count(*) FROM generate_series(1, 1000000) a CROSS JOIN generate_series(1, 1000000) b")
    assert time.monotonic() - begun < 20, "a query is cancelled"
    assert connection.execute("SELECT 2").fetchone() == (2,), "the connection goes on"


@pytest.fixture(scope="module")
def engine(server, postgres):
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{ACCESS_KEY}:{SECRET_KEY}@127.0.0.1:{postgres.port}/siltstone")
    yield engine
    engine.dispose()


def test_sqlalchemy_finds_tables_and_columns(engine):
    inspector = sqlalchemy.inspect(engine)
    tables = set(inspector.get_table_names()) | set(inspector.get_view_names())
    assert {"objects", "versions", "buckets", "uploads"} <= tables, f"tables: {tables}"
    columns = {column["name"]: column["type"] for column in inspector.get_columns("objects")}
    assert {"bucket", "key", "size", "last_modified"} <= set(columns), f"columns: {columns}"
    assert isinstance(columns["size"], sqlalchemy.BIGINT), f"its type: {columns['size']!r}"


def test_sqlalchemy_makes_queries(engine):
    objects = sqlalchemy.Table("objects", sqlalchemy.MetaData(), autoload_with=engine)
    query = sqlalchemy.select(objects.c.key, objects.c.size).where(objects.c.size.between(10, 12)).order_by(objects.c.key)
    with engine.connect() as connection:
        found = [tuple(row) for row in connection.execute(query)]
    assert found == [("a/010", 10), ("a/011", 11), ("a/012", 12)], f"rows: {found}"


def test_pandas_reads_a_frame(engine):
    frame = pandas.read_sql("SELECT bucket, count(*) AS n, sum(size) AS bytes FROM objects GROUP BY bucket", engine)
    assert frame.to_dict("records") == [{"bucket": "asked", "n": 301, "bytes": sum(range(300)) + 4}], f"a frame: {frame}"


def test_psql_runs_a_query(server, postgres):
    told = postgres.psql("-Atc", "SELECT count(*), sum(size) FROM objects")
    assert told.stdout == f"301|{sum(range(300)) + 4}\n", f"psql: {told}"


@pytest.mark.parametrize(("command", "wanted"), [
    (r"\d", ["objects", "versions", "buckets"]), (r"\dt", ["objects"]), (r"\d objects", ["last_modified", "bigint", "key"]),
    (r"\l", ["siltstone"]), (r"\dn", ["public"]), (r"\conninfo", ["siltstone"])])
def test_psql_describes_the_database(server, postgres, command, wanted):
    told = postgres.psql("-c", command)
    assert told.returncode == 0 and all(word in told.stdout for word in wanted), f"{command}: {told.stdout}{told.stderr}"


def test_psql_runs_a_script(server, postgres):
    told = postgres.psql("-At", text="BEGIN;\nSELECT 1;\nSELECT key FROM objects\n WHERE size = 3;\nCOMMIT;\n\\timing\nSELECT 2;\n")
    assert told.returncode == 0 and "a/003" in told.stdout and "Time:" in told.stdout, f"a script: {told}"


def test_psql_shows_the_place_of_an_error(server, postgres):
    told = postgres.psql("-c", "SELECT key, nothing FROM objects")
    assert told.returncode == 1 and "LINE 1: SELECT key, nothing" in told.stderr and "^" in told.stderr, f"the place of an error: {told.stderr}"


def test_psql_is_refused_with_wrong_keys(server, postgres):
    told = postgres.psql("-c", "SELECT 1", keys=(ACCESS_KEY, "wrong"))
    assert told.returncode == 2 and "password" in told.stderr.lower(), f"wrong keys: {told.stderr}"


def test_a_client_that_reads_nothing_holds_up_nobody(server, postgres):
    stuck = [postgres.connect() for _ in range(3)]
    for connection in stuck:
        connection.pgconn.send_query(b"SELECT repeat('x', 1000) FROM generate_series(1, 10000000)")
    assert server.sql("SELECT count(*) AS n FROM objects") == [{"n": 301}], "others are answered while some do not read"
    for connection in stuck:
        connection.close()


def broken(number, chance):
    """Bytes that no client sends to begin a conversation."""
    startup = struct.pack("!ii", 0, 196608) + b"user\0" + ACCESS_KEY.encode() + b"\0database\0siltstone\0\0"
    startup = struct.pack("!i", len(startup)) + startup[4:]
    return [lambda: chance.randbytes(chance.randrange(1, 300)),
            lambda: startup[:chance.randrange(1, len(startup))],
            lambda: struct.pack("!ii", chance.choice([0, 4, 7, 2**31 - 1, -1]), 196608),
            lambda: startup + bytes([chance.choice(b"QPBDEpXdcf")]) + struct.pack("!i", chance.choice([0, 3, 4, 2**30, -5])) + chance.randbytes(40),
            lambda: startup + b"p" + struct.pack("!i", 4 + 20 + 4 + 3) + b"SCRAM-SHA-256\0" + chance.randbytes(11),
            lambda: struct.pack("!iiii", 16, 80877102, chance.randrange(100), chance.randrange(2**31))][number % 6]()


def test_broken_messages_harm_nobody(server, postgres):
    """The server answers or hangs up, and goes on for everybody else."""
    chance = random.Random(7)
    for number in range(120):
        with socket.create_connection(("127.0.0.1", postgres.port), timeout=5) as raw:
            try:
                raw.sendall(broken(number, chance))
                raw.shutdown(socket.SHUT_WR)
                while raw.recv(65536):
                    pass
            except OSError:
                pass
    with postgres.connect() as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,), "others are served on"
    panics = [line for line in server.log_text().splitlines() if "panicked" in line]
    assert not panics, f"nothing panicked: {panics}"


def test_texts_that_are_no_queries_are_errors_with_a_code(connection):
    chance = random.Random(8)
    for _ in range(100):
        text = "".join(chance.choice(["SELECT", "FROM", "objects", "(", ")", "'", "\"", ";", "$1", "::", "WHERE", "size", "+", "é", "--", "/*", "IN", "ORDER BY", "\n", " "])
                       for _ in range(chance.randrange(1, 25)))
        try:
            connection.execute(text.replace("%", "%%"))
        except psycopg.Error as error:
            assert error.sqlstate is not None, f"{text!r}: {error!r}"
        assert not connection.closed, f"{text!r} ends the connection"
    assert connection.execute("SELECT 1").fetchone() == (1,), "the connection goes on"
