//! Conditions of reads and writes.

use http::{Method, StatusCode};

use crate::harness::{Call, Harness};

#[tokio::test(flavor = "multi_thread")]
async fn a_write_happens_only_under_its_condition() {
    let store = Harness::start().await;
    let put = |name, value: &str| Call::new(Method::PUT, "/photos/a").header(name, value).body("2");
    store.send(put("if-match", "*")).await.expect_error("NoSuchKey");
    let first = store.send(put("if-none-match", "*")).await.expect(StatusCode::OK);
    store.send(put("if-none-match", "*")).await.expect_error("PreconditionFailed");
    let other = "\"00000000000000000000000000000000\"";
    store.send(put("if-match", other)).await.expect_error("PreconditionFailed");
    store.send(put("if-match", first.header("etag"))).await.expect(StatusCode::OK);
    let delete = Call::new(Method::DELETE, "/photos/a").header("if-match", other);
    store.send(delete).await.expect_error("PreconditionFailed");
    store.get("/photos/a").await.expect(StatusCode::OK);
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_sends_nothing_that_the_client_has() {
    let store = Harness::start().await;
    let put = store.put("/photos/a", "1").await.expect(StatusCode::OK);
    for method in [Method::GET, Method::HEAD] {
        let call = |name, value: &str| Call::new(method.clone(), "/photos/a").header(name, value);
        let same = store.send(call("if-none-match", put.header("etag"))).await;
        let same = same.expect(StatusCode::NOT_MODIFIED);
        assert!(same.body.is_empty());
        assert_eq!(same.header("etag"), put.header("etag"));
        let other = call("if-match", "\"00000000000000000000000000000000\"");
        store.send(other).await.expect(StatusCode::PRECONDITION_FAILED);
    }
    store.stop().await;
}
