"""Settings of compaction: the policy that chooses merges, and its change on a store that is there."""
import time

import pytest

from lib.server import Server, ServerError

CUTS = 9


def fill(server, s3):
    s3.create_bucket(Bucket="runs")
    for number in range(CUTS):
        s3.put_object(Bucket="runs", Key=f"key-{number}", Body=b"x" * number)
        server.cut()


def runs(server):
    return int(server.metric("siltstone_runs"))


def test_a_manual_policy_merges_only_by_request_and_a_later_start_may_have_another(siltstone, tmp_path):
    server = Server(siltstone, tmp_path / "data", "--compaction-policy", "manual", "--compaction-fan-in", "2")
    server.start()
    s3 = server.client()
    fill(server, s3)
    assert runs(server) == CUTS, "no merge without a request"
    assert "merges lag behind" not in server.log_text(), "no flush waits for a merge that nobody has requested"
    server.post("/merge")
    assert runs(server) == 1
    for number in range(3):
        s3.put_object(Bucket="runs", Key=f"later-{number}", Body=b"y")
        server.cut()
    assert runs(server) == 4
    server.stop()
    # The policy belongs to the start and not to the store.
    server = Server(siltstone, tmp_path / "data", "--compaction-policy", "levels", "--compaction-fan-in", "2")
    server.start()
    s3 = server.client()
    deadline = time.monotonic() + 60
    while runs(server) > 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert runs(server) <= 3, "the runs that were there are merged"
    listed = [entry["Key"] for entry in s3.list_objects_v2(Bucket="runs")["Contents"]]
    assert len(listed) == CUTS + 3
    server.stop()


@pytest.mark.parametrize("flags, named", [
    (["--compaction-policy", "tiered"], "compaction-policy"),
    (["--compaction-fan-in", "1"], "compaction-fan-in"),
    (["--compaction-fan-in", "65"], "compaction-fan-in"),
    (["--compactions-max", "0"], "compactions-max"),
])
def test_a_start_with_an_impossible_setting_is_refused_with_its_name(siltstone, tmp_path, flags, named):
    server = Server(siltstone, tmp_path / "data", *flags)
    with pytest.raises(ServerError):
        server.start()
    assert named in server.log_text()
    assert not (tmp_path / "data").exists(), "nothing was made"
