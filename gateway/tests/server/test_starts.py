"""Starts of a server: the first one of a newcomer, and those that are refused."""
import os
import signal
import stat
import subprocess
import time
import urllib.request

import pytest

from lib.server import free_port


def environment(**more):
    """The environment without anything that is meant for servers."""
    return {**{name: value for name, value in os.environ.items() if not name.startswith("SILTSTONE_")}, **more}


def wait_ready(process, admin):
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(admin + "/health/ready", timeout=2).close()
            return
        except OSError:
            time.sleep(0.05)


@pytest.fixture
def first_start(siltstone, tmp_path):
    """A server that was started in an empty folder: the folder, the address of its admin endpoint."""
    admin = f"127.0.0.1:{free_port()}"
    config = tmp_path / "open.toml"
    config.write_text('region = "us-east-1"\n')
    config.chmod(0o644)
    with open(tmp_path / "out", "wb") as out:
        command = [siltstone, "server", "--listen", f"127.0.0.1:{free_port()}", "--admin", admin, "--reserve-bytes", "0", "--config", str(config)]
        process = subprocess.Popen(command, cwd=tmp_path, env=environment(), stdout=out, stderr=out, umask=0o022)
    try:
        wait_ready(process, f"http://{admin}")
        yield tmp_path, f"http://{admin}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0, (tmp_path / "out").read_text()[-3000:]
    finally:
        process.kill()
        process.wait()


def test_a_first_start_keeps_keys_in_a_file_and_everything_for_the_owner(siltstone, first_start):
    """Data in ./data, no colours in files."""
    folder, admin = first_start
    data = folder / "data"
    access, secret = (data / "credentials").read_text().split()
    said = (folder / "out").read_text()
    assert "data/credentials" in said and secret not in said and access not in said, f"where the keys are, and not what they are: {said}"
    assert "\x1b" not in said, "colours in a file"
    assert "open.toml" in said and "chmod 600" in said, f"a file that others may read: {said}"
    for path in [data, *data.rglob("*")]:
        # A library makes one folder below `spill`, which nobody else gets to.
        if "spill" not in path.parts[:-1]:
            mode = stat.S_IMODE(path.stat().st_mode)
            assert mode == (0o700 if path.is_dir() else 0o600), f"{path} is {mode:o}"
    rows = subprocess.run([siltstone, "sql", "--admin", admin, "SELECT 1 AS one"], cwd=folder, env=environment(), capture_output=True, text=True)
    assert rows.returncode == 0 and "one" in rows.stdout, f"SQL with the keys of ./data: {rows.stdout}{rows.stderr}"


USER = '[[users]]\nname = "{0}"\nid = "{1}"\ndisplay_name = "{0}"\naccess_key = "AKID{0}"\nsecret_key = "{2}"\n'
SECRET = "sixteen-letters!"


@pytest.mark.parametrize(("text", "keys", "word"), [
    pytest.param(USER.format("a", "AB" * 32, SECRET) + USER.format("b", "ab" * 32, SECRET), {}, "same id", id="one id twice"),
    pytest.param(USER.format("a", "ab" * 32, SECRET[:11]), {}, "too short", id="a short secret of a user"),
    pytest.param("", {"SILTSTONE_ACCESS_KEY": "AKIDROOT", "SILTSTONE_SECRET_KEY": "short"}, "too short", id="a short secret of root")])
def test_keys_that_are_none_and_users_that_are_one_are_refused(siltstone, tmp_path, text, keys, word):
    config = tmp_path / "users.toml"
    config.write_text(text)
    told = subprocess.run([siltstone, "server", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
                          cwd=tmp_path, env=environment(**keys), capture_output=True, text=True, timeout=60)
    said = told.stdout + told.stderr
    assert told.returncode == 1 and word in said, said
    assert SECRET not in said, "a secret is shown"


def test_a_second_server_on_the_directory_is_refused(siltstone, server):
    command = [siltstone, "server", "--data", server.data, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"]
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 1 and "in use" in second.stderr, "a second server on the directory refuses"
