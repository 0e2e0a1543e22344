"""Hostile bodies: chunks of S3 with their signatures and trailers, documents, and lists of parts."""
import hashlib

from lib.hostile import BUCKET, CHUNKED, CHUNKED_TRAILER, CHUNKED_UNSIGNED, Ask, Row

MISMATCH, INCOMPLETE, MALFORMED = "403 SignatureDoesNotMatch", "400 IncompleteBody", "400 MalformedXML"
# Of the bytes b"abc".
CRC32 = b"x-amz-checksum-crc32:NSRBwg=="
WRITTEN = {"new": b"abc"}


def signed(make, decoded=3, payload=CHUNKED, **how):
    """A write in signed chunks, which `make` makes of a signer."""
    headers = {"content-encoding": "aws-chunked", **how.pop("headers", {})}
    if decoded is not None:
        headers["x-amz-decoded-content-length"] = str(decoded)
    return Ask(headers=headers, payload=payload, chunks=make, **how)


def unsigned(body, decoded=3, trailer="x-amz-checksum-crc32", **how):
    """A write in chunks without signatures."""
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(decoded)}
    if trailer:
        headers["x-amz-trailer"] = trailer
    return Ask(headers=headers, payload=CHUNKED_UNSIGNED, body=body, **how)


def both(signer, first, second):
    return signer.chunk(first) + signer.chunk(second) + signer.chunk(b"", end=b"\r\n")


def swapped(signer):
    one, two = signer.chunk(b"a"), signer.chunk(b"bc")
    return two + one + signer.chunk(b"")


def repeated(signer):
    one = signer.chunk(b"abc")
    return one + one + signer.chunk(b"")


def dropped(signer):
    signer.chunk(b"xyz")
    return signer.chunk(b"abc") + signer.chunk(b"")


def trailed(signer, line=CRC32):
    return signer.chunk(b"abc") + signer.chunk(b"", end=b"") + signer.trailer(line)


SIGNED_CHUNKS = [
    Row("a body in signed chunks", "the rows below would be written, were they not changed", signed(lambda s: s.chunk(b"abc") + s.chunk(b"")), "200", True, WRITTEN),
    Row("two signed chunks", "each is signed with the one before", signed(lambda s: both(s, b"a", b"bc")), "200", True, WRITTEN),
    Row("a changed chunk", "each byte is signed", signed(lambda s: s.chunk(b"abc").replace(b"abc", b"abd") + s.chunk(b"")), MISMATCH, None),
    Row("a changed signature of a chunk", "compared as a whole", signed(lambda s: s.chunk(b"abc").replace(b"signature=", b"signature=0") + s.chunk(b"")), MISMATCH + "|400", None),
    Row("no signature of a chunk", "none may be left out", signed(lambda s: b"3\r\nabc\r\n" + s.chunk(b"")), MISMATCH + "|400", None),
    Row("an empty signature of a chunk", "none may be left out", signed(lambda s: b"3;chunk-signature=\r\nabc\r\n" + s.chunk(b"")), MISMATCH + "|400", None),
    Row("the request's signature for a chunk", "of another kind", signed(lambda s: b"3;chunk-signature=" + s.previous.encode() + b"\r\nabc\r\n" + s.chunk(b"")), MISMATCH, None),
    Row("chunks in another order", "each is signed with the one before", signed(swapped), MISMATCH, None),
    Row("a chunk twice", "each is signed with the one before", signed(repeated, decoded=6), MISMATCH, None),
    Row("a chunk that was left out", "each is signed with the one before", signed(dropped), MISMATCH, None),
    Row("the last chunk first", "a body ends once", signed(lambda s: s.chunk(b"") + s.chunk(b"abc")), "400|403", None),
    Row("no last chunk of S3", "anyone on the way could cut the body", signed(lambda s: s.chunk(b"abc")), INCOMPLETE, None),
    Row("half a chunk of S3", "anyone on the way could cut the body", signed(lambda s: s.chunk(b"abc")[:-4]), INCOMPLETE, None),
    Row("a last chunk of another signature", "anyone on the way could cut the body", signed(lambda s: s.chunk(b"abc") + b"0;chunk-signature=" + b"0" * 64 + b"\r\n\r\n"), MISMATCH, None),
    Row("more than was announced", "S3 was told another length", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=2), INCOMPLETE, None),
    Row("less than was announced", "S3 was told another length", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=4), INCOMPLETE, None),
    Row("no decoded length", "S3 wants to know the length first", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=None), "411 MissingContentLength|400", None),
    Row("a negative decoded length", "digits and nothing else", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=-3), "400|411", None),
    Row("a decoded length of letters", "digits and nothing else", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded="abc"), "400|411", None),
    Row("a decoded length above 64 bits", "must not wrap to 3", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=18446744073709551619), "400|411", None),
    Row("a decoded length above 5 GiB", "more than a PUT may have", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), decoded=(5 << 30) + 1), "400 EntityTooLarge", None),
    Row("a decoded length twice", "a proxy may read the other", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), lines=(b"x-amz-decoded-content-length: 4",)), "400", None),
    Row("bytes behind the last chunk of S3", "a body ends once", signed(lambda s: s.chunk(b"abc") + s.chunk(b"") + b"more"), "400", None),
    Row("a request behind the last chunk of S3", "the body of HTTP is read to its end, as a body", signed(lambda s: s.chunk(b"abc") + s.chunk(b"") + b"DELETE /hostile/kept HTTP/1.1\r\n\r\n"), "400", None),
    Row("trailers where none may be", "not in this kind of body", signed(lambda s: s.chunk(b"abc") + s.chunk(b"", end=b"") + s.trailer(CRC32)), "400|403", None),
    Row("signed chunks that are not", "chunks that HTTP would need", signed(lambda s: b"abc"), "400", None),
] + [
    Row(f"a chunk of S3 of {name}", "hexadecimal digits and nothing else", signed(lambda s, size=size: s.chunk(b"abc", size=size) + s.chunk(b"")), "400", None) for name, size in [
        ("+3 bytes", b"+3"), ("-3 bytes", b"-3"), ("0x3 bytes", b"0x3"), ("no size", b""), ("a blank and 3 bytes", b" 3"), ("64 bits", b"ffffffffffffffff"),
        ("more than 64 bits", b"10000000000000003"), ("letters", b"xyz"), ("a NUL", b"3\0"),
    ]
]

