//! GetBucketAcl.

use s3::escape::escape;
use s3::xml::XmlWriter;

use crate::api::context::S3Context;
use crate::api::owner;
use crate::api::request::S3Request;
use crate::api::response::{self, HandlerResult};

/// GetBucketAcl: the owner has full control and is the only grantee. Fails when the bucket does not exist or belongs to
/// another user.
pub async fn get(context: &S3Context, request: &S3Request) -> HandlerResult {
    let bucket = context.bucket_for_read(request).await?.bucket;
    let root = "AccessControlPolicy";
    let mut writer = XmlWriter::new(root);
    owner::write(&mut writer, "Owner", context, &bucket.owner);
    writer.begin("AccessControlList").begin("Grant");
    let name = escape(context.display_name(&bucket.owner)).into_owned();
    writer.raw(
        "Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" xsi:type=\"CanonicalUser\"",
        "",
    );
    let mut text = writer.finish(root);
    // The grantee carries an attribute, so its end is written by hand.
    let open = text.rfind("</Grantee").unwrap_or(text.len());
    text.truncate(open);
    text.push_str(&format!(
        "<ID>{}</ID><DisplayName>{name}</DisplayName></Grantee><Permission>FULL_CONTROL</Permission></Grant></AccessControlList></{root}>",
        escape(&bucket.owner)
    ));
    Ok(response::xml(text))
}
