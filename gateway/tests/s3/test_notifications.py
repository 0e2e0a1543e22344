"""Event notifications: the configuration of a bucket, and the events that a webhook gets."""
import time
import uuid

import botocore.exceptions
import pytest

from lib.receiver import key_of
from lib.server import write_destinations

HOOK = "arn:siltstone:sqs::hook:webhook"
ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*", "s3:ObjectTagging:*"]


@pytest.fixture(scope="module")
def server(serve, receiver, tmp_path_factory):
    flags = write_destinations(tmp_path_factory.mktemp("settings") / "siltstone.toml", [
        {"name": "hook", "kind": "webhook", "url": receiver.url, "token": "a-token"},
        {"name": "other", "kind": "webhook", "url": receiver.url},
        {"name": "kept", "kind": "stream"},
    ])
    return serve(*flags)


def put(s3, bucket, *rules):
    return s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": list(rules)})


def rule(events=ALL, arn=HOOK, **filters):
    rules = [{"Name": name, "Value": value} for name, value in filters.items()]
    return {"QueueArn": arn, "Events": list(events), **({"Filter": {"Key": {"FilterRules": rules}}} if rules else {})}


def read(s3, bucket):
    found = s3.get_bucket_notification_configuration(Bucket=bucket)
    del found["ResponseMetadata"]
    return found


def refusal(s3, bucket, *rules):
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        put(s3, bucket, *rules)
    return caught.value.response["Error"]


def wait_for(receiver, bucket, number, wait=30):
    """The events of a bucket, once there are so many."""
    deadline = time.monotonic() + wait
    while True:
        found = [record for record in receiver.records() if record["s3"]["bucket"]["name"] == bucket]
        if len(found) >= number or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def test_the_configuration_is_read_as_it_was_put_and_an_empty_one_removes_it(s3, bucket):
    assert read(s3, bucket) == {}
    given = {
        "TopicConfigurations": [{"Id": "t", "TopicArn": "arn:siltstone:sns:us-east-1:kept:stream", "Events": ["s3:ObjectAcl:Put"]}],
        "QueueConfigurations": [
            {"Id": "q", "QueueArn": HOOK, "Events": ["s3:ObjectCreated:Put", "s3:ObjectCreated:Copy"],
             "Filter": {"Key": {"FilterRules": [{"Name": "Prefix", "Value": "a & b/"}, {"Name": "Suffix", "Value": ".jpg"}]}}},
        ],
        "LambdaFunctionConfigurations": [{"Id": "f", "LambdaFunctionArn": "arn:siltstone:lambda::hook:webhook", "Events": ["s3:ObjectRemoved:*"]}],
    }
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=given)
    assert read(s3, bucket) == given
    put(s3, bucket, rule())
    [generated] = read(s3, bucket)["QueueConfigurations"]
    assert generated["Id"] and "Filter" not in generated
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={})
    assert read(s3, bucket) == {}


def test_a_rule_that_s3_refuses_changes_nothing(s3, bucket):
    put(s3, bucket, rule(["s3:ObjectCreated:*"]))
    before = read(s3, bucket)
    missing = "arn:siltstone:sqs::missing:webhook"
    error = refusal(s3, bucket, rule(arn=missing))
    assert (error["Code"], error["Message"]) == ("InvalidArgument", "Unable to validate the following destination configurations")
    assert error["ArgumentName"] == missing
    for wrong in [rule(arn="arn:aws:sqs:us-east-1:123456789012:queue"), rule(["s3:NoSuchEvent"]), rule(middle="a"), rule(arn="hook")]:
        assert refusal(s3, bucket, wrong)["Code"] == "InvalidArgument", wrong
    assert "overlap" in refusal(s3, bucket, rule(), rule(arn="arn:siltstone:sqs::other:webhook"))["Message"]
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"EventBridgeConfiguration": {}})
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == 501
    assert read(s3, bucket) == before


