"""Chromium: pages of another origin that use a bucket, forms, and buckets as websites."""
import hashlib
import re
import shutil
import subprocess
import urllib.parse

import pytest
from playwright.sync_api import sync_playwright

from lib import forms
from lib.client_jobs import Client, job
from lib.pages import Pages
from lib.signing import presigned

from .conftest import MIB

PROGRAM = next(filter(None, map(shutil.which, ["chromium-headless-shell", "chromium"])), None)
# The browser shall speak to this machine alone.
FLAGS = [
    "--no-sandbox", "--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost, EXCLUDE *.localhost",
]


def version():
    return subprocess.run([PROGRAM, "--version"], check=True, capture_output=True, text=True).stdout.split()[-1]


CLIENT = Client("Chromium", version, ("CORS rules of the bucket",), "Debian chromium-headless-shell")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="there is no Chromium: this distribution has no package of it for deploy/setup")
ALL = {"AllowedMethods": ["GET", "PUT", "POST", "HEAD", "DELETE"], "AllowedHeaders": ["*"]}


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def pages():
    pages = Pages()
    yield pages
    pages.close()


@pytest.fixture
def page(browser, pages):
    """A page of another origin, in a profile of its own."""
    context = browser.new_context()
    context.set_default_timeout(60_000)
    page = context.new_page()
    page.goto(f"{pages.origin}/page")
    yield page
    context.close()


@pytest.fixture
def ask(page):
    """Sends a request from the page; returns what its script sees."""
    def ask(url, method="GET", body=None, **options):
        # Two URLs that are signed in one second are equal, and the browser may have kept the answer to the first.
        options = {"method": method, "body": body, "cache": "no-store", **options}
        return page.evaluate("([url, options]) => ask(url, options)", [url, options])

    return ask


@pytest.fixture
def link(s3, bucket):
    """Makes presigned URLs for the bucket of the job."""
    def link(operation, key="k", **parameters):
        return s3.generate_presigned_url(operation, {"Bucket": bucket, "Key": key, **parameters})

    return link


@pytest.fixture
def allow(s3, bucket, pages):
    """Puts a CORS rule for the page's origin, with more elements or others."""
    def allow(**rule):
        s3.put_bucket_cors(Bucket=bucket, CORSConfiguration={"CORSRules": [{"AllowedOrigins": [pages.origin], **ALL, **rule}]})

    return allow


def is_refused(told):
    """True for a request that the browser does not let the page make, or whose answer it keeps from the page."""
    return "Failed to fetch" in told.get("error", "")


@job("PUT and GET by presigned URLs with headers: preflight, exposed headers")
def test_put_and_get(ask, page, link, allow, s3, bucket, draw, stored, compared):
    allow(ExposeHeaders=["ETag", "x-amz-meta-a"])
    url = link("put_object", "k ü", ContentType="text/x", Metadata={"a": "1"})
    told = ask(url, "PUT", "content", headers={"content-type": "text/x", "x-amz-meta-a": "1", "x-amz-date": "20130524T000000Z"})
    assert told["status"] == 403, "a header that is not signed counts, too"
    told = ask(url, "PUT", "content", headers={"content-type": "text/x", "x-amz-meta-a": "1"})
    assert (told["status"], told["headers"]["etag"]) == (200, s3.head_object(Bucket=bucket, Key="k ü")["ETag"]), told
    compared.same_tree(stored(bucket), {"k ü": b"content"})
    told = ask(link("get_object", "k ü"))
    assert (told["status"], told["text"]) == (200, "content")
    assert (told["headers"]["etag"], told["headers"]["x-amz-meta-a"], told["headers"]["content-type"]) == (s3.head_object(Bucket=bucket, Key="k ü")["ETag"], "1", "text/x")
    large = draw("large", 6 * MIB)
    s3.put_object(Bucket=bucket, Key="large", Body=large)
    got = ask(link("get_object", "large"))
    assert got["sha256"] == hashlib.sha256(large).hexdigest()
    put = page.evaluate("""async ([from, to]) => {
        const bytes = await (await fetch(from)).arrayBuffer();
        return ask(to, {method: 'PUT', body: new Blob([bytes])});
    }""", [link("get_object", "large"), link("put_object", "copy")])
    assert put["status"] == 200
    compared.same_tree(stored(bucket), {"k ü": b"content", "large": large, "copy": large})


