"""Buckets as websites: pages, folders, redirects, rules, errors, and who may read."""
import re

import pytest

from lib.origins import ask
from lib.server import OTHER_KEYS, ROOT_KEYS
from lib.signing import presigned

PAGE = "text/html; charset=utf-8"
OBJECTS = {"index.html": b"home", "docs/index.html": b"docs", "docs/a b.html": b"a b", "plain": b"plain", "plain/index.html": b"folder",
           "error.html": b"sorry", "/lead/index.html": b"lead", "ž/index.html": "ž".encode()}


def host_of(server, bucket, domain="s3-website.localhost"):
    return f"{bucket}.{domain}:{server.port}"


@pytest.fixture
def visit(server, bucket):
    """Sends a request to the website of the bucket, with the owner's signature unless another user's is asked for."""
    def visit(target, method="GET", headers=None, keys=ROOT_KEYS, **more):
        return ask(server, method, target, headers, host=host_of(server, bucket), keys=keys, **more)

    return visit


@pytest.fixture
def site(s3, bucket):
    """Puts the configuration of the bucket's website, which has some objects."""
    for key, body in OBJECTS.items():
        s3.put_object(Bucket=bucket, Key=key, Body=body, ContentType="text/plain", Metadata={"key": "yes"})

    def site(**configuration):
        s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration=configuration)

    site(IndexDocument={"Suffix": "index.html"})
    return site


def error_of(answer):
    """Status and code of a page of an error, which must be a page."""
    assert answer.headers["content-type"] == PAGE
    title = re.search(rb"<title>(\d+) [A-Z].*</title>", answer.body)
    code = re.search(rb"<li>Code: (\w+)</li>", answer.body).group(1).decode()
    assert int(title.group(1)) == answer.status and answer.headers["x-amz-error-code"] == code
    return answer.status, code


def test_pages_and_folders_are_served(site, visit):
    for target, body in [("/", b"home"), ("/index.html", b"home"), ("/docs/", b"docs"), ("/docs/a%20b.html", b"a b"), ("/plain", b"plain"),
                         ("/plain/", b"folder"), ("//lead/", b"lead"), ("/%C5%BE/", "ž".encode()), ("/?x=1&versionId=7&acl", b"home")]:
        answer = visit(target)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (200, body, "text/plain"), target
        assert answer.headers["x-amz-meta-key"] == "yes"
        head = visit(target, "HEAD")
        assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(body))), target


def test_a_folder_without_its_slash_is_redirected(site, visit):
    for target, location in [("/docs", "/docs/"), ("//lead", "/%2Flead/"), ("/%C5%BE", "/%C5%BE/"), ("/docs?x", "/docs/")]:
        for method in ("GET", "HEAD"):
            answer = visit(target, method)
            assert (answer.status, answer.headers.get("location"), answer.body) == (302, location, b""), target
    for target in ("/doc", "/docs/a", "/none/", "/index.html/"):
        assert error_of(visit(target)) == (404, "NoSuchKey"), target


def test_conditions_and_ranges_are_obeyed(site, visit):
    tag = visit("/").headers["etag"]
    for headers, status, body in [
            ({"range": "bytes=1-2"}, 206, b"om"), ({"if-none-match": tag}, 304, b""), ({"if-match": tag}, 200, b"home"),
            ({"if-modified-since": "Fri, 24 May 2013 00:00:00 GMT"}, 200, b"home"), ({"range": "bytes=1-2", "if-range": '"other"'}, 200, b"home")]:
        answer = visit("/", headers=headers)
        assert (answer.status, answer.body) == (status, body), headers
    assert error_of(visit("/", headers={"if-match": '"other"'})) == (412, "PreconditionFailed")
    assert error_of(visit("/", headers={"range": "bytes=9-"})) == (416, "InvalidRange")


def test_other_methods_are_refused(site, visit):
    for method in ("PUT", "POST", "DELETE", "PATCH", "BREW"):
        answer = visit("/", method, body=b"x" if method == "PUT" else b"")
        assert error_of(answer) == (405, "MethodNotAllowed"), method
        assert answer.headers["allow"] == "GET, HEAD"
        assert f"<li>Method: {method}</li>".encode() in answer.body
    assert visit("/").body == b"home"


