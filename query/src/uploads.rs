//! Listings of multipart uploads under way, in the order of their keys and then of their ids.
//!
//! Prefixes, delimiters and pages are those of [`crate::listing`], over another cursor. Memory: a page.

use bytes::Bytes;
use compactor::state::{OpenUpload, StateKey, UploadState};
use compactor::state_cursor::StateCursor;
use compactor::view::Snapshot;
use ingest::ids::UploadId;
use ingest::log::{Corruption, ReadError};

use crate::listing::{CommonPrefixes, ListRequest, ListStart};

/// One thing on a page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum UploadItem {
    /// An upload.
    Upload(Box<ListedUpload>),
    /// Keys under a common prefix.
    Prefix(Bytes),
}

/// An upload under way.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListedUpload {
    /// The key that it was begun for.
    pub key: Bytes,
    /// Its id.
    pub id: UploadId,
    /// What is known of it.
    pub open: OpenUpload,
}

/// A page.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UploadPage {
    /// What is on it, in order.
    pub listed: Vec<UploadItem>,
    /// Whether there is more; then it comes after the last thing listed.
    pub is_truncated: bool,
}

/// Where the cursor goes first; `None` when nothing can be there.
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

/// Lists uploads. Where the request begins after a key, `after` lets it begin within that key's uploads,
/// after this one.
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

fn corruption() -> ReadError {
    ReadError::Corrupt(Corruption {
        file: "the state of a bucket's uploads".into(),
        position: 0,
        detail: "an upload cannot be decoded".into(),
    })
}
