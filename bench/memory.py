#!/usr/bin/env python3
"""Measures the memory of a server: 5 GiB up and down, then a million objects after a cut and restarts.

    python3 bench/memory.py target/release/siltstone target/release/siltstone-bench DIR

DIR is an empty folder with 20 GiB free. Resident memory is Linux's RSS in MiB: anonymous memory, which is
the allocator's (mimalloc), and mapped pages of files, which are the binary's own; both count. Printed are the
highest sample of each phase, taken every 20 ms, and the kernel's own high-water mark. A fourth argument
replaces the number of objects. Fails if a request or the server fails; no value is judged.
"""
import base64
import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import threading
import time

KEYS = {"SILTSTONE_ACCESS_KEY": "memory", "SILTSTONE_SECRET_KEY": "memorysecret"}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A server process on free ports, with its memory figures."""

    def __init__(self, binary, data):
        self.binary, self.data = binary, data
        self.port, self.admin = free_port(), free_port()

    def start(self):
        began = time.monotonic()
        command = [self.binary, "server", "--data", self.data, "--listen", f"127.0.0.1:{self.port}",
                   "--admin", f"127.0.0.1:{self.admin}"]
        self.process = subprocess.Popen(command, env=dict(os.environ, **KEYS), stdout=subprocess.DEVNULL)
        while True:
            try:
                connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=5)
                connection.request("GET", "/health/ready")
                if connection.getresponse().status == 200:
                    return time.monotonic() - began
            except OSError:
                if self.process.poll() is not None:
                    sys.exit("the server has ended")
            time.sleep(0.002)

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait()

    def memory(self):
        """Returns resident MiB: all, anonymous, of files, and the high-water mark since the last reset."""
        wanted = dict.fromkeys(["VmRSS", "RssAnon", "RssFile", "VmHWM"], 0)
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in wanted:
                wanted[name] = int(value.split()[0]) / 1024
        return wanted

    def cut(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.admin, timeout=600)
        connection.request("POST", "/cut")
        answer = connection.getresponse()
        if answer.status != 200:
            sys.exit(f"no cut: {answer.read()}")


class Asker:
    """Sends SQL to a server's admin address over one connection, and returns rows; ends the program on an error."""

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.admin, timeout=600)
        pair = ":".join([KEYS["SILTSTONE_ACCESS_KEY"], KEYS["SILTSTONE_SECRET_KEY"]])
        self.headers = {"authorization": "Basic " + base64.b64encode(pair.encode()).decode()}

    def ask(self, query):
        self.connection.request("POST", "/sql?format=json", body=query, headers=self.headers)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            sys.exit(f"{query}: {body.decode()}")
        return [list(row.values()) for row in json.loads(body)]


class Watch(threading.Thread):
    """Samples the memory of a server every 20 ms until `over` is set, and keeps the highest values."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.server, self.over, self.most = server, threading.Event(), {}

    def run(self):
        while not self.over.wait(0.02):
            for name, value in self.server.memory().items():
                self.most[name] = max(self.most.get(name, 0), value)


def watched(server, what, act):
    # Resets the kernel's mark, which then covers this phase alone.
    pathlib.Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")
    watch = Watch(server)
    watch.start()
    began = time.monotonic()
    act()
    took = time.monotonic() - began
    watch.over.set()
    watch.join()
    most = watch.most
    print(f"{what}: {took:.1f} s, at most {most['VmRSS']:.0f} MiB resident "
          f"({most['RssAnon']:.0f} anonymous, {most['RssFile']:.0f} of files; kernel's mark {most['VmHWM']:.0f})", flush=True)


def load(bench, server, *arguments):
    endpoint = f"http://127.0.0.1:{server.port}"
    subprocess.run([bench, *arguments, "--endpoint", endpoint], env=dict(os.environ, **KEYS), check=True,
                   stdout=subprocess.DEVNULL)


def download(server, bucket, key, size):
    """Reads one object through a presigned request and discards it; ends the program unless `size` bytes come."""
    import datetime, hashlib, hmac
    now = datetime.datetime.now(datetime.timezone.utc)
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    scope = f"{day}/us-east-1/s3/aws4_request"
    host = f"127.0.0.1:{server.port}"
    query = ("X-Amz-Algorithm=AWS4-HMAC-SHA256"
             f"&X-Amz-Credential={KEYS['SILTSTONE_ACCESS_KEY']}%2F{scope.replace('/', '%2F')}"
             f"&X-Amz-Date={stamp}&X-Amz-Expires=3600&X-Amz-SignedHeaders=host")
    canonical = "\n".join(["GET", f"/{bucket}/{key}", query, f"host:{host}", "", "host", "UNSIGNED-PAYLOAD"])
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    signing = ("AWS4" + KEYS["SILTSTONE_SECRET_KEY"]).encode()
    for piece in [day, "us-east-1", "s3", "aws4_request"]:
        signing = hmac.new(signing, piece.encode(), hashlib.sha256).digest()
    signature = hmac.new(signing, text.encode(), hashlib.sha256).hexdigest()
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=600)
    connection.request("GET", f"/{bucket}/{key}?{query}&X-Amz-Signature={signature}")
    answer = connection.getresponse()
    came, buffer = 0, bytearray(1 << 20)
    while count := answer.readinto(buffer):
        came += count
    if answer.status != 200 or came != size:
        sys.exit(f"GET: {answer.status}, {came} bytes of {size}")


def main():
    binary, bench, folder = sys.argv[1:4]
    million = int(sys.argv[4]) if len(sys.argv) > 4 else 1_000_000
    size = 5 << 30
    server = Server(binary, os.path.join(folder, "data"))
    server.start()
    try:
        print(f"idle: {server.memory()['VmRSS']:.0f} MiB resident", flush=True)
        watched(server, "5 GiB upload in parts of 16 MiB, 4 at a time",
                lambda: load(bench, server, "upload", "--bytes", "5GiB", "--part-bytes", "16MiB"))
        watched(server, "5 GiB upload in one PUT",
                lambda: load(bench, server, "upload", "--bytes", "5GiB", "--key", "single"))
        watched(server, "5 GiB GET of parts", lambda: download(server, "bench", "upload", size))
        watched(server, "5 GiB GET of one PUT", lambda: download(server, "bench", "single", size))
        watched(server, f"{million} objects of 100 bytes go in",
                lambda: load(bench, server, "fill", "--keys", str(million), "--bytes", "100", "--bucket", "million"))
        watched(server, "a cut", server.cut)
        for how, what in [(signal.SIGTERM, "a clean stop"), (signal.SIGKILL, "kill -9")]:
            server.end(how)
            ready = server.start()
            print(f"ready {ready:.2f} s after {what}, with {server.memory()['VmRSS']:.0f} MiB resident", flush=True)
        watched(server, "a listing of all", lambda: load(bench, server, "list", "--keys", str(million), "--bucket", "million"))
        watched(server, "GETs at random for 10 s", lambda: load(
            bench, server, "get", "--keys", str(million), "--bytes", "100", "--bucket", "million", "--seconds", "10"))
    finally:
        server.end(signal.SIGTERM)


if __name__ == "__main__":
    main()
