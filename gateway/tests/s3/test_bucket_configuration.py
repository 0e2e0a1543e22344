"""Configuration of buckets: documents that are kept, documents of which one state is possible, names, regions and the list."""
import re

import pytest

from lib.origins import ask
from lib.refusals import refused
from lib.server import OTHER_KEYS, ROOT_KEYS


@pytest.fixture(scope="module")
def server(serve, other_user):
    """A server with a region: one without takes signatures and buckets of every region."""
    return serve("--region", "us-east-1", *other_user)


def cors(origins):
    return {"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": origins}]}


def website(pages):
    rules = [{"Condition": {"KeyPrefixEquals": page}, "Redirect": {"ReplaceKeyPrefixWith": "b/"}} for page in pages]
    return {"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}, "RoutingRules": rules}


def ownership(name):
    return {"Rules": [{"ObjectOwnership": name}]}


class Kind:
    """A kind of configuration: the calls, the argument, and documents. The last one has the largest size."""

    def __init__(self, name, argument, missing, *documents, deletes=True):
        self.name, self.argument, self.missing, self.documents, self.deletes = name, argument, missing, documents, deletes

    def put(self, s3, bucket, document):
        getattr(s3, f"put_bucket_{self.name}")(Bucket=bucket, **{self.argument: document})

    def get(self, s3, bucket):
        answer = getattr(s3, f"get_bucket_{self.name}")(Bucket=bucket)
        answer.pop("ResponseMetadata")
        return answer.get(self.argument, answer)

    def is_missing(self, s3, bucket):
        refused(self.missing, getattr(s3, f"get_bucket_{self.name}"), Bucket=bucket)

    def delete(self, s3, bucket):
        answer = getattr(s3, f"delete_bucket_{self.name}")(Bucket=bucket)
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 204


KINDS = [
    Kind("cors", "CORSConfiguration", "NoSuchCORSConfiguration", cors(["https://a"]), cors(["*"]), cors(["a" * 1000] * 60)),
    Kind("website", "WebsiteConfiguration", "NoSuchWebsiteConfiguration", {"IndexDocument": {"Suffix": "a"}},
         {"RedirectAllRequestsTo": {"HostName": "example.com", "Protocol": "https"}}, website(["ž" * 1100 + "<&>"] * 50)),
    Kind("ownership_controls", "OwnershipControls", "OwnershipControlsNotFoundError",
         ownership("BucketOwnerEnforced"), ownership("BucketOwnerPreferred"), ownership("ObjectWriter")),
    Kind("accelerate_configuration", "AccelerateConfiguration", None, {"Status": "Suspended"}, deletes=False)]
KIND = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)


@KIND
def test_a_document_is_kept_over_a_cut_and_a_restart(server, s3, bucket, kind):
    if kind.missing:
        kind.is_missing(s3, bucket)
    for document in kind.documents:
        kind.put(s3, bucket, document)
        assert kind.get(s3, bucket) == document
    server.cut()
    assert kind.get(s3, bucket) == document
    server.stop()
    server.start()
    assert kind.get(s3, bucket) == document
    kind.put(s3, bucket, kind.documents[0])
    server.kill()
    server.start()
    assert kind.get(s3, bucket) == kind.documents[0], "what was acknowledged is there after a kill"


@KIND
def test_a_document_is_replaced_and_removed(s3, bucket, kind):
    for document in [*kind.documents, *reversed(kind.documents)]:
        kind.put(s3, bucket, document)
        assert kind.get(s3, bucket) == document
    if not kind.deletes:
        return
    for _ in range(2):
        kind.delete(s3, bucket)
        kind.is_missing(s3, bucket)
    kind.put(s3, bucket, kind.documents[0])
    s3.delete_bucket(Bucket=bucket)
    s3.create_bucket(Bucket=bucket)
    kind.is_missing(s3, bucket)


@KIND
def test_a_document_is_the_owners(server, s3, bucket, kind):
    other = server.client(OTHER_KEYS)
    refused("AccessDenied", kind.put, other, bucket, kind.documents[0])
    refused("NoSuchBucket", kind.put, s3, "there-is-none", kind.documents[0])
    kind.put(s3, bucket, kind.documents[0])
    refused("AccessDenied", kind.get, other, bucket)
    if kind.deletes:
        refused("AccessDenied", kind.delete, other, bucket)
    assert kind.get(s3, bucket) == kind.documents[0]


