"""Tags of objects: the characters, counts and forms that AWS permits, in the document and in the header."""
from urllib.parse import quote
from xml.sax.saxutils import escape

import pytest

from lib.refusals import refused
from lib.requests import Requests, code

SETS = [  # tags, the error of the document, the error of the header
    ([("a", "1")], None, None), ([("a b_.:/=+-@", "x y_.:/=+-@")], None, None), ([("\u00e9\u65e5", "\u672c\u0967")], None, None), ([("a", "")], None, None),
    ([("k" * 128, "v" * 256)], None, None), ([("a", "1"), ("A", "2")], None, None), ([(f"k{n}", "v") for n in range(10)], None, None),
    ([(f"k{n}", "v") for n in range(11)], "BadRequest", "BadRequest"), ([("k" * 129, "v")], "InvalidTag", "InvalidTag"), ([("k", "v" * 257)], "InvalidTag", "InvalidTag"),
    ([("", "v")], "InvalidTag", "InvalidArgument"), ([("a", "1"), ("a", "2")], "InvalidTag", "InvalidArgument"), ([("aws:x", "1")], "InvalidTag", "InvalidTag"),
    ([("a,b", "1")], "InvalidTag", "InvalidTag"), ([("a", "1,2")], "InvalidTag", "InvalidTag"), ([("a", "<x>")], "InvalidTag", "InvalidTag"),
    ([("a;", "1")], "InvalidTag", "InvalidTag"), ([("a", "1\t2")], "InvalidTag", "InvalidTag"), ([("a", "\U0001f389")], "InvalidTag", "InvalidTag"),
    ([("a", "q?*'\"")], "InvalidTag", "InvalidTag"),
]


def as_sets(tags):
    return [{"Key": key, "Value": value} for key, value in tags]


@pytest.mark.parametrize(("tags", "error", "_"), SETS, ids=str)
def test_a_document_of_tags_is_taken_or_refused(server, s3, bucket, tags, error, _):
    s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging="before=1")
    # Raw: boto3 refuses an empty key itself.
    document = "".join(f"<Tag><Key>{escape(key)}</Key><Value>{escape(value)}</Value></Tag>" for key, value in tags)
    answer = Requests(server).ask("PUT", f"/{bucket}/k", "tagging=", body=f"<Tagging><TagSet>{document}</TagSet></Tagging>".encode())
    assert code(answer) == ((400, error) if error else (200, None))
    if error:
        tags = [("before", "1")]
    assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == as_sets(tags)


@pytest.mark.parametrize(("tags", "_", "error"), SETS, ids=str)
def test_a_header_of_tags_is_taken_or_refused(s3, bucket, tags, _, error):
    text = "&".join(f"{quote(key, safe='')}={quote(value, safe='')}" for key, value in tags)
    if error:
        refused(error, s3.put_object, Bucket=bucket, Key="k", Body=b"", Tagging=text)
        refused("NoSuchKey", s3.get_object, Bucket=bucket, Key="k")
    else:
        s3.put_object(Bucket=bucket, Key="k", Body=b"", Tagging=text)
        assert s3.get_object_tagging(Bucket=bucket, Key="k")["TagSet"] == as_sets(tags)
