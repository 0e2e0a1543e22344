"""Events over HTTP, as MinIO's clients ask for them: from now on, or from a cursor that survives interruptions."""
import concurrent.futures
import http.client
import json
import time
import uuid

import botocore.exceptions
import pytest

from lib.receiver import check_order, key_of
from lib.server import OTHER_KEYS, write_destinations, write_other_user
from lib.signing import presigned

ALL = ["s3:ObjectCreated:*", "s3:ObjectRemoved:*"]
# As `mc watch` asks; the last one never happens here.
WATCHED = [*ALL, "s3:ObjectAccessed:*"]


@pytest.fixture(scope="module")
def server(serve, tmp_path_factory):
    path = tmp_path_factory.mktemp("settings") / "siltstone.toml"
    write_other_user(path)
    users = path.read_text()
    flags = write_destinations(path, [{"name": "kept", "kind": "stream", "age_max": "1h"}, {"name": "brief", "kind": "stream", "age_max": "2s"},
                                      {"name": "others", "kind": "stream", "users": ["other"]}])
    path.write_text(path.read_text() + users)
    return serve(*flags, "--cut-seconds", "1")


class Stream:
    """An answer without an end; reads it line by line."""

    def __init__(self, server, bucket, events=ALL, keys=None, wait=20, **parameters):
        pairs = [("events", name) for name in events] + [(name, str(value)) for name, value in parameters.items()]
        access, secret = keys or server.own_keys()
        self.connection = http.client.HTTPConnection(server.address, timeout=wait)
        self.connection.request("GET", presigned("GET", f"/{bucket}", pairs, server.address, access=access, secret=secret))
        self.answer = self.connection.getresponse()
        self.status = self.answer.status

    def record(self):
        """The next event; None at the end of the answer."""
        while line := self.answer.readline():
            if line.strip() and (records := json.loads(line)["Records"]):
                [record] = records
                return record
        return None

    def keys(self, number):
        return [key_of(self.record()) for _ in range(number)]

    def close(self):
        self.connection.close()

    def error(self):
        return self.answer.read().decode()


def keep(s3, bucket, destination="kept"):
    rules = [{"QueueArn": f"arn:siltstone:sqs::{destination}:stream", "Events": ALL}]
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration={"QueueConfigurations": rules})


def put(s3, bucket, *keys):
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"x")


def test_a_listener_gets_the_events_of_now_in_minios_form(server, s3, bucket):
    put(s3, bucket, "before")
    stream = Stream(server, bucket, WATCHED, prefix="a/", suffix=".txt")
    assert stream.status == 200 and stream.answer.headers["content-type"] == "text/event-stream"
    put(s3, bucket, "a/1.txt", "a/1.jpg", "b/1.txt", "a/ü 2.txt")
    s3.delete_object(Bucket=bucket, Key="a/1.txt")
    found = [stream.record() for _ in range(3)]
    assert [(one["eventName"], key_of(one)) for one in found] == [
        ("s3:ObjectCreated:Put", "a/1.txt"), ("s3:ObjectCreated:Put", "a/ü 2.txt"), ("s3:ObjectRemoved:Delete", "a/1.txt")]
    check_order(found)
    stream.close()


def test_a_connection_without_events_is_kept_alive(server, s3, bucket):
    began = time.monotonic()
    stream = Stream(server, bucket, ping=1)
    assert json.loads(stream.answer.readline()) == {"Records": []}
    assert time.monotonic() - began < 5
    stream.close()
    stream = Stream(server, bucket)
    assert stream.answer.read(1) == b" "
    stream.close()


def test_a_cursor_continues_after_an_interruption_and_after_a_crash(server, s3, bucket):
    keep(s3, bucket)
    put(s3, bucket, *"abc")
    stream = Stream(server, bucket, cursor="oldest")
    assert stream.keys(2) == ["a", "b"]
    stream.close()
    put(s3, bucket, "d")
    stream = Stream(server, bucket, cursor="oldest")
    cursors = {key_of(one): one["s3"]["object"]["sequencer"] for one in [stream.record() for _ in range(4)]}
    put(s3, bucket, "e")
    assert stream.keys(1) == ["e"]
    server.kill()
    server.start()
    put(s3, bucket, "f")
    for cursor, wanted in [("b", "cdef"), ("d", "ef")]:
        stream = Stream(server, bucket, cursor=cursors[cursor])
        assert stream.keys(len(wanted)) == list(wanted)
        stream.close()


def test_a_cursor_between_the_two_events_of_a_rename_loses_none(server, s3, bucket):
    keep(s3, bucket)
    put(s3, bucket, "old")
    live = Stream(server, bucket)
    s3.rename_object(Bucket=bucket, Key="new", RenameSource="old")
    put(s3, bucket, "last")
    assert live.keys(3) == ["new", "old", "last"]
    stream = Stream(server, bucket, cursor="oldest")
    found = [stream.record() for _ in range(4)]
    check_order(found)
    order = [key_of(one) for one in found]
    assert order == ["old", "new", "old", "last"]
    for number, one in enumerate(found[:-1], 1):
        rest = Stream(server, bucket, cursor=one["s3"]["object"]["sequencer"])
        assert rest.keys(len(order) - number) == order[number:]
        rest.close()


