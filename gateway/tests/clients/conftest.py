"""Common parts of the jobs of clients: samples, a second reader, and commands in a clean environment."""
import os
import pathlib
import random
import runpy
import socket
import subprocess
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from lib.client_jobs import COMPARED, Compared
from lib.server import ACCESS_KEY, SECRET_KEY

# Names that clients, shells, URLs and XML may spoil; legal in a file system and as keys.
ODD_NAMES = [
    "with space/a b c.txt", " leading space", "trailing space ", "plus+sign/a+b", "percent/100%.txt", "percent/%41%2F%00",
    "unicode/żółć-日本語-Ω", "unicode/\U0001f980", "unicode/e\u0301 decomposed", "unicode/é composed", "query/a&b=c;d?e#f",
    "quotes/'single' \"double\" `back`", "marks/~!@$^*()_-,.", "brackets/[a]{b}<c>", "pipe|caret^", "dots/.hidden",
    "dots/..two", "dots/three...", "x/" * 20 + "deep", "long/" + "n" * 200, "CASE/Name", "case/name",
]
# Keys that no file can have.
ODD_KEYS = [
    *ODD_NAMES, "double//slash", "/leading-slash", "//", "folder/", "folder/folder/", "back\\slash", "dot/./inside", "dot/../inside",
    "tab\tinside", "line\nfeed", "k" * 1024, "ż" * 512,
]
MIB = 1 << 20


@pytest.fixture
def compared(request):
    """Compares contents, and counts for the results what was compared."""
    return request.node.stash.setdefault(COMPARED, Compared())


@pytest.fixture
def refusal(request):
    """The status and the code with which the job must be refused, for example `501 NotImplemented`."""
    return request.node.get_closest_marker("job").kwargs["refused"]


@pytest.fixture(scope="session")
def draw(seed):
    """Bytes that follow from the seed of the run and a name."""
    return lambda name, size: random.Random(f"{seed} {name}").randbytes(size)


@pytest.fixture(scope="session")
def samples(draw, sizes):
    """Contents by name: sizes around the bounds of clients, a large one, and odd names. All are names of files."""
    wanted = {"empty": 0, "one": 1, "small.txt": 1000, "folder/5 MiB": 5 * MIB, "folder/8 MiB and one": 8 * MIB + 1, "folder/large.bin": sizes.client_mib * MIB}
    wanted |= {name: 100 + number for number, name in enumerate(ODD_NAMES)}
    return {name: draw(name, size) for name, size in wanted.items()}


@pytest.fixture(scope="session")
def tree(samples, tmp_path_factory):
    """A folder with `samples` as files, which jobs only read."""
    return write_tree(tmp_path_factory.mktemp("tree"), samples)


def write_tree(folder, contents):
    for name, content in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture(scope="session")
def read_tree():
    """Reads all files below a folder."""
    def read(folder):
        files = [pathlib.Path(place, name) for place, _, names in os.walk(folder) for name in names]
        return {str(file.relative_to(folder)): file.read_bytes() for file in files}

    return read


@pytest.fixture(scope="module")
def stored(s3):
    """What a bucket holds, read by a second client: contents by key."""
    def read(bucket, prefix=""):
        pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return {one["Key"]: s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read() for page in pages for one in page.get("Contents", [])}

    return read


@pytest.fixture
def fill(s3, bucket):
    """Puts contents into the job's bucket, past the client under test."""
    def put(contents):
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda pair: s3.put_object(Bucket=bucket, Key=pair[0], Body=pair[1]), contents.items()))
        return contents

    return put


@pytest.fixture(scope="module")
def crowd(s3, sizes):
    """A bucket with more keys than a page of a listing has; jobs only read. Returns its name and the contents."""
    bucket = f"crowd-{uuid.uuid4()}"
    s3.create_bucket(Bucket=bucket)
    contents = {f"{number % 3}/{number:06}": b"%d" % number for number in range(sizes.client_keys)}
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda pair: s3.put_object(Bucket=bucket, Key=pair[0], Body=pair[1]), contents.items()))
    return bucket, contents


@pytest.fixture(scope="module")
def environment(server, tmp_path_factory):
    """The environment of a command line client: a home without settings, and the server's keys."""
    home = tmp_path_factory.mktemp("home")
    return {
        "PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", "TMPDIR": str(home),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": SECRET_KEY, "AWS_EC2_METADATA_DISABLED": "true",
    }


class Run:
    """Runs commands of a client; each must end with the code that is wanted."""

    def __init__(self, environment, folder):
        self.environment, self.folder = environment, folder

    def __call__(self, *command, code=0, input=b"", folder=None, seconds=300, **environment):
        """Returns what the command wrote to its standard output; with another code than 0 what it wrote to both."""
        words = [str(word) for word in command]
        done = subprocess.run(words, env=self.environment | environment, input=input, capture_output=True, timeout=seconds, cwd=folder or self.folder)
        told = done.stdout + done.stderr
        # Without a wanted code any failure is one.
        assert done.returncode == code or code is None and done.returncode != 0, f"{' '.join(words)} ends with {done.returncode}:\n{told[-5000:].decode(errors='replace')}"
        return done.stdout if code == 0 else told

    def refused(self, refusal, *command, code=1, **options):
        """Runs a command that the server must refuse; the client must show the error's code."""
        told = self(*command, code=code, **options).decode(errors="replace")
        assert refusal.split()[-1] in told, f"{refusal} is not told:\n{told[-3000:]}"
        return told


@pytest.fixture
def run(environment, tmp_path):
    return Run(environment, tmp_path)


@pytest.fixture
def localhost_names(monkeypatch):
    """Lets this process and Python clients that get the returned environment resolve names below `localhost`."""
    folder = pathlib.Path(__file__).parent / "localhost"
    # So that the end of the test puts back what the file changes.
    monkeypatch.setattr(socket, "getaddrinfo", socket.getaddrinfo)
    runpy.run_path(str(folder / "sitecustomize.py"))
    return {"PYTHONPATH": str(folder)}


@pytest.fixture
def at_once():
    """Runs calls at the same moment, each on a thread of its own; returns for each its value or its exception."""
    def act(*calls):
        barrier, told = threading.Barrier(len(calls)), [None] * len(calls)

        def one(number):
            barrier.wait()
            try:
                told[number] = calls[number]()
            except Exception as error:
                told[number] = error

        threads = [threading.Thread(target=one, args=[number], daemon=True) for number in range(len(calls))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(120)
            assert not thread.is_alive(), "a call takes more than 120 s"
        return told

    return act
