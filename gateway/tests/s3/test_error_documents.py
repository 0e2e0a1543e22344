"""Error documents: each has the elements that AWS's has, and the ids of its headers."""
import re

import pytest

from lib.requests import Requests, code, header_of

OTHER = '"' + "0" * 32 + '"'


@pytest.fixture(scope="module")
def wire(server):
    """A bucket with an object `k` of one piece, `parts` of one part, an open upload, and a deleted key."""
    wire = Requests(server)
    assert wire.ask("PUT", "/errors")[0] == 200
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    assert wire.ask("PUT", "/errors", "versioning=", body=document)[0] == 200
    assert wire.ask("PUT", "/errors/k", body=b"0123456789")[0] == 200
    assert wire.ask("PUT", "/errors/gone", body=b"x")[0] == 200
    wire.marker = header_of(wire.ask("DELETE", "/errors/gone"), "x-amz-version-id")
    wire.upload = re.search(rb"<UploadId>(.*?)<", wire.ask("POST", "/errors/up", "uploads=")[2]).group(1).decode()
    wire.tags = [header_of(wire.ask("PUT", "/errors/up", f"partNumber={n}&uploadId={wire.upload}", body=b"part"), "etag") for n in (1, 2)]
    return wire


def parts(*named):
    listed = "".join(f"<Part><PartNumber>{number}</PartNumber><ETag>{tag}</ETag></Part>" for number, tag in named)
    return f"<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>".encode()


TABLE = [  # method, path, query, headers, body; status, code, elements
    ("GET", "/errors/none", "", {}, b"", 404, "NoSuchKey", {"Key": "none"}),
    ("GET", "/errors/gone", "", {}, b"", 404, "NoSuchKey", {"Key": "gone"}),
    ("GET", "/errors/gone", "versionId=MARKER", {}, b"", 405, "MethodNotAllowed", {"Method": "GET", "ResourceType": "DeleteMarker"}),
    ("GET", "/errors/gone", "tagging=", {}, b"", 405, "MethodNotAllowed", {"Method": "GET", "ResourceType": "DeleteMarker"}),
    ("PUT", "/errors/gone", "tagging=", {}, b"<Tagging><TagSet/></Tagging>", 405, "MethodNotAllowed", {"Method": "PUT"}),
    ("DELETE", "/errors/gone", "tagging=", {}, b"", 405, "MethodNotAllowed", {"Method": "DELETE"}),
    ("GET", "/errors/k", "versionId=" + "0" * 32, {}, b"", 404, "NoSuchVersion", {"Key": "k", "VersionId": "0" * 32}),
    ("GET", "/no-such-bucket", "", {}, b"", 404, "NoSuchBucket", {"BucketName": "no-such-bucket"}),
    ("GET", "/no-such-bucket/k", "", {}, b"", 404, "NoSuchBucket", {"BucketName": "no-such-bucket"}),
    ("PUT", "/errors/new", "", {"x-amz-copy-source": "/no-such-source/k"}, b"", 404, "NoSuchBucket", {"BucketName": "no-such-source"}),
    ("PUT", "/errors/new", "", {"x-amz-copy-source": "/errors/none"}, b"", 404, "NoSuchKey", {"Key": "none"}),
    ("GET", "/errors/k", "", {"range": "bytes=10-"}, b"", 416, "InvalidRange", {"RangeRequested": "bytes=10-", "ActualObjectSize": "10"}),
    ("GET", "/errors/k", "partNumber=2", {}, b"", 416, "InvalidPartNumber", {"ActualPartCount": "1", "PartNumberRequested": "2"}),
    ("GET", "/errors/k", "", {"if-match": OTHER}, b"", 412, "PreconditionFailed", {"Condition": "If-Match"}),
    ("PUT", "/errors/k", "", {"if-none-match": "*"}, b"x", 412, "PreconditionFailed", {"Condition": "If-None-Match"}),
    ("GET", "/errors/up", "uploadId=fake", {}, b"", 404, "NoSuchUpload", {"UploadId": "fake"}),
    ("PUT", "/errors/up", "partNumber=1&uploadId=" + "0" * 32, {}, b"x", 404, "NoSuchUpload", {"UploadId": "0" * 32}),
    ("DELETE", "/errors/up", "uploadId=" + "0" * 32, {}, b"", 404, "NoSuchUpload", {"UploadId": "0" * 32}),
    ("POST", "/errors/other", "uploadId=UPLOAD", {}, parts((1, OTHER)), 404, "NoSuchUpload", {"UploadId": "UPLOAD"}),
    ("POST", "/errors/up", "uploadId=UPLOAD", {}, parts((3, OTHER)), 400, "InvalidPart", {"UploadId": "UPLOAD", "PartNumber": "3", "ETag": OTHER}),
    ("POST", "/errors/up", "uploadId=UPLOAD", {}, parts((1, OTHER)), 400, "InvalidPart", {"UploadId": "UPLOAD", "PartNumber": "1", "ETag": OTHER}),
    ("POST", "/errors/up", "uploadId=UPLOAD", {}, parts((1, "TAG"), (2, "TAG")), 400, "EntityTooSmall",
     {"ProposedSize": "4", "MinSizeAllowed": "5242880", "PartNumber": "1", "ETag": "TAG"}),
    ("POST", "/errors/up", "uploadId=UPLOAD", {}, parts((2, "TAG"), (1, "TAG")), 400, "InvalidPartOrder", {"UploadId": "UPLOAD"}),
    ("GET", "/errors", "list-type=2&max-keys=-1", {}, b"", 400, "InvalidArgument", {"ArgumentName": "maxKeys", "ArgumentValue": "-1"}),
    ("PUT", "/errors/k", "", {"x-amz-storage-class": "cold"}, b"", 400, "InvalidStorageClass", {"StorageClassRequested": "cold"}),
    ("PUT", "/errors/k", "", {"x-amz-acl": "public-ready"}, b"", 400, "InvalidArgument", {"ArgumentName": "x-amz-acl", "ArgumentValue": "public-ready"}),
    ("PUT", "/errors", "acl=", {"x-amz-acl": "public-ready"}, b"", 400, "InvalidArgument", {"ArgumentName": "x-amz-acl"}),
    ("PUT", "/errors/k", "", {"x-amz-server-side-encryption": "AES256"}, b"", 501, "NotImplemented", {"Header": "x-amz-server-side-encryption"}),
    ("PUT", "/errors/k", "", {"x-amz-tagging": "a=1,2"}, b"", 400, "InvalidTag", {"TagKey": "a"}),
    ("PATCH", "/errors/k", "", {}, b"", 405, "MethodNotAllowed", {"Method": "PATCH", "ResourceType": "OBJECT"}),
    ("POST", "/errors/k", "", {}, b"", 405, "MethodNotAllowed", {"Method": "POST", "ResourceType": "OBJECT"}),
]


