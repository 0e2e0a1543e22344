//! Concludes from an answer which outcome its operation had.
//!
//! A success proves that the operation was done, a refusal (4xx) that it was not. A failure of the server
//! (5xx) proves nothing about a write: the write may have been done, may be done later, or never. The same
//! holds for a connection that breaks after a part of the request was sent. With a conclusion that is too
//! strong, a checker would report faults that are none. With one that is too weak, a checker would miss
//! faults.

use http::{HeaderMap, StatusCode};
use s3::xml::XmlDocument;
use serde::Deserialize;

use super::line::{Action, OperationEnding, OperationOutcome, SeenContent};
use super::value::identify;
use crate::client::LostRequest;
use crate::xml::text_of;

/// The answer to a request.
#[derive(Debug)]
pub struct HistoryAnswer {
    /// The HTTP status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The complete body.
    pub body: Vec<u8>,
}

impl HistoryAnswer {
    /// Returns the decoded text of the first XML element of this name in the body; `None` if the element is
    /// missing or cannot be decoded. Never fails.
    pub fn element(&self, name: &str) -> Option<String> {
        text_of(&self.body, name).ok().flatten()
    }

    /// Returns the ETag of the header without quotes; `None` if the header is missing or is not ASCII text.
    pub fn etag(&self) -> Option<String> {
        let etag = self.headers.get("etag")?.to_str().ok()?;
        Some(unquoted(etag))
    }

    fn length(&self) -> Option<u64> {
        self.headers.get("content-length")?.to_str().ok()?.parse().ok()
    }
}

fn unquoted(etag: &str) -> String {
    etag.trim_matches('"').to_owned()
}

fn ending(outcome: OperationOutcome) -> OperationEnding {
    OperationEnding { outcome, status: None, code: None, seen: None, wrong: None }
}

/// Returns the result of an operation whose request got no answer: failed only if nothing was sent, unknown
/// otherwise.
///
/// The `code` of the result begins with `unsent`, `broken` or `late`.
pub fn of_lost(lost: &LostRequest) -> OperationEnding {
    let (outcome, code) = match lost {
        LostRequest::Unsent(error) => (OperationOutcome::Fail, format!("unsent: {error:#}")),
        LostRequest::Broken(error) => (OperationOutcome::Unknown, format!("broken: {error:#}")),
        LostRequest::Late => (OperationOutcome::Unknown, "late".to_owned()),
    };
    OperationEnding { code: Some(code), ..ending(outcome) }
}

/// Returns the result of an operation by the answer to its last request.
///
/// 2xx is done, with the content seen; an answer that cannot be right is still done, with `wrong` set. 3xx
/// and 4xx are failed, except that 404 to a read is done (absent) and 408 is unknown. All other statuses are
/// unknown. A completion without an ETag is unknown, too: after a 200 the body can still contain an error.
pub fn of_answer(action: &Action, answer: &HistoryAnswer) -> OperationEnding {
    let status = Some(answer.status.as_u16());
    let known = match answer.status.as_u16() {
        200..300 => done(action, answer),
        300..500 => refused(action, answer),
        _ => OperationEnding { code: answer.element("Code"), ..ending(OperationOutcome::Unknown) },
    };
    OperationEnding { status, ..known }
}

fn done(action: &Action, answer: &HistoryAnswer) -> OperationEnding {
    let shown = match action {
        Action::Get { .. } => got(answer),
        Action::Head { .. } => object(None, answer.etag(), answer.length()),
        Action::Put { .. } | Action::PutIfAbsent { .. } | Action::PutIfMatch { .. } => {
            object(None, answer.etag(), None)
        }
        Action::Complete { .. } => match answer.element("ETag") {
            Some(etag) => object(None, Some(unquoted(&etag)), None),
            // A failure can also come after a 200: the body then contains an error.
            None => {
                let code = answer.element("Code");
                return OperationEnding { code, ..ending(OperationOutcome::Unknown) };
            }
        },
        Action::List { .. } => page(&answer.body),
        Action::Delete { .. } | Action::Upload { .. } => Ok(None),
    };
    match shown {
        Ok(seen) => OperationEnding { seen, ..ending(OperationOutcome::Ok) },
        Err((seen, wrong)) => {
            OperationEnding { seen, wrong: Some(wrong), ..ending(OperationOutcome::Ok) }
        }
    }
}

