"""Whatever is damaged or missing in a store that was killed: fsck does not call it clean unless the server then
gives every byte that was acknowledged.

The store holds every kind of file, and payload of a mebibyte that only the log names. Each file in turn is
removed, and one byte of it flipped (the first, one in the middle, one in the last page with anything in it). fsck
must change nothing, and its verdict is compared with a server's answers over the same bytes. A verdict of damage
where the server answers well is no fault: what serves a start only, or a second copy, may be damaged, too.

`--all` flips more bytes of each file. Left out: `LOCK` is empty; `credentials` and `identity` name the store and
who may ask, and are read by every start.
"""
import argparse
import hashlib
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

from lib.server import Server

FLAGS = ["--cut-seconds", "3600", "--log-file-bytes", "16777216", "--inline-bytes-max", "20000"]
LEFT_OUT = {"LOCK", "credentials", "identity", "identity.b"}


def fill(server):
    """Puts everything there is; gives the bytes of each object."""
    s3 = server.client()
    known = {}

    def put(key, size):
        body = random.Random(key).randbytes(size)
        s3.put_object(Bucket="bucket", Key=key, Body=body)
        known[key] = body

    s3.create_bucket(Bucket="bucket")
    for number in range(8):
        put(f"sealed/small/{number}", 500 + number)
    for number in range(3):
        put(f"sealed/large/{number}", 1 << 20)
    s3.put_object_tagging(Bucket="bucket", Key="sealed/small/0", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    upload = s3.create_multipart_upload(Bucket="bucket", Key="sealed/parts")["UploadId"]
    piece = random.Random(7).randbytes(200_000)
    tag = s3.upload_part(Bucket="bucket", Key="sealed/parts", UploadId=upload, PartNumber=1, Body=piece)["ETag"]
    server.cut()
    # Another life writes to other bulk files, which only the log names.
    server.kill()
    server.start()
    s3 = server.client()
    for number in range(8):
        put(f"log/small/{number}", 300 + number)
    for number in range(3):
        put(f"log/large/{number}", 1 << 20)
    # Overwritten, removed and refused: what they named may be anything.
    put("log/large/0", 1 << 20)
    s3.delete_object(Bucket="bucket", Key="sealed/small/7")
    del known["sealed/small/7"]
    try:
        s3.put_object(Bucket="bucket", Key="log/large/1", Body=b"x" * 100_000, IfNoneMatch="*")
        sys.exit("a put under a condition that does not hold was taken")
    except s3.exceptions.ClientError:
        pass
    parts = {"Parts": [{"PartNumber": 1, "ETag": tag}]}
    s3.complete_multipart_upload(Bucket="bucket", Key="sealed/parts", UploadId=upload, MultipartUpload=parts)
    known["sealed/parts"] = piece
    # Until the mark after the last batch is durable, rot there passes for a torn end: a stated limit.
    time.sleep(0.5)
    return known


def fingerprint(folder):
    """Names, lengths and content of all files but the lock."""
    found = {}
    for where, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(where, name)
            if name != "LOCK":
                found[str(path)] = (path.stat().st_mtime_ns, hashlib.sha256(path.read_bytes()).digest())
    return found


def answers_well(server, known):
    """Whether a server over these bytes starts and gives everything; says what it does not give."""
    server.launch()
    try:
        if not server.is_ready(20):
            return "the server does not start"
        s3 = server.client()
        try:
            pages = s3.get_paginator("list_objects_v2").paginate(Bucket="bucket")
            listed = [one["Key"] for page in pages for one in page.get("Contents", [])]
            if listed != sorted(known):
                return f"the listing shows {len(listed)} of {len(known)} keys"
            for key, body in known.items():
                if s3.get_object(Bucket="bucket", Key=key)["Body"].read() != body:
                    return f"{key} has other bytes"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        return None
    finally:
        server.kill()


def flips(path, more):
    """Where a byte is flipped."""
    size = path.stat().st_size
    if not size:
        return []
    content = path.read_bytes()
    last = max(len(content.rstrip(b"\0")) - 1, 0)
    places = {0, last // 2, last}
    if more:
        places |= {random.randrange(max(last, 1)) for _ in range(20)}
    return sorted(places)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("binary")
    parser.add_argument("--all", action="store_true", help="flip twenty bytes more of each file")
    arguments = parser.parse_args()
    scratch = tempfile.mkdtemp(prefix="siltstone-fsck-")
    template, data = pathlib.Path(scratch, "template"), pathlib.Path(scratch, "data")
    server = Server(arguments.binary, str(template), *FLAGS).start()
    known = fill(server)
    server.kill()

    def fsck():
        return subprocess.run([arguments.binary, "fsck", data], capture_output=True, text=True)

    def renew():
        shutil.rmtree(data, ignore_errors=True)
        shutil.copytree(template, data)

    renew()
    before = fingerprint(data)
    whole = fsck()
    if whole.returncode != 0:
        sys.exit(f"fsck of an undamaged store: {whole.stdout}{whole.stderr}")
    if fingerprint(data) != before:
        sys.exit("fsck has changed the store")
    files = [path.relative_to(template) for path in sorted(pathlib.Path(template).rglob("*")) if path.is_file()]
    files = [path for path in files if path.name not in LEFT_OUT]
    bulks = {path for path in files if path.suffix == ".bulk"}
    if len(bulks) < 2:
        sys.exit(f"the store has too few bulk files for this test: {bulks}")
    tried, called_clean, needless, wrong = 0, 0, 0, []
    damages = [(path, None) for path in files]
    damages += [(path, at) for path in files for at in flips(template / path, arguments.all)]
    for path, at in damages:
        renew()
        what = f"{path} removed" if at is None else f"{path} flipped at byte {at}"
        if at is None:
            (data / path).unlink()
        else:
            with open(data / path, "r+b") as file:
                file.seek(at)
                byte = file.read(1)[0]
                file.seek(at)
                file.write(bytes([byte ^ 0x10]))
        before = fingerprint(data)
        verdict = fsck()
        if fingerprint(data) != before:
            wrong.append(f"{what}: fsck has changed the store")
        tried += 1
        missing = answers_well(Server(arguments.binary, str(data), *FLAGS), known)
        if verdict.returncode == 0:
            called_clean += 1
            if missing:
                wrong.append(f"{what}: fsck calls it clean, and {missing}")
        elif not missing:
            needless += 1
        if "panicked" in verdict.stderr:
            wrong.append(f"{what}: fsck panicked: {verdict.stderr}")
    for line in wrong:
        print(line)
    print(f"{tried} damages of {len(files)} files: {called_clean} harmless and called clean, {needless} named that a "
          "server lives with, " + (f"{len(wrong)} WRONG" if wrong else "the rest named"))
    shutil.rmtree(scratch)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
