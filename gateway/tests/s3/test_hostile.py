"""Hostile requests: each row of the tables is sent as bytes on a socket, and all that must hold afterwards is compared.

A row is refused, or does exactly what it says: the responses are those of the row, no byte more comes, the state of every
bucket is as before but for the objects that the row names, and the same server answers. In the end the server has
answered nothing with 500, its log has no panic, and its memory has hardly grown.
"""
import collections

import pytest

from lib.hostile import BUCKET, KEPT, Place, converse
from lib.hostile_bodies import ROWS as BODIES
from lib.hostile_heads import ROWS as HEADS
from lib.hostile_http import ROWS as HTTP
from lib.server import OTHER_KEYS

ROWS = [*HTTP, *HEADS, *BODIES]
OTHER = "other-bucket"
# The growth of the server's memory that is allowed over all rows, in bytes.
GROWTH = 96 << 20


@pytest.fixture(scope="module")
def server(serve, other_user):
    """A server with a region: one without takes signatures and buckets of every region."""
    return serve("--region", "us-east-1", *other_user)


class Store:
    """All that requests could change: buckets and objects of two users, and an open upload of each."""

    def __init__(self, server):
        self.clients = {BUCKET: server.client(), OTHER: server.client(OTHER_KEYS)}
        self.uploads = {}
        for bucket, client in self.clients.items():
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="kept", Body=KEPT, Metadata={"a": "b"}, Tagging="a=b", ContentType="text/plain")
            upload = client.create_multipart_upload(Bucket=bucket, Key="open")["UploadId"]
            client.upload_part(Bucket=bucket, Key="open", UploadId=upload, PartNumber=1, Body=b"part")
            self.uploads[bucket] = upload
        self.place = Place(server.address, self.uploads[BUCKET], self.uploads[OTHER])

    def state(self):
        """Everything as it is, by bucket."""
        return {bucket: self.of(client, bucket) for bucket, client in self.clients.items()}

    def of(self, client, bucket):
        state = {"buckets": [found["Name"] for found in client.list_buckets()["Buckets"]]}
        listed = client.list_object_versions(Bucket=bucket)
        state["markers"] = [marker["Key"] for marker in listed.get("DeleteMarkers", [])]
        state["objects"] = [(found["Key"], found["VersionId"], found["ETag"], found["Size"]) for found in listed.get("Versions", [])]
        state["tags"] = client.get_object_tagging(Bucket=bucket, Key="kept")["TagSet"]
        state["versioning"] = client.get_bucket_versioning(Bucket=bucket).get("Status")
        state["uploads"] = [(found["Key"], found["UploadId"]) for found in client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])]
        parts = client.list_parts(Bucket=bucket, Key="open", UploadId=self.uploads[bucket]).get("Parts", [])
        state["parts"] = [(part["PartNumber"], part["ETag"], part["Size"]) for part in parts]
        got = client.get_object(Bucket=bucket, Key="kept")
        state["kept"] = got["Body"].read(), got["Metadata"], got["ContentType"]
        return state

    def take(self):
        """Removes the objects that a row wrote; returns their bodies, with their metadata if they have any."""
        client, taken = self.clients[BUCKET], {}
        keys = [found["Key"] for found in client.list_objects_v2(Bucket=BUCKET).get("Contents", [])]
        for key in keys:
            if key != "kept":
                got = client.get_object(Bucket=BUCKET, Key=key)
                body, metadata = got["Body"].read(), got["Metadata"]
                taken[key] = (body, metadata) if metadata else body
                client.delete_object(Bucket=BUCKET, Key=key)
        return taken


@pytest.fixture(scope="module")
def store(server):
    return Store(server)


@pytest.fixture(scope="module")
def before(store):
    return store.state()


@pytest.fixture(scope="module", autouse=True)
def well_in_the_end(server):
    """After all rows: no response of status 500, no panic, and memory that has hardly grown."""
    resident = server.resident()
    yield
    failed = [line for line in server.metrics().splitlines() if line.startswith("siltstone_requests_total") and 'status="500"' in line]
    assert not failed, failed
    assert "panicked" not in server.log_text(), server.log_end()
    grown = server.resident() - resident
    assert grown <= GROWTH, f"{grown >> 20} MiB more than before"


def test_rows_have_names_and_reasons_of_their_own():
    names = collections.Counter(row.name for row in ROWS)
    assert not [name for name, count in names.items() if count > 1], names.most_common(3)
    assert all(row.reason for row in ROWS) and len(ROWS) >= 200, len(ROWS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_hostile_request_does_what_its_row_says_and_no_more(server, store, before, row):
    got, is_open, surplus = converse(server.port, store.place, row)
    taken = store.take()
    told = f"{row.name} ({row.reason}): {'; '.join(map(str, got)) or 'no response'}, {'open' if is_open else 'closed'}"
    fits = [one.is_wanted(wanted) for one, wanted in zip(got, row.wanted)]
    assert len(got) == len(row.wanted) and all(fits), f"{told}; wanted {row.wanted}"
    assert not surplus, f"{told}; then {surplus[:200]}"
    assert row.stays is None or is_open == row.stays, f"{told}; wanted {'open' if row.stays else 'closed'}"
    assert not [name for one in got for name in one.headers if name.startswith("x-injected")], f"{told}: a header was injected"
    written = row.writes if any(one.status == 200 for one in got) else {}
    assert taken == written, told
    assert store.state() == before, f"{told}: the state is another"