def test_events_that_are_too_old_are_refused_and_not_skipped(server, s3, bucket):
    keep(s3, bucket, "brief")
    put(s3, bucket, "a", "b")
    stream = Stream(server, bucket, cursor="oldest")
    cursor = stream.record()["s3"]["object"]["sequencer"]
    stream.close()
    deadline = time.monotonic() + 30
    while (refused := Stream(server, bucket, cursor=cursor)).status == 200 and time.monotonic() < deadline:
        refused.close()
        time.sleep(0.5)
    assert refused.status == 400 and "no longer kept" in refused.error()
    put(s3, bucket, "c")
    assert Stream(server, bucket, cursor="oldest").keys(1) == ["c"]


def test_what_cannot_be_listened_to_is_refused(server, s3, bucket):
    for parameters, message in [
        ({"events": ["s3:NoSuchEvent"]}, "not supported"),
        ({"cursor": "oldest"}, "keeps no events"),
        ({"ping": "0"}, "ping"),
    ]:
        refused = Stream(server, bucket, **parameters)
        assert refused.status == 400 and message in refused.error(), parameters
    keep(s3, bucket)
    assert Stream(server, bucket, cursor="x").status == 400
    assert Stream(server, bucket, keys=OTHER_KEYS).status == 403
    assert Stream(server, f"none-{uuid.uuid4()}").status == 404


def test_a_listener_does_not_see_a_bucket_of_another_user(server, s3):
    name = f"bucket-{uuid.uuid4()}"
    s3.create_bucket(Bucket=name)
    stream = Stream(server, name)
    s3.delete_bucket(Bucket=name)
    other = server.client(OTHER_KEYS)
    other.create_bucket(Bucket=name)
    put(other, name, "secret")
    assert stream.record() is None


def test_events_of_a_former_owner_of_the_name_are_passed_over(server, s3):
    """They are another user's. A reader that stopped there would never come to its own."""
    name, other = f"bucket-{uuid.uuid4()}", server.client(OTHER_KEYS)
    other.create_bucket(Bucket=name)
    keep(other, name)
    secrets = [f"secret-{number}" for number in range(250)]
    put(other, name, *secrets)
    for first in range(0, len(secrets), 100):
        other.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in secrets[first:first + 100]]})
    other.delete_bucket(Bucket=name)
    s3.create_bucket(Bucket=name)
    keep(s3, name)
    put(s3, name, "a", "b")
    stream = Stream(server, name, cursor="oldest")
    first = stream.record()
    assert [key_of(first), *stream.keys(1)] == ["a", "b"]
    # The name changes hands again: nothing of the next owner is seen, and the answer ends.
    s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": "a"}, {"Key": "b"}]})
    s3.delete_bucket(Bucket=name)
    other.create_bucket(Bucket=name)
    keep(other, name)
    put(other, name, "secret")
    assert stream.keys(2) == ["a", "b"], "the deletes"
    assert stream.record() is None
    assert Stream(server, name, cursor=first["s3"]["object"]["sequencer"]).status == 403
    mine = Stream(server, name, keys=OTHER_KEYS, cursor="oldest")
    assert mine.keys(250)[-1] == "secret-249"


def test_many_events_of_one_bucket_end_no_answer_about_another(server, s3, bucket):
    """A listener is cut off only when it is itself behind: these would be one batch of the log on a busy server."""
    quiet, small = f"bucket-{uuid.uuid4()}", f"bucket-{uuid.uuid4()}"
    for name in (quiet, small):
        s3.create_bucket(Bucket=name)
    streams = {name: Stream(server, name, wait=60) for name in (quiet, small)}

    def delete(name, turn):
        keys = [f"{turn}/{number}" for number in range(1000)]
        s3.delete_objects(Bucket=name, Delete={"Objects": [{"Key": key} for key in keys]})
        return keys

    with concurrent.futures.ThreadPoolExecutor(11) as pool:
        # Nobody listens to the first; of the other so many events come that a listener that does not read yet keeps them.
        busy = [pool.submit(delete, bucket, turn) for turn in range(8)]
        wanted = [key for turn in range(3) for key in pool.submit(delete, small, turn).result()]
        assert all(one.result() for one in busy)
    put(s3, quiet, "a")
    assert streams[quiet].keys(1) == ["a"]
    assert sorted(streams[small].keys(3000)) == sorted(wanted)


def test_a_destination_of_other_users_cannot_be_named(server, s3, bucket):
    """Its bounds are theirs: nobody else's events may push theirs out."""
    with pytest.raises(botocore.exceptions.ClientError) as caught:
        keep(s3, bucket, "others")
    assert caught.value.response["Error"]["Code"] == "InvalidArgument"
    assert "Unable to validate" in caught.value.response["Error"]["Message"]
    name, other = f"bucket-{uuid.uuid4()}", server.client(OTHER_KEYS)
    other.create_bucket(Bucket=name)
    keep(other, name, "others")
    put(other, name, "a")
    assert Stream(server, name, keys=OTHER_KEYS, cursor="oldest").keys(1) == ["a"]


def test_a_listener_does_not_hold_up_a_stop(server, s3, bucket):
    stream = Stream(server, bucket)
    began = time.monotonic()
    server.stop()
    assert time.monotonic() - began < 15
    assert stream.record() is None
    server.start()