/// The content that is seen, or a description of the fault beside the content that is seen.
type Shown = Result<Option<SeenContent>, (Option<SeenContent>, String)>;

fn object(value: Option<String>, etag: Option<String>, bytes: Option<u64>) -> Shown {
    match etag {
        Some(etag) => Ok(Some(SeenContent::Object { value, etag, bytes })),
        None => Err((None, "an answer without an ETag".into())),
    }
}

fn got(answer: &HistoryAnswer) -> Shown {
    let bytes = Some(answer.body.len() as u64);
    match identify(&answer.body) {
        Ok(value) => object(Some(value), answer.etag(), bytes),
        Err(wrong) => Err((object(None, answer.etag(), bytes).unwrap_or_default(), wrong)),
    }
}

fn page(body: &[u8]) -> Shown {
    match s3::xml::read::<ListBucketResult>(body) {
        Ok(page) => Ok(Some(SeenContent::Page {
            entries: page.contents.into_iter().map(ListedObject::entry).collect(),
            is_truncated: page.is_truncated,
        })),
        Err(_) => Err((None, "a listing that cannot be read".into())),
    }
}

/// A page of a listing, as far as it is checked.
#[derive(Deserialize)]
struct ListBucketResult {
    #[serde(rename = "IsTruncated")]
    is_truncated: bool,
    #[serde(rename = "Contents", default)]
    contents: Vec<ListedObject>,
}

impl XmlDocument for ListBucketResult {
    const ROOT: &'static str = "ListBucketResult";
}

/// An object of the page.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ListedObject {
    key: String,
    #[serde(rename = "ETag")]
    etag: String,
    size: u64,
}

impl ListedObject {
    fn entry(self) -> (String, String, u64) {
        (self.key, unquoted(&self.etag), self.size)
    }
}

