"""Every file and every folder of a real store lost, one at a time, and the real binary over what is left, see
`lib/damage.py`.

Whatever it is: a start is refused with its name, or the answers are right, or errors name what is missing; never
less in silence. Then losses of the log are accepted with `siltstone fsck --accept-loss`: what can be read is
served again, and what was set aside is still there. `query/simulation/tests/it/missing.rs` does the same in memory over more
kinds of stores.

Left out: both copies of the identity at once, and a data directory that is gone as a whole: that is a new store.
"""
import itertools
import os
import shutil
import subprocess

import pytest

from lib.damage import FLAGS, Damage, Image, Wrong, kind_of
from lib.server import Server


class Missing(Damage):
    """A file or folder that is gone."""

    def __init__(self, image, path, is_folder):
        super().__init__(image, "folder" if is_folder else kind_of(path), path)
        self.is_folder = is_folder

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
        before, after = set(self.image.files), set(Image("after", server.data).files)
        is_of_log = self.path.startswith("log") or self.kind == "log"
        if is_of_log and not before - {self.path} <= after | {one for one in before if one.startswith(self.path)}:
            raise Wrong("a start that was refused has removed something")
        return super().not_started(server)

    @property
    def group(self):
        """Losses that are counted together."""
        return self.path + "/" if self.is_folder else self.kind


@pytest.mark.parametrize("is_folder", [False, True], ids=["file", "folder"])
@pytest.mark.parametrize("state", ["killed", "closed"])
def test_a_missing_file_or_folder_is_named_by_errors(made, count, state, is_folder):
    [image] = [image for image in made.images if image.name == state]
    paths = sorted(os.path.normpath(folder) for folder in image.folders) if is_folder else sorted(image.files)
    losses = sorted((Missing(image, path, is_folder) for path in paths), key=lambda loss: loss.group)
    failed = []
    for group, found in itertools.groupby(losses, lambda loss: loss.group):
        tally, wrong = made.try_all(found)
        failed += wrong
        print(f"{group}: {tally}")
    count("missing files and folders", len(losses))
    assert not failed, "\n".join(failed)


def fsck(server, *flags):
    done = subprocess.run([server.binary, "fsck", server.data, *flags], capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def lose_folder(data):
    shutil.rmtree(f"{data}/log")


def rot(data):
    """A byte of the payload that was put in the first record above the last cut."""
    path = f"{data}/log/0000/0000000001.log"
    with open(path, "r+b") as file:
        content = file.read()
        payload = bytes((at * 7 + len("tail/inline")) % 256 for at in range(700))
        at = content.rindex(payload) + 300
        file.seek(at)
        file.write(bytes([content[at] ^ 1]))


@pytest.mark.parametrize(("damage", "lost"), [
    pytest.param(lose_folder, {"tail/inline", "tail/large", "parts/done"}, id="the folder of the log is gone"),
    pytest.param(rot, {"tail/inline"}, id="a record above the last cut has rotted")])
def test_a_loss_is_accepted_and_everything_else_is_served(siltstone, made, tmp_path, tell, damage, lost):
    """The objects in `lost` and no others may be lost."""
    server = Server(siltstone, str(tmp_path / "data"), *FLAGS, keys=None)
    made.images[0].write(server.data)
    damage(server.data)
    server.launch()
    starts = server.is_ready(20)
    server.kill()
    assert not starts, "the server starts"
    code, told = fsck(server)
    assert code == 1 and "log/0000" in told, f"fsck ends with {code}: {told}"
    code, told = fsck(server, "--accept-loss")
    assert code == 0, f"the loss is not accepted: {told}"
    tell(told.strip().replace("\n", "; "))
    serves_all_but(server, made.known, lost)
    # Once more there is nothing to accept.
    code, told = fsck(server, "--accept-loss")
    assert code == 0 and "no loss to accept" in told, told


def serves_all_but(server, known, lost):
    """A server gives what is not lost, takes a write, and has it after a kill."""
    s3 = server.start().client()
    for (bucket, key, version), body in known.items():
        if body is not None and key not in lost:
            assert s3.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read() == body, f"{key} has other bytes"
    s3.put_object(Bucket="plain", Key="after", Body=b"after")
    server.kill()
    s3 = server.start().client()
    assert s3.get_object(Bucket="plain", Key="after")["Body"].read() == b"after", "a write after the loss is not there"
    server.stop()
    server.fsck()
