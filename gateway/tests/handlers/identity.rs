//! Requests that are refused before a handler is called.

use bytes::Bytes;
use http::{Method, StatusCode};

use crate::harness::{Call, Harness};

#[tokio::test(flavor = "multi_thread")]
async fn only_signed_requests_reach_a_handler() {
    let store = Harness::start().await;
    let unsigned = http::Request::get("/photos").body(()).unwrap().into_parts().0;
    store.send_parts(unsigned, Bytes::new()).await.expect_error("AccessDenied");
    let list = || Call::new(Method::GET, "/photos");
    store.send_as(list(), "NOBODY", "secret").await.expect_error("InvalidAccessKeyId");
    let key = store.access_key.clone();
    store.send_as(list(), &key, "other").await.expect_error("SignatureDoesNotMatch");
    store.send(list()).await.expect(StatusCode::OK);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_its_own_operation_or_none() {
    let store = Harness::start().await;
    store.put("/photos/a", "1").await.expect(StatusCode::OK);
    store.put("/photos/a?acl", "").await.expect_error("NotImplemented");
    store.get("/photos?policy").await.expect_error("NoSuchBucketPolicy");
    store.get("/none?policy").await.expect_error("NoSuchBucket");
    store.delete("/photos/a?tagging&uploadId=1").await.expect_error("InvalidArgument");
    store.get("/photos/a").await.expect(StatusCode::OK);
    let put = store.put("/photos/b", "1").await.expect(StatusCode::OK);
    assert!(put.header("x-siltstone-offset").starts_with("0:"));
    assert_eq!(put.header("x-amz-request-id").len(), 20);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_objects_is_not_removed() {
    let store = Harness::start().await;
    store.put("/photos/a", "1").await.expect(StatusCode::OK);
    store.delete("/photos").await.expect_error("BucketNotEmpty");
    store.delete("/photos/a").await.expect(StatusCode::NO_CONTENT);
    store.delete("/photos").await.expect(StatusCode::NO_CONTENT);
    store.get("/photos").await.expect_error("NoSuchBucket");
    store.stop().await;
}