def test_only_those_may_read_who_may_read_the_object(site, visit):
    for keys in (None, OTHER_KEYS, ("AKIDNOBODY", "secret"), (ROOT_KEYS[0], "wrong")):
        for target in ("/", "/none", "/docs"):
            status, code = error_of(visit(target, keys=keys))
            assert status == 403, (keys, target, code)
        head = visit("/", "HEAD", keys=keys)
        assert (head.status, head.body, head.headers["x-amz-error-code"]) == (403, b"", code)
    site(IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"})
    answer = visit("/", keys=None)
    assert error_of(answer) == (403, "AccessDenied")
    assert b"An Error Occurred While Attempting to Retrieve a Custom Error Document" in answer.body and b"<li>Key: error.html</li>" in answer.body
    assert visit("/", headers={"x-amz-expected-bucket-owner": "1" * 12}).status == 403


def test_a_presigned_request_is_served_with_its_users_rights(site, server, bucket):
    host = host_of(server, bucket)
    answer = ask(server, "GET", presigned("GET", "/docs/", [], host), host=host)
    assert (answer.status, answer.body) == (200, b"docs")
    wrong = presigned("GET", "/docs/", [], host).replace("Signature=", "Signature=0")
    assert error_of(ask(server, "GET", wrong, host=host))[0] in (400, 403)


def test_a_missing_bucket_and_one_without_a_website_have_pages(server, s3, bucket):
    for name, code in [(bucket, "NoSuchWebsiteConfiguration"), ("there-is-none", "NoSuchBucket"), ("-", "NoSuchBucket"), ("a_b", "NoSuchBucket")]:
        for keys in (None, ROOT_KEYS):
            answer = ask(server, "GET", "/a", host=host_of(server, name), keys=keys)
            assert error_of(answer) == (404, code)
            assert f"<li>BucketName: {name}</li>".encode() in answer.body
    assert error_of(ask(server, "GET", "/", host=f"s3-website.localhost:{server.port}")) == (404, "NoSuchBucket")
    listed = ask(server, "GET", f"/{bucket}", host=f"s3-website.localhost.example.com:{server.port}", keys=ROOT_KEYS)
    assert b"<ListBucketResult" in listed.body, "another host is an endpoint of S3"
    upper = ask(server, "GET", "/a", host=f"{bucket.upper()}.S3-Website.LocalHost")
    assert error_of(upper) == (404, "NoSuchWebsiteConfiguration")


def test_text_of_clients_is_escaped_in_pages(site, visit):
    answer = visit("/%3Cscript%3Ealert%281%29%3C/script%3E%26%22")
    assert error_of(answer) == (404, "NoSuchKey")
    assert b"<script>" not in answer.body and b"<li>Key: &lt;script&gt;alert(1)&lt;/script&gt;&amp;&quot;</li>" in answer.body
    assert error_of(visit("/%ff"))[0] == 400


def test_the_error_document_has_the_status_of_the_error(site, visit, s3, bucket):
    site(IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"})
    for target, headers, status, code in [("/none", {}, 404, "NoSuchKey"), ("/none/", {"range": "bytes=0-1"}, 404, "NoSuchKey"),
                                          ("/", {"if-match": '"a"'}, 412, "PreconditionFailed"), ("/", {"range": "bytes=99-"}, 416, "InvalidRange")]:
        answer = visit(target, headers=headers)
        assert (answer.status, answer.body, answer.headers["content-type"]) == (status, b"sorry", "text/plain")
        assert (answer.headers["x-amz-error-code"], "content-range" in answer.headers) == (code, False)
        head = visit(target, "HEAD", headers=headers)
        assert (head.status, head.body, head.headers["content-length"]) == (status, b"", "5")
    assert visit("/docs").status == 302, "a folder is no error"
    assert error_of(visit("/", "PUT")) == (405, "MethodNotAllowed")
    s3.delete_object(Bucket=bucket, Key="error.html")
    answer = visit("/none")
    assert error_of(answer) == (404, "NoSuchKey")
    assert re.search(rb"<h3>.*Custom Error Document</h3>\n<ul>\n<li>Code: NoSuchKey</li>.*\n.*<li>Key: error.html</li>", answer.body, re.S)


def test_all_requests_are_redirected_to_another_host(site, visit):
    for protocol, begin in [({}, "http"), ({"Protocol": "https"}, "https"), ({"Protocol": "http"}, "http")]:
        site(RedirectAllRequestsTo={"HostName": "example.com", **protocol})
        for keys in (None, ROOT_KEYS):
            answer = visit("/docs/a%20b?x=1", keys=keys)
            assert (answer.status, answer.headers["location"]) == (301, f"{begin}://example.com/docs/a%20b?x=1")
    site(RedirectAllRequestsTo={"HostName": "example.com"})
    assert visit("/", headers={"x-forwarded-proto": "https"}).headers["location"] == "https://example.com/"
    assert visit("/", "DELETE").status == 405


def test_rules_redirect_before_and_after_the_look_up(site, visit, server, bucket):
    own = host_of(server, bucket)
    site(IndexDocument={"Suffix": "index.html"}, ErrorDocument={"Key": "error.html"}, RoutingRules=[
        {"Condition": {"KeyPrefixEquals": "old/"}, "Redirect": {"ReplaceKeyPrefixWith": "docs/"}},
        {"Condition": {"KeyPrefixEquals": "gone/"}, "Redirect": {"ReplaceKeyWith": "error.html", "HttpRedirectCode": "307"}},
        {"Condition": {"KeyPrefixEquals": "thumbs/", "HttpErrorCodeReturnedEquals": "404"},
         "Redirect": {"HostName": "resize.example.com", "Protocol": "https", "ReplaceKeyPrefixWith": "v1?key="}},
        {"Condition": {"HttpErrorCodeReturnedEquals": "403"}, "Redirect": {"ReplaceKeyWith": "login"}}])
    for target, keys, status, location in [
            ("/old/a%20b.html", ROOT_KEYS, 301, f"http://{own}/docs/a%20b.html"), ("/old/?q=1", None, 301, f"http://{own}/docs/?q=1"),
            ("/gone/a", None, 307, f"http://{own}/error.html"), ("/thumbs/a.png", ROOT_KEYS, 301, "https://resize.example.com/v1?key=a.png"),
            ("/thumbs/a.png?q", ROOT_KEYS, 301, "https://resize.example.com/v1?key=a.png"), ("/docs/", None, 301, f"http://{own}/login"),
            ("/none", ROOT_KEYS, 404, None), ("/docs/", ROOT_KEYS, 200, None), ("/older", ROOT_KEYS, 404, None)]:
        answer = visit(target, keys=keys)
        assert (answer.status, answer.headers.get("location")) == (status, location), target
        assert visit(target, "HEAD", keys=keys).headers.get("location") == location


def test_a_page_of_another_origin_is_permitted_by_the_rules_of_the_bucket(site, visit, s3, bucket):
    s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [{"AllowedMethods": ["GET"], "AllowedOrigins": ["https://page"]}]})
    for target, keys, status in [("/", ROOT_KEYS, 200), ("/", None, 403), ("/none", ROOT_KEYS, 404), ("/docs", ROOT_KEYS, 302)]:
        answer = visit(target, keys=keys, headers={"origin": "https://page"})
        assert (answer.status, answer.headers.get("access-control-allow-origin")) == (status, "https://page")
        assert visit(target, keys=keys).cors() == {}
    preflight = visit("/index.html", "OPTIONS", {"origin": "https://page", "access-control-request-method": "GET"}, keys=None)
    assert (preflight.status, preflight.headers["access-control-allow-methods"]) == (200, "GET")
    assert visit("/index.html", "OPTIONS", {"origin": "https://other", "access-control-request-method": "GET"}, keys=None).status == 403


