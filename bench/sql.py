#!/usr/bin/env python3
"""Measures SQL over many objects, in turn with DuckDB on the same Parquet file and on a table of its own.

    .tools/venv/bin/python bench/sql.py target/release/siltstone DATA [--rounds 7] [--only NAME]

DATA is the directory that `siltstone-engine-bench fill --data DATA --objects N` wrote: three buckets and one
run, so that a plain query of DuckDB over the flags in the file returns the right rows. Siltstone's times
contain HTTP and planning on a new snapshot. DuckDB runs inside this process with --threads threads (default
2). Before a query is measured, its answers are compared once; a difference is an error. Prints medians in
milliseconds and their ratios; no time is judged.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import duckdb

from memory import Asker, Server

CURRENT = "FROM {source} WHERE kind = 1 AND is_latest"
FOLDER = "CASE WHEN contains(key, '/') THEN left(key, instr(key, '/')) ELSE '' END"
EXTENSION = r"nullif(regexp_extract(key, '([^/]+)\.([^./]+)$', 2), '')"

# A name, the query for Siltstone, and the query for DuckDB.
QUERIES = [
    ("count", "SELECT count(*) FROM objects", f"SELECT count(*) {CURRENT}"),
    ("by bucket", "SELECT bucket, count(*), sum(size) FROM objects GROUP BY bucket ORDER BY bucket",
     f"SELECT name, count(*), sum(size) {CURRENT} GROUP BY name ORDER BY name"),
    ("by prefix", "SELECT prefix(key, '/', 1) AS p, count(*), sum(size) FROM objects WHERE bucket = 'deep' GROUP BY p ORDER BY p",
     f"SELECT {FOLDER} AS p, count(*), sum(size) {CURRENT} AND name = 'deep' GROUP BY p ORDER BY p"),
    ("by extension", "SELECT extension(key) AS e, count(*), sum(size) FROM objects GROUP BY e ORDER BY e",
     f"SELECT {EXTENSION} AS e, count(*), sum(size) {CURRENT} GROUP BY e ORDER BY e"),
    ("tag, 100 hits", "SELECT bucket, key FROM objects WHERE tags['case'] = 'case-000017' ORDER BY bucket, key",
     f"SELECT name, key {CURRENT} AND tags['case'] = 'case-000017' ORDER BY name, key"),
    ("tag, many hits", "SELECT count(*), sum(size) FROM objects WHERE tags['team'] = 'team-07'",
     f"SELECT count(*), sum(size) {CURRENT} AND tags['team'] = 'team-07'"),
    ("top 100", "SELECT key, size FROM objects ORDER BY size DESC, key LIMIT 100",
     f"SELECT key, size {CURRENT} ORDER BY size DESC, key LIMIT 100"),
    ("time range", "SELECT count(*), sum(size) FROM objects WHERE last_modified >= '{low}' AND last_modified < '{high}'",
     f"SELECT count(*), sum(size) {CURRENT} AND last_modified >= '{{low}}' AND last_modified < '{{high}}'"),
    ("key range", "SELECT count(*), sum(size) FROM objects WHERE bucket = 'deep' AND key LIKE 'area-17/site-2%'",
     f"SELECT count(*), sum(size) {CURRENT} AND name = 'deep' AND key LIKE 'area-17/site-2%'"),
    ("objects and tags",
     "SELECT t.value, count(*), sum(o.size) FROM objects o JOIN tags t ON o.bucket = t.bucket AND o.key = t.key "
     "WHERE t.name = 'team' GROUP BY t.value ORDER BY t.value",
     f"WITH o AS (SELECT * {CURRENT}), t AS (SELECT bucket_id, key, unnest(map_entries(tags)) AS tag FROM o) "
     "SELECT t.tag.value, count(*), sum(o.size) FROM o JOIN t ON o.bucket_id = t.bucket_id AND o.key = t.key "
     "WHERE t.tag.key = 'team' GROUP BY 1 ORDER BY 1"),
]


def plain(rows):
    return [[int(value) if isinstance(value, (int, float)) else value for value in row] for row in rows]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary")
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only")
    parser.add_argument("--no-table", action="store_true", help="leave DuckDB's own table out")
    arguments = parser.parse_args()
    server = Server(arguments.binary, str(arguments.data))
    started = server.start()
    try:
        # The server removes the files of merged runs when it starts.
        files = list((arguments.data / "p0000/runs").glob("*.parquet"))
        if len(files) != 1:
            sys.exit(f"{len(files)} runs; merge them first")
        measure(arguments, server, files[0], started)
    finally:
        server.end(15)


def measure(arguments, server, file, started):
    asker = Asker(server)
    duck = duckdb.connect()
    duck.execute(f"SET threads = {arguments.threads}; SET TimeZone = 'UTC'")
    ids = duck.execute(f"SELECT DISTINCT bucket_id FROM '{file}' ORDER BY 1").fetchall()
    # Ids of buckets ascend in the order in which the buckets were made.
    names = ", ".join(f"({id}, '{name}')" for (id,), name in zip(ids, ["short", "long", "deep"]))
    duck.execute(f"CREATE TABLE names AS SELECT * FROM (VALUES {names}) AS t(id, name)")
    duck.execute(f"CREATE VIEW file AS SELECT f.*, names.name FROM '{file}' f JOIN names ON bucket_id = id")
    sources = ["file"]
    if not arguments.no_table:
        duck.execute("CREATE TABLE own AS SELECT bucket_id, name, key, kind, is_latest, last_modified, size, tags FROM file")
        sources.append("own")
    [(low, high)] = duck.execute("SELECT min(last_modified), max(last_modified) FROM file").fetchall()
    span = high - low
    times = {"low": (low + span * 0.40).isoformat(), "high": (low + span * 0.45).isoformat()}
    print(json.dumps({"objects": asker.ask("SELECT count(*) FROM objects")[0][0], "start_seconds": round(started, 2),
                      "memory_mib": server.memory()}))
    for name, ours, theirs in QUERIES:
        if arguments.only and arguments.only != name:
            continue
        ours = ours.format(**times)
        theirs = {source: theirs.replace("{source}", source).format(**times) for source in sources}
        answers = [plain(asker.ask(ours))] + [plain(map(list, duck.execute(query).fetchall())) for query in theirs.values()]
        if any(answer != answers[0] for answer in answers):
            sys.exit(f"{name}: {answers[0][:3]} is not {[answer[:3] for answer in answers[1:]]}")
        took = {"siltstone": [], **{source: [] for source in sources}}
        for _ in range(arguments.rounds):
            began = time.perf_counter()
            asker.ask(ours)
            took["siltstone"].append(time.perf_counter() - began)
            for source, query in theirs.items():
                began = time.perf_counter()
                duck.execute(query).fetchall()
                took[source].append(time.perf_counter() - began)
        medians = {who: statistics.median(times) for who, times in took.items()}
        line = {"query": name, "rows": len(answers[0])}
        line |= {f"{who}_ms": round(seconds * 1000, 1) for who, seconds in medians.items()}
        line |= {f"ratio_{source}": round(medians["siltstone"] / medians[source], 2) for source in sources}
        print(json.dumps(line), flush=True)
    print(json.dumps({"memory_mib": server.memory()}))


if __name__ == "__main__":
    main()