def test_documents_of_all_kinds_stand_beside_each_other(s3, bucket):
    s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": [{"Key": "a", "Value": "b"}]})
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    for kind in KINDS:
        kind.put(s3, bucket, kind.documents[-1])
    for kind in KINDS:
        assert kind.get(s3, bucket) == kind.documents[-1]
        if kind.deletes:
            kind.delete(s3, bucket)
    assert s3.get_bucket_tagging(Bucket=bucket)["TagSet"] == [{"Key": "a", "Value": "b"}]
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"


def put(server, bucket, query, document):
    """Status and code of the answer to a document."""
    answer = ask(server, "PUT", f"/{bucket}?{query}", keys=ROOT_KEYS, body=document.encode())
    code = re.search(rb"<Code>(.*?)</Code>", answer.body)
    return answer.status, code and code.group(1).decode()


TAKEN, MALFORMED, REFUSED = (200, None), (400, "MalformedXML"), (501, "NotImplemented")
BOMB = "<!DOCTYPE d [<!ENTITY a 'aaaa'>]>"


@pytest.mark.parametrize(("query", "document", "wanted"), [
    ("ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule></OwnershipControls>", TAKEN),
    ("ownershipControls", "<OwnershipControls><Rule><ObjectOwnership>Nobody</ObjectOwnership></Rule></OwnershipControls>", MALFORMED),
    ("ownershipControls", "<OwnershipControls>" + 2 * "<Rule><ObjectOwnership>ObjectWriter</ObjectOwnership></Rule>" + "</OwnershipControls>", MALFORMED),
    ("ownershipControls", "<OwnershipControls/>", MALFORMED),
    ("ownershipControls", "<OwnershipControls><Rule/></OwnershipControls>", MALFORMED),
    ("ownershipControls", "", MALFORMED),
    ("requestPayment", "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>", TAKEN),
    ("requestPayment", "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>", REFUSED),
    ("requestPayment", "<RequestPaymentConfiguration><Payer>Somebody</Payer></RequestPaymentConfiguration>", MALFORMED),
    ("requestPayment", "<RequestPaymentConfiguration/>", MALFORMED),
    ("requestPayment", BOMB + "<RequestPaymentConfiguration><Payer>&a;</Payer></RequestPaymentConfiguration>", MALFORMED),
    ("logging", "<BucketLoggingStatus/>", TAKEN),
    ("logging", "<BucketLoggingStatus xmlns='http://doc.s3.amazonaws.com/2006-03-01'>\n</BucketLoggingStatus>", TAKEN),
    ("logging", "<BucketLoggingStatus><LoggingEnabled><TargetBucket>b</TargetBucket><TargetPrefix/></LoggingEnabled></BucketLoggingStatus>", REFUSED),
    ("logging", "<BucketLoggingStatus><LoggingEnabled/></BucketLoggingStatus>", REFUSED),
    ("logging", "<BucketLoggingStatus><Other/></BucketLoggingStatus>", MALFORMED),
    ("logging", "", MALFORMED),
    ("accelerate", "<AccelerateConfiguration><Status>Suspended</Status></AccelerateConfiguration>", TAKEN),
    ("accelerate", "<AccelerateConfiguration><Status>Enabled</Status></AccelerateConfiguration>", REFUSED),
    ("accelerate", "<AccelerateConfiguration><Status>suspended</Status></AccelerateConfiguration>", MALFORMED),
    ("accelerate", "<AccelerateConfiguration/>", MALFORMED),
    ("website", "<WebsiteConfiguration/>", (400, "InvalidArgument")),
    ("website", "<WebsiteConfiguration><IndexDocument><Suffix>a/b</Suffix></IndexDocument></WebsiteConfiguration>", (400, "InvalidArgument")),
    ("website", "<WebsiteConfiguration><IndexDocument><Suffix>" + "a" * (128 << 10) + "</Suffix></IndexDocument></WebsiteConfiguration>", MALFORMED),
    ("website", BOMB + "<WebsiteConfiguration><IndexDocument><Suffix>&a;</Suffix></IndexDocument></WebsiteConfiguration>", MALFORMED)],
    ids=range(25))
