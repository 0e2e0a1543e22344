//! Listings of open multipart uploads, ordered by key and then by upload id.
//!
//! Prefixes, delimiters and pages work as in [`crate::listing`], over the state entries of uploads. Memory: one
//! page.

use bytes::Bytes;
use compactor::state::{OpenUpload, StateKey, UploadState};
use compactor::state_cursor::StateCursor;
use compactor::view::Snapshot;
use ingest::ids::UploadId;
use ingest::log::{Corruption, ReadError};

use crate::listing::{CommonPrefixes, ListRequest, ListStart};

/// One item of a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UploadItem {
    /// An open upload.
    Upload(Box<ListedUpload>),
    /// A common prefix, delimiter included, that represents all keys that begin with it.
    Prefix(Bytes),
}

/// An open multipart upload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedUpload {
    /// The key for which the upload was created.
    pub key: Bytes,
    /// The upload's id.
    pub id: UploadId,
    /// The folded state of the upload.
    pub open: OpenUpload,
}

/// A page of a listing of uploads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadPage {
    /// The items, ordered by key or prefix, then by upload id.
    pub listed: Vec<UploadItem>,
    /// True if more items follow; the next page begins after the last item of this one.
    pub is_truncated: bool,
}

/// Returns the state key at which the cursor begins, or `None` if nothing can follow within the bucket.
fn first_seek(request: &ListRequest, after: Option<UploadId>) -> Option<Bytes> {
    let bucket = request.bucket;
    let begin = StateKey::uploads_from(bucket, &request.prefix);
    let from = match (&request.from, after) {
        (ListStart::Start, _) => begin.clone(),
        (ListStart::AfterPrefix(prefix), _) => StateKey::uploads_after_prefix(bucket, prefix)?,
        (ListStart::After(key) | ListStart::AfterVersion(key, _), None) => {
            StateKey::uploads_after(bucket, key)
        }
        (ListStart::After(key) | ListStart::AfterVersion(key, _), Some(id)) => {
            // The least key above this one.
            [StateKey::upload(bucket, key, id).0.as_ref(), &[0]].concat().into()
        }
    };
    Some(from.max(begin))
}

/// Lists the open uploads of a bucket, for ListMultipartUploads and SQL, ordered by key and then by upload id.
///
/// If the request begins after a key, `after` makes the page begin within that key's uploads, after the upload
/// with this id; otherwise `after` is ignored. Completed uploads are passed over. Cancel safe: the call has no
/// effect but its result.
///
/// Errors: [`ReadError::Corrupt`] if a state entry is damaged, [`ReadError::Unavailable`] if a file cannot be
/// read now.
pub async fn uploads(
    snapshot: &Snapshot,
    request: &ListRequest,
    after: Option<UploadId>,
) -> Result<UploadPage, ReadError> {
    let mut page = UploadPage { listed: Vec::new(), is_truncated: false };
    let from = first_seek(request, after).filter(|_| request.max > 0);
    let Some(from) = from else { return Ok(page) };
    let end = StateKey::uploads_end(request.bucket);
    let common = CommonPrefixes::new(request);
    let mut cursor = StateCursor::new(snapshot, &from, &end).await?;
    while let Some((state_key, value)) = cursor.next().await? {
        let (_, key, id) = state_key.parse_upload().ok_or_else(corruption)?;
        if !key.starts_with(&request.prefix) {
            break;
        }
        let open = match UploadState::decode(value).map_err(|_| corruption())? {
            UploadState::Open(open) => open,
            UploadState::Completed { .. } => continue,
        };
        if page.listed.len() == request.max {
            page.is_truncated = true;
            break;
        }
        match common.len_of(&key) {
            None => page.listed.push(UploadItem::Upload(Box::new(ListedUpload { key, id, open }))),
            Some(len) => {
                let prefix = key.slice(..len);
                let after = StateKey::uploads_after_prefix(request.bucket, &prefix);
                page.listed.push(UploadItem::Prefix(prefix));
                let Some(after) = after else { break };
                cursor.seek(&after).await?;
            }
        }
    }
    Ok(page)
}

/// The error for a state entry of an upload that cannot be decoded.
fn corruption() -> ReadError {
    ReadError::Corrupt(Corruption {
        file: "the state of a bucket's uploads".into(),
        position: 0,
        detail: "an upload cannot be decoded".into(),
    })
}
