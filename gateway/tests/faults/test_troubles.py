"""A live server whose surroundings fail for a while: no file handles, a folder that is gone, a clock that is wrong.

What is whole is never called damaged, a server that would not take a write says so, no wrong date outlasts its cause, and
all is well again without a restart.
"""
import contextlib
import datetime
import os
import pathlib
import resource
import shutil
import subprocess
import time
import urllib.error
import urllib.request

import botocore.exceptions
import pytest

pytestmark = pytest.mark.serial

BUCKET = "troubles"
YEARS = 20 * 365 * 86400


def ask(server, path, method="GET"):
    """Status and text of an answer of the admin address."""
    request = urllib.request.Request(server.admin + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(what, is_so, within=60):
    deadline = time.monotonic() + within
    while not is_so():
        assert time.monotonic() < deadline, f"{what}: not within {within} s"
        time.sleep(0.2)


@contextlib.contextmanager
def few_handles(server, more):
    """Leaves a running server so many handles beyond those that it has open."""
    pid, have = server.process.pid, len(os.listdir(f"/proc/{server.process.pid}/fd"))
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (have + more, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def refusals(calls):
    """Makes calls without handles; each must succeed, fail by its condition, be answered 503 or break off. Returns how many
    were answered 503."""
    refused = 0
    for call in calls:
        try:
            call()
        except botocore.exceptions.ClientError as error:
            status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
            assert status in (412, 503), f"without handles: {status} {code} {error}"
            refused += status == 503
        except botocore.exceptions.BotoCoreError:
            pass  # An answer that had begun breaks off, and a new connection finds nobody.
    return refused


def test_without_file_handles_requests_are_answered_503_and_nothing_is_called_corrupt(serve, tell):
    server = serve("--cut-seconds", "3600")
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    bodies = {f"k{number}": os.urandom([500, 300_000][number % 2]) for number in range(16)}
    for key, body in bodies.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=body)
        server.cut()
    # A segment is opened at its first read after a start.
    server.stop()
    server.start()
    client = server.client()
    tag = client.head_object(Bucket=BUCKET, Key="k0")["ETag"]
    calls = [lambda key=key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in bodies]
    calls += [lambda key=key: client.put_object(Bucket=BUCKET, Key=key, Body=b"new", IfMatch=tag) for key in ("k1", "k2")]
    calls += [lambda: client.put_object(Bucket=BUCKET, Key="large", Body=bytes(300_000))]
    refused = 0
    # With no handle left the server may not even accept a connection; then there are a few more.
    for more in range(4):
        with few_handles(server, more):
            refused += refusals(calls)
        if refused:
            break
    assert refused > 0, "handles were never short"
    wait_for("ready again", lambda: ask(server, "/health/ready")[0] == 200)
    client = server.client()
    for key, body in bodies.items():
        assert client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, f"{key} afterwards"
    client.put_object(Bucket=BUCKET, Key="k0", Body=b"new", IfMatch=tag)
    server.cut()
    log = server.log_text()
    assert "corrupt" not in log, "whole files were called corrupt:\n" + log[-3000:]
    tell(f"{refused} requests were answered 503")


def test_a_server_whose_folder_is_gone_is_not_ready_until_it_is_back(serve, tmp_path):
    server = serve("--cut-seconds", "1")
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    wait_for("a first cut", lambda: not ask(server, "/metrics")[1].count('siltstone_cut{partition="0"} 0\n'))
    segments = pathlib.Path(server.data) / "p0000/segments"
    shutil.move(segments, tmp_path / "aside")
    client.put_object(Bucket=BUCKET, Key="k", Body=b"payload")
    wait_for("not ready", lambda: ask(server, "/health/ready")[0] == 503)
    text = ask(server, "/health/ready")[1]
    assert "a cut has failed" in text and "No such file" in text, f"the reason: {text}"
    shutil.move(tmp_path / "aside", segments)
    wait_for("ready again", lambda: ask(server, "/health/ready")[0] == 200)
    assert client.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"payload", "what was written meanwhile"


def test_a_clock_that_jumps_is_told_and_dates_nothing_wrong_for_good(serve, siltstone, tmp_path):
    shim, shift = tmp_path / "clock_shift.so", tmp_path / "shift"
    source = pathlib.Path(__file__).parent / "clock_shift.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
    shift.write_text("0")
    under = ["env", f"LD_PRELOAD={shim}", f"SHIFT_FILE={shift}"]
    server = serve("--cut-seconds", "1", under=under)
    client = server.client()
    client.create_bucket(Bucket=BUCKET)

    def put(key):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"payload")
        dated = client.head_object(Bucket=BUCKET, Key=key)["LastModified"]
        wrong = dated - datetime.datetime.now(datetime.timezone.utc)
        assert abs(wrong.total_seconds()) < 65, f"{key} is dated {dated}"

    put("before")
    shift.write_text(str(YEARS))
    wait_for("the jump is told", lambda: ask(server, "/health/clock")[0] == 503, within=10)
    status, text = ask(server, "/health/ready")
    assert status == 200 and "clock" in text, f"ready, with a warning: {status} {text}"
    time.sleep(3)
    shift.write_text("0")
    put("after")
    assert ask(server, "/health/clock")[0] == 200, "the clock is right again"
    server.kill()
    server.start()
    client = server.client()
    put("after a restart")
    # An operator who knows better confirms the time.
    shift.write_text("300")
    assert ask(server, "/health/clock")[0] == 503, "five minutes are told, too"
    told = subprocess.run([siltstone, "clock", "--believe", "--admin", server.admin], capture_output=True, text=True)
    assert told.returncode == 0 and "is believed" in told.stdout, f"siltstone clock: {told}"
    assert ask(server, "/health/clock")[0] == 200, "believed"
    client.put_object(Bucket=BUCKET, Key="confirmed", Body=b"payload")
    dated = client.head_object(Bucket=BUCKET, Key="confirmed")["LastModified"]
    wrong = (dated - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    assert 290 < wrong < 310, f"an operator is believed: {wrong}"