fn refused(action: &Action, answer: &HistoryAnswer) -> OperationEnding {
    let status = answer.status.as_u16();
    let code = answer.element("Code");
    let absent = Some(SeenContent::Absent);
    match (action, status, code.as_deref()) {
        // An answer to HEAD has no body that could contain a code.
        (Action::Head { .. }, 404, None) | (Action::Get { .. }, 404, Some("NoSuchKey")) => {
            OperationEnding { seen: absent, ..ending(OperationOutcome::Ok) }
        }
        (Action::PutIfMatch { .. }, 404, Some("NoSuchKey")) => {
            OperationEnding { code, seen: absent, ..ending(OperationOutcome::Fail) }
        }
        // The buckets exist, as do uploads and parts that were acknowledged.
        (_, _, Some("NoSuchBucket" | "NoSuchUpload" | "InvalidPart")) => {
            let wrong = code.as_ref().map(|code| format!("{code}, of what is there"));
            OperationEnding { code, wrong, ..ending(OperationOutcome::Fail) }
        }
        // A server that answers 408 has given up a wait, which need not be the wait for this client's
        // request.
        (_, 408, _) => OperationEnding { code, ..ending(OperationOutcome::Unknown) },
        _ => OperationEnding { code, ..ending(OperationOutcome::Fail) },
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::super::line::WrittenValue;
    use super::super::value::HistoryValue;
    use super::*;

    fn key() -> String {
        "k".into()
    }

    fn written() -> WrittenValue {
        WrittenValue { value: "t-1.1".into(), etag: "ab".into(), bytes: 3 }
    }

    fn answer(status: u16, etag: Option<&'static str>, body: &[u8]) -> HistoryAnswer {
        let mut headers = HeaderMap::new();
        if let Some(etag) = etag {
            headers.insert("etag", HeaderValue::from_static(etag));
        }
        HistoryAnswer {
            status: StatusCode::from_u16(status).unwrap(),
            headers,
            body: body.to_vec(),
        }
    }

    fn code(status: u16, code: &str) -> HistoryAnswer {
        answer(status, None, format!("<Error><Code>{code}</Code></Error>").as_bytes())
    }

    #[test]
    fn a_write_is_done_refused_or_unknown() {
        let put = Action::Put { key: key(), written: written() };
        let if_absent = Action::PutIfAbsent { key: key(), written: written() };
        let outcome = |action: &Action, answer: &HistoryAnswer| of_answer(action, answer).outcome;
        assert_eq!(outcome(&put, &answer(200, Some("\"ab\""), b"")), OperationOutcome::Ok);
        assert_eq!(outcome(&if_absent, &code(412, "PreconditionFailed")), OperationOutcome::Fail);
        assert_eq!(outcome(&put, &code(400, "IncompleteBody")), OperationOutcome::Fail);
        for status in [500, 502, 503, 504] {
            assert_eq!(outcome(&put, &code(status, "InternalError")), OperationOutcome::Unknown);
        }
        assert_eq!(of_lost(&LostRequest::Late).outcome, OperationOutcome::Unknown);
        assert_eq!(
            of_lost(&LostRequest::Broken(anyhow::anyhow!("x"))).outcome,
            OperationOutcome::Unknown
        );
        assert_eq!(
            of_lost(&LostRequest::Unsent(anyhow::anyhow!("x"))).outcome,
            OperationOutcome::Fail
        );
    }

    #[test]
    fn a_completion_that_fails_after_its_200_is_unknown() {
        let complete = Action::Complete { key: key(), written: written() };
        let done = answer(200, None, b"<R><ETag>&#34;ab-2&#34;</ETag></R>");
        let seen = SeenContent::Object { value: None, etag: "ab-2".into(), bytes: None };
        assert_eq!(of_answer(&complete, &done).seen, Some(seen));
        assert_eq!(
            of_answer(&complete, &code(200, "InternalError")).outcome,
            OperationOutcome::Unknown
        );
    }

    #[test]
    fn a_read_shows_a_value_or_that_there_is_none() {
        let (get, head) = (Action::Get { key: key() }, Action::Head { key: key() });
        let value = HistoryValue::new("t-1.1".into(), 100);
        let seen = of_answer(&get, &answer(200, Some("\"ab\""), &value.body)).seen;
        let (value_id, bytes) = (Some("t-1.1".to_owned()), Some(100));
        assert_eq!(seen, Some(SeenContent::Object { value: value_id, etag: "ab".into(), bytes }));
        for ending in
            [of_answer(&get, &code(404, "NoSuchKey")), of_answer(&head, &answer(404, None, b""))]
        {
            assert_eq!(
                (ending.outcome, ending.seen),
                (OperationOutcome::Ok, Some(SeenContent::Absent))
            );
        }
        assert_eq!(of_answer(&get, &code(503, "SlowDown")).outcome, OperationOutcome::Unknown);
    }

    #[test]
    fn wrong_answers_are_told() {
        let get = Action::Get { key: key() };
        let torn = of_answer(&get, &answer(200, Some("\"ab\""), b"t-1.1 100\nx"));
        assert!(torn.wrong.unwrap().contains("t-1.1"));
        assert!(of_answer(&get, &code(404, "NoSuchBucket")).wrong.is_some());
        let list = Action::List { prefix: String::new(), after: String::new(), max_keys: 9 };
        assert!(of_answer(&list, &answer(200, None, b"<ListBucketResult>")).wrong.is_some());
    }

    #[test]
    fn a_page_is_read() {
        let xml = b"<ListBucketResult><IsTruncated>true</IsTruncated><Contents><Key>a/1</Key>\
            <ETag>&quot;ab&quot;</ETag><Size>4</Size></Contents></ListBucketResult>";
        let list = Action::List { prefix: String::new(), after: String::new(), max_keys: 9 };
        let entries = vec![("a/1".to_owned(), "ab".to_owned(), 4)];
        let seen = Some(SeenContent::Page { entries, is_truncated: true });
        assert_eq!(of_answer(&list, &answer(200, None, xml)).seen, seen);
    }
}
