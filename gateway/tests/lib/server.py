"""Siltstone servers for tests: one process on free ports of 127.0.0.1 over a folder of its own."""
import atexit
import base64
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

import boto3
from botocore.config import Config

ACCESS_KEY = "AKIDTEST"
SECRET_KEY = "a-secret-for-tests"
ROOT_KEYS = (ACCESS_KEY, SECRET_KEY)
# A second user, who owns nothing of the first.
OTHER_KEYS = ("AKIDOTHER", "another-secret-for-tests")
OTHER_ID = "c" * 64
LOG_END = 3000


class ServerError(Exception):
    """A server did not start, stop or check as it must; the text has the end of its log."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def basic(keys):
    """The header that authorizes a request for SQL."""
    return {"Authorization": "Basic " + base64.b64encode(":".join(keys).encode()).decode()}


def key_environment(keys=ROOT_KEYS):
    """The environment of a command line client with these keys."""
    return dict(os.environ, AWS_ACCESS_KEY_ID=keys[0], AWS_SECRET_ACCESS_KEY=keys[1])


def write_other_user(path):
    """Writes a configuration file with the second user; returns the flags that name the file."""
    path.write_text(f'[[users]]\nname = "other"\nid = "{OTHER_ID}"\ndisplay_name = "Other"\nemail = ""\n'
                    f'access_key = "{OTHER_KEYS[0]}"\nsecret_key = "{OTHER_KEYS[1]}"\n')
    path.chmod(0o600)
    return "--config", str(path)


def write_destinations(path, destinations):
    """Writes a configuration file with destinations of events; returns the flags that name the file."""
    tables = ["\n".join(["[[event_destinations]]", *(f"{key} = {json.dumps(value)}" for key, value in one.items())]) for one in destinations]
    path.write_text("\n".join(tables) + "\n")
    path.chmod(0o600)
    return "--config", str(path)


class Server:
    """One server process over a data directory; the ports stay the same over restarts.

    `under` is a command that runs the server (a tracer, for example). Without `keys` the server makes keys of its own.
    """

    # Every process that was started and not yet ended by a test, to be ended with this interpreter.
    running = set()

    def __init__(self, binary, data, *flags, under=(), keys=ROOT_KEYS):
        self.binary, self.data, self.flags = binary, str(data), flags
        self.under, self.keys = list(under), keys
        self.port, self.admin_port = free_port(), free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self):
        return f"http://127.0.0.1:{self.admin_port}"

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def log_text(self):
        with open(self.data + ".log", errors="replace") as log:
            return log.read()

    def log_end(self):
        return f"{self.data}.log ends with:\n{self.log_text()[-LOG_END:]}"

    def start(self, wait=30):
        self.launch()
        if self.is_ready(wait):
            return self
        what = "did not get ready" if self.is_running() else f"ended with code {self.process.returncode}"
        self.kill()
        raise ServerError(f"the server {what}; {self.log_end()}")

    def launch(self):
        env = dict(os.environ)
        if self.keys:
            env["SILTSTONE_ACCESS_KEY"], env["SILTSTONE_SECRET_KEY"] = self.keys
        command = [*self.under, self.binary, "server", "--data", self.data, "--listen", f"127.0.0.1:{self.port}",
                   "--admin", f"127.0.0.1:{self.admin_port}", "--reserve-bytes", "0", *self.flags]
        with open(self.data + ".log", "ab") as log:
            self.process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        Server.running.add(self)

    def is_running(self):
        return self.process is not None and self.process.poll() is None

    def has_died(self):
        """Returns whether the process has ended and no test ended it."""
        return self in Server.running and not self.is_running()

    def is_ready(self, wait=30, pause=0.05):
        """Waits until the server is ready; false when the process ended or the time is over."""
        deadline = time.monotonic() + wait
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(self.admin + "/health/ready", timeout=2):
                    return True
            except OSError:
                time.sleep(pause)
        return False

    def kill(self):
        Server.running.discard(self)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends the process by SIGTERM, after which it must exit with 0."""
        Server.running.discard(self)
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server did not stop within 60 s; {self.log_end()}") from None
        if code != 0:
            raise ServerError(f"the server stopped with code {code}; {self.log_end()}")

    def cut(self):
        return self.post("/cut")

    def post(self, path):
        """Sends an empty POST to the admin address; returns the text of the answer."""
        request = urllib.request.Request(self.admin + path, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.read().decode()

    def metrics(self):
        with urllib.request.urlopen(self.admin + "/metrics", timeout=30) as answer:
            return answer.read().decode()

    def metric(self, name):
        """The sum of a metric over all its labels."""
        lines = [line for line in self.metrics().splitlines() if line.partition("{")[0].partition(" ")[0] == name]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    def status(self):
        """The report of `siltstone status`."""
        with urllib.request.urlopen(self.admin + "/status", timeout=30) as answer:
            return json.loads(answer.read())

    def resident(self):
        """Bytes of anonymous memory that the process holds."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        [line] = [line for line in status.splitlines() if line.startswith("RssAnon:")]
        return int(line.split()[1]) << 10

    def written_bytes(self):
        """Bytes that the process has written so far, to files and to sockets."""
        counts = pathlib.Path(f"/proc/{self.process.pid}/io").read_text()
        return int(counts.partition("wchar: ")[2].split()[0])

    def sql(self, query, keys=None, **wishes):
        """Rows as dictionaries."""
        return json.loads(self.sql_bytes(query, keys, **wishes)[0])

    def sql_bytes(self, query, keys=None, **wishes):
        """The body and the headers of an answer."""
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
            raise ServerError(f"fsck of {self.data} ends with {done.returncode}:\n{done.stdout}{done.stderr}")

    def kept_keys(self):
        with open(self.data + "/credentials") as file:
            return file.read().split()

    def own_keys(self):
        return self.keys or self.kept_keys()

    def client(self, keys=None, **options):
        config = Config(signature_version="s3v4", retries={"max_attempts": 1}, max_pool_connections=32, **options)
        access, secret = keys or self.own_keys()
        return boto3.client("s3", endpoint_url=self.url, region_name="us-east-1", config=config,
                            aws_access_key_id=access, aws_secret_access_key=secret)


@atexit.register
def end_all():
    """Ends what an interrupted run left behind."""
    for server in list(Server.running):
        server.kill()
