"""Does a job with s3fs: jobs.py JOB ENDPOINT BUCKET ARGUMENTS. The test that runs this program compares what was moved; a job
that finds a fault itself ends with an error. Keys come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""
import pathlib
import sys

import s3fs

MIB = 1 << 20


def upload(store, bucket, folder, *names):
    for name in names:
        store.put_file(f"{folder}/{name}", f"{bucket}/{name}", chunksize=5 * MIB)


def download(store, bucket, folder, *names):
    for name in names:
        path = pathlib.Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        store.get_file(f"{bucket}/{name}", str(path))


def keys(store, bucket, *names):
    """Puts an object at each key, and reads it."""
    for name in names:
        content = b"content of " + name.encode()
        store.pipe_file(f"{bucket}/{name}", content)
        assert store.cat_file(f"{bucket}/{name}") == content, name


def stream(store, bucket, file):
    """Writes a file in pieces as it comes, then appends to it, which copies what is there in parts."""
    content = pathlib.Path(file).read_bytes()
    half = len(content) // 2
    with store.open(f"{bucket}/k ü+", "wb", block_size=5 * MIB) as out:
        for place in range(0, half, 777_777):
            out.write(content[place:min(place + 777_777, half)])
    with store.open(f"{bucket}/k ü+", "ab", block_size=5 * MIB) as out:
        out.write(content[half:])


def ranges(store, bucket, *words):
    with store.open(f"{bucket}/k", "rb", block_size=MIB) as file:
        for word in words:
            place, size = map(int, word.split("+"))
            file.seek(place)
            sys.stdout.buffer.write(file.read(size))
    places = [tuple(map(int, word.split("+"))) for word in words]
    for piece in store.cat_ranges([f"{bucket}/k"] * len(places), [place for place, _ in places], [place + size for place, size in places]):
        sys.stdout.buffer.write(piece)


def headers(store, bucket):
    store.pipe_file(f"{bucket}/k", b"content", ContentType="text/x", Metadata={"a": "1"})
    told = store.info(f"{bucket}/k")
    assert (told["size"], told["ContentType"]) == (7, "text/x"), told
    assert store.metadata(f"{bucket}/k")["a"] == "1"
    store.setxattr(f"{bucket}/k", b="2")
    store.put_tags(f"{bucket}/k", {"t": "x y"})
    assert store.get_tags(f"{bucket}/k") == {"t": "x y"}
    assert store.getxattr(f"{bucket}/k", "b") == "2"


def list_all(store, bucket):
    for name, told in sorted(store.find(bucket, detail=True).items()):
        print(name.removeprefix(f"{bucket}/"), told["size"])
    for name in sorted(store.ls(bucket, detail=False)):
        print(name.removeprefix(f"{bucket}/") + "/")


def remove(store, bucket):
    store.rm(f"{bucket}/folder", recursive=True)


def move(store, bucket):
    """Copies a folder on the server, and moves its files."""
    store.copy(f"{bucket}/from/", f"{bucket}/copy/", recursive=True)
    for name in store.ls(f"{bucket}/from", detail=False):
        store.mv(name, name.replace("/from/", "/moved/"))


def parts(store, bucket):
    """Copies an object in the parts that it was written in."""
    store.copy(f"{bucket}/k", f"{bucket}/copy", preserve_etag=True)


def exclusive(store, bucket):
    store.pipe_file(f"{bucket}/k", b"first", mode="create")
    try:
        store.pipe_file(f"{bucket}/k", b"second", mode="create")
    except FileExistsError as error:
        print(type(error).__name__)


def versions(store, bucket):
    aware = s3fs.S3FileSystem(client_kwargs=store.client_kwargs, version_aware=True)
    aware.make_bucket_versioned(bucket, True)
    aware.pipe_file(f"{bucket}/k", b"old")
    old = aware.object_version_info(f"{bucket}/k")[0]["VersionId"]
    aware.pipe_file(f"{bucket}/k", b"new")
    assert len(aware.object_version_info(f"{bucket}/k")) == 2
    sys.stdout.buffer.write(aware.cat_file(f"{bucket}/k", version_id=old) + aware.cat_file(f"{bucket}/k"))


def sign(store, bucket):
    print(store.sign(f"{bucket}/k ü+"))


def acl(store, bucket):
    store.pipe_file(f"{bucket}/k", b"content", ACL="public-read")


if __name__ == "__main__":
    name, endpoint, bucket, *words = sys.argv[1:]
    store = s3fs.S3FileSystem(client_kwargs={"endpoint_url": endpoint, "region_name": "us-east-1"})
    globals()[name](store, bucket, *words)
