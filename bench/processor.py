#!/usr/bin/env python3
"""Compares the processor time of a small request with that of a null server, which does nothing but HTTP.

    python3 bench/processor.py target/release/siltstone target/release/siltstone-bench DIR [BEFORE]

DIR is an empty folder on the disk to use; BEFORE is another build of the server. All servers get the same load in turn,
several rounds of GET, HEAD and PUT of 4 KiB objects over 16 connections. Printed for each are the median microseconds of
processor time (user and system, of the whole process) a request, and the ratio to the null server. Fails if a request
fails; no value is judged.
"""
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import urllib.request

KEYS = {"SILTSTONE_ACCESS_KEY": "bench", "SILTSTONE_SECRET_KEY": "benchsecretbenchsecret"}
OBJECTS, ROUNDS, SECONDS = 2000, 5, 4
TICKS = os.sysconf("SC_CLK_TCK")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Measured:
    """A server process, with the processor time that it has used."""

    def __init__(self, name, command, port, admin=None):
        self.name, self.port = name, port
        self.process = subprocess.Popen(command, env=dict(os.environ, **KEYS), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(500):
            try:
                if admin:
                    urllib.request.urlopen(f"http://127.0.0.1:{admin}/health/ready", timeout=5)
                else:
                    socket.create_connection(("127.0.0.1", port)).close()
                return
            except OSError:
                time.sleep(0.02)
        sys.exit(f"{name} does not answer")

    def seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def load(self, bench, *command):
        """Runs a load; returns the microseconds of processor time that one of its requests took."""
        before = self.seconds()
        done = subprocess.run([bench, "--json", *command, "--endpoint", f"http://127.0.0.1:{self.port}", "--connections", "16"],
                              env=dict(os.environ, **KEYS), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{self.name}: {done.stderr}")
        report = json.loads(done.stdout)
        return (self.seconds() - before) * 1e6 / report["requests"]

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait()


def siltstone(name, binary, folder):
    port, admin = free_port(), free_port()
    flags = ["--data", f"{folder}/{name}", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin}"]
    return Measured(name, [binary, "server", *flags], port, admin)


def main():
    binary, bench, folder, *before = sys.argv[1:]
    port = free_port()
    servers = [Measured("null", [bench, "null-server", "--listen", f"127.0.0.1:{port}"], port), siltstone("now", binary, folder)]
    servers += [siltstone("before", other, folder) for other in before]
    works = {"get": ["get", "--keys", str(OBJECTS), "--seconds", str(SECONDS)], "head": ["head", "--keys", str(OBJECTS), "--seconds", str(SECONDS)],
             "put": ["put", "--keys", str(OBJECTS), "--seconds", str(SECONDS)]}
    taken = {(work, server.name): [] for work in works for server in servers}
    try:
        for server in servers:
            server.load(bench, "fill", "--keys", str(OBJECTS))
        for _ in range(ROUNDS):
            for work, command in works.items():
                for server in servers:
                    taken[work, server.name].append(server.load(bench, *command))
    finally:
        for server in servers:
            server.end()
    for work in works:
        null = statistics.median(taken[work, "null"])
        for server in servers:
            median = statistics.median(taken[work, server.name])
            print(f"{work:5} {server.name:7} {median:8.1f} us  {median / null:5.2f} x null")


if __name__ == "__main__":
    main()