def test_documents_are_taken_or_refused_as_aws_does(server, bucket, query, document, wanted):
    assert put(server, bucket, query, document) == wanted
    if query != "website":
        assert put(server, "there-is-none", query, document)[0] in (400, 404, 501)


def test_one_state_is_always_told(server, s3, bucket):
    for document in ({}, {"LoggingEnabled": {"TargetBucket": bucket, "TargetPrefix": ""}}):
        try:
            s3.put_bucket_logging(Bucket=bucket, BucketLoggingStatus=document)
        except s3.exceptions.ClientError:
            pass
        assert "LoggingEnabled" not in s3.get_bucket_logging(Bucket=bucket)
    s3.put_bucket_request_payment(Bucket=bucket, RequestPaymentConfiguration={"Payer": "BucketOwner"})
    refused("NotImplemented", s3.put_bucket_request_payment, Bucket=bucket, RequestPaymentConfiguration={"Payer": "Requester"})
    assert s3.get_bucket_request_payment(Bucket=bucket)["Payer"] == "BucketOwner"
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    refused("NotImplemented", s3.put_bucket_accelerate_configuration, Bucket=bucket, AccelerateConfiguration={"Status": "Enabled"})
    assert "Status" not in s3.get_bucket_accelerate_configuration(Bucket=bucket)
    s3.create_bucket(Bucket=f"{bucket[:30]}.dots")
    refused("InvalidRequest", s3.put_bucket_accelerate_configuration, Bucket=f"{bucket[:30]}.dots", AccelerateConfiguration={"Status": "Suspended"})


@pytest.mark.parametrize("name", ["BucketOwnerEnforced", "BucketOwnerPreferred", "ObjectWriter"])
def test_a_bucket_is_created_with_ownership_controls(server, s3, bucket, name):
    made = f"{bucket[:40]}-{name.lower()[:15]}"
    for _ in range(2):
        s3.create_bucket(Bucket=made, ObjectOwnership=name)
        assert s3.get_bucket_ownership_controls(Bucket=made)["OwnershipControls"] == ownership(name)
    s3.create_bucket(Bucket=made, ObjectOwnership="ObjectWriter")
    s3.create_bucket(Bucket=made)
    assert s3.get_bucket_ownership_controls(Bucket=made)["OwnershipControls"] == ownership(name), "creating it again changes nothing"
    refused("InvalidArgument", s3.create_bucket, Bucket=f"{bucket[:40]}-wrong", ObjectOwnership="Nobody")
    refused("NoSuchBucket", s3.get_bucket_location, Bucket=f"{bucket[:40]}-wrong")
    refused("OwnershipControlsNotFoundError", s3.get_bucket_ownership_controls, Bucket=bucket)
    refused("BucketAlreadyExists", server.client(OTHER_KEYS).create_bucket, Bucket=made, ObjectOwnership="ObjectWriter")


GOOD_NAMES = ["abc", "a.b-c", "123", "1.2.3", "1.2.3.a", "x" * 63, "a--b"]
BAD_NAMES = ["ab", "x" * 64, "Abc", "a_b", "-ab", "ab-", "ab.", "a..b", "a.-b", "a-.b", "192.168.5.4", "999.9.9.9", "xn--abc", "sthree-abc",
             "amzn-s3-demo-abc", "abc-s3alias", "abc--ol-s3", "abc.mrap", "abc--x-s3", "abc--table-s3"]


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_names_that_aws_takes_are_taken(server, s3, name):
    assert ask(server, "PUT", f"/{name}", keys=ROOT_KEYS).status == 200
    assert s3.get_bucket_location(Bucket=name)["LocationConstraint"] is None


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_aws_refuses_are_refused(server, s3, name):
    answer = ask(server, "PUT", f"/{name}", keys=ROOT_KEYS)
    assert (answer.status, b"<Code>InvalidBucketName</Code>" in answer.body) == (400, True), answer.body
    assert name not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]


def create(server, name, region, keys=ROOT_KEYS):
    body = f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>" if region is not None else ""
    answer = ask_at(server, "PUT", f"/{name}", keys, body.encode())
    code = re.search(rb"<Code>(.*?)</Code>", answer.body)
    return answer.status, code and code.group(1).decode()


def ask_at(server, method, target, keys=ROOT_KEYS, body=b""):
    return ask(server, method, target, keys=keys, body=body, region=getattr(server, "region", "us-east-1"))


