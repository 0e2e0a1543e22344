//! The lines of a history file, as types. What they mean is told at the head of `history.rs`.

use serde::{Deserialize, Serialize};

/// The format that is written, and the only one that is read.
pub const FORMAT: u32 = 1;

/// One line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub enum HistoryLine {
    /// The first line: who works against what.
    Setup(HistorySetup),
    /// An operation is about to begin.
    Invoke(Invoke),
    /// An operation has ended.
    Complete(Complete),
}

/// What holds for all of a history.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct HistorySetup {
    /// Which format this is.
    pub format: u32,
    /// The tag in all value ids and bucket names.
    pub tag: String,
    /// What the clients' choices follow from.
    pub seed: u64,
    /// How many clients there are.
    pub clients: u32,
    /// The endpoints; operations name them by their index.
    pub endpoints: Vec<String>,
    /// The buckets. They were made, and were empty, before the first operation.
    pub buckets: Vec<String>,
    /// The wall clock when `ns` was 0, in milliseconds since 1970.
    pub unix_ms: u64,
}

/// The beginning of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Invoke {
    /// The operation's number.
    pub op: u64,
    /// Who asks.
    pub client: u32,
    /// Who is asked: an index into the setup's endpoints.
    pub endpoint: u32,
    /// Where.
    pub bucket: String,
    /// What is asked for.
    #[serde(flatten)]
    pub action: Action,
    /// When, on the monotonic clock of the history.
    pub ns: u64,
    /// When, on the wall clock.
    pub unix_ms: u64,
}

/// What an operation asks for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Action {
    /// GetObject.
    Get {
        /// Of which key.
        key: String,
    },
    /// HeadObject.
    Head {
        /// Of which key.
        key: String,
    },
    /// PutObject.
    Put {
        /// Under which key.
        key: String,
        /// What.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// PutObject with `If-None-Match: *`.
    PutIfAbsent {
        /// Under which key.
        key: String,
        /// What.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// PutObject with `If-Match`.
    PutIfMatch {
        /// Under which key.
        key: String,
        /// What.
        #[serde(flatten)]
        written: WrittenValue,
        /// The ETag that must be the current one.
        if_match: String,
    },
    /// DeleteObject.
    Delete {
        /// Of which key.
        key: String,
    },
    /// CreateMultipartUpload and UploadPart for all parts. Shows nothing to anybody.
    Upload {
        /// Under which key.
        key: String,
        /// What.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// CompleteMultipartUpload: this is the write.
    Complete {
        /// Under which key.
        key: String,
        /// What.
        #[serde(flatten)]
        written: WrittenValue,
    },
    /// One page of ListObjectsV2.
    List {
        /// What keys begin with.
        prefix: String,
        /// The last key of the page before this one, or empty.
        after: String,
        /// How many keys there may be in the page.
        max_keys: u32,
    },
}

/// A value that is written.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WrittenValue {
    /// Its id, which no other write has.
    pub value: String,
    /// Its ETag, without quotes.
    pub etag: String,
    /// Its length.
    pub bytes: u64,
}

impl Action {
    /// The key, if it has one.
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

    /// What it makes current, if it is done. An `Upload` makes nothing current.
    pub fn written(&self) -> Option<&WrittenValue> {
        match self {
            Action::Put { written, .. }
            | Action::PutIfAbsent { written, .. }
            | Action::PutIfMatch { written, .. }
            | Action::Complete { written, .. } => Some(written),
            _ => None,
        }
    }

    /// Whether it changes nothing.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Get { .. } | Action::Head { .. } | Action::List { .. })
    }

    /// Its name in the file.
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
    /// The operation's number.
    pub op: u64,
    /// What became of it.
    #[serde(flatten)]
    pub result: OperationEnding,
    /// When, on the monotonic clock of the history.
    pub ns: u64,
    /// When, on the wall clock.
    pub unix_ms: u64,
}

/// What became of an operation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct OperationEnding {
    /// Whether it was done.
    pub outcome: OperationOutcome,
    /// The HTTP status, if there was an answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// S3's error code, or how the answer was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What the answer shows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen: Option<SeenContent>,
    /// What is wrong with the answer, whatever else happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wrong: Option<String>,
}

/// Whether an operation was done.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationOutcome {
    /// It was.
    Ok,
    /// It was not, and will not be.
    Fail,
    /// Nobody knows: it may have been done, or may still be, or not. A read has told nothing.
    Unknown,
}

/// What an answer shows.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeenContent {
    /// No object.
    Absent,
    /// An object.
    Object {
        /// The id of the value that the body is, every byte of it. Only a GET can tell.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// The ETag, without quotes.
        etag: String,
        /// The length, where the answer tells it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes: Option<u64>,
    },
    /// A page of a listing.
    Page {
        /// Key, ETag and length of what it lists, in its order.
        entries: Vec<(String, String, u64)>,
        /// Whether there is more after it.
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