@job("HEAD, DELETE and ranges")
def test_methods(ask, link, allow, s3, bucket, stored, compared):
    allow(ExposeHeaders=["Content-Range", "Accept-Ranges"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"0123456789")
    head = ask(link("head_object"), "HEAD")
    assert (head["status"], head["text"], head["headers"]["content-length"]) == (200, "", "10")
    part = ask(link("get_object"), headers={"range": "bytes=2-4"})
    assert (part["status"], part["text"], part["headers"]["content-range"]) == (206, "234", "bytes 2-4/10")
    compared.same_tree(stored(bucket), {"k": b"0123456789"})
    assert ask(link("delete_object"), "DELETE")["status"] == 204
    assert stored(bucket) == {}


@job("an upload in parts: ETags are read, the page completes it")
def test_parts(page, link, allow, s3, bucket, draw, stored, compared):
    allow(ExposeHeaders=["ETag"])
    parts = [draw(f"part {number}", 5 * MIB if number < 2 else 7) for number in range(3)]
    for number, part in enumerate(parts):
        s3.put_object(Bucket=bucket, Key=f"from/{number}", Body=part)
    upload = s3.create_multipart_upload(Bucket=bucket, Key="k")["UploadId"]
    links = [(link("get_object", f"from/{number}"), link("upload_part", UploadId=upload, PartNumber=number + 1)) for number in range(3)]
    told = page.evaluate("""async ([links, complete]) => {
        let text = '';
        for (const [number, [from, to]] of links.entries()) {
            const bytes = await (await fetch(from)).arrayBuffer();
            const answer = await fetch(to, {method: 'PUT', body: new Blob([bytes])});
            text += `<Part><PartNumber>${number + 1}</PartNumber><ETag>${answer.headers.get('etag')}</ETag></Part>`;
        }
        return ask(complete, {method: 'POST', body: `<CompleteMultipartUpload>${text}</CompleteMultipartUpload>`});
    }""", [links, link("complete_multipart_upload", UploadId=upload)])
    assert told["status"] == 200 and "<ETag>" in told["text"], told
    compared.same(stored(bucket, "k")["k"], b"".join(parts))


@job("without a rule, and for what no rule allows, the browser refuses")
def test_refused(ask, page, pages, link, allow, s3, bucket, stored):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    get, put, delete = link("get_object"), link("put_object"), link("delete_object")
    assert is_refused(ask(get)) and is_refused(ask(put, "PUT", "x")), "no rule at all"
    allow(AllowedMethods=["GET"], AllowedHeaders=["x-amz-meta-a"])
    assert ask(get)["status"] == 200
    assert is_refused(ask(put, "PUT", "x")) and is_refused(ask(delete, "DELETE")), "a method that the rule does not name"
    assert ask(get, headers={"x-amz-meta-a": "1"})["status"] == 403, "the page reads the refusal of a header that is not signed"
    assert is_refused(ask(get, headers={"x-other": "1"})), "a header that the rule does not name"
    page.goto(f"{pages.other_origin}/page")
    assert is_refused(ask(get)), "an origin that the rule does not name"
    allow(AllowedOrigins=["http://local*"], AllowedMethods=["GET"])
    assert ask(get)["text"] == "content"
    assert stored(bucket) == {"k": b"content"}


@job("headers that no rule exposes are kept from the page")
def test_exposed(ask, link, allow, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content", Metadata={"a": "1"})
    for exposed in [[], ["etag"], ["x-amz-meta-a", "ETag", "x-amz-request-id"]]:
        allow(**({"ExposeHeaders": exposed} if exposed else {}))
        told = ask(link("get_object"))
        assert told["status"] == 200
        for name in ["etag", "x-amz-meta-a", "x-amz-request-id", "x-amz-id-2"]:
            assert (name in told["headers"]) == (name in [name.lower() for name in exposed]), (name, exposed)


@job("errors are read by the page")
def test_errors(ask, link, allow, server, s3, bucket, stored, compared):
    allow(ExposeHeaders=["x-amz-request-id"])
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    spoiled = re.sub("Signature=[^&]{4}", "Signature=AAAA", link("get_object"))
    for url, options, status, code in [
        (link("get_object", "absent"), {}, 404, "NoSuchKey"),
        (spoiled, {}, 403, None),
        (f"{server.url}/{bucket}/k", {}, 403, "AccessDenied"),
        (f"{server.url}/{bucket}/k?acl", {"method": "PUT", "body": "x"}, 403, "AccessDenied"),
        (link("get_object"), {"headers": {"range": "bytes=100-"}}, 416, "InvalidRange"),
        (link("put_object", IfNoneMatch="*"), {"method": "PUT", "body": "x", "headers": {"if-none-match": "*"}}, 412, "PreconditionFailed"),
        (link("put_object", ContentMD5="AAAA"), {"method": "PUT", "body": "x", "headers": {"content-md5": "AAAA"}}, 400, "InvalidDigest"),
    ]:
        told = ask(url, **options)
        assert told.get("status") == status, (url, told)
        assert code is None or f"<Code>{code}</Code>" in told["text"], told
        assert told["headers"]["x-amz-request-id"] in told["text"]
    assert is_refused(ask(f"{server.url}/no-such-bucket-{bucket}/k"))
    compared.same_tree(stored(bucket), {"k": b"content"})


@job("requests with credentials need a rule that names the origin")
def test_credentials(ask, link, allow, s3, bucket):
    s3.put_object(Bucket=bucket, Key="k", Body=b"content")
    for origins, is_taken in [(["http://127.0.0.1*"], True), (["*"], False)]:
        allow(AllowedOrigins=origins)
        assert is_refused(ask(link("get_object"), credentials="include")) != is_taken
        assert ask(link("get_object"), credentials="omit")["text"] == "content"


@job("the answer to a preflight is kept for MaxAgeSeconds")
def test_max_age(ask, link, allow, server):
    def preflights():
        lines = [line for line in server.metrics().splitlines() if line.startswith("siltstone_requests_total{") and 'operation="Preflight"' in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines)

    for age, wanted in [(600, 1), (0, 3)]:
        allow(MaxAgeSeconds=age)
        before, url = preflights(), link("put_object", f"age {age}")
        assert [ask(url, "PUT", f"{number}", cache="default")["status"] for number in range(3)] == [200, 200, 200]
        assert preflights() - before == wanted, f"{age} s"


@job("a form with a file and a policy: the browser is redirected")
def test_form(page, pages, server, s3, bucket, draw, stored, compared, tmp_path):
    content = draw("file", MIB) + forms.NEARLY
    (tmp_path / "photo ü+.jpg").write_bytes(content)
    fields = {"key": "up/${filename}", "Content-Type": "image/jpeg", "x-amz-meta-a": "zwei Wörter", "success_action_redirect": f"{pages.origin}/done?x=1"}
    conditions = [["starts-with", "$key", "up/"], ["starts-with", "$Content-Type", "image/"], ["content-length-range", 1, 2 * MIB],
                  {"x-amz-meta-a": fields["x-amz-meta-a"]}, {"success_action_redirect": fields["success_action_redirect"]}, {"bucket": bucket}]
    submit(page, f"{server.url}/{bucket}", forms.signed_4(fields, conditions), tmp_path / "photo ü+.jpg")
    page.wait_for_url("**/done?*")
    told = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(page.url).query))
    head = s3.head_object(Bucket=bucket, Key="up/photo ü+.jpg")
    assert told == {"x": "1", "bucket": bucket, "key": "up/photo ü+.jpg", "etag": head["ETag"]}
    assert head["ContentType"] == "image/jpeg"
    compared.same_tree(stored(bucket), {"up/photo ü+.jpg": content})


