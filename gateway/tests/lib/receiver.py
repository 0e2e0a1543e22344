"""A receiver of events: a process of its own, so that it can be killed, which keeps every request in a file.

    python receiver.py PORT FILE [--slow=SECONDS] [--status=CODE]

Each line of the file is the body of one request that was acknowledged, or was about to be: the line is synced before the
answer, so a receiver that is killed may have taken what it did not acknowledge.
"""
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.parse

from lib.server import free_port


class EventLog:
    """What came, read from the file of a receiver."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def bodies(self):
        lines = self.path.read_bytes().split(b"\n") if self.path.exists() else []
        # A kill may have cut the last line off; its request was not acknowledged.
        return [json.loads(line) for line in lines[:-1]]

    def records(self):
        return [record for body in self.bodies() for record in body["Records"]]


class Receiver(EventLog):
    """A receiver process; the port and the file stay the same over restarts."""

    running = set()

    def __init__(self, folder, **options):
        super().__init__(pathlib.Path(folder) / "events.log")
        self.port, self.options, self.process = free_port(), options, None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}/events?from=siltstone"

    def start(self):
        flags = [f"--{name}={value}" for name, value in self.options.items()]
        folder = pathlib.Path(__file__).parent.parent
        command = [sys.executable, "-m", "lib.receiver", str(self.port), str(self.path), *flags]
        self.process = subprocess.Popen(command, cwd=folder)
        return self

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def key_of(record):
    return urllib.parse.unquote_plus(record["s3"]["object"]["key"])


def check_order(records):
    """Fails unless the first copies of each key's events are in the order of their sequencers."""
    last, seen = {}, set()
    for record in records:
        key, at = key_of(record), record["s3"]["object"]["sequencer"]
        if (key, at) in seen:
            continue
        seen.add((key, at))
        assert last.get(key, "") < at, f"{key}: {at} came after {last[key]}"
        last[key] = at


def main(port, path, *flags):
    options = dict(flag.removeprefix("--").split("=") for flag in flags)
    slow, status = float(options.get("slow", 0)), int(options.get("status", 200))

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            assert self.headers["content-type"] == "application/json"
            time.sleep(slow)
            if status == 200:
                note = {"token": self.headers["authorization"], "path": self.path, **json.loads(body)}
                os.write(file, json.dumps(note).encode() + b"\n")
                os.fdatasync(file)
            self.send_response(status)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_):
            pass

    # A line that a kill has cut off is removed.
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    whole = pathlib.Path(path).read_bytes()
    os.ftruncate(file, whole.rfind(b"\n") + 1)
    os.lseek(file, 0, os.SEEK_END)
    http.server.ThreadingHTTPServer.allow_reuse_address = True
    http.server.ThreadingHTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