def test_each_kind_of_change_is_reported_once_with_its_name(s3, bucket, receiver):
    put(s3, bucket, rule())
    s3.put_object(Bucket=bucket, Key="a b/ü.txt", Body=b"payload", Tagging="a=b")
    s3.copy_object(Bucket=bucket, Key="copy", CopySource={"Bucket": bucket, "Key": "a b/ü.txt"})
    upload = s3.create_multipart_upload(Bucket=bucket, Key="parts")["UploadId"]
    part = s3.upload_part(Bucket=bucket, Key="parts", UploadId=upload, PartNumber=1, Body=b"x" * 1000)
    parts = {"Parts": [{"PartNumber": 1, "ETag": part["ETag"]}]}
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    s3.complete_multipart_upload(Bucket=bucket, Key="parts", UploadId=upload, MultipartUpload=parts)
    s3.put_object_tagging(Bucket=bucket, Key="copy", Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.delete_object_tagging(Bucket=bucket, Key="copy")
    with pytest.raises(botocore.exceptions.ClientError):
        s3.put_object(Bucket=bucket, Key="copy", Body=b"refused", IfNoneMatch="*")
    s3.delete_object(Bucket=bucket, Key="copy")
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": "parts"}, {"Key": "a b/ü.txt"}]})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    version = s3.put_object(Bucket=bucket, Key="kept", Body=b"1")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="kept")["VersionId"]
    s3.delete_object(Bucket=bucket, Key="kept", VersionId=version)
    s3.delete_object(Bucket=bucket, Key="kept", VersionId="0" * 32)
    s3.put_object(Bucket=bucket, Key="last", Body=b"")
    wanted = [
        ("ObjectCreated:Put", "a b/ü.txt"), ("ObjectCreated:Copy", "copy"), ("ObjectCreated:CompleteMultipartUpload", "parts"),
        ("ObjectTagging:Put", "copy"), ("ObjectTagging:Delete", "copy"), ("ObjectRemoved:Delete", "copy"),
        ("ObjectRemoved:Delete", "parts"), ("ObjectRemoved:Delete", "a b/ü.txt"), ("ObjectCreated:Put", "kept"),
        ("ObjectRemoved:DeleteMarkerCreated", "kept"), ("ObjectRemoved:Delete", "kept"), ("ObjectCreated:Put", "last"),
    ]
    found = wait_for(receiver, bucket, len(wanted))
    assert sorted((record["eventName"], key_of(record)) for record in found) == sorted(wanted)
    sequencers = [record["s3"]["object"]["sequencer"] for record in found]
    assert sequencers == sorted(set(sequencers))
    first, kept = found[0], [record["s3"]["object"] for record in found if key_of(record) == "kept"]
    assert first["eventVersion"] == "2.3" and first["eventSource"] == "aws:s3" and first["awsRegion"] == "us-east-1"
    assert first["s3"]["object"]["key"] == "a+b/%C3%BC.txt" and first["s3"]["object"]["size"] == 7
    assert first["s3"]["object"]["eTag"] == s3.put_object(Bucket=bucket, Key="same", Body=b"payload")["ETag"].strip('"')
    assert [one.get("versionId") for one in kept] == [version, marker, version]
    assert "size" not in kept[2] and "eTag" not in kept[2]


def test_filters_choose_keys_and_destinations(s3, bucket, receiver):
    put(s3, bucket, rule(["s3:ObjectCreated:*"], prefix="a/", suffix=".jpg"),
        rule(["s3:ObjectCreated:*"], arn="arn:siltstone:sqs::other:webhook", prefix="b/"))
    for key in ["a/1.jpg", "a/1.txt", "b/1.jpg", "c.jpg", "a/2.jpg"]:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")
    wait_for(receiver, bucket, 3)
    time.sleep(0.5)
    bodies = [body for body in receiver.bodies() if body["Records"][0]["s3"]["bucket"]["name"] == bucket]
    found = {(body["token"], key_of(record)) for body in bodies for record in body["Records"]}
    assert found == {("Bearer a-token", "a/1.jpg"), ("Bearer a-token", "a/2.jpg"), (None, "b/1.jpg")}
    assert all(body["path"] == "/events?from=siltstone" for body in bodies)


def test_events_come_of_a_bucket_that_is_gone_and_not_after_the_rules_are(s3, receiver):
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    put(s3, name, rule())
    s3.put_object(Bucket=name, Key="k", Body=b"x")
    put(s3, name)
    s3.delete_object(Bucket=name, Key="k")
    s3.delete_bucket(Bucket=name)
    assert [record["eventName"] for record in wait_for(receiver, name, 1)] == ["ObjectCreated:Put"]
    time.sleep(0.5)
    assert len(wait_for(receiver, name, 1)) == 1
