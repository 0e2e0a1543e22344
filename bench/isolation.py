#!/usr/bin/env python3
"""Measures GETs at 30 % of the highest rate, in turn alone and beside queries that scan all objects.

    python3 bench/isolation.py target/release/siltstone target/release/siltstone-bench DATA

DATA is the directory that `siltstone-engine-bench fill --data DATA --objects N` wrote; 20,000 objects of
4 KiB are added. At 30 %, GETs are an open loop over 64 connections: a latency begins when the request was
due. Client and server share the machine, so the client's processor time is printed, too. Fails if a server or
a load fails; no figure is judged.
"""
import json
import os
import subprocess
import sys
import threading

from memory import KEYS, Asker, Server

QUERY = "SELECT count(*) FROM objects WHERE key LIKE '%zz%' OR owner LIKE '%zz%'"
SECONDS = 15


class Scans(threading.Thread):
    """Runs one query after the other until `stop` is set, and counts them."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.stop, self.count = server, threading.Event(), 0

    def run(self):
        asker = Asker(self.server)
        while not self.stop.is_set():
            asker.ask(QUERY)
            self.count += 1


def main():
    binary, bench, data = sys.argv[1:4]
    server = Server(binary, data)
    server.start()

    def load(command, *arguments):
        told = [bench, "--json", command, *arguments, "--endpoint", f"http://127.0.0.1:{server.port}", "--bucket", "isolation",
                "--bytes", "4096", "--connections", "64"]
        done = subprocess.run(told, env=dict(os.environ, **KEYS), capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(done.stderr)
        return json.loads(done.stdout.splitlines()[-1])

    try:
        load("fill", "--keys", "20000")
        server.cut()
        peak = load("get", "--keys", "20000", "--seconds", str(SECONDS))["requests_per_second"]
        rate = peak * 0.3
        print(json.dumps({"peak": round(peak), "rate": round(rate)}), flush=True)
        for _ in range(3):
            figures = {}
            for what in ["quiet", "beside scans"]:
                scans = Scans(server)
                if what != "quiet":
                    scans.start()
                told = load("get", "--keys", "20000", "--seconds", str(SECONDS), "--rate", str(rate))
                scans.stop.set()
                if what != "quiet":
                    scans.join()
                figures[what] = told
                print(json.dumps({"what": what, "scans": scans.count, **{name: told[name] for name in
                      ["requests_per_second", "p50_ms", "p99_ms", "max_ms", "client_cpu_seconds"]}}), flush=True)
            print(json.dumps({"ratio_of_p99": round(figures["beside scans"]["p99_ms"] / figures["quiet"]["p99_ms"], 2)}), flush=True)
    finally:
        server.end(15)


if __name__ == "__main__":
    main()
