"""Every file and every folder of a real store lost, one at a time, and the real binary over what is left.

Whatever it is: a start is refused with its name, or the answers are right, or errors name what is missing; never
less in silence. Then losses of the log are accepted with `siltstone fsck --accept-loss`: what can be read is
served again, and what was set aside is still there. `query/tests/it/missing.rs` does the same in memory over more
kinds of stores.

Left out: both copies of the identity at once, and a data directory that is gone as a whole: that is a new store.
"""
import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile

from concurrent.futures import ThreadPoolExecutor

import flips
from lib.server import Server


class Missing(flips.Sample):
    """A file or folder that is gone, and what came of it."""

    def __init__(self, image, path, is_folder):
        self.image, self.path, self.is_folder = image, path, is_folder
        self.kind = "folder" if is_folder else flips.kind_of(path)

    def __str__(self):
        return f"{self.path} missing from the store that was {self.image.name}"

    def names(self, text):
        return self.path in text or (self.kind in ("log", "mark") and "log/0000 " in text)

    def write(self, folder):
        self.image.write(folder)
        if self.is_folder:
            shutil.rmtree(f"{folder}/{self.path}")
        else:
            os.remove(f"{folder}/{self.path}")

    def not_started(self, server):
        before, after = set(self.image.files), set(flips.Image("after", server.data).files)
        is_of_log = self.path.startswith("log") or self.kind == "log"
        if is_of_log and not before - {self.path} <= after | {one for one in before if one.startswith(self.path)}:
            raise flips.Wrong("a start that was refused has removed something")
        return super().not_started(server)

    def are_of_one_block(self, lost):
        """All of a file's blocks are gone."""


def losses(images):
    for image in images:
        for path in sorted(image.files):
            yield Missing(image, path, False)
        for path in sorted(os.path.normpath(folder) for folder in image.folders):
            yield Missing(image, path, True)


def lose_all(images, wanted, askers):
    def run(loss):
        asker = askers.get()
        try:
            return loss, loss.run(asker, wanted), None
        except flips.Wrong as wrong:
            return loss, None, wrong
        finally:
            askers.put(asker)

    tallies, failed = collections.defaultdict(flips.Tally), 0
    with ThreadPoolExecutor(flips.WORKERS) as pool:
        for loss, effect, wrong in pool.map(run, losses(images)):
            if wrong:
                failed += 1
                print(f"FAILED: {loss}: {wrong}")
            else:
                tallies[loss.path + "/" if loss.is_folder else loss.kind].effects.append(effect)
    return tallies, failed


def fsck(server, *flags):
    done = subprocess.run([server.binary, "fsck", server.data, *flags], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def accept(binary, folder, image, known, what, damage, lost):
    """Damages the log above the last cut, and accepts what is lost; the names in `lost` and no others may be."""
    server = Server(binary, folder, *flips.FLAGS, keys=None)
    image.write(server.data)
    damage(server.data)
    open(server.data + ".log", "w").close()
    server.launch()
    if server.is_ready(20):
        sys.exit(f"FAILED: {what}: the server starts")
    code, told = fsck(server)
    if code != 1 or "log/0000" not in told:
        sys.exit(f"FAILED: {what}: fsck ends with {code}: {told}")
    code, told = fsck(server, "--accept-loss")
    if code != 0:
        sys.exit(f"FAILED: {what}: the loss is not accepted: {told}")
    print(f"{what}:\n  " + told.strip().replace("\n", "\n  "))
    s3 = server.start().client()
    for (bucket, key, version), body in known.items():
        if body is None or key in lost:
            continue
        found = s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
        if found != body:
            sys.exit(f"FAILED: {what}: {key} has other bytes")
    s3.put_object(Bucket="plain", Key="after", Body=b"after")
    server.kill()
    s3 = server.start().client()
    if s3.get_object(Bucket="plain", Key="after")["Body"].read() != b"after":
        sys.exit(f"FAILED: {what}: what was written after is not there")
    server.stop()
    server.fsck()
    # Once more there is nothing to accept.
    code, told = fsck(server, "--accept-loss")
    if code != 0 or "no loss to accept" not in told:
        sys.exit(f"FAILED: {what}: {told}")


def rot(data):
    """A byte of the payload that was put in the first record above the last cut."""
    path = f"{data}/log/0000/0000000001.log"
    with open(path, "r+b") as file:
        content = file.read()
        payload = bytes((at * 7 + len("tail/inline")) % 256 for at in range(700))
        at = content.rindex(payload) + 300
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("binary")
    arguments = arguments.parse_args()
    binary = os.path.abspath(arguments.binary)
    with tempfile.TemporaryDirectory() as scratch:
        images, known, wanted, askers = flips.make(binary, scratch)
        tallies, failed = lose_all(images, wanted, askers)
        flips.report(images, known, tallies)
        killed = images[0]
        tail = {"tail/inline", "tail/large", "parts/done"}
        accept(binary, f"{scratch}/folder", killed, known, "the log's folder is gone",
               lambda data: shutil.rmtree(f"{data}/log"), tail)
        accept(binary, f"{scratch}/rot", killed, known, "a record above the last cut has rotted", rot, {"tail/inline"})
    if failed:
        sys.exit(f"FAILED: {failed} losses")


if __name__ == "__main__":
    main()