def test_buckets_are_where_the_server_is(serve, other_user, server, bucket):
    elsewhere = serve("--region", "eu-west-1", *other_user)
    elsewhere.region = "eu-west-1"
    again = (409, "BucketAlreadyOwnedByYou")
    for at, region, wanted, second, told in [
            (server, None, TAKEN, TAKEN, ""), (server, "", TAKEN, TAKEN, ""), (server, "us-east-1", TAKEN, TAKEN, ""),
            (server, "eu-west-1", (400, "IllegalLocationConstraintException"), None, None),
            (server, "EU", (400, "InvalidLocationConstraint"), None, None), (server, "nowhere", (400, "InvalidLocationConstraint"), None, None),
            (elsewhere, None, TAKEN, again, "eu-west-1"), (elsewhere, "eu-west-1", TAKEN, again, "eu-west-1"), (elsewhere, "EU", TAKEN, again, "eu-west-1"),
            (elsewhere, "ap-south-1", (400, "IllegalLocationConstraintException"), None, None)]:
        name = f"{bucket[:30]}-{(region or str(region)).lower()}".rstrip("-")
        assert create(at, name, region) == wanted, region
        if second is None:
            assert ask_at(at, "HEAD", f"/{name}").status == 404
            continue
        assert create(at, name, region) == second, region
        assert create(at, name, region, OTHER_KEYS) == (409, "BucketAlreadyExists")
        answer = ask_at(at, "GET", f"/{name}?location")
        found = re.search(rb"<LocationConstraint[^>]*?(?:/>|>(.*?)</LocationConstraint>)", answer.body)
        assert (found.group(1) or b"").decode() == told, answer.body


@pytest.mark.parametrize("keys", [ROOT_KEYS, OTHER_KEYS, None, (ROOT_KEYS[0], "wrong")])
def test_answers_about_a_bucket_tell_the_region(server, bucket, keys):
    for method, target in [("HEAD", f"/{bucket}"), ("GET", f"/{bucket}"), ("GET", f"/{bucket}?list-type=2")]:
        answer = ask(server, method, target, keys=keys)
        assert answer.status == (200 if keys == ROOT_KEYS else 403)
        assert answer.headers["x-amz-bucket-region"] == "us-east-1"
    missing = ask(server, "HEAD", "/there-is-none", keys=keys)
    # Without a user's signature a missing bucket is not told from one of somebody else.
    assert (missing.status, "x-amz-bucket-region" in missing.headers) == ((404, False) if keys in (ROOT_KEYS, OTHER_KEYS) else (403, True))


def test_the_list_of_buckets_has_pages_a_prefix_and_regions(server, s3, bucket):
    prefix = bucket[:30] + "-page"
    names = [f"{prefix}-{at:02}" for at in range(7)]
    for name in names:
        s3.create_bucket(Bucket=name)
    whole = s3.list_buckets(Prefix=prefix)
    assert [found["Name"] for found in whole["Buckets"]] == names
    assert {found["BucketRegion"] for found in whole["Buckets"]} == {"us-east-1"}
    assert (whole["Prefix"], whole.get("ContinuationToken")) == (prefix, None)
    for size in range(1, 9):
        found, token, pages = [], None, 0
        while pages == 0 or token:
            page = s3.list_buckets(Prefix=prefix, MaxBuckets=size, **({"ContinuationToken": token} if token else {}))
            assert len(page["Buckets"]) <= size
            found += [bucket["Name"] for bucket in page["Buckets"]]
            token, pages = page.get("ContinuationToken"), pages + 1
        assert (found, pages) == (names, -(-len(names) // size))
    assert len(s3.list_buckets(Prefix=prefix, BucketRegion="us-east-1")["Buckets"]) == 7
    assert not s3.list_buckets(Prefix=prefix, BucketRegion="eu-west-1").get("Buckets")
    assert not server.client(OTHER_KEYS).list_buckets(Prefix=prefix).get("Buckets")
    for query in ["max-buckets=0", "max-buckets=10001", "max-buckets=-1", "max-buckets=x", "bucket-region=nowhere", "bucket-region="]:
        answer = ask(server, "GET", f"/?{query}", keys=ROOT_KEYS)
        assert (answer.status, b"<Code>InvalidArgument</Code>" in answer.body) == (400, True), query