def submit(page, action, fields, file):
    """Sends a form of the page as its user does: chooses a file and presses the button."""
    page.evaluate("""([action, fields]) => {
        const form = document.createElement('form');
        Object.assign(form, {action, method: 'post', enctype: 'multipart/form-data'});
        for (const [name, value] of fields) {
            const input = document.createElement('input');
            Object.assign(input, {type: 'hidden', name, value});
            form.append(input);
        }
        const file = document.createElement('input');
        Object.assign(file, {type: 'file', name: 'file', id: 'file'});
        const button = document.createElement('input');
        Object.assign(button, {type: 'submit', name: 'submit', id: 'send', value: 'Upload'});
        form.append(file, button);
        document.body.append(form);
    }""", [action, list(fields.items())])
    page.set_input_files("#file", file)
    page.click("#send", no_wait_after=True)


@job("a form that wants a status: 201 is shown, 204 leaves the page")
def test_form_status(page, pages, server, bucket, stored, compared, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"content")
    for status, key in [("201", "shown"), (None, "left")]:
        page.goto(f"{pages.origin}/page")
        fields = {"key": key} | ({"success_action_status": status} if status else {})
        signed = forms.signed_2(fields, [*forms.covered(bucket, fields)])
        with page.expect_response(f"{server.url}/{bucket}") as answer:
            submit(page, f"{server.url}/{bucket}", signed, tmp_path / "a.txt")
        assert answer.value.status == int(status or 204)
        if status:
            page.wait_for_url(f"{server.url}/{bucket}")
            assert f"<Key>{key}</Key>" in answer.value.text()
        else:
            assert page.url == f"{pages.origin}/page"
    compared.same_tree(stored(bucket), dict.fromkeys(["shown", "left"], b"content"))


@job("a form that its policy forbids: the browser shows the error")
def test_form_refused(page, pages, server, bucket, stored, tmp_path):
    (tmp_path / "a.txt").write_bytes(b"content")
    good = {"key": "k"}
    for fields, conditions, code in [
        (good, [{"bucket": bucket}, {"key": "k"}, ["content-length-range", 1, 6]], "EntityTooLarge"),
        (good, [{"bucket": bucket}, {"key": "other"}], "AccessDenied"),
        (good | {"x-amz-meta-a": "1"}, [{"bucket": bucket}, {"key": "k"}], "AccessDenied"),
    ]:
        page.goto(f"{pages.origin}/page")
        with page.expect_response(f"{server.url}/{bucket}") as answer:
            submit(page, f"{server.url}/{bucket}", forms.signed_4(fields, conditions), tmp_path / "a.txt")
        page.wait_for_url(f"{server.url}/{bucket}")
        assert f"<Code>{code}</Code>" in answer.value.text()
    assert stored(bucket) == {}


