"""CORS: rules of buckets, preflight requests, and the headers of every answer to a page of another origin."""
import re
import socket
import threading

import pytest

from lib.origins import ask
from lib.refusals import refused
from lib.server import OTHER_KEYS, ROOT_KEYS

VARY = "Origin, Access-Control-Request-Headers, Access-Control-Request-Method"
NOT_ALLOWED = ("CORSResponse: This CORS request is not allowed. This is usually because the evalution of Origin, request method / "
               "Access-Control-Request-Method or Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.")
NOT_ENABLED = "CORSResponse: CORS is not enabled for this bucket."
NO_BUCKET = "CORSResponse: Bucket not found"
NO_ORIGIN = "Insufficient information. Origin request header needed."


def rule(methods=("GET",), origins=("*",), **more):
    return dict(AllowedMethods=list(methods), AllowedOrigins=list(origins), **more)


def put_rules(s3, bucket, *rules):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": list(rules)})


def put_document(server, bucket, document):
    answer = ask(server, "PUT", f"/{bucket}?cors", keys=ROOT_KEYS, body=document)
    code = re.search(rb"<Code>(.*?)</Code>", answer.body)
    return answer.status, code and code.group(1).decode()


def error_of(answer):
    """Status, code, message, method and resource of an error."""
    def element(name):
        found = re.search(f"<{name}>(.*?)</{name}>".encode(), answer.body)
        return found and found.group(1).decode()
    return answer.status, *[element(name) for name in ("Code", "Message", "Method", "ResourceType")]


def test_rules_come_back_as_they_were_sent(s3, bucket):
    missing = refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=bucket)
    assert missing["ResponseMetadata"]["HTTPStatusCode"] == 404
    rules = [rule(["GET", "PUT"], ["*.get", "https://Test.com:80"], ID="first", AllowedHeaders=["x-AMZ-*"], ExposeHeaders=["ETag"], MaxAgeSeconds=0),
             rule(["DELETE"], [""], AllowedHeaders=["ž<&>"])]
    put_rules(s3, bucket, *rules)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules
    put_rules(s3, bucket, rules[1])
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == rules[1:]
    for _ in range(2):
        assert s3.delete_bucket_cors(Bucket=bucket)["ResponseMetadata"]["HTTPStatusCode"] == 204
        refused("NoSuchCORSConfiguration", s3.get_bucket_cors, Bucket=bucket)
    refused("NoSuchBucket", s3.put_bucket_cors, Bucket="there-is-none", CORSConfiguration={"CORSRules": rules})


@pytest.mark.parametrize(("code", "document"), [
    ("InvalidRequest", {"CORSRules": [rule(["OPTIONS"])]}),
    ("InvalidRequest", {"CORSRules": [rule(), rule(["get"])]}),
    ("InvalidRequest", {"CORSRules": [rule(origins=["http://*.*"])]}),
    ("InvalidRequest", {"CORSRules": [rule(AllowedHeaders=["*a*"])]}),
    ("InvalidRequest", {"CORSRules": [rule(ExposeHeaders=["*"])]}),
    ("InvalidRequest", {"CORSRules": [rule(ID="i" * 256)]}),
    ("MalformedXML", {"CORSRules": [rule(MaxAgeSeconds=-1)]}),
    ("MalformedXML", {"CORSRules": [rule()] * 101}),
    ("MalformedXML", {"CORSRules": []})])
def test_rules_that_no_bucket_may_have_are_refused_and_change_nothing(s3, bucket, code, document):
    put_rules(s3, bucket, rule(ID="kept"))
    refused(code, s3.put_bucket_cors, Bucket=bucket, CORSConfiguration=document)
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule(ID="kept")]


RULE = "<CORSRule><AllowedMethod>GET</AllowedMethod><AllowedOrigin>*</AllowedOrigin></CORSRule>"
BOMB = "<!DOCTYPE d [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;&a;'>]>"


