//! The lines of a history file, as types. The head of `history.rs` defines their meaning.

use serde::{Deserialize, Serialize};

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// A line of the file.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum HistoryLine {
    /// The setup: the first line.
    Setup(HistorySetup),
    /// The beginning of an operation, written before anything is sent.
    Invoke(Invoke),
    /// The end of an operation, written after its answer was read or lost.
    Complete(Complete),
}

/// The parameters of a history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistorySetup {
    /// The number of the format.
    pub format: u32,
    /// The tag in all value ids and bucket names.
    pub tag: String,
    /// The seed of the clients' choices.
    pub seed: u64,
    /// The number of clients.
    pub clients: u32,
    /// The endpoints; operations name them by their index.
    pub endpoints: Vec<String>,
    /// The buckets, which were made, and were empty, before the first operation.
    pub buckets: Vec<String>,
    /// The wall clock when `ns` was 0, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// The beginning of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Invoke {
    /// The number of the operation.
    pub op: u64,
    /// The number of the client.
    pub client: u32,
    /// The endpoint, as an index into the setup's endpoints.
    pub endpoint: u32,
    /// The name of the bucket.
    pub bucket: String,
    /// The kind of the operation, with its parameters.
    #[serde(flatten)]
    pub action: Action,
    /// The time on the monotonic clock of the history, in nanoseconds.
    pub ns: u64,
    /// The time on the wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// The kind of an operation, with its parameters.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// GetObject.
    Get {
        /// The key that is read.
        key: String,
    },
    /// HeadObject.
    Head {
        /// The key that is read.
        key: String,
    },
    /// PutObject.
    Put {
        /// The key that is written.
        key: String,
        /// The value that is written.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// PutObject with `If-None-Match: *`.
    PutIfAbsent {
        /// The key that is written.
        key: String,
        /// The value that is written.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// PutObject with `If-Match`.
    PutIfMatch {
        /// The key that is written.
        key: String,
        /// The value that is written.
        #[serde(flatten)]
        written: WrittenValue,
        /// The ETag that must be the current one, without quotes.
        if_match: String,
    },
    /// DeleteObject.
    Delete {
        /// The key that is deleted.
        key: String,
    },
    /// CreateMultipartUpload and UploadPart for all parts, which change no object.
    Upload {
        /// The key of the upload.
        key: String,
        /// The value that a completion will write.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// CompleteMultipartUpload: the write itself.
    Complete {
        /// The key that is written.
        key: String,
        /// The value that is written.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// One page of ListObjectsV2.
    List {
        /// The prefix of the keys.
        prefix: String,
        /// The last key of the page before this one, or empty.
        after: String,
        /// The most keys on the page.
        max_keys: u32,
    },
}

/// A value that an operation writes.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WrittenValue {
    /// The id of the value, which no other write has.
    pub value: String,
    /// The ETag of the value, without quotes.
    pub etag: String,
    /// The length in bytes.
    pub bytes: u64,
}

impl Action {
    /// Returns the key of the operation; `None` only for a listing, which has a prefix instead.
    pub fn key(&self) -> Option<&str> {
        match self {
            Action::Get { key }
            | Action::Head { key }
            | Action::Put { key, .. }
            | Action::PutIfAbsent { key, .. }
            | Action::PutIfMatch { key, .. }
            | Action::Delete { key }
            | Action::Upload { key, .. }
            | Action::Complete { key, .. } => Some(key),
            Action::List { .. } => None,
        }
    }

    /// Returns the value that is current after the operation is done; `None` for reads, deletes and an
    /// `Upload`, whose value is written only by the later `Complete`.
    pub fn written(&self) -> Option<&WrittenValue> {
        match self {
            Action::Put { written, .. }
            | Action::PutIfAbsent { written, .. }
            | Action::PutIfMatch { written, .. }
            | Action::Complete { written, .. } => Some(written),
            _ => None,
        }
    }

    /// Returns true if the operation never changes an object: `Get`, `Head` and `List`. An `Upload` is not a
    /// read.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Get { .. } | Action::Head { .. } | Action::List { .. })
    }

    /// Returns the name of the kind in the file, which must equal the one that `serde` writes.
    pub fn kind(&self) -> &'static str {
        match self {
            Action::Get { .. } => "get",
            Action::Head { .. } => "head",
            Action::Put { .. } => "put",
            Action::PutIfAbsent { .. } => "put_if_absent",
            Action::PutIfMatch { .. } => "put_if_match",
            Action::Delete { .. } => "delete",
            Action::Upload { .. } => "upload",
            Action::Complete { .. } => "complete",
            Action::List { .. } => "list",
        }
    }
}