@pytest.mark.parametrize(("method", "path", "query", "headers", "body", "status", "name", "elements"), TABLE,
                         ids=[f"{row[6]}-{row[0]}{row[1]}-{index}" for index, row in enumerate(TABLE)])
def test_a_document_has_the_elements_of_its_error(wire, method, path, query, headers, body, status, name, elements):
    def put_in(text):
        return text.replace("MARKER", wire.marker).replace("UPLOAD", wire.upload).replace("TAG", wire.tags[0])

    answer = wire.ask(method, path, put_in(query), headers=headers, body=put_in(body.decode()).encode())
    assert code(answer) == (status, name)
    told = dict(re.findall(r"<(\w+)>([^<]*)</\1>", answer[2].decode().partition("<Error>")[2].replace("&quot;", '"')))
    wanted = {element: put_in(value) for element, value in elements.items()}
    assert {element: told.get(element) for element in wanted} == wanted
    assert told["Resource"] == path and told["Message"]
    assert (told["RequestId"], told["HostId"]) == (header_of(answer, "x-amz-request-id"), header_of(answer, "x-amz-id-2"))
    assert header_of(answer, "content-type") == "application/xml"
    if status == 405 and name == "MethodNotAllowed" and method != "PATCH":
        assert header_of(answer, "allow")


def test_one_version_among_many_that_is_none_is_told(wire):
    document = b"<Delete><Object><Key>k</Key><VersionId>abc</VersionId></Object></Delete>"
    answer = wire.ask("POST", "/errors", "delete=", body=document)
    assert answer[0] == 200 and b"<Code>NoSuchVersion</Code>" in answer[2] and b"<VersionId>abc</VersionId>" in answer[2]
    assert wire.ask("HEAD", "/errors/k")[0] == 200, "the object stands"