@job("a form that a script sends: FormData, and reads the answer")
def test_form_data(page, pages, server, bucket, allow, stored, compared):
    allow(ExposeHeaders=["Location", "ETag"])
    fields = {"key": "k ü", "success_action_status": "201"}
    told = page.evaluate("""([url, fields]) => {
        const form = new FormData();
        for (const [name, value] of fields) form.append(name, value);
        form.append('file', new File(['content'], 'a.txt', {type: 'text/plain'}));
        return ask(url, {method: 'POST', body: form});
    }""", [f"{server.url}/{bucket}", list(forms.signed_4(fields, forms.covered(bucket, fields)).items())])
    assert told["status"] == 201 and "<Key>k ü</Key>" in told["text"], told
    assert told["headers"]["location"].endswith("k%20%C3%BC") and told["headers"]["etag"].startswith('"')
    compared.same_tree(stored(bucket), {"k ü": b"content"})


@job("an image and a script of a bucket in a page", flags="crossorigin")
def test_elements(page, link, allow, s3, bucket):
    pixel = b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="5"/>'
    s3.put_object(Bucket=bucket, Key="image", Body=pixel, ContentType="image/svg+xml")
    s3.put_object(Bucket=bucket, Key="script", Body=b"window.answer = 42", ContentType="text/javascript")
    load = """([kind, url, crossOrigin]) => new Promise(resolve => {
        const element = Object.assign(document.createElement(kind), {crossOrigin});
        element.onload = () => resolve(kind === 'img' ? element.naturalWidth : window.answer);
        element.onerror = () => resolve('refused');
        element.src = url;
        document.body.append(element);
    })"""
    assert page.evaluate(load, ["img", link("get_object", "image"), "anonymous"]) == "refused"
    allow(AllowedMethods=["GET"])
    assert page.evaluate(load, ["img", link("get_object", "image"), "anonymous"]) == 7
    assert page.evaluate(load, ["script", link("get_object", "script"), "anonymous"]) == 42


@pytest.fixture
def visit(page, server, bucket):
    """Opens a place of the bucket's website, signed or as anybody; returns the last answer."""
    host = f"{bucket}.s3-website.localhost:{server.port}"

    def visit(path, signed=True):
        return page.goto(f"http://{host}" + (presigned("GET", path, [], host) if signed else path))

    visit.host = host
    return visit


@job("a website: index document, folder, error document")
def test_website(page, visit, s3, bucket, compared):
    contents = {"index.html": "<h1>home ü</h1>", "docs/index.html": "<h1>docs</h1>", "error.html": "<h1>sorry</h1>"}
    for key, text in contents.items():
        s3.put_object(Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/html; charset=utf-8")
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}, "ErrorDocument": {"Key": "error.html"}})
    for path, status, key in [("/", 200, "index.html"), ("/docs/", 200, "docs/index.html"), ("/absent", 404, "error.html")]:
        answer = visit(path)
        assert answer.status == status, path
        assert page.locator("h1").inner_text() == re.sub("<.*?>", "", contents[key])
        compared.same(answer.body(), contents[key].encode())
    # What is asked for without a signature is refused, in a page that a person reads.
    answer = visit("/", signed=False)
    assert answer.status == 403 and page.title() == "403 Forbidden" and "Code: AccessDenied" in page.content()


@job("a website: redirects of the configuration are followed")
def test_website_redirects(page, pages, visit, s3, bucket):
    place = pages.origin.removeprefix("http://")
    rules = [{"Condition": {"KeyPrefixEquals": "docs/"}, "Redirect": {"HostName": place, "ReplaceKeyPrefixWith": "new ü/"}},
             {"Condition": {"HttpErrorCodeReturnedEquals": "403"}, "Redirect": {"HostName": place, "ReplaceKeyWith": "login", "HttpRedirectCode": "302"}}]
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"IndexDocument": {"Suffix": "index.html"}, "RoutingRules": rules})
    visit("/docs/a%20b?x=1", signed=False)
    assert page.url == f"{pages.origin}/new%20%C3%BC/a%20b?x=1"
    visit("/private", signed=False)
    assert page.url == f"{pages.origin}/login"
    s3.put_bucket_website(Bucket=bucket, WebsiteConfiguration={"RedirectAllRequestsTo": {"HostName": place, "Protocol": "http"}})
    visit("/any/where?x=%C3%BC", signed=False)
    assert page.url == f"{pages.origin}/any/where?x=%C3%BC"