@pytest.mark.parametrize("document", [
    "", "text", "<CORSConfiguration/>", "<CORSConfiguration><CORSRule/></CORSConfiguration>", f"<Other>{RULE}</Other>", RULE,
    f"<CORSConfiguration>{RULE}<Unknown/></CORSConfiguration>", f"<CORSConfiguration>{RULE}",
    f"<CORSConfiguration>{RULE.replace('*', '&b;')}</CORSConfiguration>", f"{BOMB}<CORSConfiguration>{RULE.replace('*', '&b;')}</CORSConfiguration>",
    "<CORSConfiguration>" + "<CORSRule>" * 1000, "<CORSConfiguration>" + RULE * 100 + " " * (64 << 10) + "</CORSConfiguration>",
    b"<CORSConfiguration>\xff</CORSConfiguration>", "<CORSConfiguration>" + "<CORSRule/>" * 5900 + "</CORSConfiguration>"],
    ids=range(14))
def test_hostile_documents_are_refused_and_change_nothing(server, s3, bucket, document):
    put_rules(s3, bucket, rule(ID="kept"))
    body = document if isinstance(document, bytes) else document.encode()
    assert put_document(server, bucket, body) == (400, "MalformedXML")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule(ID="kept")]


def test_a_document_that_escaping_makes_too_long_is_refused_and_changes_nothing(server, s3, bucket):
    put_rules(s3, bucket, rule(ID="kept"))
    quotes = "<CORSConfiguration>" + RULE.replace("*", '"' * 60_000) + "</CORSConfiguration>"
    assert put_document(server, bucket, quotes.encode()) == (400, "EntityTooLarge")
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule(ID="kept")]
    put_rules(s3, bucket, rule(origins=['"' * 30_000]))
    assert s3.get_bucket_cors(Bucket=bucket)["CORSRules"] == [rule(origins=['"' * 30_000])]


def test_answers_are_of_one_document_while_rules_are_replaced(server, s3, bucket):
    """A page must never get the origin of one document with the methods of another."""
    documents = [rule(["GET"], ["https://page"], MaxAgeSeconds=1), rule(["GET", "PUT"], ["*"], MaxAgeSeconds=2)]
    wanted = [allowed("https://page", "GET", max_age="1"), allowed("*", "GET, PUT", max_age="2")]
    put_rules(s3, bucket, documents[0])
    ends = threading.Event()

    def replace():
        for turn in range(40):
            put_rules(s3, bucket, documents[turn % 2])
        ends.set()

    writer = threading.Thread(target=replace)
    writer.start()
    seen = []
    while not ends.is_set():
        answer = ask(server, "OPTIONS", f"/{bucket}/key", {"Origin": "https://page", "Access-Control-Request-Method": "GET"})
        assert answer.cors() in wanted
        seen.append(answer.cors())
    writer.join()
    assert all(one in seen for one in wanted), f"{len(seen)} answers"


@pytest.fixture(scope="module")
def site(server, s3):
    """A bucket with the object `key` and some rules."""
    s3.create_bucket(Bucket="cors-site")
    s3.put_object(Bucket="cors-site", Key="key", Body=b"body")
    put_rules(s3, "cors-site",
              rule(["GET"], ["*suffix"]), rule(["GET"], ["start*end"]), rule(["GET"], ["prefix*"]),
              rule(["PUT"], ["*.put"], AllowedHeaders=["x-amz-*", "Content-Type"], MaxAgeSeconds=3000, ExposeHeaders=["ETag", "x-amz-id-2"]),
              rule(["GET", "HEAD", "PUT", "DELETE", "POST"], ["https://page"], AllowedHeaders=["*"]),
              rule(["POST"], ["*"]))
    return "cors-site"


def allowed(origin, methods, **more):
    headers = {"access-control-allow-origin": origin, "access-control-allow-methods": methods, "vary": VARY}
    if origin != "*":
        headers["access-control-allow-credentials"] = "true"
    return headers | {f"access-control-{name.replace('_', '-')}": value for name, value in more.items()}


