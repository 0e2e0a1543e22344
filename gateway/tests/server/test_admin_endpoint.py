"""The admin endpoint is for programs of this machine, not for pages in its browsers."""
import subprocess

import pytest

from lib.requests import head
from lib.server import basic
from lib.sockets import send


@pytest.fixture
def status(server):
    """Sends a request with these headers; returns the status of the answer."""
    def status(method, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        own = {"host": f"127.0.0.1:{server.admin_port}", "content-length": "0", "connection": "close"}
        return int(send(server.admin_port, head(method, path, {**own, **headers})).split(b" ")[1])

    return status


@pytest.mark.parametrize("path", ["/cut", "/merge", "/sql"])
def test_a_write_is_refused_to_pages_and_other_names(server, status, path):
    page = {"origin": "http://evil.example", "sec_fetch_site": "cross-site", "content_type": "text/plain"}
    assert status("POST", path, **page, **basic(server.own_keys())) == 403, f"{path} for a page"
    assert status("POST", path, host=f"evil.example:{server.admin_port}") == 403, f"{path} by another name"


@pytest.mark.parametrize("path", ["/metrics", "/cluster", "/health/cluster", "/health/ready", "/nowhere"])
def test_a_read_is_refused_to_pages_and_other_names(server, status, path):
    assert status("GET", path, host=f"evil.example:{server.admin_port}") == 403, f"{path} by another name"
    assert status("GET", path, sec_fetch_site="cross-site") == 403, f"{path} for a page"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_names_of_this_machine_are_served(server, status, host):
    assert status("GET", "/health/live", host=f"{host}:{server.admin_port}") == 200, host


def test_programs_are_served(server, status):
    assert status("POST", "/cut") == 200 and status("POST", "/merge", content_type="application/x-www-form-urlencoded") == 200, "programs"
    told = subprocess.run([server.binary, "cut", "--admin", server.admin], capture_output=True, text=True)
    assert told.returncode == 0 and "cut" in told.stdout, told.stdout + told.stderr
