"""Objects for several modules of SQL's tests."""
import pytest


@pytest.fixture(scope="module")
def filled(server, s3):
    """Objects of every fate: overwritten, deleted, removed by version, tagged later; in several runs and in the tail."""
    s3.create_bucket(Bucket="plain")
    s3.create_bucket(Bucket="versions")
    s3.put_bucket_versioning(Bucket="versions", VersioningConfiguration={"Status": "Enabled"})
    for step in range(4):
        for number in range(60):
            tags = f"team={'red' if number % 3 else 'blue'}"
            s3.put_object(Bucket="plain", Key=f"plain/{number % 40:03}-é{step if number > 40 else ''}", Body=b"x" * (number + step), Tagging=tags)
        for number in range(20):
            put = s3.put_object(Bucket="versions", Key=f"versions/{number:03}", Body=b"y" * (number + 100 * step))
            if number % 5 == step:
                s3.delete_object(Bucket="versions", Key=f"versions/{number:03}")
            if number % 7 == step:
                s3.delete_object(Bucket="versions", Key=f"versions/{number:03}", VersionId=put["VersionId"])
        s3.put_object_tagging(Bucket="plain", Key=f"plain/{step:03}-é", Tagging={"TagSet": [{"Key": "team", "Value": "green"}]})
        s3.delete_object(Bucket="plain", Key=f"plain/{step + 20:03}-é")
        server.cut()
    s3.put_object(Bucket="plain", Key="plain/in-the-tail", Body=b"tail")