def test_settings_name_the_domains(serve, other_user):
    server = serve("--website-domains", "pages.example.com,Sites.example.org", *other_user)
    s3 = server.client()
    s3.create_bucket(Bucket="www.example.com")
    s3.put_object(Bucket="www.example.com", Key="index.html", Body=b"home")
    s3.put_bucket_website(Bucket="www.example.com", WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}})
    for domain in ("pages.example.com", "sites.example.org"):
        answer = ask(server, "GET", "/", host=host_of(server, "www.example.com", domain), keys=ROOT_KEYS)
        assert (answer.status, answer.body) == (200, b"home")
    default = ask(server, "GET", "/www.example.com/index.html", host=host_of(server, "www.example.com"), keys=ROOT_KEYS)
    assert default.status in (200, 404), "the default domain serves no websites"


def test_metrics_name_requests_to_websites(site, visit, server):
    visit("/")
    assert 'method="GET",status="200",operation="Website"' in server.metrics()


def test_an_absolute_target_decides_before_the_host(site, server, s3, bucket):
    """RFC 9112, 3.2.2: a proxy that has looked at the target must have seen the bucket that is served."""
    site(RedirectAllRequestsTo={"HostName": "example.com"})
    own, other = host_of(server, bucket), f"there-is-none.s3-website.localhost:{server.port}"
    for target, host, wanted in [("/a", own, 301), ("/a", other, 404), (f"http://{own}/a", own, 301), (f"http://{own}/a", other, 301),
                                 (f"http://{other}/a", own, 404), (f"http://{own}/a", f"127.0.0.1:{server.port}", 301), (f"http://{own}/a", "", 301)]:
        assert ask(server, "GET", target, host=host or None, headers={}).status == wanted, (target, host)
    # A target of S3 is none of a website, whatever the host is; S3 takes no second host.
    answer = ask(server, "GET", f"http://127.0.0.1:{server.port}/{bucket}", host=own)
    assert (answer.status, answer.headers["content-type"]) == (400, "application/xml")
    # The redirect goes to the host that was asked.
    site(IndexDocument={"Suffix": "i"}, RoutingRules=[{"Redirect": {"ReplaceKeyWith": "b"}}])
    assert ask(server, "GET", f"http://{own}/a", host=other).headers["location"] == f"http://{own}/b"


def test_pages_say_nothing_of_markers_that_are_not_there(site, visit, s3, bucket):
    for method in ("GET", "HEAD"):
        for target, keys in [("/none", ROOT_KEYS), ("/none/", ROOT_KEYS), ("/none", None), ("/none", OTHER_KEYS)]:
            assert "x-amz-delete-marker" not in visit(target, method, keys=keys).headers, (method, target)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    s3.delete_object(Bucket=bucket, Key="plain")
    for method in ("GET", "HEAD"):
        answer = visit("/plain", method)
        # The folder of this name takes its place.
        assert answer.status == 302
        s3.delete_object(Bucket=bucket, Key="error.html")
        marked = visit("/error.html", method)
        assert (marked.status, marked.headers["x-amz-delete-marker"]) == (404, "true")
