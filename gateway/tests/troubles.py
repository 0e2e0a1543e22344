"""A live server whose surroundings fail for a while: no file handles, a folder that is gone, a clock that is wrong.

What is whole is never called damaged, a server that would not take a write says so, no wrong date outlasts its cause, and
all is well again without a restart.
"""
import datetime
import os
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

import botocore.exceptions

from lib.server import Server

BUCKET = "troubles"
YEARS = 20 * 365 * 86400


def check(holds, what):
    if not holds:
        sys.exit(f"FAILED: {what}")


def ask(server, path, method="GET"):
    """Status and text of the admin address."""
    request = urllib.request.Request(server.admin + path, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def wait_for(what, is_so, within=60):
    deadline = time.monotonic() + within
    while not is_so():
        check(time.monotonic() < deadline, f"{what}: not within {within} s")
        time.sleep(0.2)


def limit_handles(server, more):
    """Leaves a running server so many handles beyond those that it has open."""
    have = len(os.listdir(f"/proc/{server.process.pid}/fd"))
    _, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (have + more, hard))


def handles(binary, folder):
    server = Server(binary, folder + "/handles", "--cut-seconds", "3600").start()
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
    soft, hard = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    limit_handles(server, 0)
    calls = [lambda key=key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in bodies]
    calls += [lambda key=key: client.put_object(Bucket=BUCKET, Key=key, Body=b"new", IfMatch=tag) for key in ("k1", "k2")]
    calls += [lambda: client.put_object(Bucket=BUCKET, Key="large", Body=bytes(300_000))]
    refused = 0
    for call in calls:
        try:
            call()
        except botocore.exceptions.ClientError as error:
            status, code = error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]
            check(status in (412, 503), f"without handles: {status} {code} {error}")
            refused += status == 503
        except botocore.exceptions.BotoCoreError:
            pass  # An answer that had begun breaks off, and a new connection finds nobody.
    check(refused > 0, "handles were never short")
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (soft, hard))
    wait_for("ready again", lambda: ask(server, "/health/ready")[0] == 200)
    client = server.client()
    for key, body in bodies.items():
        check(client.get_object(Bucket=BUCKET, Key=key)["Body"].read() == body, f"{key} afterwards")
    client.put_object(Bucket=BUCKET, Key="k0", Body=b"new", IfMatch=tag)
    server.cut()
    log = server.log_text()
    check("corrupt" not in log, "whole files were called corrupt:\n" + log[-3000:])
    server.stop()
    server.fsck()
    print(f"handles: {refused} requests were answered 503")


def folder_gone(binary, folder):
    server = Server(binary, folder + "/gone", "--cut-seconds", "1").start()
    client = server.client()
    client.create_bucket(Bucket=BUCKET)
    wait_for("a first cut", lambda: not ask(server, "/metrics")[1].count('siltstone_cut{partition="0"} 0\n'))
    segments = pathlib.Path(server.data) / "p0000/segments"
    shutil.move(segments, folder + "/aside")
    client.put_object(Bucket=BUCKET, Key="k", Body=b"payload")
    wait_for("not ready", lambda: ask(server, "/health/ready")[0] == 503)
    text = ask(server, "/health/ready")[1]
    check("a cut has failed" in text and "No such file" in text, f"the reason: {text}")
    shutil.move(folder + "/aside", segments)
    wait_for("ready again", lambda: ask(server, "/health/ready")[0] == 200)
    check(client.get_object(Bucket=BUCKET, Key="k")["Body"].read() == b"payload", "what was written meanwhile")
    server.stop()
    server.fsck()
    print("a folder that is gone: not ready, and ready again when it is back")


def clock(binary, folder):
    shim, shift = folder + "/clock_shift.so", pathlib.Path(folder) / "shift"
    source = pathlib.Path(__file__).parent / "clock_shift.c"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", shim, source], check=True)
    shift.write_text("0")
    under = ["env", f"LD_PRELOAD={shim}", f"SHIFT_FILE={shift}"]
    server = Server(binary, folder + "/clock", "--cut-seconds", "1", under=under).start()
    client = server.client()
    client.create_bucket(Bucket=BUCKET)

    def put(key):
        client.put_object(Bucket=BUCKET, Key=key, Body=b"payload")
        dated = client.head_object(Bucket=BUCKET, Key=key)["LastModified"]
        wrong = dated - datetime.datetime.now(datetime.timezone.utc)
        check(abs(wrong.total_seconds()) < 65, f"{key} is dated {dated}")

    put("before")
    shift.write_text(str(YEARS))
    wait_for("the jump is told", lambda: ask(server, "/health/clock")[0] == 503, within=10)
    status, text = ask(server, "/health/ready")
    check(status == 200 and "clock" in text, f"ready, with a warning: {status} {text}")
    time.sleep(3)
    shift.write_text("0")
    put("after")
    check(ask(server, "/health/clock")[0] == 200, "the clock is right again")
    server.kill()
    server.start()
    client = server.client()
    put("after a restart")
    # Who knows better says so.
    shift.write_text("300")
    check(ask(server, "/health/clock")[0] == 503, "five minutes are told, too")
    told = subprocess.run([binary, "clock", "--believe", "--admin", server.admin], capture_output=True, text=True)
    check(told.returncode == 0 and "is believed" in told.stdout, f"siltstone clock: {told}")
    check(ask(server, "/health/clock")[0] == 200, "believed")
    client.put_object(Bucket=BUCKET, Key="confirmed", Body=b"payload")
    dated = client.head_object(Bucket=BUCKET, Key="confirmed")["LastModified"]
    wrong = (dated - datetime.datetime.now(datetime.timezone.utc)).total_seconds()
    check(290 < wrong < 310, f"an operator is believed: {wrong}")
    server.stop()
    print("a clock that jumps: told, confirmed, and no date is wrong for good")


def main():
    binary = os.path.abspath(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="siltstone-") as folder:
        handles(binary, folder)
        folder_gone(binary, folder)
        clock(binary, folder)


if __name__ == "__main__":
    main()