/// The end of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Complete {
    /// The number of the operation.
    pub op: u64,
    /// The result of the operation.
    #[serde(flatten)]
    pub result: OperationEnding,
    /// The time on the monotonic clock of the history, in nanoseconds.
    pub ns: u64,
    /// The time on the wall clock, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// The result of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationEnding {
    /// The outcome: done, not done, or unknown.
    pub outcome: OperationOutcome,
    /// The HTTP status; `None` if there was no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// S3's error code, or the way in which the answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The content that the answer shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenContent>,
    /// A fault of the answer by itself, independent of the outcome.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// The outcome of an operation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationOutcome {
    /// Done.
    Ok,
    /// Not done, and never will be.
    Fail,
    /// Not known: the operation may have been done, may be done later, or never. A read of this outcome shows
    /// nothing.
    Unknown,
}

/// The content that an answer shows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenContent {
    /// No object.
    Absent,
    /// An object.
    Object {
        /// The id of the value, if every byte of the body is that of the value. Only a GET can show it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The ETag, without quotes.
        etag: String,
        /// The length in bytes, if the answer shows it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// A page of a listing.
    Page {
        /// Key, ETag and length in bytes of each entry, in the order of the page.
        entries: Vec<(String, String, u64)>,
        /// True if more entries follow after the page.
        is_truncated: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(line: HistoryLine) -> String {
        let text = serde_json::to_string(&line).unwrap();
        assert_eq!(serde_json::from_str::<HistoryLine>(&text).unwrap(), line);
        text
    }

    fn invoke(action: Action) -> HistoryLine {
        let bucket = "b".to_owned();
        HistoryLine::Invoke(Invoke {
            op: 7,
            client: 3,
            endpoint: 1,
            bucket,
            action,
            ns: 5,
            unix_ms: 6,
        })
    }

    #[test]
    fn lines_are_read_as_they_were_written() {
        let written = WrittenValue { value: "t-3.9".into(), etag: "ab".into(), bytes: 812 };
        let key = "k".to_owned();
        assert_eq!(
            round_trip(invoke(Action::PutIfMatch { key, written, if_match: "cd".into() })),
            r#"{"line":"invoke","op":7,"client":3,"endpoint":1,"bucket":"b","kind":"put_if_match","key":"k","value":"t-3.9","etag":"ab","bytes":812,"if_match":"cd","ns":5,"unix_ms":6}"#
        );
        round_trip(invoke(Action::List { prefix: "p".into(), after: String::new(), max_keys: 3 }));
        let ending = |seen| OperationEnding {
            outcome: OperationOutcome::Ok,
            status: Some(200),
            code: None,
            seen,
            wrong: None,
        };
        let complete = |seen| {
            HistoryLine::Complete(Complete { op: 7, result: ending(seen), ns: 8, unix_ms: 9 })
        };
        assert_eq!(
            round_trip(complete(Some(SeenContent::Absent))),
            r#"{"line":"complete","op":7,"outcome":"ok","status":200,"seen":"absent","ns":8,"unix_ms":9}"#
        );
        round_trip(complete(None));
        round_trip(complete(Some(SeenContent::Object {
            value: None,
            etag: "ab".into(),
            bytes: None,
        })));
        let entries = vec![("k".to_owned(), "ab".to_owned(), 812)];
        round_trip(complete(Some(SeenContent::Page { entries, is_truncated: true })));
    }

    #[test]
    fn a_kind_is_named_as_in_the_file() {
        for action in [
            Action::Get { key: "k".into() },
            Action::Delete { key: "k".into() },
            Action::List { prefix: String::new(), after: String::new(), max_keys: 1 },
        ] {
            let kind = format!("\"kind\":\"{}\"", action.kind());
            assert!(round_trip(invoke(action)).contains(&kind));
        }
    }
}