PREFLIGHTS = [
    ("foo.suffix", "GET", None, allowed("foo.suffix", "GET")),
    ("foo.bar", "GET", None, None),
    ("foo.suffix.get", "GET", None, None),
    ("startend", "GET", None, allowed("startend", "GET")),
    ("start12end", "GET", None, allowed("start12end", "GET")),
    ("0start12end", "GET", None, None),
    ("prefix", "GET", None, allowed("prefix", "GET")),
    ("bla.prefix", "GET", None, None),
    ("foo.put", "GET", None, None),
    ("foo.put", "PUT", None, allowed("foo.put", "PUT", max_age="3000", expose_headers="ETag, x-amz-id-2")),
    ("foo.put", "PUT", "X-Amz-Date,content-type", allowed("foo.put", "PUT", max_age="3000", expose_headers="ETag, x-amz-id-2",
                                                          allow_headers="x-amz-date, content-type")),
    ("foo.put", "PUT", "x-other", None),
    ("foo.suffix", "GET", "range", None),
    ("https://page", "DELETE", "Anything", allowed("https://page", "GET, HEAD, PUT, DELETE, POST", allow_headers="anything")),
    ("https://page/", "DELETE", None, None),
    ("HTTPS://page", "DELETE", None, None),
    ("null", "POST", None, allowed("*", "POST"))]


@pytest.mark.parametrize("path", ["", "/key", "/there/is/none", "/key?X-Amz-Signature=0", "?uploads"])
@pytest.mark.parametrize(("origin", "method", "headers", "wanted"), PREFLIGHTS)
def test_a_preflight_request_is_answered_by_the_first_rule_that_matches(server, site, path, origin, method, headers, wanted):
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    if headers is not None:
        asked["Access-Control-Request-Headers"] = headers
    answer = ask(server, "OPTIONS", f"/{site}{path}", asked)
    if wanted is not None:
        assert (answer.status, answer.body, answer.cors()) == (200, b"", wanted)
        return
    resource = "OBJECT" if path.startswith("/") else "BUCKET"
    assert error_of(answer) == (403, "AccessForbidden", NOT_ALLOWED, method, resource)
    assert answer.cors() == {}


@pytest.mark.parametrize("path", ["/cors-site", "/cors-site/key", "/there-is-none", "/there-is-none/key", "/", "/-/sql"])
@pytest.mark.parametrize("headers", [{}, {"Access-Control-Request-Method": "GET"}, {"Referer": "https://page"}], ids=str)
def test_a_preflight_request_needs_an_origin(server, site, path, headers):
    answer = ask(server, "OPTIONS", path, headers)
    assert error_of(answer) == (400, "BadRequest", NO_ORIGIN, None, None)
    assert answer.cors() == {}


@pytest.mark.parametrize("method", [None, "PATCH", "OPTIONS", "get", "", "<b>"])
def test_a_preflight_request_needs_a_method_of_s3(server, site, method):
    headers = {"Origin": "https://page"} | ({} if method is None else {"Access-Control-Request-Method": method})
    answer = ask(server, "OPTIONS", f"/{site}/key", headers)
    told = {None: "null", "<b>": "&lt;b&gt;"}.get(method, method)
    assert error_of(answer)[:3] == (400, "BadRequest", f"Invalid Access-Control-Request-Method: {told}")


@pytest.mark.parametrize("method", [None, "PUT"])
@pytest.mark.parametrize("path", ["", "/key"])
def test_a_bucket_without_rules_and_a_missing_one_refuse_preflight_requests(server, s3, bucket, path, method):
    headers = {"Origin": "https://page"} | ({} if method is None else {"Access-Control-Request-Method": method})
    told = method or "OPTIONS"
    for name, message in [(bucket, NOT_ENABLED), ("there-is-none", NO_BUCKET), ("No-Bucket", NO_BUCKET), ("-", NO_BUCKET)]:
        answer = ask(server, "OPTIONS", f"/{name}{path}", headers)
        assert error_of(answer) == (403, "AccessForbidden", message, told, "BUCKET")
        assert answer.cors() == {}
    assert error_of(ask(server, "OPTIONS", "/", headers))[:3] == (403, "AccessForbidden", NO_BUCKET)