TRAILERS = [
    Row("a signed trailer", "the rows below would be written, were they not changed", signed(trailed, payload=CHUNKED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"}), "200", True, WRITTEN),
    Row("a changed signed trailer", "trailers are signed", signed(lambda s: trailed(s).replace(b"NSRBwg==", b"AAAAAA=="), payload=CHUNKED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"}), MISMATCH, None),
    Row("a signed trailer without its signature", "none may be left out", signed(lambda s: s.chunk(b"abc") + s.chunk(b"", end=b"") + CRC32 + b"\r\n\r\n", payload=CHUNKED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"}), MISMATCH + "|400", None),
    Row("no trailers where they are announced", "anyone on the way could remove the checksum", signed(lambda s: s.chunk(b"abc") + s.chunk(b""), payload=CHUNKED_TRAILER, headers={"x-amz-trailer": "x-amz-checksum-crc32"}), "400|403", None),
    Row("a body in unsigned chunks", "the rows below would be written, were they not changed", unsigned(b"3\r\nabc\r\n0\r\n" + CRC32 + b"\r\n\r\n"), "200", True, WRITTEN),
    Row("an unsigned trailer of another checksum", "the body has another", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), "400 BadDigest", None),
    Row("a scrap of a checksum in a trailer", "a checksum has its length", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:AA==\r\n\r\n"), "400", None),
    Row("an announced trailer that does not come", "what was announced must come", unsigned(b"3\r\nabc\r\n0\r\n\r\n"), "400", None),
    Row("another trailer than was announced", "what was announced must come", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-sha1:qZk+NkcGgWq6PiVxeFDCbJzQ2J0=\r\n\r\n"), "400", None),
    Row("two different checksums in trailers", "one or none", unsigned(b"3\r\nabc\r\n0\r\n" + CRC32 + b"\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n"), "400", None),
    Row("an announced trailer that no one knows", "no default is taken", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-md4:AAAA\r\n\r\n", trailer="x-amz-checksum-md4"), "400", None),
    Row("a trailer of S3 that is metadata", "nothing else that is stored comes from there", unsigned(b"3\r\nabc\r\n0\r\nx-amz-meta-a:b\r\n" + CRC32 + b"\r\n\r\n"), "400|200", None, WRITTEN),
    Row("a trailer of S3 that is a length", "headers of framing have no effect in trailers", unsigned(b"3\r\nabc\r\n0\r\ncontent-length:400\r\n" + CRC32 + b"\r\n\r\n"), "400|200", None, WRITTEN),
    Row("a trailer of S3 that is no trailer", "a trailer has a colon", unsigned(b"3\r\nabc\r\n0\r\nnothing\r\n\r\n"), "400", None),
    Row("a trailer of S3 that is not UTF-8", "a trailer is text", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:\xff\xff\r\n\r\n"), "400", None),
    Row("10,000 trailers of S3", "their bytes are bounded", unsigned(b"3\r\nabc\r\n0\r\n" + (CRC32 + b"\r\n") * 10_000 + b"\r\n"), "400", None),
    Row("a trailer of S3 of 1 MiB", "its bytes are bounded", unsigned(b"3\r\nabc\r\n0\r\nx-amz-checksum-crc32:" + b"A" * (1 << 20) + b"\r\n\r\n"), "400", None),
    Row("a line of a chunk of 1 MiB", "its bytes are bounded", unsigned(b"3;" + b"a" * (1 << 20) + b"\r\nabc\r\n0\r\n" + CRC32 + b"\r\n\r\n"), "400", None),
    Row("a trailer of S3 without an end", "a body that ends early", unsigned(b"3\r\nabc\r\n0\r\n" + CRC32), "400", None),
    Row("100,000 chunks of S3 of one byte", "as many as the client likes", unsigned(b"1\r\na\r\n" * 100_000 + b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n", decoded=100_000), "400 BadDigest", None),
    Row("a zero with many digits", "a last chunk, or none", unsigned(b"3\r\nabc\r\n" + b"0" * 15 + b"\r\n" + CRC32 + b"\r\n\r\n"), "200|400", None, WRITTEN),
]


def document(text, target=f"/{BUCKET}?delete", **how):
    return Ask(**{"method": "POST", "target": target, "body": text, **how})


def delete(*elements):
    return document(b"<Delete>" + b"".join(elements) + b"</Delete>")


def laughs(count):
    """The entities of the thousand million laughs."""
    text = "".join(f'<!ENTITY l{n + 1} "{f"&l{n};" * 10}">' for n in range(count))
    return f'<!DOCTYPE d [<!ENTITY l0 "ha">{text}]><Delete><Object><Key>&l{count};</Key></Object></Delete>'.encode()


KEY = b"<Object><Key>kept2</Key></Object>"
DOCUMENTS = [
    Row("an entity", "a document type is never read", document(b'<!DOCTYPE d [<!ENTITY a "kept">]><Delete><Object><Key>&a;</Key></Object></Delete>'), MALFORMED, None),
    Row("a thousand million laughs", "a document type is never read", document(laughs(9)), MALFORMED, None),
    Row("an entity of a file", "nothing is read from where a document says", document(b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>'), MALFORMED, None),
    Row("an entity of a web address", "nothing is asked of where a document says", document(b'<!DOCTYPE d SYSTEM "http://127.0.0.1:9/x.dtd"><Delete><Object><Key>a</Key></Object></Delete>'), MALFORMED, None),
    Row("an entity of parameters", "a document type is never read", document(b'<!DOCTYPE d [<!ENTITY % a SYSTEM "file:///dev/zero">%a;]><Delete/>'), MALFORMED, None),
    Row("an unknown entity", "no default is taken", delete(b"<Object><Key>&kept;</Key></Object>"), MALFORMED, None),
    Row("a processing instruction", "nothing to process", document(b"<?php echo 1 ?><Delete>" + KEY + b"</Delete>"), MALFORMED, None),
    Row("10,000 levels", "the depth is bounded", delete(b"<a>" * 10_000 + b"</a>" * 10_000), MALFORMED, None),
    Row("300,000 elements", "the number is bounded", delete(b"<a/>" * 300_000), MALFORMED, None),
    Row("10,000 attributes", "read and dropped, in time", delete(b"<Object " + b" ".join(b'a%d="b"' % n for n in range(10_000)) + b"><Key>absent</Key></Object>"), "200|400", None),
    Row("a comment without an end", "no document", delete(b"<!-- " + b"-" * 100_000), MALFORMED, None),
    Row("1,001 keys", "at most 1,000", delete(b"<Object><Key>absent</Key></Object>" * 1001), MALFORMED, None),
    Row("no keys", "at least one", delete(), MALFORMED, None),
    Row("an object without a key", "a key must be there", delete(b"<Object></Object>"), MALFORMED + "|200", None),
    Row("two keys in an object", "which of them?", delete(b"<Object><Key>kept</Key><Key>absent</Key></Object>"), MALFORMED, None),
    Row("an empty document", "no root", document(b""), "400", None),
    Row("no XML", "no root", document(b'{"Delete": {}}'), MALFORMED, None),
    Row("another root", "of another operation", document(b"<Tagging><TagSet/></Tagging>"), MALFORMED, None),
    Row("two roots", "a document has one", document(b"<Delete>" + KEY + b"</Delete><Delete>" + KEY + b"</Delete>"), MALFORMED, None),
    Row("text behind the root", "a document has one root", document(b"<Delete>" + KEY + b"</Delete>kept"), MALFORMED, None),
    Row("an element without an end", "no document", document(b"<Delete>" + KEY), MALFORMED, None),
    Row("ends in another order", "no document", document(b"<Delete><Object><Key>a</Object></Key></Delete>"), MALFORMED, None),
    Row("a document that is not UTF-8", "no other encoding is read", delete(b"<Object><Key>\xff</Key></Object>"), MALFORMED, None),
    Row("a document in UTF-16", "no other encoding is read", document("<Delete><Object><Key>kept</Key></Object></Delete>".encode("utf-16")), MALFORMED, None),
    Row("a document that says it is UTF-7", "no other encoding is read, whatever it says", document(b'<?xml version="1.0" encoding="UTF-7"?><Delete>+ADw-</Delete>'), MALFORMED, None),
    Row("a NUL in a document", "no character of XML", delete(b"<Object><Key>kept\0</Key></Object>"), MALFORMED, None),
    Row("an escape in a document", "no character of XML", delete(b"<Object><Key>\x1b[2J</Key></Object>"), MALFORMED, None),
    Row("a reference to NUL", "no character of XML", delete(b"<Object><Key>kept&#0;</Key></Object>"), MALFORMED, None),
    Row("a reference beyond Unicode", "no character", delete(b"<Object><Key>&#x110000;</Key></Object>"), MALFORMED, None),
    Row("a reference to a surrogate", "no character", delete(b"<Object><Key>&#xd800;</Key></Object>"), MALFORMED, None),
    Row("a reference above 64 bits", "no character", delete(b"<Object><Key>&#99999999999999999999;</Key></Object>"), MALFORMED, None),
    Row("a key of 8 KiB", "longer than any key; the others are deleted", delete(b"<Object><Key>" + b"k" * 8192 + b"</Key></Object>"), "200|400", None),
    Row("a version that cannot be, in a document", "an error for its key", delete(b"<Object><Key>kept</Key><VersionId>../x</VersionId></Object>"), "200|400", None),
    Row("a document of 16 MiB", "the length is bounded before it is read", document(b"<Delete>" + b" " * (16 << 20) + KEY + b"</Delete>"), "400", None),
    Row("a document that announces 4 GiB", "the length is bounded before it is read", document(b"", length=4 << 30), "400", False),
    Row("another MD5 of a document", "the document has another", document(b"<Delete>" + KEY + b"</Delete>", lines=(b"content-md5: AAAAAAAAAAAAAAAAAAAAAA==",)), "400 BadDigest", None),
    Row("a document with another digest", "the document has another", document(b"<Delete><Object><Key>kept</Key></Object></Delete>", payload=hashlib.sha256(b"x").hexdigest()), "400 XAmzContentSHA256Mismatch", None),
    Row("eleven tags in a document", "at most ten", document(b"<Tagging><TagSet>" + b"".join(b"<Tag><Key>k%d</Key><Value>v</Value></Tag>" % n for n in range(11)) + b"</TagSet></Tagging>", f"/{BUCKET}/kept?tagging", method="PUT"), "400", None),
    Row("one tag twice in a document", "a name has one value", document(b"<Tagging><TagSet>" + b"<Tag><Key>k</Key><Value>v</Value></Tag>" * 2 + b"</TagSet></Tagging>", f"/{BUCKET}/kept?tagging", method="PUT"), "400 InvalidTag", None),
    Row("a bomb of tags", "a document type is never read", document(b'<!DOCTYPE d [<!ENTITY a "b">]><Tagging><TagSet><Tag><Key>&a;</Key><Value/></Tag></TagSet></Tagging>', f"/{BUCKET}/kept?tagging", method="PUT"), MALFORMED, None),
    Row("a versioning that is none", "no default is taken", document(b"<VersioningConfiguration><Status>Maybe</Status></VersioningConfiguration>", f"/{BUCKET}?versioning", method="PUT"), "400", None),
    Row("a versioning of a wrong root", "of another operation", document(b"<Versioning><Status>Enabled</Status></Versioning>", f"/{BUCKET}?versioning", method="PUT"), MALFORMED, None),
    Row("a bucket with a bomb", "a document type is never read, and no bucket is made", document(b'<!DOCTYPE d [<!ENTITY a "eu-west-1">]><CreateBucketConfiguration><LocationConstraint>&a;</LocationConstraint></CreateBucketConfiguration>', "/another-bucket", method="PUT"), MALFORMED, None),
    Row("a bucket with half a document", "no bucket is made", document(b"<CreateBucketConfiguration>", "/another-bucket", method="PUT"), MALFORMED, None),
    Row("a bucket at a place of 8 KiB", "no bucket is made", document(b"<CreateBucketConfiguration><LocationConstraint>" + b"a" * 8192 + b"</LocationConstraint></CreateBucketConfiguration>", "/another-bucket", method="PUT"), "400", None),
]


def complete(*parts, upload="{upload}", key="open"):
    return document(b"<CompleteMultipartUpload>" + b"".join(parts) + b"</CompleteMultipartUpload>", f"/{BUCKET}/{key}?uploadId={upload}")


def part(number, tag=hashlib.md5(b"part").hexdigest()):
    return f'<Part><PartNumber>{number}</PartNumber><ETag>"{tag}"</ETag></Part>'.encode()


COMPLETIONS = [
    Row("a completion without parts", "at least one", complete(), MALFORMED, None),
    Row("a completion with 10,001 parts", "at most 10,000", complete(*[part(number) for number in range(1, 10_002)]), "400", None),
    Row("a completion with part 0", "parts begin with 1", complete(part(0)), "400", None),
    Row("a completion with part -1", "parts begin with 1", complete(part(-1)), "400", None),
    Row("a completion with part 65,537", "must not wrap to part 1", complete(part(65537)), "400", None),
    Row("a completion with part 4,294,967,297", "must not wrap to part 1", complete(part(4294967297)), "400", None),
    Row("a completion with part one", "a number", complete(part("one")), MALFORMED + "|400 InvalidPart", None),
    Row("a completion with a part twice", "parts rise", complete(part(1), part(1)), "400 InvalidPartOrder", None),
    Row("a completion that falls", "parts rise", complete(part(2), part(1)), "400 InvalidPartOrder|400 InvalidPart", None),
    Row("a completion with a part that is not", "only what was uploaded", complete(part(1), part(2)), "400 InvalidPart", None),
    Row("a completion with another tag", "only what was uploaded", complete(part(1, "0" * 32)), "400 InvalidPart", None),
    Row("a completion with a tag of 64 KiB", "no tag", complete(part(1, "a" * 65536)), "400", None),
    Row("a completion of another user's upload", "an id is of its bucket", complete(part(1), upload="{foreign_upload}"), "404 NoSuchUpload", None),
    Row("a completion under another key", "an id is of its key", complete(part(1), key="other"), "404 NoSuchUpload", None),
    Row("a completion with a bomb", "a document type is never read", document(b'<!DOCTYPE d [<!ENTITY a "1">]><CompleteMultipartUpload><Part><PartNumber>&a;</PartNumber></Part></CompleteMultipartUpload>', f"/{BUCKET}/open?uploadId={{upload}}"), MALFORMED, None),
    Row("a completion of 16 MiB", "the length is bounded before it is read", complete(b" " * (16 << 20), part(1)), "400", None),
    Row("a completion with another checksum", "only what was uploaded", complete(part(1).replace(b"</Part>", b"<ChecksumCRC32>AAAAAA==</ChecksumCRC32></Part>")), "400", None),
    Row("a completion that holds a condition that does not", "nothing is completed", Ask(method="POST", target=f"/{BUCKET}/open?uploadId={{upload}}", body=b"<CompleteMultipartUpload>" + part(1) + b"</CompleteMultipartUpload>", lines=(b'if-match: "a"',)), "412 PreconditionFailed|404 NoSuchKey", None),
]

ROWS = [*SIGNED_CHUNKS, *TRAILERS, *DOCUMENTS, *COMPLETIONS]
