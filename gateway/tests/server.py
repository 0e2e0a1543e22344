"""Starts and stops a siltstone server for tests, on free ports of 127.0.0.1."""
import base64
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

ACCESS_KEY = "AKIDTEST"
SECRET_KEY = "a-secret-for-tests"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def basic(keys):
    """The header with which SQL is asked for."""
    return {"Authorization": "Basic " + base64.b64encode(":".join(keys).encode()).decode()}


class Server:
    """One server process over a data directory; its ports stay the same over restarts.

    `under` is a command that runs it (a tracer, say). Without `keys` the server keeps its own.
    """

    def __init__(self, binary, data, *flags, under=(), keys=(ACCESS_KEY, SECRET_KEY)):
        self.binary, self.data, self.flags = binary, data, flags
        self.under, self.keys = list(under), keys
        self.port, self.admin_port = free_port(), free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self):
        return f"http://127.0.0.1:{self.admin_port}"

    def log_text(self):
        with open(self.data + ".log", errors="replace") as log:
            return log.read()

    def start(self, wait=30):
        self.launch()
        if self.is_ready(wait):
            return self
        what = "did not get ready" if self.process.poll() is None else "ended"
        sys.exit(f"the server {what}: see {self.data}.log\n" + self.log_text()[-3000:])

    def launch(self):
        env = dict(os.environ)
        if self.keys:
            env["SILTSTONE_ACCESS_KEY"], env["SILTSTONE_SECRET_KEY"] = self.keys
        command = [*self.under, self.binary, "server", "--data", self.data, "--listen", f"127.0.0.1:{self.port}",
                   "--admin", f"127.0.0.1:{self.admin_port}", "--reserve-bytes", "0", *self.flags]
        with open(self.data + ".log", "ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)

    def is_ready(self, wait=30, pause=0.05):
        """Waits until the server is ready; false when it ended or did not get there in time."""
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.admin + "/health/ready", timeout=2):
                    return True
            except OSError:
                time.sleep(pause)
        return False

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=60) != 0:
            sys.exit("the server did not stop cleanly: " + self.log_text()[-3000:])

    def cut(self):
        request = urllib.request.Request(self.admin + "/cut", method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def sql(self, query, keys=None, **wishes):
        """Rows as dictionaries."""
        return json.loads(self.sql_bytes(query, keys, **wishes)[0])

    def sql_bytes(self, query, keys=None, **wishes):
        """An answer as it came, and its headers."""
        target = f"{self.admin}/sql?{urllib.parse.urlencode(wishes)}"
        headers = basic(keys or self.own_keys())
        request = urllib.request.Request(target, data=query.encode(), headers=headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read(), answer.headers
        except urllib.error.HTTPError as error:
            error.text = error.read().decode()
            error.add_note(error.text)
            raise

    def fsck(self):
        done = subprocess.run([self.binary, "fsck", self.data], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit("fsck: " + done.stdout + done.stderr)

    def kept_keys(self):
        with open(self.data + "/credentials") as file:
            return file.read().split()

    def own_keys(self):
        return self.keys or self.kept_keys()

    def client(self, keys=None, **options):
        import boto3
        from botocore.config import Config
        config = Config(signature_version="s3v4", retries={"max_attempts": 1}, max_pool_connections=32, **options)
        access, secret = keys or self.own_keys()
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", config=config,
                            aws_access_key_id=access, aws_secret_access_key=secret)
