//! Multipart uploads.

use http::{Method, StatusCode};

use crate::harness::{Call, Harness, bytes};

/// The smallest part that is not the last.
const PART: usize = 5 << 20;

async fn begin(store: &Harness) -> String {
    let begun = store.post("/photos/a?uploads", "").await.expect(StatusCode::OK);
    begun.element("UploadId")
}

fn completion(etags: &[String]) -> String {
    let part = |(index, etag): (usize, &String)| {
        format!("<Part><PartNumber>{}</PartNumber><ETag>{etag}</ETag></Part>", index + 1)
    };
    let parts: String = etags.iter().enumerate().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_become_one_object() {
    let store = Harness::start().await;
    let id = begin(&store).await;
    let whole = bytes(PART + 1000);
    let mut etags = Vec::new();
    for (number, part) in [(1, whole.slice(..PART)), (2, whole.slice(PART..))] {
        let path = format!("/photos/a?uploadId={id}&partNumber={number}");
        let put = store.put(&path, part).await.expect(StatusCode::OK);
        etags.push(put.header("etag").to_owned());
    }
    let listed = store.get(&format!("/photos/a?uploadId={id}")).await.expect(StatusCode::OK);
    assert_eq!(listed.element("Size"), PART.to_string());
    store.get("/photos/a").await.expect_error("NoSuchKey");
    let path = format!("/photos/a?uploadId={id}");
    let wrong = completion(&[etags[1].clone(), etags[0].clone()]);
    store.post(&path, wrong).await.expect_error("InvalidPart");
    // The checksum headers of a completion are the object's, not the document's.
    let claim = Call::new(Method::POST, &path).header("x-amz-checksum-crc32", "AAAAAA==");
    let claim = claim.body(completion(&etags));
    store.send(claim).await.expect_error("InvalidRequest");
    let done = store.post(&path, completion(&etags)).await.expect(StatusCode::OK);
    assert!(done.element("ETag").ends_with("-2&quot;"), "{}", done.element("ETag"));
    let got = store.get("/photos/a").await.expect(StatusCode::OK);
    assert!(got.body == whole);
    let second = store.get("/photos/a?partNumber=2").await.expect(StatusCode::PARTIAL_CONTENT);
    assert_eq!(second.body, whole[PART..]);
    assert_eq!(second.header("x-amz-mp-parts-count"), "2");
    store.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_aborted_upload_takes_no_parts() {
    let store = Harness::start().await;
    let id = begin(&store).await;
    let listed = store.get("/photos?uploads").await.expect(StatusCode::OK);
    assert_eq!(listed.element("UploadId"), id);
    let path = format!("/photos/a?uploadId={id}");
    store.delete(&path).await.expect(StatusCode::NO_CONTENT);
    store.put(&format!("{path}&partNumber=1"), "1").await.expect_error("NoSuchUpload");
    store
        .post(&path, completion(&[format!("\"{}\"", "0".repeat(32))]))
        .await
        .expect_error("NoSuchUpload");
    store.stop().await;
}
