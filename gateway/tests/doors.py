"""What strangers, slow clients, web pages and mistaken ones meet at the server's doors, and what an operator hears of it.

Usage: doors.py BINARY [--at NAME]
"""
import argparse
import http.client
import os
import pathlib
import re
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

from lib.server import ACCESS_KEY, Server, basic, free_port
from lib.signing import sign

PASSED = 0
STALL = 2


def check(holds, what):
    global PASSED
    if not holds:
        sys.exit(f"FAILED: {what}")
    PASSED += 1


def signed(server, method, path, secret=None, **headers):
    options = {"secret": secret} if secret else {}
    return sign(method, path, {"host": f"127.0.0.1:{server.port}", **headers}, "UNSIGNED-PAYLOAD", **options)[0]


def head(method, path, headers):
    lines = [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def send(port, data, timeout=10):
    """Everything that comes back until the server closes, or until nothing comes any more."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as client:
        client.sendall(data)
        got = b""
        try:
            while piece := client.recv(65536):
                got += piece
        except OSError:
            pass
        return got


def metrics(server):
    with urllib.request.urlopen(server.admin + "/metrics", timeout=30) as answer:
        return answer.read().decode()


def lines(server, before, *words):
    """Lines of the log since `before` that contain all words."""
    time.sleep(0.1)
    return [line for line in server.log_text()[before:].splitlines() if all(word in line for word in words)]


def methods(server):
    """Whatever word a client takes for a method, nothing remembers it."""
    odd = ["BREW", "get", "PATCH", "TRACE", "CONNECT", "OPTIONS", "PROPFIND", "X" * 60, "A!#$%&'*+-.^_`|~9", *[f"M{n}" for n in range(200)], "Y" * 60_000]
    for method in odd:
        target = "x:1" if method == "CONNECT" else "/"
        answer = send(server.port, f"{method} {target} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        check(re.match(rb"HTTP/1.1 4\d\d ", answer), f"{method[:20]}: {answer[:60]}")
    text = metrics(server)
    labels = set(re.findall(r'siltstone_requests_total\{method="([^"]*)"', text))
    check(labels <= {"GET", "HEAD", "PUT", "POST", "DELETE", "other"} and "other" in labels, f"methods: {labels}")
    series = [line for line in text.splitlines() if line.startswith("siltstone_requests_total")]
    check(len(series) < 100, f"{len(series)} series")


def early_answers(server):
    """Who is refused before the body was read can read why, and the next request works."""
    for size in [0, 1, 1000, 100_000, 5 << 20, 32 << 20]:
        for name, headers, status, code in [("a refused header", {"x-amz-acl": "public-read"}, 501, b"NotImplemented"), ("no signature", None, 403, b"AccessDenied"),
                                            ("no bucket", {}, 404, b"NoSuchBucket")]:
            path = "/absent/key" if name == "no bucket" else "/bucket/key"
            for _ in range(3):
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
                headers_sent = {"host": f"127.0.0.1:{server.port}"} if headers is None else signed(server, "PUT", path, **headers)
                try:
                    connection.request("PUT", path, body=b"x" * size, headers=headers_sent)
                    answer = connection.getresponse()
                    body = answer.read()
                    check(answer.status == status and code in body, f"{name}, {size} bytes: {answer.status} {body[:200]}")
                    # The client learns whether the connection goes on; if it does, it works.
                    connection.request("GET", "/bucket/small", headers=signed(server, "GET", "/bucket/small"))
                    check(connection.getresponse().read() == b"small", f"{name}, {size} bytes: the next request")
                except OSError as error:
                    sys.exit(f"FAILED: {name}, {size} bytes: {error!r}")
    # A body that was read to its end costs nobody the connection.
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("PUT", "/bucket/small", body=b"small", headers=signed(server, "PUT", "/bucket/small", **{"if-none-match": "*"}))
        check((connection.getresponse().read() and connection.sock) is first, "a connection goes on after a 412")
    # Who goes on sending for ever is not listened to for ever.
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head("PUT", "/bucket/key", {"host": "x", "content-length": str(1 << 40)}))
        began, sent = time.monotonic(), 0
        try:
            while time.monotonic() - began < 60:
                sent += client.send(b"x" * 65536)
        except OSError:
            pass
        check(sent <= 256 << 20 and time.monotonic() - began < 50, f"{sent >> 20} MiB were taken of a refused body")


def slow_clients(server):
    """Drops are not enough, in either direction; what moves is left alone."""
    began = time.monotonic()
    big = 24 << 20
    server.client().put_object(Bucket="bucket", Key="big", Body=b"b" * big)
    document = signed(server, "PUT", "/bucket?versioning")
    open_ones = {}
    for name, method, path, headers in [("a body", "PUT", "/bucket/slow", signed(server, "PUT", "/bucket/slow")), ("a document", "PUT", "/bucket?versioning", document)]:
        client = socket.create_connection(("127.0.0.1", server.port))
        client.sendall(head(method, path, {**headers, "content-length": "1000000"}))
        open_ones[name] = client
    query = socket.create_connection(("127.0.0.1", server.admin_port))
    query.sendall(head("POST", "/sql", {"host": f"127.0.0.1:{server.admin_port}", **basic(server.own_keys()), "content-length": "100000"}))
    open_ones["a query"] = query
    reader = socket.socket()
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader.connect(("127.0.0.1", server.port))
    reader.sendall(head("GET", "/bucket/big", signed(server, "GET", "/bucket/big")))
    # One that takes its time, but takes: 24 MiB in some 4 s.
    steady = http.client.HTTPConnection("127.0.0.1", server.port)
    steady.request("GET", "/bucket/big", headers=signed(server, "GET", "/bucket/big"))
    taken, answer = 0, steady.getresponse()
    ended = {}
    while time.monotonic() - began < 4 * STALL:
        taken += len(answer.read(big // 40))
        for name, client in list(open_ones.items()):
            client.settimeout(0.01)
            try:
                client.send(b" ")
                if client.recv(65536):
                    raise OSError
            except TimeoutError:
                continue
            except OSError:
                pass
            ended[name] = time.monotonic() - began
            client.close()
            del open_ones[name]
        time.sleep(0.05)
    check(not open_ones, f"still open after {4 * STALL} s: {list(open_ones)}")
    while taken < big and (piece := answer.read(1 << 20)):
        taken += len(piece)
    check(taken == big, f"a client that takes its answer got {taken} of {big}")
    # The reader finds the end of what was under way, and no more.
    reader.settimeout(10)
    got = 0
    try:
        while piece := reader.recv(1 << 20):
            got += len(piece)
    except OSError:
        pass
    check(got < big, "a client that stopped reading got everything")
    reader.close()
    print("slow clients ended after", {name: round(took, 1) for name, took in ended.items()}, flush=True)


def told(server):
    """Who is refused is told of, with code, operation, key and address; a flood is not more than a number."""
    before = len(server.log_text())
    wrong = server.client(keys=(ACCESS_KEY, "not-the-secret-of-it"))
    for act in [lambda: wrong.get_object(Bucket="bucket", Key="small"), lambda: server.client(keys=("AKIDNOBODY", "x" * 20)).list_buckets()]:
        try:
            act()
            sys.exit("FAILED: wrong keys are taken")
        except Exception as error:
            check("SignatureDoesNotMatch" in str(error) or "InvalidAccessKeyId" in str(error), str(error))
    try:
        server.sql("SELECT 1", keys=(ACCESS_KEY, "not-the-secret-of-it"))
        sys.exit("FAILED: wrong keys are taken by SQL")
    except urllib.error.HTTPError as error:
        check(error.code == 401, error.text)
    check(lines(server, before, "WARN", "SignatureDoesNotMatch", "GetObject", ACCESS_KEY, "127.0.0.1:"), "a wrong secret is told of")
    check(lines(server, before, "WARN", "InvalidAccessKeyId", "ListBuckets", "AKIDNOBODY", "127.0.0.1:"), "an unknown key is told of")
    check(lines(server, before, "WARN", "SQL", ACCESS_KEY, "127.0.0.1:"), "a failed login of SQL is told of")
    send(server.port, head("PUT", "/bucket/k?tagging", {**signed(server, "PUT", "/bucket/k?tagging", **{"x-amz-acl": "public-read"}), "connection": "close"}))
    check(lines(server, before, "WARN", "NotImplemented", "PutObjectTagging", "root", "/bucket/k"), "a refused request is told of, with its user")
    evil = head("GET", "/%1b[31m/k", {"host": "x", "connection": "close", "authorization": "AWS4-HMAC-SHA256 Credential=\x1b[31mEVIL" + "L" * 4000 + "/20200101/us-east-1/s3/aws4_request,SignedHeaders=host,Signature=00"})
    send(server.port, evil)
    # Everyday answers are no news.
    send(server.port, head("GET", "/bucket/absent", {**signed(server, "GET", "/bucket/absent"), "connection": "close"}))
    check(not lines(server, before, "absent"), "a missing key is told of")
    flood = len(server.log_text())
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for _ in range(1000):
        connection.request("GET", "/" + "k" * 3000)
        connection.getresponse().read()
    written = len(server.log_text()) - flood
    check(written < 200_000, f"1000 refusals are {written} bytes of log")
    time.sleep(0.3)
    connection.request("GET", "/")
    connection.getresponse().read()
    unsaid = sum(int(number) for number in re.findall(r"unsaid=(\d+)", server.log_text()[flood:]))
    check(500 < unsaid <= 1001, f"{unsaid} of 1000 refusals were not told of, as the log has it")
    text = server.log_text()
    check("\x1b" not in text, "colours, or what a client sent, in the log")
    check("a-secret-for-tests" not in text and "not-the-secret" not in text, "a secret in the log")


def admin(server):
    """The admin address is for programs of this machine, not for pages in its browsers."""
    own = f"127.0.0.1:{server.admin_port}"

    def ask(method, path, **headers):
        headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return send(server.admin_port, head(method, path, {"host": own, "content-length": "0", "connection": "close", **headers})).split(b" ")[1]
    evil = {"origin": "http://evil.example", "sec_fetch_site": "cross-site", "content_type": "text/plain"}
    for path in ["/cut", "/merge", "/sql"]:
        check(ask("POST", path, **evil, **basic(server.own_keys())) == b"403", f"{path} for a page")
        check(ask("POST", path, host=f"evil.example:{server.admin_port}") == b"403", f"{path} by another name")
    for path in ["/metrics", "/cluster", "/health/cluster", "/health/ready", "/nowhere"]:
        check(ask("GET", path, host=f"evil.example:{server.admin_port}") == b"403", f"{path} by another name")
        check(ask("GET", path, sec_fetch_site="cross-site") == b"403", f"{path} for a page")
    for host in [own, f"localhost:{server.admin_port}", f"[::1]:{server.admin_port}"]:
        check(ask("GET", "/health/live", host=host) == b"200", host)
    check(ask("POST", "/cut") == b"200" and ask("POST", "/merge", content_type="application/x-www-form-urlencoded") == b"200", "programs")
    told = subprocess.run([server.binary, "cut", "--admin", server.admin], capture_output=True, text=True)
    check(told.returncode == 0 and "cut" in told.stdout, told.stdout + told.stderr)


def first_start(binary, folder):
    """A newcomer's first start: data in ./data, keys in a file, everything for its owner alone, no colours in files."""
    port, admin_port = free_port(), free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SILTSTONE_")}
    config = pathlib.Path(folder) / "open.toml"
    config.write_text('region = "us-east-1"\n')
    config.chmod(0o644)
    with open(folder + "/out", "wb") as out:
        command = [os.path.abspath(binary), "server", "--listen", f"127.0.0.1:{port}", "--admin", f"127.0.0.1:{admin_port}", "--reserve-bytes", "0", "--config", str(config)]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=out, stderr=out, umask=0o022)
    try:
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline and process.poll() is None:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{admin_port}/health/ready", timeout=2)
                break
            except OSError:
                time.sleep(0.05)
        data = pathlib.Path(folder) / "data"
        access, secret = (data / "credentials").read_text().split()
        said = pathlib.Path(folder + "/out").read_text()
        check("data/credentials" in said and secret not in said and access not in said, f"where the keys are, and not what they are: {said}")
        check("\x1b" not in said, "colours in a file")
        check("open.toml" in said and "chmod 600" in said, f"a file that others may read: {said}")
        for path in [data, *data.rglob("*")]:
            # A library makes one folder below `spill`, which nobody else gets to.
            if "spill" not in path.parts[:-1]:
                mode = stat.S_IMODE(path.stat().st_mode)
                check(mode == (0o700 if path.is_dir() else 0o600), f"{path} is {mode:o}")
        rows = subprocess.run([os.path.abspath(binary), "sql", "--admin", f"http://127.0.0.1:{admin_port}", "SELECT 1 AS one"], cwd=folder, env=environment, capture_output=True, text=True)
        check(rows.returncode == 0 and "one" in rows.stdout, f"SQL with the keys of ./data: {rows.stdout}{rows.stderr}")
    finally:
        process.send_signal(signal.SIGTERM)
        check(process.wait(timeout=60) == 0, "it stops cleanly")


