//! Runs one of the integration tests that the crate `object_store` has for stores, against the bucket that the
//! environment names (`AWS_BUCKET`, `AWS_ENDPOINT` and so on). A test that fails panics.

use std::env;
use std::process::ExitCode;

use object_store::ObjectStoreExt;
use object_store::aws::{AmazonS3Builder, Checksum};
use object_store::integration;
use object_store::path::Path;

#[tokio::main]
async fn main() -> ExitCode {
    let name = env::args().nth(1).unwrap_or_default();
    let builder = match name.as_str() {
        "unsigned_payload" => AmazonS3Builder::from_env().with_unsigned_payload(true),
        "checksum" => AmazonS3Builder::from_env().with_checksum_algorithm(Checksum::SHA256),
        "nonexistent_bucket" => {
            AmazonS3Builder::from_env().with_bucket_name("there-is-no-such-bucket")
        }
        _ => AmazonS3Builder::from_env(),
    };
    let store = builder.build().expect("the environment names a store");
    match name.as_str() {
        "put_get_delete_list" | "unsigned_payload" | "checksum" => {
            integration::put_get_delete_list(&store).await
        }
        "put_get_attributes" => integration::put_get_attributes(&store).await,
        "get_opts" => integration::get_opts(&store).await,
        "put_opts" => integration::put_opts(&store, true).await,
        "stream_get" => integration::stream_get(&store).await,
        "list_uses_directories_correctly" => {
            integration::list_uses_directories_correctly(&store).await
        }
        "list_with_delimiter" => integration::list_with_delimiter(&store).await,
        "list_with_offset_exclusivity" => integration::list_with_offset_exclusivity(&store).await,
        "list_paginated" => integration::list_paginated(&store, &store).await,
        "rename_and_copy" => integration::rename_and_copy(&store).await,
        "copy_if_not_exists" => integration::copy_if_not_exists(&store).await,
        "copy_rename_nonexistent_object" => {
            integration::copy_rename_nonexistent_object(&store).await
        }
        "multipart" => integration::multipart(&store, &store).await,
        "multipart_race_condition" => integration::multipart_race_condition(&store, true).await,
        "multipart_out_of_order" => integration::multipart_out_of_order(&store).await,
        "nonexistent_bucket" => {
            let place = Path::from("a");
            for error in [
                store.get(&place).await.map(drop).expect_err("no bucket"),
                store.put(&place, "a".into()).await.map(drop).expect_err("no bucket"),
                store.delete(&place).await.expect_err("no bucket"),
            ] {
                assert!(matches!(error, object_store::Error::NotFound { .. }), "{error}");
            }
        }
        _ => {
            eprintln!("there is no test {name}");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
