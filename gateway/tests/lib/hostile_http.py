"""Hostile requests below S3: request lines, headers, framing of bodies, pipelines. RFC 9112 says what is right."""
from lib.hostile import CHUNKED_UNSIGNED, UNSIGNED, Ask, Raw, Row

GET = Ask(method="GET", target="/hostile/kept", body=b"", length=None)
# What no server may ever do: the second request of these bytes, hidden in the body of the first.
HIDDEN = Ask(method="DELETE", target="/hostile/kept", body=b"", length=None)

# The digest of an empty body.
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def raw(line, *headers, body=b"", **how):
    """A request without a signature; the server knows its host."""
    return Raw(b"\r\n".join([line, b"host: {host}", *headers, b"", body]), **how)


def get(*lines, **how):
    """A signed read of the key `kept` with more header lines."""
    return Ask(method="GET", target="/hostile/kept", body=b"", length=None, lines=lines, **how)


def framed(*lines, body=b"abc", length=None, **how):
    """A signed write of an unsigned body, framed by these lines."""
    return Ask(payload=UNSIGNED, length=length, lines=lines, body=body, **how)


def streamed(body, *lines, decoded=3, **how):
    """A signed write whose aws-chunked body comes in chunks of HTTP, as some SDKs send it."""
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded)}
    return Ask(headers=headers, payload=CHUNKED_UNSIGNED, length=None, body=body, lines=(b"transfer-encoding: chunked", *lines), **how)


INNER = b"3\r\nabc\r\n0\r\n\r\n"
OUTER = b"%x\r\n" % len(INNER) + INNER + b"\r\n0\r\n\r\n"

