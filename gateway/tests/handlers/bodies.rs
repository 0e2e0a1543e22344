//! Bodies that are not what their requests announce.

use http::{Method, StatusCode};

use crate::harness::{Call, Harness, INLINE_BYTES_MAX, bytes};

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_was_announced_otherwise_stores_nothing() {
    let store = Harness::start().await;
    for len in [1000, INLINE_BYTES_MAX as usize + 1000, 2 << 20] {
        let put = || Call::new(Method::PUT, "/photos/a").body(bytes(len));
        let (len, unsigned) = (len as u64, "UNSIGNED-PAYLOAD");
        for (call, code) in [
            (put().sha256(unsigned).length(len + 1), "IncompleteBody"),
            (put().sha256(unsigned).length(len - 1), "IncompleteBody"),
            (put().sha256("00".repeat(32)), "XAmzContentSHA256Mismatch"),
            (put().header("content-md5", "AAAAAAAAAAAAAAAAAAAAAA=="), "BadDigest"),
            (put().header("x-amz-checksum-crc32", "AAAAAA=="), "BadDigest"),
            (put().header("x-amz-checksum-crc33", "AAAAAA=="), "InvalidRequest"),
        ] {
            store.send(call).await.expect_error(code);
            store.get("/photos/a").await.expect_error("NoSuchKey");
        }
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checksum_is_kept_with_the_object() {
    let store = Harness::start().await;
    let put = Call::new(Method::PUT, "/photos/a").header("x-amz-checksum-crc32", "y/Q5Jg==");
    store.send(put.body("123456789")).await.expect(StatusCode::OK);
    let get = Call::new(Method::GET, "/photos/a").header("x-amz-checksum-mode", "ENABLED");
    let got = store.send(get).await.expect(StatusCode::OK);
    assert_eq!(got.header("x-amz-checksum-crc32"), "y/Q5Jg==");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chunked_body_is_stored_without_its_chunks() {
    let store = Harness::start().await;
    let chunked = "5\r\n12345\r\n4\r\n6789\r\n0\r\nx-amz-checksum-crc32:y/Q5Jg==\r\n\r\n";
    let put = |decoded: &str, body: &'static str| {
        Call::new(Method::PUT, "/photos/a")
            .sha256("STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", decoded)
            .header("x-amz-trailer", "x-amz-checksum-crc32")
            .body(body)
    };
    store.send(put("8", chunked)).await.expect_error("IncompleteBody");
    store.send(put("9", "9\r\n123456789\r\n0\r\n\r\n")).await.expect_error("MalformedTrailerError");
    store.get("/photos/a").await.expect_error("NoSuchKey");
    store.send(put("9", chunked)).await.expect(StatusCode::OK);
    assert_eq!(store.get("/photos/a").await.body, "123456789");
    store.stop().await;
}
