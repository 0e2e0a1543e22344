"""s3cmd: files and trees, copies, metadata, links signed with version 2."""
import hashlib
import shutil
import subprocess
import urllib.request

import pytest

from lib.client_jobs import Client, job
from lib.server import ACCESS_KEY, SECRET_KEY

from .conftest import MIB, write_tree


def version():
    return subprocess.run(["s3cmd", "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]


CLIENT = Client("s3cmd", version, ("host_base = host:port", "host_bucket = host:port", "use_https = False"), "Debian s3cmd")
PARTS = ["--multipart-chunk-size-mb=5"]
pytestmark = pytest.mark.skipif(shutil.which("s3cmd") is None, reason="s3cmd is not installed")


@pytest.fixture
def s3cmd(run, server, tmp_path):
    config = tmp_path / "s3cfg"
    config.write_text(f"[default]\naccess_key = {ACCESS_KEY}\nsecret_key = {SECRET_KEY}\nhost_base = {server.address}\nhost_bucket = {server.address}\nuse_https = False\nbucket_location = us-east-1\n")

    class S3cmd:
        def __call__(self, *words, **options):
            return run("s3cmd", "-c", config, "--no-progress", *words, **options)

        def refused(self, refusal, *words, **options):
            return run.refused(refusal, "s3cmd", "-c", config, "--no-progress", *words, **options)

    return S3cmd()


@job("sync a tree and read it back, large files in parts", flags="--multipart-chunk-size-mb=5")
def test_sync(s3cmd, bucket, tree, samples, stored, read_tree, compared, tmp_path):
    s3cmd("sync", *PARTS, f"{tree}/", f"s3://{bucket}/in/")
    compared.same_tree(stored(bucket), {f"in/{name}": content for name, content in samples.items()})
    s3cmd("sync", f"s3://{bucket}/in/", f"{tmp_path}/out/")
    compared.same_tree(read_tree(tmp_path / "out"), samples)


@job("sync deletes and replaces what changed", flags="--delete-removed")
def test_changes(s3cmd, bucket, stored, compared, tmp_path):
    contents = {"a": b"1", "b/c": b"22", "d e+ü": b"333"}
    s3cmd("sync", f"{write_tree(tmp_path / 'tree', contents | {'gone': b'x'})}/", f"s3://{bucket}/")
    (tmp_path / "tree" / "gone").unlink()
    (tmp_path / "tree" / "a").write_bytes(b"changed")
    s3cmd("sync", "--delete-removed", f"{tmp_path}/tree/", f"s3://{bucket}/")
    compared.same_tree(stored(bucket), contents | {"a": b"changed"})


@job("put and get through pipes, continue a half download", flags="--continue")
def test_pipes(s3cmd, bucket, samples, compared, tmp_path):
    content = samples["folder/large.bin"]
    s3cmd("put", *PARTS, "-", f"s3://{bucket}/k", input=content)
    compared.same(s3cmd("get", "--quiet", f"s3://{bucket}/k", "-"), content)
    (tmp_path / "half").write_bytes(content[:7 * MIB])
    s3cmd("get", "--continue", f"s3://{bucket}/k", tmp_path / "half")
    compared.same((tmp_path / "half").read_bytes(), content, "the continued file")


@job("headers and metadata; modify changes them")
def test_metadata(s3cmd, s3, bucket, tree, samples, compared):
    s3cmd("put", "--mime-type=text/x", "--add-header=Cache-Control: no-store", "--add-header=x-amz-meta-mine: a b", tree / "small.txt", f"s3://{bucket}/k")
    told = s3.head_object(Bucket=bucket, Key="k")
    assert (told["ContentType"], told["CacheControl"], told["Metadata"]["mine"]) == ("text/x", "no-store", "a b")
    s3cmd("modify", "--add-header=Cache-Control: max-age=1", f"s3://{bucket}/k")
    told = s3.get_object(Bucket=bucket, Key="k")
    compared.same(told["Body"].read(), samples["small.txt"])
    assert told["CacheControl"] == "max-age=1" and told["Metadata"]["mine"] == "a b"


@job("copy and move on the server")
def test_server_side(s3cmd, s3, bucket, samples, stored, compared):
    contents = {name: samples[name] for name in ["empty", "small.txt", "with space/a b c.txt", "unicode/żółć-日本語-Ω", "plus+sign/a+b"]}
    for name, content in contents.items():
        s3.put_object(Bucket=bucket, Key=f"in/{name}", Body=content)
    s3cmd("cp", "--recursive", f"s3://{bucket}/in/", f"s3://{bucket}/copied/")
    s3cmd("mv", "--recursive", f"s3://{bucket}/in/", f"s3://{bucket}/moved/")
    compared.same_tree(stored(bucket), {f"{place}/{name}": content for place in ["copied", "moved"] for name, content in contents.items()})


@job("list more keys than a page has")
def test_listings(s3cmd, crowd):
    bucket, contents = crowd
    told = [line.split() for line in s3cmd("ls", "--recursive", f"s3://{bucket}/").decode().splitlines()]
    assert [(size, name) for _, _, size, name in told] == [(str(len(contents[key])), f"s3://{bucket}/{key}") for key in sorted(contents)]
    assert s3cmd("du", f"s3://{bucket}/").split()[:2] == [b"%d" % sum(map(len, contents.values())), b"%d" % len(contents)]


@job("delete more keys than a request takes, and the bucket")
def test_deletes(s3cmd, s3, bucket, fill, sizes):
    fill({f"{number:05}": b"x" for number in range(sizes.client_keys)})
    s3cmd("del", "--recursive", "--force", "--quiet", f"s3://{bucket}")
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3cmd("rb", f"s3://{bucket}")


@job("info, ls with MD5")
def test_info(s3cmd, s3, bucket, samples):
    s3.put_object(Bucket=bucket, Key="k", Body=samples["small.txt"], ContentType="text/x")
    digest = hashlib.md5(samples["small.txt"]).hexdigest()
    told = s3cmd("info", f"s3://{bucket}/k").decode()
    assert "text/x" in told and digest in told and "FULL_CONTROL" in told
    assert digest in s3cmd("ls", "--list-md5", f"s3://{bucket}/k").decode()
    assert "Payer:     BucketOwner" in s3cmd("info", f"s3://{bucket}").decode()


@job("multipart: list the uploads that are open, abort one")
def test_uploads(s3cmd, s3, bucket):
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    assert upload in s3cmd("multipart", f"s3://{bucket}").decode()
    s3cmd("abortmp", f"s3://{bucket}/k", upload)
    assert "Uploads" not in s3.list_multipart_uploads(Bucket=bucket)


@job("signurl, signature version 2")
def test_signurl(s3cmd, s3, bucket, compared):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    url = s3cmd("signurl", f"s3://{bucket}/k", f"+{3600}").decode().strip()
    with urllib.request.urlopen(url, timeout=60) as answer:
        compared.same(answer.read(), b"content")


@job("requests signed with version 2: the client falls back to version 4", flags="--signature-v2")
def test_version_2(s3cmd, bucket, tree, samples, stored, compared):
    s3cmd("put", "--signature-v2", tree / "small.txt", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})


@job("virtual-host addressing", flags="host_base = localhost:port, host_bucket = %(bucket)s.localhost:port")
def test_virtual_hosts(s3cmd, server, s3, bucket, localhost_names, tree, samples, stored, compared, tmp_path):
    hosts = [f"--host=localhost:{server.port}", f"--host-bucket=%(bucket)s.localhost:{server.port}"]
    s3.put_object(Bucket=bucket, Key="old", Body=b"content")
    s3cmd(*hosts, "get", f"s3://{bucket}/old", tmp_path / "old", **localhost_names)
    compared.same((tmp_path / "old").read_bytes(), b"content")
    s3cmd(*hosts, "put", tree / "small.txt", f"s3://{bucket}/k", **localhost_names)
    compared.same_tree(stored(bucket), {"k": samples["small.txt"], "old": b"content"})


@job("storage class STANDARD_IA", flags="--storage-class=STANDARD_IA")
def test_storage_class(s3cmd, bucket, tree, samples, stored, compared):
    s3cmd("put", "--storage-class=STANDARD_IA", tree / "small.txt", f"s3://{bucket}/k")
    compared.same_tree(stored(bucket), {"k": samples["small.txt"]})


@job("website of a bucket: ws-create")
def test_website(s3cmd, s3, bucket):
    s3cmd("ws-create", "--ws-index=index.html", f"s3://{bucket}")
    assert s3.get_bucket_website(Bucket=bucket)["IndexDocument"] == {"Suffix": "index.html"}


# The client puts a file five times, with pauses of 45 s together, when the status is 501: those jobs are long.
REFUSED = {
    "put --acl-public": ["put", "--acl-public", "{tree}/small.txt", "s3://{bucket}/k"],
    "setacl": ["setacl", "--acl-public", "s3://{bucket}/old"],
    "put --server-side-encryption": ["put", "--server-side-encryption", "{tree}/small.txt", "s3://{bucket}/k"],
    "setpolicy": ["setpolicy", "{tree}/empty", "s3://{bucket}"],
    "expire (lifecycle)": ["expire", "--expiry-days=1", "s3://{bucket}"],
}


@job("{what}", refused="501 NotImplemented")
@pytest.mark.parametrize("what", [pytest.param(what, marks=pytest.mark.long if REFUSED[what][0] == "put" else ()) for what in REFUSED])
def test_refused(s3cmd, s3, bucket, tree, stored, compared, refusal, what):
    s3.put_object(Bucket=bucket, Key="old", Body=b"content")
    words = [word.format(tree=tree, bucket=bucket) for word in REFUSED[what]]
    s3cmd.refused(refusal, *words, code=None)
    compared.same_tree(stored(bucket), {"old": b"content"})
