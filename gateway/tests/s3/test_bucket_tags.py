"""Tags of buckets: set, replaced, removed, kept over a cut and a restart, and refused beyond S3's limits."""
import pytest

from lib.refusals import refused


def tag_set(count):
    return {"TagSet": [{"Key": f"key-{at}", "Value": f"väl {at}+"} for at in range(count)]}


@pytest.mark.parametrize("count", [1, 50])
def test_tags_of_a_bucket_come_back_before_a_cut_and_after_it(server, s3, bucket, count):
    refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=bucket)
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(count))
    for _ in range(2):
        assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(count)["TagSet"]
        server.cut()
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(2))
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(2)["TagSet"], "all tags are replaced"
    removed = s3.delete_bucket_tagging(Bucket=bucket)
    assert removed["ResponseMetadata"]["HTTPStatusCode"] == 204
    refused("NoSuchTagSet", s3.get_bucket_tagging, Bucket=bucket)
    s3.delete_bucket_tagging(Bucket=bucket)


def test_tags_of_a_bucket_leave_versioning_as_it_is(s3, bucket):
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(1))
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Suspended"})
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(1)["TagSet"]


def test_tags_that_no_bucket_may_have_are_refused_and_change_nothing(s3, bucket):
    s3.put_bucket_tagging(Bucket=bucket, Tagging=tag_set(1))
    wrong = [tag_set(51), {"TagSet": [{"Key": "k" * 129, "Value": ""}]}, {"TagSet": [{"Key": "k", "Value": "v" * 257}]},
             {"TagSet": [{"Key": "a", "Value": "1"}, {"Key": "a", "Value": "2"}]}]
    for tags in wrong:
        refused("InvalidTag", s3.put_bucket_tagging, Bucket=bucket, Tagging=tags)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == tag_set(1)["TagSet"]
    refused("NoSuchBucket", s3.put_bucket_tagging, Bucket="there-is-none", Tagging=tag_set(1))
