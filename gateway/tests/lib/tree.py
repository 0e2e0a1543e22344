"""A tree of real files goes in with rclone and with aws s3, and comes back the same: before a cut, after a cut,
after a stop, after a kill. Listings and SQL count what the file system counts.

Only regular files take part: what a client makes of a link is its own affair, and a folder without files has no
place in an object store.
"""
import os
import shutil
import subprocess
import sys
import time

from lib.server import ACCESS_KEY, SECRET_KEY


def copy_files(source, copy, left_out=()):
    """Copies the regular files below a folder; gives how many there are and their bytes."""
    count = size = 0
    for folder, folders, names in os.walk(source):
        folders[:] = [name for name in folders if name not in left_out]
        files = [name for name in names if os.path.isfile(f"{folder}/{name}") and not os.path.islink(f"{folder}/{name}")]
        to = copy / os.path.relpath(folder, source)
        if files:
            to.mkdir(parents=True, exist_ok=True)
        for name in files:
            shutil.copy(f"{folder}/{name}", to / name)
            count, size = count + 1, size + (to / name).stat().st_size
    return count, size


class Tree:
    """One tree and the buckets that hold it. Every step is told to `say(text)`."""

    def __init__(self, server, copy, say=lambda text: None):
        self.server, self.copy, self.say = server, copy, say
        # Each folder's names, as a listing with a delimiter should show them: folder below the copy -> names.
        self.folders = {}
        self.count = self.size = 0
        for folder, folders, names in os.walk(copy):
            below = os.path.relpath(folder, copy)
            self.folders["" if below == "." else below + "/"] = {*names, *folders}
            self.count += len(names)
            self.size += sum(os.path.getsize(f"{folder}/{name}") for name in names)

    def environment(self):
        env = dict(os.environ, AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY,
                   AWS_DEFAULT_REGION="us-east-1", RCLONE_CONFIG="/dev/null", RCLONE_CONFIG_S_TYPE="s3",
                   RCLONE_CONFIG_S_PROVIDER="Other", RCLONE_CONFIG_S_ACCESS_KEY_ID=ACCESS_KEY,
                   RCLONE_CONFIG_S_SECRET_ACCESS_KEY=SECRET_KEY, RCLONE_CONFIG_S_ENDPOINT=self.server.url,
                   RCLONE_CONFIG_S_REGION="us-east-1")
        # A certificate bundle for AWS's own endpoints is nothing to a server on plain HTTP, and rclone trips over it.
        env.pop("AWS_CA_BUNDLE", None)
        return env

    def run(self, *command):
        done = subprocess.run(command, env=self.environment(), capture_output=True, text=True)
        told = (done.stdout + done.stderr)[-5000:]
        assert done.returncode == 0, f"{' '.join(map(str, command))}:\n{told}"
        return told

    def step(self, what, act, *arguments):
        begun = time.monotonic()
        act(*arguments)
        self.say(f"{what}: {time.monotonic() - begun:.1f} s")

    def sync(self):
        """Puts the tree into both buckets."""
        aws = [sys.executable, "-m", "awscli", "--endpoint-url", self.server.url]
        self.run(*aws, "s3", "mb", "s3://aws")
        self.step("aws s3 sync", self.run, *aws, "s3", "sync", "--only-show-errors", self.copy, "s3://aws")
        self.run("rclone", "mkdir", "s:rclone")
        self.step("rclone sync", self.run, "rclone", "sync", self.copy, "s:rclone")

    def same(self, when):
        for bucket in ["aws", "rclone"]:
            self.step(f"{when}: rclone check, {bucket}", self.compare, bucket)
        self.step(f"{when}: SQL, listings of {len(self.folders)} folders", self.count_and_list)

    def compare(self, bucket):
        told = self.run("rclone", "check", "--download", self.copy, f"s:{bucket}")
        assert "0 differences found" in told, f"rclone check of {bucket}: {told}"
        # Nothing to compare is no difference either.
        assert f"{self.count} matching files" in told, f"rclone check of {bucket}: {told}"

    def count_and_list(self):
        s3 = self.server.client()
        for bucket in ["aws", "rclone"]:
            wanted = [{"n": self.count, "bytes": self.size}]
            counted = self.server.sql(f"SELECT count(*) AS n, sum(size) AS bytes FROM objects WHERE bucket = '{bucket}'")
            assert counted == wanted, f"SQL of {bucket}: {counted} instead of {wanted}"
        pages = list(s3.get_paginator("list_objects_v2").paginate(Bucket="aws"))
        listed = [found for page in pages for found in page.get("Contents", [])]
        assert (len(listed), sum(found["Size"] for found in listed)) == (self.count, self.size), "as many objects and bytes as files"
        for prefix, names in self.folders.items():
            found = set()
            for page in s3.get_paginator("list_objects_v2").paginate(Bucket="rclone", Prefix=prefix, Delimiter="/"):
                found |= {one["Key"][len(prefix):] for one in page.get("Contents", [])}
                found |= {one["Prefix"][len(prefix):-1] for one in page.get("CommonPrefixes", [])}
            assert found == names, f"the listing of {prefix}: {sorted(found ^ names)[:5]}"

    def come_and_go(self):
        """The whole story: in, and the same after everything that may happen to a server."""
        self.sync()
        self.same("before a cut")
        self.step("a cut", self.server.cut)
        self.same("after a cut")
        self.server.stop()
        self.step("fsck", self.server.fsck)
        self.step("a start", self.server.start)
        self.same("after a stop")
        self.server.kill()
        self.step("a start after a kill", self.server.start)
        self.same("after a kill")