REQUEST_LINES = [
    Row("no method", "a request line has three parts", Raw(b" / HTTP/1.1\r\nhost: {host}\r\n\r\n"), "400", False),
    Row("a lower-case method", "methods are compared with their case", raw(b"get / HTTP/1.1"), "405", None),
    Row("an unknown method", "S3 has no such method", raw(b"BREW / HTTP/1.1"), "405", None),
    Row("a method with a NUL", "a method is a token", raw(b"GE\0T / HTTP/1.1"), "400", False),
    Row("a method with a slash", "a method is a token", raw(b"G/T / HTTP/1.1"), "400", False),
    Row("a method of 70 KiB", "the buffer of a head is bounded", raw(b"G" * (70 << 10) + b" / HTTP/1.1"), "400|405|431", None),
    Row("HTTP/0.9", "a response without a head would be taken for a body", Raw(b"GET /hostile/kept\r\n\r\n"), "400", False),
    Row("no target", "a request line has three parts", Raw(b"GET HTTP/1.1\r\nhost: {host}\r\n\r\n"), "400", False),
    Row("version 2.0 in a line", "this is not how HTTP/2 begins", raw(b"GET / HTTP/2.0"), "400|505", False),
    Row("version 1.9", "a minor version that is not known", raw(b"GET / HTTP/1.9"), "400|403|505", None),
    Row("a version in lower case", "the name of the protocol has its case", raw(b"GET / http/1.1"), "400", False),
    Row("the preface of HTTP/2", "HTTP/2 is not spoken in the clear", Raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), (), False),
    Row("TLS on a port without TLS", "a hello of TLS is not a request", Raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)) * 2 + b"\r\n\r\n"), "400", False),
    Row("noise", "bytes that are no text at all", Raw(b"\xff\xfe\x00\x80" * 100 + b"\r\n\r\n"), "400", False),
    Row("two blanks in the line", "one blank separates the parts", raw(b"GET  / HTTP/1.1"), "400", False),
    Row("a tab in the line", "one blank separates the parts", raw(b"GET\t/ HTTP/1.1"), "400", False),
    Row("a bare CR in the line", "a CR without LF never ends a line", raw(b"GET / HTTP/1.1\rx: y"), "400", False),
    Row("an empty line first", "one before a request is skipped", Raw(b"\r\nGET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), "403 AccessDenied", True),
    Row("many empty lines first", "skipped or refused, but never kept", Raw(b"\r\n" * 100_000 + b"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), "400|403 AccessDenied|431", None),
    Row("a target in absolute form", "a server must accept it", Ask(method="GET", target="http://{host}/hostile/kept", path="/hostile/kept", body=b"", length=None), "200", True),
    Row("another host in absolute form", "the bucket is in the path, whatever host is named", Ask(method="GET", target="http://elsewhere.test/hostile/kept", path="/hostile/kept", body=b"", length=None), "200|400", None),
    Row("absolute form without a path", "the root, of which nothing is shown without a signature", raw(b"GET http://{host} HTTP/1.1"), "403 AccessDenied|400", None),
    Row("a scheme that is no web's", "nothing is read from where a target says", raw(b"GET file:///etc/passwd HTTP/1.1"), "400|403 AccessDenied", None),
    Row("a target in authority form", "only CONNECT has one", raw(b"GET {host} HTTP/1.1"), "400|403 AccessDenied", None),
    Row("a tunnel", "this is no proxy", raw(b"CONNECT 127.0.0.1:22 HTTP/1.1", methods=("CONNECT",)), "400|405", None),
    Row("a tunnel to a path", "the target of CONNECT is an authority", raw(b"CONNECT /hostile/kept HTTP/1.1", methods=("CONNECT",)), "400|405", None),
    Row("OPTIONS of everything", "no operation of S3", raw(b"OPTIONS * HTTP/1.1"), "400|403|405", None),
    Row("GET of everything", "an asterisk is a target of OPTIONS alone", raw(b"GET * HTTP/1.1"), "400|403 AccessDenied|405", None),
    Row("TRACE", "an echo would show headers that proxies add", raw(b"TRACE / HTTP/1.1", b"x-secret: a"), "405", None),
    Row("a NUL in the target", "a target is visible ASCII", raw(b"GET /hostile/\0kept HTTP/1.1"), "400", False),
    Row("a blank in the target", "a blank must be encoded", raw(b"GET /hostile/a b HTTP/1.1"), "400", False),
    Row("a DEL in the target", "a target is visible ASCII", raw(b"GET /hostile/\x7fkept HTTP/1.1"), "400", False),
    Row("bytes above ASCII in the target", "must be encoded; if they pass, then not without a signature", raw(b"GET /hostile/\xc3\xa9 HTTP/1.1"), "400|403 AccessDenied", None),
    Row("half a character in the target", "a target that is not UTF-8", raw(b"GET /hostile/\xc3 HTTP/1.1"), "400", None),
    Row("a target of 20 KiB", "S3's bound of a head", raw(b"GET /hostile/" + b"k" * (20 << 10) + b" HTTP/1.1"), "400 RequestHeaderSectionTooLarge", None),
    Row("a target of 70 KiB", "the buffer of a head", raw(b"GET /hostile/" + b"k" * (70 << 10) + b" HTTP/1.1"), "414|431", False),
    Row("a target of 1 MiB", "the rest is read and dropped, so that the refusal can be read", raw(b"GET /hostile/" + b"k" * (1 << 20) + b" HTTP/1.1"), "414|431", False),
    Row("a fragment", "no part of a target", raw(b"GET /hostile/kept#a HTTP/1.1"), "400|403 AccessDenied", None),
]

HEADERS = [
    Row("a blank before the colon", "proxies and servers read such a name differently", raw(b"GET / HTTP/1.1", b"x-a : b"), "400", False),
    Row("a blank before the colon of the length", "a smuggler's length", framed(b"content-length : 3"), "400", False),
    Row("a folded header", "obsolete, and read differently by others", raw(b"GET / HTTP/1.1", b"x-a: b\r\n c"), "400", False),
    Row("a folded length", "a smuggler's length", framed(b"content-length: 3\r\n 0"), "400", False),
    Row("a blank before the first header", "no header can be continued here", Raw(b"GET / HTTP/1.1\r\n host: {host}\r\n\r\n"), "400", False),
    Row("a header without a colon", "not a header", raw(b"GET / HTTP/1.1", b"header"), "400", False),
    Row("a header without a name", "a name has a character", raw(b"GET / HTTP/1.1", b": value"), "400", False),
    Row("a NUL in a name", "a name is a token", raw(b"GET / HTTP/1.1", b"x-\0a: b"), "400", False),
    Row("a name above ASCII", "a name is a token", raw(b"GET / HTTP/1.1", b"x-\xc3\xa9: b"), "400", False),
    Row("a NUL in a value", "a value has no control characters", raw(b"GET / HTTP/1.1", b"x-a: b\0c"), "400", False),
    Row("a bare CR in a value", "a CR without LF never ends a line", raw(b"GET / HTTP/1.1", b"x-a: b\rx-c: d"), "400", False),
    Row("an escape in a value", "terminals that show logs would obey", raw(b"GET / HTTP/1.1", b"x-a: \x1b[2J"), "400", False),
    Row("lines that end with LF", "may be accepted, and mean the same", Raw(b"GET / HTTP/1.1\nhost: {host}\n\n"), "400|403 AccessDenied", None),
    Row("256 headers more", "the number of headers is bounded", raw(b"GET / HTTP/1.1", *[b"x-%d: a" % n for n in range(256)]), "431", False),
    Row("2,000 headers", "the number of headers is bounded", raw(b"GET / HTTP/1.1", *[b"x-%d: a" % n for n in range(2000)]), "431", False),
    Row("10,000 empty headers of one name", "the number of headers is bounded", raw(b"GET / HTTP/1.1", *[b"a:"] * 10_000), "431", False),
    Row("a header of 20 KiB", "S3's bound of a head", raw(b"GET / HTTP/1.1", b"x-a: " + b"b" * (20 << 10)), "400 RequestHeaderSectionTooLarge", None),
    Row("a header of 100 KiB", "the buffer of a head", raw(b"GET / HTTP/1.1", b"x-a: " + b"b" * (100 << 10)), "400 RequestHeaderSectionTooLarge|431", None),
    Row("a header of 4 MiB", "the rest is read and dropped, so that the refusal can be read", raw(b"GET / HTTP/1.1", b"x-a: " + b"b" * (4 << 20)), "431", False),
    Row("a name of 70,000 bytes", "the buffer of a head", raw(b"GET / HTTP/1.1", b"x" * 70_000 + b": b"), "400|431", False),
    Row("no host", "a request of HTTP/1.1 has one", Raw(b"GET / HTTP/1.1\r\nx-a: b\r\n\r\n"), "400", None),
    Row("two hosts", "proxies choose one, servers another", raw(b"GET / HTTP/1.1", b"host: elsewhere.test"), "400", None),
    Row("twice the same host", "one and no more", raw(b"GET / HTTP/1.1", b"host: {host}"), "400", None),
    Row("a host with a blank", "not a host", Raw(b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n"), "400", None),
    Row("a host with a path", "not a host", Raw(b"GET / HTTP/1.1\r\nhost: a/../b\r\n\r\n"), "400", None),
    Row("a host with a user", "not a host", Raw(b"GET / HTTP/1.1\r\nhost: user@a\r\n\r\n"), "400", None),
    Row("a host with an odd port", "not a host", Raw(b"GET / HTTP/1.1\r\nhost: a:99999\r\n\r\n"), "400", None),
    Row("a host above ASCII", "not a host", Raw(b"GET / HTTP/1.1\r\nhost: \xc3\xa9\r\n\r\n"), "400", None),
    Row("an empty host", "allowed, where a target has no authority", Raw(b"GET / HTTP/1.1\r\nhost:\r\n\r\n"), "400|403 AccessDenied", None),
    Row("HTTP/1.0 without a host", "older than hosts; refused by the signature", Raw(b"GET / HTTP/1.0\r\n\r\n"), "403 AccessDenied|400", False),
    Row("HTTP/1.0 that stays", "works", get(edit=lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.0").replace(b"\r\n\r\n", b"\r\nconnection: keep-alive\r\n\r\n")), "200", True),
    Row("an upgrade to HTTP/2", "not done; the request is answered", get(b"connection: Upgrade, HTTP2-Settings", b"upgrade: h2c", b"http2-settings: AAMAAABkAARAAAAAAAIAAAAA"), "200", None),
    Row("an upgrade to WebSocket", "not done; the request is answered", get(b"connection: Upgrade", b"upgrade: websocket", b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==", b"sec-websocket-version: 13"), "200", None),
    Row("hop-by-hop names of others", "a client may not remove what it signed", get(b"connection: close, authorization, x-amz-date, host"), "200", False),
    Row("a connection that closes and stays", "one that closes wins", get(b"connection: close", b"connection: keep-alive"), "200", False),
]

BOTH = "400 InvalidRequest"

LENGTHS = [
    Row("a length and chunks", "a proxy that believes the length would see another request behind it", framed(b"transfer-encoding: chunked", length=3, body=b"3\r\nabc\r\n0\r\n\r\n"), BOTH, False),
    Row("chunks and a length", "in the other order", framed(b"transfer-encoding: chunked", b"content-length: 3", body=b"3\r\nabc\r\n0\r\n\r\n"), BOTH, False),
    Row("a length of 0 and chunks with a request", "the hidden request is never served", framed(b"content-length: 0", b"transfer-encoding: chunked", body=b"0\r\n\r\n", after=HIDDEN), BOTH, False),
    Row("a length that hides a request behind chunks", "the hidden request is never served", framed(b"transfer-encoding: chunked", length=400, body=b"0\r\n\r\n", after=HIDDEN), BOTH, False),
    Row("a length and chunks in a GET", "the hidden request is never served", get(b"content-length: 5", b"transfer-encoding: chunked", after=b"0\r\n\r\n"), BOTH, False),
    Row("chunks without a length", "their end is the end of the body", framed(b"transfer-encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n"), "200", True, {"new": b"abc"}),
    Row("no chunk without a length", "an empty body", framed(b"transfer-encoding: chunked", body=b"0\r\n\r\n"), "200", True, {"new": b""}),
    Row("chunks without a last one", "never a shorter object", framed(b"transfer-encoding: chunked", body=b"3\r\nabc\r\n", ends=True), "400 IncompleteBody", False),
    Row("a chunk that ends early", "never a shorter object", framed(b"transfer-encoding: chunked", body=b"9\r\nabc", ends=True), "400 IncompleteBody", False),
    Row("chunks of another digest", "the signature covers the body", Ask(payload=NOTHING, length=None, lines=(b"transfer-encoding: chunked",), body=b"3\r\nabc\r\n0\r\n\r\n"), "400 XAmzContentSHA256Mismatch", None),
    Row("a chunk of a length above 64 bits", "must not wrap to 3", framed(b"transfer-encoding: chunked", body=b"10000000000000003\r\nabc\r\n0\r\n\r\n"), "400 IncompleteBody", False),
    Row("a request behind chunks without a length", "the next request, and no part of the body", framed(b"transfer-encoding: chunked", body=b"3\r\nabc\r\n0\r\n\r\n", after=GET), ("200", "200"), True, {"new": b"abc"}),
    Row("a length in a trailer of HTTP", "trailers say nothing of a body", framed(b"transfer-encoding: chunked", body=b"3\r\nabc\r\n0\r\ncontent-length: 2\r\n\r\n"), "200|400", None, {"new": b"abc"}),
    Row("two different lengths", "a proxy may believe the other", framed(b"content-length: 3", b"content-length: 4"), "400", False),
    Row("two different lengths, the longer first", "a proxy may believe the other", framed(b"content-length: 4", b"content-length: 3"), "400", False),
    Row("twice the same length", "may be taken for one", framed(b"content-length: 3", b"content-length: 3"), "200|400", None, {"new": b"abc"}),
    Row("a list of lengths", "two in one line", framed(b"content-length: 3, 4"), "400", False),
    Row("a list of one length", "two in one line, the same", framed(b"content-length: 3, 3"), "400|200", None, {"new": b"abc"}),
    Row("a length with a plus", "digits and nothing else", framed(b"content-length: +3"), "400", False),
    Row("a negative length", "digits and nothing else", framed(b"content-length: -3"), "400", False),
    Row("a length in hexadecimal", "digits and nothing else", framed(b"content-length: 0x3"), "400", False),
    Row("a length with a point", "digits and nothing else", framed(b"content-length: 3.0"), "400", False),
    Row("a length with an exponent", "digits and nothing else", framed(b"content-length: 3e0"), "400", False),
    Row("an empty length", "digits and nothing else", framed(b"content-length:"), "400", False),
    Row("a length of letters", "digits and nothing else", framed(b"content-length: abc"), "400", False),
    Row("a length with a NUL", "digits and nothing else", framed(b"content-length: 3\0"), "400", False),
    Row("a length with a quotation", "digits and nothing else", framed(b'content-length: "3"'), "400", False),
    Row("a length above 64 bits", "must not wrap to 3", framed(b"content-length: 18446744073709551619"), "400", False),
    Row("a length of 64 bits", "more than anything may have", framed(b"content-length: 18446744073709551615"), "400|413|431", False),
    Row("a length of 63 bits", "more than an object may have", framed(b"content-length: 9223372036854775807", body=b""), "400 EntityTooLarge|413", False),
    Row("one byte above 5 GiB", "more than a PUT may have", framed(length=(5 << 30) + 1, body=b""), "400 EntityTooLarge", False),
    Row("a body that ends early", "never a shorter object", framed(length=10, ends=True), "400 IncompleteBody", False),
    Row("a body that ends early, with a digest", "never a shorter object", Ask(length=10, ends=True), "400 IncompleteBody", False),
    Row("a body that never begins", "never an empty object", framed(length=10, body=b"", ends=True), "400 IncompleteBody", False),
    Row("a length that is too short", "the rest begins the next request, and is none", framed(length=2, after=b" / HTTP/1.1\r\nhost: {host}\r\n\r\n"), ("200", "400|405"), None, {"new": b"ab"}),
    Row("no length", "S3 wants to know the length first", framed(body=b""), "411 MissingContentLength", None),
]

CODINGS = [
    Row("an unknown coding", "its end cannot be found", framed(b"transfer-encoding: xchunked"), "400|501", False),
    Row("identity", "no coding since RFC 7230", framed(b"transfer-encoding: identity", length=3), "400|501", False),
    Row("chunks that are not last", "the end cannot be found", framed(b"transfer-encoding: chunked, identity"), "400|501", False),
    Row("an empty coding", "a coding has a name", framed(b"transfer-encoding:"), "400|501", False),
    Row("compressed chunks", "not undone here, so the stored bytes would not be those that were sent", streamed(OUTER, edit=lambda data: data.replace(b"transfer-encoding: chunked", b"transfer-encoding: gzip, chunked")), "501|400", False),
    Row("compressed chunks in two lines", "not undone here", streamed(OUTER, edit=lambda data: data.replace(b"transfer-encoding: chunked", b"transfer-encoding: gzip\r\ntransfer-encoding: chunked")), "501|400", False),
    Row("chunks twice", "may be applied once", streamed(OUTER, edit=lambda data: data.replace(b"transfer-encoding: chunked", b"transfer-encoding: chunked, chunked")), "501|400", False),
    Row("a coding after a vertical tab", "no blank of HTTP", framed(b"transfer-encoding: \x0bchunked", length=3), "400|501", False),
    Row("a quoted coding", "a coding is a token", framed(b'transfer-encoding: "chunked"', length=3), "400|501", False),
    Row("a coding with a comma behind", "others would see an empty coding", framed(b"transfer-encoding: chunked,", length=3), "400|501|411", False),
    Row("a coding in HTTP/1.0", "HTTP/1.0 has none", framed(b"transfer-encoding: chunked", edit=lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.0")), "400|501", False),
    Row("a coding of another case", "names of codings have no case", streamed(OUTER, edit=lambda data: data.replace(b"transfer-encoding: chunked", b"transfer-encoding: ChUnKeD")), "200", True, {"new": b"abc"}),
    Row("chunks of HTTP around chunks of S3", "as SDKs send streams", streamed(OUTER), "200", True, {"new": b"abc"}),
    Row("many small chunks", "a byte each", streamed(b"".join(b"1\r\n%c\r\n" % byte for byte in INNER) + b"0\r\n\r\n"), "200", True, {"new": b"abc"}),
    Row("an extension of a chunk", "ignored", streamed(OUTER.replace(b"\r\n", b';a="b c"\r\n', 1)), "200", True, {"new": b"abc"}),
    Row("an extension with a line end", "a proxy may see another chunk there", streamed(OUTER.replace(b"\r\n", b";a\nb\r\n", 1)), "400", False),
    Row("an extension of 20 KiB", "what is ignored is bounded, too", streamed(OUTER.replace(b"\r\n", b";" + b"a" * (20 << 10) + b"\r\n", 1)), "400", False),
    Row("a chunk size in two bases", "hexadecimal digits and nothing else", streamed(b"0x" + OUTER), "400", False),
    Row("a chunk size with a plus", "hexadecimal digits and nothing else", streamed(b"+" + OUTER), "400", False),
    Row("a negative chunk size", "hexadecimal digits and nothing else", streamed(b"-" + OUTER), "400", False),
    Row("a chunk size after a blank", "hexadecimal digits and nothing else", streamed(b" " + OUTER), "400", False),
    Row("an empty chunk size", "hexadecimal digits and nothing else", streamed(b"\r\n" + OUTER), "400", False),
    Row("a chunk size above 64 bits", "must not wrap to what is there", streamed(b"1000000000000000" + OUTER), "400", False),
    Row("a chunk size of 64 bits", "counted down from there without an end", streamed(b"ffffffffffffffff\r\n" + INNER, ends=True), "400", False),
    Row("a chunk size that ends with LF", "a bare LF ends nothing here", streamed(OUTER.replace(b"\r\n", b"\n", 1)), "400", False),
    Row("a chunk size that ends with CR", "a CR without LF ends nothing", streamed(OUTER.replace(b"\r\n", b"\r", 1)), "400", False),
    Row("a chunk that is longer than it says", "bytes behind a chunk are no chunk", streamed(b"%x\r\n" % len(INNER) + INNER + b"x\r\n0\r\n\r\n"), "400", False),
    Row("a chunk without a line end", "bytes behind a chunk are no chunk", streamed(b"%x\r\n" % len(INNER) + INNER + b"0\r\n\r\n"), "400", False),
    Row("no last chunk", "a body that ends early", streamed(b"%x\r\n" % len(INNER) + INNER + b"\r\n", ends=True), "400", False),
    Row("no end of trailers", "a body that ends early", streamed(OUTER[:-2], ends=True), "400|200", False, {"new": b"abc"}),
    Row("half a chunk", "a body that ends early", streamed(OUTER[:8], ends=True), "400 IncompleteBody", False),
    Row("a trailer of HTTP that is a length", "headers of framing have no effect in trailers", streamed(OUTER[:-2] + b"content-length: 400\r\n\r\n"), "200|400", None, {"new": b"abc"}),
    Row("a trailer of HTTP that is a signature", "headers of access have no effect in trailers", streamed(OUTER[:-2] + b"authorization: AWS4-HMAC-SHA256 x\r\nhost: a\r\n\r\n"), "200|400", None, {"new": b"abc"}),
    Row("a trailer of HTTP that is metadata", "nothing that is stored comes from there", streamed(OUTER[:-2] + b"x-amz-meta-a: b\r\n\r\n"), "200|400", None, {"new": b"abc"}),
    Row("a trailer of HTTP of 1 MiB", "bounded as headers are", streamed(OUTER[:-2] + b"x-a: " + b"b" * (1 << 20) + b"\r\n\r\n"), "400|431", False),
    Row("2,000 trailers of HTTP", "bounded as headers are", streamed(OUTER[:-2] + b"a: b\r\n" * 2000 + b"\r\n"), "400|431", False),
    Row("a trailer of HTTP that is none", "a trailer has a colon", streamed(OUTER[:-2] + b"nothing\r\n\r\n"), "400|200", None, {"new": b"abc"}),
]

PIPELINES = [
    Row("two reads at once", "are answered in order", Ask(method="GET", target="/hostile/kept", body=b"", length=None, after=GET), ("200", "200"), True),
    Row("a write behind an error that read no body", "the connection is whole, and the write a request of its own", Ask(method="GET", target="/hostile/absent", body=b"", length=None, after=Ask()), ("404 NoSuchKey", "200"), True, {"new": b"abc"}),
    Row("a request in the body of a refused write", "the body of a refused request is never read as a request", framed(length=1000, target="/absent-bucket/new", body=b"", after=HIDDEN), "404 NoSuchBucket", False),
    Row("a request in the body of a write without a signature", "the body of a refused request is never read as a request", Ask(is_signed=False, body=b"", length=1000, after=HIDDEN), "403 AccessDenied", False),
    Row("a request in the body of a badly signed write", "the body of a refused request is never read as a request", Ask(signs={"secret": "wrong"}, body=b"", payload=UNSIGNED, length=1000, after=HIDDEN), "403 SignatureDoesNotMatch", False),
    Row("a request in the body of a GET", "a body that the operation does not have is not read as a request", get(b"content-length: 1000", after=HIDDEN), "200|400", None),
    Row("a request in the body of a DELETE", "a body that the operation does not have is not read as a request", Ask(method="DELETE", target="/hostile/absent", body=b"", length=1000, after=HIDDEN), "204|400", None),
    Row("a request in the body of a HEAD", "a body that the operation does not have is not read as a request", Ask(method="HEAD", target="/hostile/kept", body=b"", length=1000, after=HIDDEN), "200|400", None),
    Row("a request in the chunks of a GET", "a body that the operation does not have is not read as a request", get(b"transfer-encoding: chunked", after=b"400\r\nDELETE /hostile/kept HTTP/1.1\r\nhost: {host}\r\n\r\n"), "200|400", None),
    Row("a request behind a broken chunk", "after an error of framing nothing more is read", streamed(b"zz\r\n", after=HIDDEN), "400", False),
    Row("a request behind a broken head", "after an error of framing nothing more is read", raw(b"GET / HTTP/1.1", b"x : y", body=b"GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"), "400", False),
    Row("a request behind `connection: close`", "the last request of its connection", get(b"connection: close", after=HIDDEN), "200", False),
    Row("half a request behind a whole one", "the first is answered, the rest never", get(after=b"DELETE /hostile/kept HTTP/1.1\r\nhost: {ho", ends=True), "200", False),
    Row("100 reads at once", "are all answered", Raw(b"GET /hostile/kept HTTP/1.1\r\nhost: {host}\r\n\r\n" * 100), ("403 AccessDenied",) * 100, True),
    Row("half a head", "never a request", Raw(b"DELETE /hostile/kept HTTP/1.1\r\nhost: {host}\r\n", ends=True), (), False),
    Row("nothing", "a connection that only opens and ends", Raw(b"", ends=True), (), False),
    Row("an empty line", "no request", Raw(b"\r\n", ends=True), (), False),
]

EXPECTATIONS = [
    Row("an expectation", "the client waits for 100 before its body", Ask(lines=(b"expect: 100-continue",)), ("100", "200"), True, {"new": b"abc"}),
    Row("an expectation of another case", "names of expectations have no case", Ask(lines=(b"expect: 100-CONTINUE",)), ("100", "200"), True, {"new": b"abc"}),
    Row("a refused expectation", "a client that was told no sends no body, and the connection ends", Ask(signs={"secret": "wrong"}, lines=(b"expect: 100-continue",), body=b"", payload=UNSIGNED, length=1000), "403 SignatureDoesNotMatch", False),
    Row("a refused expectation, and the body nevertheless", "the body is never read as a request", Ask(signs={"secret": "wrong"}, lines=(b"expect: 100-continue",), body=b"", payload=UNSIGNED, length=1000, after=HIDDEN), "403 SignatureDoesNotMatch", False),
    Row("an expectation without a bucket", "refused before the body", framed(b"expect: 100-continue", target="/absent-bucket/new", length=1000, body=b""), "404 NoSuchBucket", False),
    Row("an expectation of a body too large", "refused before the body", framed(b"expect: 100-continue", length=(5 << 30) + 1, body=b""), "400 EntityTooLarge", False),
    Row("an expectation without a body", "nothing to wait for", get(b"expect: 100-continue"), "200", None),
    Row("an unknown expectation", "may be refused, or ignored", Ask(lines=(b"expect: 200-ok",)), "417|200", None, {"new": b"abc"}),
    Row("two expectations", "may be refused, or ignored", Ask(lines=(b"expect: 100-continue, x",)), "417|200", None, {"new": b"abc"}),
    Row("an expectation in HTTP/1.0", "must be ignored", Ask(lines=(b"expect: 100-continue",), edit=lambda data: data.replace(b"HTTP/1.1", b"HTTP/1.0")), "200", False, {"new": b"abc"}),
]

ROWS = [*REQUEST_LINES, *HEADERS, *LENGTHS, *CODINGS, *PIPELINES, *EXPECTATIONS]