def test_rules_take_effect_when_they_are_put_and_end_when_they_are_removed(server, s3, bucket):
    preflight = {"Origin": "https://page", "Access-Control-Request-Method": "GET"}
    for turn in range(5):
        put_rules(s3, bucket, rule(["GET"], [f"https://page{turn}", "https://page"], MaxAgeSeconds=turn))
        answer = ask(server, "OPTIONS", f"/{bucket}/key", preflight)
        assert answer.cors() == allowed("https://page", "GET", max_age=str(turn))
        put_rules(s3, bucket, rule(["GET"], [f"https://page{turn}"]))
        assert ask(server, "OPTIONS", f"/{bucket}/key", preflight).status == 403
    s3.delete_bucket_cors(Bucket=bucket)
    assert error_of(ask(server, "OPTIONS", f"/{bucket}/key", preflight))[2] == NOT_ENABLED
    put_rules(s3, bucket, rule(["GET"], ["https://page"]))
    s3.delete_bucket(Bucket=bucket)
    assert error_of(ask(server, "OPTIONS", f"/{bucket}/key", preflight))[2] == NO_BUCKET
    s3.create_bucket(Bucket=bucket)
    assert error_of(ask(server, "OPTIONS", f"/{bucket}/key", preflight))[2] == NOT_ENABLED


@pytest.mark.parametrize("pattern", ["x-{}", "y*{}", "*"], ids=["names", "patterns", "all"])
def test_anybody_may_ask_and_nobody_gets_unbounded_work(server, s3, bucket, pattern):
    """The largest documents, and as many names as a head may have and more: each answer is that of a small request."""
    patterns = [pattern] if pattern == "*" else [pattern.format(at) for at in range(1500)]
    put_rules(s3, bucket, rule(AllowedHeaders=patterns))
    for count, wanted in [(100, 403 if "y" in pattern else 200), (101, 403), (1500, 403)]:
        names = ",".join(f"x-{at}" for at in range(count))
        asked = {"Origin": "https://page", "Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": names}
        answer = ask(server, "OPTIONS", f"/{bucket}/key", asked)
        assert (answer.status, "access-control-allow-origin" in answer.headers) == (wanted, wanted == 200), count
        # The same names on a request of another kind, and on one whose head is refused.
        assert ("access-control-allow-origin" in ask(server, "GET", f"/{bucket}", asked, keys=ROOT_KEYS).headers) == (wanted == 200)
        too_long = ask(server, "GET", f"/{bucket}", asked | {"x-filler": "a" * (16 << 10)})
        assert (too_long.status, "access-control-allow-origin" in too_long.headers) == (400, wanted == 200)


# What a page asks for, and the status of the answer: each has the headers, so that the page can read it.
ACTUAL = [
    ("GET", "/cors-site/key", {}, ROOT_KEYS, 200),
    ("HEAD", "/cors-site/key", {}, ROOT_KEYS, 200),
    ("GET", "/cors-site", {}, ROOT_KEYS, 200),
    ("GET", "/cors-site?cors", {}, ROOT_KEYS, 200),
    ("GET", "/cors-site/key", {"range": "bytes=1-2"}, ROOT_KEYS, 206),
    ("GET", "/cors-site/key", {"if-none-match": '"841a2d689ad86bd1611447453c22c6fc"'}, ROOT_KEYS, 304),
    ("GET", "/cors-site/key", {"if-match": '"00000000000000000000000000000000"'}, ROOT_KEYS, 412),
    ("GET", "/cors-site/key", {"range": "bytes=99-"}, ROOT_KEYS, 416),
    ("GET", "/cors-site/none", {}, ROOT_KEYS, 404),
    ("HEAD", "/cors-site/none", {}, ROOT_KEYS, 404),
    ("GET", "/cors-site?analytics", {}, ROOT_KEYS, 501),
    ("PUT", "/cors-site/key?acl", {}, ROOT_KEYS, 501),
    ("PUT", "/cors-site/key", {"x-amz-acl": "public-read"}, ROOT_KEYS, 501),
    ("POST", "/cors-site/key", {}, ROOT_KEYS, 405),
    ("GET", "/cors-site/key?partNumber=0", {}, ROOT_KEYS, 400),
    ("GET", "/cors-site/key", {}, OTHER_KEYS, 403),
    ("GET", "/cors-site/key", {}, ("AKIDNOBODY", "secret"), 403),
    ("GET", "/cors-site/key", {}, (ROOT_KEYS[0], "wrong"), 403),
    ("GET", "/cors-site/key", {}, None, 403),
    ("PUT", "/cors-site/key", {}, None, 403),
    ("DELETE", "/cors-site/none", {}, ROOT_KEYS, 204)]


