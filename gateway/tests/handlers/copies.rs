//! CopyObject.

use http::{Method, StatusCode};

use crate::harness::{Call, Harness, LENGTHS, bytes};

fn copy(target: &str, source: &str) -> Call {
    Call::new(Method::PUT, target).header("x-amz-copy-source", source)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_has_the_bytes_and_attributes_of_its_source() {
    let store = Harness::start().await;
    store.put("/copies", "").await.expect(StatusCode::OK);
    for len in LENGTHS {
        let put = Call::new(Method::PUT, "/photos/a").body(bytes(len));
        let put = put.header("x-amz-meta-place", "Ulm").header("x-amz-tagging", "k=1");
        let put = store.send(put).await.expect(StatusCode::OK);
        store.send(copy("/copies/b", "/photos/a")).await.expect(StatusCode::OK);
        let got = store.get("/copies/b").await.expect(StatusCode::OK);
        assert!(got.body == bytes(len), "{len} bytes");
        assert_eq!(got.header("etag"), put.header("etag"));
        assert_eq!(got.header("x-amz-meta-place"), "Ulm");
        assert_eq!(got.header("x-amz-tagging-count"), "1");
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_replaces_the_attributes_that_it_is_told_to_replace() {
    let store = Harness::start().await;
    let put = Call::new(Method::PUT, "/photos/a").header("x-amz-meta-place", "Ulm").body("1");
    store.send(put).await.expect(StatusCode::OK);
    store.send(copy("/photos/a", "photos/a")).await.expect_error("InvalidRequest");
    let replacing = copy("/photos/a", "photos/a")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-time", "noon");
    store.send(replacing).await.expect(StatusCode::OK);
    let got = store.get("/photos/a").await.expect(StatusCode::OK);
    assert_eq!((got.header("x-amz-meta-place"), got.header("x-amz-meta-time")), ("", "noon"));
    assert_eq!(got.body, "1");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_needs_a_source_under_its_conditions() {
    let store = Harness::start().await;
    let put = store.put("/photos/a", "1").await.expect(StatusCode::OK);
    store.send(copy("/photos/b", "photos/none")).await.expect_error("NoSuchKey");
    store.send(copy("/photos/b", "none/a")).await.expect_error("NoSuchBucket");
    store.send(copy("/photos/b", "photos")).await.expect_error("InvalidArgument");
    let changed =
        copy("/photos/b", "photos/a").header("x-amz-copy-source-if-none-match", put.header("etag"));
    store.send(changed).await.expect_error("PreconditionFailed");
    store.get("/photos/b").await.expect_error("NoSuchKey");
    store.stop().await;
}
