"""Several users from a file: a bucket belongs to its creator. The root user's keys are made once."""
import os

import pytest

from lib.refusals import refused


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    """A server that makes its root user's keys itself and knows alice and bob."""
    config = tmp_path_factory.mktemp("users") / "users.toml"
    config.write_text("".join(
        f'[[users]]\nname = "{name}"\nid = "{digit * 64}"\ndisplay_name = "{name.title()}"\nemail = "{name}@example.com"\n'
        f'access_key = "AKID{name}"\nsecret_key = "the secret of {name}"\n' for name, digit in [("alice", "a"), ("bob", "b")]))
    return serve("--config", str(config), keys=None)


@pytest.fixture(scope="module")
def alice(server):
    """The client of a user with a bucket and an object in it."""
    client = client_of(server, "alice")
    client.create_bucket(Bucket="alices")
    client.put_object(Bucket="alices", Key="k", Body=b"hers")
    return client


def client_of(server, name):
    return server.client(keys=(f"AKID{name}", f"the secret of {name}"))


def test_only_the_owner_reads_the_file_of_the_keys(server):
    assert os.stat(server.data + "/credentials").st_mode & 0o777 == 0o600, "only the owner reads the keys"
    assert server.data + "/credentials" in server.log_text(), "where the keys are is told"


@pytest.mark.parametrize("who", ["bob", "root"])
def test_others_are_refused_and_do_not_see_the_bucket(server, alice, who):
    other = server.client() if who == "root" else client_of(server, who)
    refused("AccessDenied", other.get_object, Bucket="alices", Key="k")
    refused("AccessDenied", other.put_object, Bucket="alices", Key="k", Body=b"theirs")
    refused("AccessDenied", other.delete_object, Bucket="alices", Key="k")
    refused("AccessDenied", other.list_objects_v2, Bucket="alices")
    refused("AccessDenied", other.delete_bucket, Bucket="alices")
    refused("AccessDenied", other.copy_object, Bucket="alices", Key="l", CopySource="alices/k")
    refused("AccessDenied", other.get_object_attributes, Bucket="alices", Key="k", ObjectAttributes=["ETag"])
    upload = alice.create_multipart_upload(Bucket="alices", Key="m")["UploadId"]
    part = {"Bucket": "alices", "Key": "m", "UploadId": upload, "PartNumber": 1}
    refused("AccessDenied", other.upload_part, **part, Body=b"theirs")
    refused("AccessDenied", other.upload_part_copy, **part, CopySource="alices/k")
    assert "Parts" not in alice.list_parts(Bucket="alices", Key="m", UploadId=upload), "no part of theirs"
    alice.abort_multipart_upload(Bucket="alices", Key="m", UploadId=upload)
    refused("BucketAlreadyExists", other.create_bucket, Bucket="alices")
    assert other.list_buckets()["Buckets"] == [], "others do not see the bucket"
    assert alice.get_object(Bucket="alices", Key="k")["Body"].read() == b"hers", "the object is as it was"


def test_nobody_copies_from_a_bucket_of_another_user(server, alice):
    bob = client_of(server, "bob")
    bob.create_bucket(Bucket="bobs")
    refused("AccessDenied", bob.copy_object, Bucket="bobs", Key="k", CopySource="alices/k")
    upload = bob.create_multipart_upload(Bucket="bobs", Key="m")["UploadId"]
    part = {"Bucket": "bobs", "Key": "m", "UploadId": upload, "PartNumber": 1}
    refused("AccessDenied", bob.upload_part_copy, **part, CopySource="alices/k")
    bob.put_object(Bucket="bobs", Key="own", Body=b"own")
    refused("AccessDenied", bob.upload_part_copy, **part, CopySource="bobs/own", ExpectedSourceBucketOwner="f" * 64)
    refused("AccessDenied", bob.upload_part_copy, **part, CopySource="bobs/own", ExpectedBucketOwner="f" * 64)
    assert "Parts" not in bob.list_parts(Bucket="bobs", Key="m", UploadId=upload)
    bob.abort_multipart_upload(Bucket="bobs", Key="m", UploadId=upload)
    bob.delete_object(Bucket="bobs", Key="own")
    bob.delete_bucket(Bucket="bobs")


def test_a_user_has_the_id_of_the_file(alice):
    owner = alice.list_buckets()["Owner"]
    assert owner["ID"] == "a" * 64, f"her id: {owner}"


def test_the_keys_of_the_root_user_are_made_once(server):
    kept = server.kept_keys()
    server.stop()
    server.start()
    assert server.kept_keys() == kept and server.log_text().count("credentials") == 1, "the keys are made once"
    assert kept[1] not in server.log_text(), "the secret key is not told"
    assert server.client().list_buckets()["Buckets"] == [], "root comes in with them"
