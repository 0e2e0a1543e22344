//! PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects, ListObjectsV2, tags.

use http::{Method, StatusCode};

use crate::harness::{Call, Harness, LENGTHS, bytes};

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_read_as_it_was_written() {
    let store = Harness::start().await;
    for len in LENGTHS {
        let path = format!("/photos/{len}");
        let put = Call::new(Method::PUT, &path).body(bytes(len));
        let put = put.header("content-type", "image/png").header("x-amz-meta-place", "Ulm");
        let put = store.send(put).await.expect(StatusCode::OK);
        let got = store.get(&path).await.expect(StatusCode::OK);
        assert!(got.body == bytes(len), "{len} bytes");
        let head = store.send(Call::new(Method::HEAD, &path)).await.expect(StatusCode::OK);
        assert!(head.body.is_empty());
        for answer in [got, head] {
            assert_eq!(answer.header("etag"), put.header("etag"));
            assert_eq!(answer.header("content-length"), len.to_string());
            assert_eq!(answer.header("content-type"), "image/png");
            assert_eq!(answer.header("x-amz-meta-place"), "Ulm");
        }
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_a_part_of_the_object() {
    let store = Harness::start().await;
    for len in [1000, 200_000] {
        store.put("/photos/a", bytes(len)).await.expect(StatusCode::OK);
        let range = |text: &str| Call::new(Method::GET, "/photos/a").header("range", text);
        let part = store.send(range("bytes=10-19")).await.expect(StatusCode::PARTIAL_CONTENT);
        assert_eq!(part.body, bytes(len)[10..20]);
        assert_eq!(part.header("content-range"), format!("bytes 10-19/{len}"));
        let rest = store.send(range("bytes=-7")).await.expect(StatusCode::PARTIAL_CONTENT);
        assert_eq!(rest.body, bytes(len)[len - 7..]);
        let beyond = store.send(range(&format!("bytes={len}-"))).await;
        beyond.expect_error("InvalidRange");
        let whole = store.send(range("lines=1-2")).await.expect(StatusCode::OK);
        assert!(whole.body == bytes(len));
    }
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_object_is_gone_from_reads_and_lists() {
    let store = Harness::start().await;
    for key in ["a", "b", "c", "d/1"] {
        store.put(&format!("/photos/{key}"), "x").await.expect(StatusCode::OK);
    }
    store.delete("/photos/a").await.expect(StatusCode::NO_CONTENT);
    let keys = "<Delete><Object><Key>b</Key></Object><Object><Key>none</Key></Object></Delete>";
    let many = store.post("/photos?delete", keys).await.expect(StatusCode::OK);
    assert_eq!(many.element("Key"), "b");
    for key in ["a", "b"] {
        store.get(&format!("/photos/{key}")).await.expect_error("NoSuchKey");
    }
    let listed = store.get("/photos?list-type=2&delimiter=/").await.expect(StatusCode::OK);
    assert_eq!((listed.element("KeyCount"), listed.element("Key")), ("2".into(), "c".into()));
    let text = String::from_utf8_lossy(&listed.body).into_owned();
    assert!(text.contains("<CommonPrefixes><Prefix>d/</Prefix></CommonPrefixes>"), "{text}");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tags_are_replaced_and_removed() {
    let store = Harness::start().await;
    let put = Call::new(Method::PUT, "/photos/a").header("x-amz-tagging", "k=1");
    store.send(put).await.expect(StatusCode::OK);
    assert_eq!(store.get("/photos/a?tagging").await.element("Value"), "1");
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>2</Value></Tag></TagSet></Tagging>";
    store.put("/photos/a?tagging", tags).await.expect(StatusCode::OK);
    assert_eq!(store.get("/photos/a?tagging").await.element("Value"), "2");
    store.delete("/photos/a?tagging").await.expect(StatusCode::NO_CONTENT);
    assert_eq!(store.get("/photos/a?tagging").await.expect(StatusCode::OK).element("Value"), "");
    store.get("/photos/none?tagging").await.expect_error("NoSuchKey");
    store.stop().await;
}
