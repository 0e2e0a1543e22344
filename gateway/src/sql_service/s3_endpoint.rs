//! SQL on the S3 address: `POST /-/sql`, signed like any request, for clients on other machines.
//!
//! No bucket can be called `-`, so the path cannot be a bucket's. Body, parameters, response and headers are those of the
//! admin address. A request without a valid signature gets S3's error before the query is parsed.

use futures::StreamExt;
use http::{Method, Response};
use s3::error::{ErrorCode, S3Error};
use s3::sigv4::PayloadHash;

use super::{QueryOptions, SqlService};
use crate::api::body;
use crate::api::context::S3Context;
use crate::api::request::{RequestBody, S3Request};
use crate::api::response::ResponseBody;

/// The first component of the path, where other requests have a bucket's name.
pub const OWN: &str = "-";

/// The largest text of a query: 1 MiB.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// Serves requests below [`OWN`]. Fails, before the body is taken, unless the request is `POST /-/sql` and its
/// signature covers the body.
pub async fn answer(
    sql: &SqlService,
    context: &S3Context,
    request: &S3Request,
    body: RequestBody,
) -> Result<Response<ResponseBody>, S3Error> {
    if request.key.as_deref() != Some("sql") {
        return Err(S3Error::from(ErrorCode::InvalidBucketName).with("BucketName", OWN));
    }
    if request.parts.method != Method::POST {
        return Err(ErrorCode::MethodNotAllowed.into());
    }
    // Other signatures are good for any body: whoever comes by one could ask whatever its user may.
    let covers_body = matches!(
        request.verified.payload,
        PayloadHash::Sha256(_) | PayloadHash::StreamingSigned | PayloadHash::StreamingSignedTrailer
    );
    if request.verified.is_presigned || !covers_body {
        return Err(ErrorCode::AccessDenied.because(
            "The signature of a query must cover its body: sign in the Authorization header, with the SHA-256 of the body in x-amz-content-sha256.",
        ));
    }
    let wishes = wishes(request)?;
    let text = body::take_document(context, request, body, TEXT_BYTES_MAX).await?;
    let text = String::from_utf8(text.into());
    let text = text.map_err(|_| ErrorCode::InvalidRequest.because("The query is not UTF-8."))?;
    let (parts, body) = sql.answer_to(&request.user, wishes, text).await.into_parts();
    let pieces = body.into_data_stream().map(|piece| piece.map_err(std::io::Error::other));
    Ok(Response::from_parts(parts, ResponseBody::Open(Box::pin(pieces))))
}

fn wishes(request: &S3Request) -> Result<QueryOptions, S3Error> {
    let is_known = |name: &str| ["format", "min_offset"].contains(&name);
    let is_signature = |name: &str| name.starts_with("X-Amz-");
    if let Some((name, _)) =
        request.query.iter().find(|(name, _)| !is_known(name) && !is_signature(name))
    {
        return Err(ErrorCode::InvalidArgument
            .because("The parameters of a query are format and min_offset.")
            .with("ArgumentName", name.clone()));
    }
    let of = |name: &str| request.query(name).map(str::to_owned);
    Ok(QueryOptions { format: of("format"), min_offset: of("min_offset") })
}