def refused_starts(binary, folder):
    """Keys that are no keys, and users that are one."""
    user = '[[users]]\nname = "{0}"\nid = "{1}"\ndisplay_name = "{0}"\naccess_key = "AKID{0}"\nsecret_key = "{2}"\n'
    long = "sixteen-letters!"
    for name, text, keys, words in [
            ("ids.toml", user.format("a", "AB" * 32, long) + user.format("b", "ab" * 32, long), None, ["same id"]),
            ("short.toml", user.format("a", "ab" * 32, long[:11]), None, ["too short"]),
            ("root.toml", "", ("AKIDROOT", "short"), ["too short"])]:
        config = pathlib.Path(folder) / name
        config.write_text(text)
        environment = {k: v for k, v in os.environ.items() if not k.startswith("SILTSTONE_")}
        if keys:
            environment["SILTSTONE_ACCESS_KEY"], environment["SILTSTONE_SECRET_KEY"] = keys
        told = subprocess.run([os.path.abspath(binary), "server", "--config", str(config), "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"],
                              cwd=folder, env=environment, capture_output=True, text=True, timeout=60)
        said = told.stdout + told.stderr
        check(told.returncode == 1 and all(word in said for word in words), f"{name}: {said}")
        check(long not in said, f"{name}: a secret is shown")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--at", help="only this")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for step in [first_start, refused_starts]:
            if args.at in (None, step.__name__):
                place = pathlib.Path(folder) / step.__name__
                place.mkdir()
                step(args.binary, str(place))
        server = Server(args.binary, folder + "/data", "--stall-seconds", str(STALL))
        server.start()
        try:
            s3 = server.client()
            s3.create_bucket(Bucket="bucket")
            s3.put_object(Bucket="bucket", Key="small", Body=b"small")
            for step in [methods, early_answers, slow_clients, admin, told]:
                if args.at in (None, step.__name__):
                    began = time.monotonic()
                    step(server)
                    print(f"{step.__name__}: {time.monotonic() - began:.1f} s", flush=True)
            check("panicked" not in server.log_text(), "a panic")
        finally:
            server.stop()
    print(f"{PASSED} passed, 0 failed")


if __name__ == "__main__":
    main()