@pytest.mark.parametrize(("method", "target", "headers", "keys", "status"), ACTUAL)
def test_every_answer_has_the_headers_of_the_rule(server, site, method, target, headers, keys, status):
    page = {"origin": "https://page"}
    answer = ask(server, method, target, headers | page, keys=keys)
    assert answer.status == status, answer.body
    assert answer.cors() == allowed("https://page", "GET, HEAD, PUT, DELETE, POST")
    other = ask(server, method, target, headers | {"origin": "https://elsewhere"}, keys=keys)
    assert (other.status, other.cors()) == (status, allowed("*", "POST") if method == "POST" else {})
    plain = ask(server, method, target, headers, keys=keys)
    assert (plain.status, plain.cors()) == (status, {})


def test_an_actual_request_with_the_headers_of_a_preflight_request_is_judged_by_them(server, site):
    for origin, more, wanted in [
            ("foo.suffix", {"access-control-request-method": "GET"}, allowed("foo.suffix", "GET")),
            ("foo.suffix", {"access-control-request-method": "PUT"}, {}),
            ("foo.suffix", {"access-control-request-method": "DELETE"}, {}),
            ("foo.suffix", {}, {}),
            ("foo.suffix", {"access-control-request-method": "GET", "access-control-request-headers": "x-amz-date"}, {}),
            ("foo.put", {}, allowed("foo.put", "PUT", max_age="3000", expose_headers="ETag, x-amz-id-2"))]:
        answer = ask(server, "PUT", f"/{site}/key", {"origin": origin} | more)
        assert (answer.status, answer.cors()) == (403, wanted), f"{origin} {more}"


def test_a_bucket_of_another_user_answers_preflight_requests_alike(server, s3, bucket):
    other = server.client(OTHER_KEYS)
    refused("AccessDenied", other.put_bucket_cors, Bucket=bucket, CORSConfiguration={"CORSRules": [rule()]})
    refused("AccessDenied", other.get_bucket_cors, Bucket=bucket)
    refused("AccessDenied", other.delete_bucket_cors, Bucket=bucket)
    put_rules(s3, bucket, rule())
    preflight = {"Origin": "https://page", "Access-Control-Request-Method": "GET"}
    for keys in (None, ROOT_KEYS, OTHER_KEYS, (ROOT_KEYS[0], "wrong")):
        answer = ask(server, "OPTIONS", f"/{bucket}/key", preflight, keys=keys)
        assert (answer.status, answer.cors()) == (200, allowed("*", "GET"))


def test_header_names_are_spelt_as_aws_spells_them(server, site):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as connection:
        connection.sendall(f"OPTIONS /{site}/key HTTP/1.1\r\nHost: {server.address}\r\nOrigin: foo.put\r\n"
                           "Access-Control-Request-Method: PUT\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: connection.recv(65536), b"")).decode()
    for line in ["Access-Control-Allow-Origin: foo.put", "Access-Control-Allow-Methods: PUT", "Access-Control-Max-Age: 3000",
                 "Access-Control-Expose-Headers: ETag, x-amz-id-2", "Access-Control-Allow-Credentials: true", f"Vary: {VARY}", "Content-Length: 0"]:
        assert f"\r\n{line}\r\n" in answer, answer


def test_metrics_name_preflight_requests(server, site):
    ask(server, "OPTIONS", f"/{site}/key", {"Origin": "https://page", "Access-Control-Request-Method": "GET"})
    assert 'method="other",status="200",operation="Preflight"' in server.metrics()
