//! Decoders of browsers' forms: the parts of a `multipart/form-data` body, and policies with the fields that they allow.
//! The results are compared with those of simpler programs, which need the whole input at once.
//!
//! Test code, included by path by the fuzz targets and by the test that repeats their corpora.
#![allow(dead_code, reason = "each fuzz target uses one function")]

use std::collections::VecDeque;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use s3::error::ErrorCode;
use s3::form::{self, FIELD_BYTES_MAX, FormCredentials, FormEvent, FormFields, FormParser};
use s3::post_policy::{PostPolicy, SizeRange};
use serde_json::Value;

/// A byte of the input that stands for many letters, so that short inputs reach the bounds of forms.
const MANY: u8 = 0xfe;
/// The most bytes [`MANY`] in an input that count.
const MANY_MAX: usize = 8;

/// The events of a body that comes in pieces of a length, with the bytes of the file joined.
fn parsed(boundary: &str, body: &Bytes, split: usize) -> Result<Vec<FormEvent>, ErrorCode> {
    let (mut parser, mut rest) = (FormParser::new(boundary), body.clone());
    let mut events = VecDeque::new();
    while !rest.is_empty() {
        let fed = parser.feed(rest.split_to(split.min(rest.len())), &mut events);
        fed.map_err(|error| error.code)?;
    }
    parser.finish().map_err(|error| error.code)?;
    let mut joined: Vec<FormEvent> = Vec::new();
    for event in events {
        match (joined.last_mut(), event) {
            (Some(FormEvent::Data(before)), FormEvent::Data(more)) => {
                *before = [before.as_ref(), more.as_ref()].concat().into();
            }
            (_, event) => joined.push(event),
        }
    }
    Ok(joined)
}

/// The first delimiter at or behind `from`, by its definition: its place, the place behind it, and true if it closes the
/// form.
fn delimiter(body: &[u8], boundary: &str, from: usize) -> Option<(usize, usize, bool)> {
    let text = format!("\r\n--{boundary}");
    (from..body.len()).find_map(|at| {
        let rest = body[at..].strip_prefix(text.as_bytes())?;
        let behind = body.len() - rest.len();
        if rest.starts_with(b"--") {
            return Some((at, behind + 2, true));
        }
        let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let ends = blanks <= 64 && rest[blanks..].starts_with(b"\r\n");
        ends.then_some((at, behind + blanks, false))
    })
}

/// The heads and contents of a form's parts, cut at the delimiters. `None` for a form that is not closed, and for a part
/// without an end of its head.
fn parts_of<'a>(body: &'a [u8], boundary: &str) -> Option<Vec<(&'a [u8], &'a [u8])>> {
    let (_, mut next, mut is_closed) = delimiter(body, boundary, 0)?;
    let mut parts = Vec::new();
    while !is_closed {
        let head = body[next..].windows(4).position(|four| four == b"\r\n\r\n")? + next;
        let (at, behind, closes) = delimiter(body, boundary, head + 4)?;
        parts.push((body.get(next + 2..head).unwrap_or_default(), &body[head + 4..at]));
        (next, is_closed) = (behind, closes);
    }
    Some(parts)
}

/// Fails unless the events of an accepted form are the parts of its body, in their order, up to the file.
fn compare_with_parts(events: &[FormEvent], body: &[u8], boundary: &str) {
    let body = [b"\r\n", body].concat();
    let parts = parts_of(&body, boundary).expect("an accepted form has parts");
    let mut parts = parts.into_iter();
    let mut content: Option<&[u8]> = None;
    let mut field_bytes = 0;
    for event in events {
        match event {
            FormEvent::Field(name, value) => {
                let (_, content) = parts.next().expect("a field is a part");
                assert_eq!(value.as_bytes(), content);
                assert!(!name.eq_ignore_ascii_case("file"));
                field_bytes += name.len() + value.len();
            }
            FormEvent::File { position, .. } => {
                let (_, file) = parts.next().expect("the file is a part");
                let position = usize::try_from(*position).unwrap() + 2;
                assert_eq!(&body[position..position + file.len()], file);
                content = Some(file);
            }
            FormEvent::Data(bytes) => {
                assert_eq!(content.replace(b""), Some(bytes.as_ref()));
                assert!(!bytes.is_empty());
            }
            FormEvent::FileEnd => assert_eq!(content, Some(&b""[..])),
        }
    }
    assert!(field_bytes <= FIELD_BYTES_MAX, "{field_bytes} bytes of fields");
}

/// Collects the fields of a form, and reads the credentials in them. No signature is right, because none can be guessed.
fn read_fields(events: Vec<FormEvent>) {
    let mut fields = FormFields::default();
    for event in events {
        let taken = match event {
            FormEvent::Field(name, value) => fields.push(name, value),
            FormEvent::File { filename, .. } => fields.set_filename(filename),
            FormEvent::Data(_) | FormEvent::FileEnd => Ok(()),
        };
        if taken.is_err() {
            return;
        }
    }
    let bytes: usize = fields.all().map(|(name, value)| name.len() + value.len()).sum();
    assert!(bytes <= 2 * FIELD_BYTES_MAX, "{bytes} bytes of fields with the name of the file");
    if let Ok(Some(credentials)) = FormCredentials::of(&fields) {
        assert!(!credentials.access_key.is_empty() && !credentials.policy.is_empty());
        assert!(credentials.verify("secret", Some("us-east-1")).is_err());
    }
}

/// Reads a form: byte 0 of the input is the length of pieces, bytes 1 and 2 the number of letters for which a byte `0xfe`
/// of the body stands. The first line of the rest is the media type, the other lines are the body. The result never
/// depends on the pieces.
pub fn form(data: &[u8]) {
    let Some(([split, low, high], rest)) = data.split_first_chunk() else { return };
    let Some(line) = rest.iter().position(|byte| *byte == b'\n') else { return };
    let mut headers = HeaderMap::new();
    let Ok(media_type) = HeaderValue::from_bytes(&rest[..line]) else { return };
    headers.insert("content-type", media_type);
    let Ok(boundary) = form::boundary(&headers) else { return };
    let letters = usize::from(u16::from_le_bytes([*low, *high]) % (24 << 10));
    let (mut body, mut many) = (Vec::new(), 0);
    for byte in &rest[line + 1..] {
        if *byte == MANY && many < MANY_MAX {
            many += 1;
            body.resize(body.len() + letters, b'a');
        } else {
            body.push(*byte);
        }
    }
    let body = Bytes::from(body);
    let whole = parsed(&boundary, &body, usize::MAX);
    let pieces = parsed(&boundary, &body, 1 + usize::from(*split));
    assert_eq!(whole, pieces, "pieces of {} bytes", 1 + usize::from(*split));
    if let Ok(events) = whole {
        // The definition searches at every place, which takes long in long bodies.
        if body.len() < 8 << 10 {
            compare_with_parts(&events, &body, &boundary);
        }
        read_fields(events);
    }
}

/// The fields of a form without those that have no meaning, and the name of its file without folders.
struct PlainForm<'a> {
    bucket: &'a str,
    fields: Vec<(&'a str, &'a str)>,
    filename: Option<&'a str>,
}

impl PlainForm<'_> {
    fn expanded(&self, text: &str) -> String {
        self.filename.map_or_else(|| text.to_owned(), |name| text.replace("${filename}", name))
    }

    /// The value that a condition on a field compares.
    fn value(&self, name: &str) -> String {
        let is_same = |other: &str| other.eq_ignore_ascii_case(name);
        if is_same("bucket") {
            return self.bucket.to_owned();
        }
        let signature =
            ["policy", "x-amz-signature", "signature", "awsaccesskeyid", "x-amz-credential"];
        match self.fields.iter().find(|(known, _)| is_same(known)) {
            None => String::new(),
            Some((_, value)) if signature.into_iter().any(is_same) => (*value).to_owned(),
            Some((_, value)) => self.expanded(value),
        }
    }

    /// True only if a condition holds. `None` for one about sizes.
    fn holds(&self, matching: &str, name: &str, wanted: &str) -> bool {
        let Some(name) = name.strip_prefix('$') else { return false };
        let (value, wanted) = (self.value(name), self.expanded(wanted));
        match matching {
            "eq" => value == wanted,
            _ if name.eq_ignore_ascii_case("content-type") => {
                value.split(',').all(|one| one.trim_start().starts_with(&wanted))
            }
            _ => value.starts_with(&wanted),
        }
    }
}

/// A condition of a policy as a comparison, a field and a value; the last two are values of JSON.
fn condition(value: &Value) -> (String, Value, Value) {
    match value {
        Value::Object(members) => {
            let (name, value) = members.iter().next().unwrap();
            ("eq".into(), Value::from(format!("${name}")), value.clone())
        }
        other => {
            let operation = other[0].as_str().unwrap().to_ascii_lowercase();
            (operation, other[1].clone(), other[2].clone())
        }
    }
}

fn bytes_of(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str().and_then(s3::names::number))
}

/// The decision of a policy that the decoder takes, made from its JSON: true if the form may be sent before the expiration,
/// and the sizes of its file.
fn reference(document: &Value, form: &PlainForm<'_>) -> (bool, SizeRange) {
    let conditions: Vec<_> =
        document["conditions"].as_array().unwrap().iter().map(condition).collect();
    let mut sizes = SizeRange { min: 0, max: u64::MAX };
    let mut is_allowed = true;
    for (operation, first, second) in &conditions {
        if operation != "content-length-range" {
            let (name, wanted) = (first.as_str().unwrap(), second.as_str().unwrap());
            is_allowed &= form.holds(operation, name, wanted);
        } else if let (Some(min), Some(max)) = (bytes_of(first), bytes_of(second)) {
            sizes = SizeRange { min: sizes.min.max(min), max: sizes.max.min(max) };
        } else {
            is_allowed = false;
        }
    }
    let free = ["policy", "x-amz-signature", "signature", "awsaccesskeyid", "file"];
    let is_named = |name: &str| {
        let named = conditions.iter().filter(|(operation, ..)| operation != "content-length-range");
        let mut named = named.filter_map(|(_, field, _)| field.as_str()?.strip_prefix('$'));
        named.any(|known| known.eq_ignore_ascii_case(name))
    };
    let needs_no_condition = |name: &str| {
        let lower = name.to_ascii_lowercase();
        free.contains(&lower.as_str()) || s3::headers::is_checksum(&lower)
    };
    let names = form.fields.iter().map(|(name, _)| *name).chain(["bucket"]);
    let mut uncovered = names.filter(|name| !needs_no_condition(name) && !is_named(name));
    (is_allowed && uncovered.next().is_none(), sizes)
}

/// Decides a form by a policy. The input has texts that are separated by zero bytes: the policy in JSON, the bucket, the
/// name of the file (none for an empty text), then fields as `name=value`.
pub fn policy(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let mut texts = text.split('\0');
    let document = texts.next().unwrap_or_default();
    let (bucket, filename) = (texts.next().unwrap_or("b"), texts.next().unwrap_or_default());
    // The policy as a client may send it, in any form.
    let _ = PostPolicy::decode(document);
    let Ok(policy) = PostPolicy::decode(&BASE64_STANDARD.encode(document)) else { return };
    let mut fields = FormFields::default();
    for pair in texts.clone() {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if fields.push(name.to_owned(), value.to_owned()).is_err() {
            return;
        }
    }
    let filename = (!filename.is_empty()).then(|| filename.to_owned());
    if fields.set_filename(filename.clone()).is_err() {
        return;
    }
    let allowed = policy.check(bucket, &fields, i64::MIN);
    assert!(policy.check(bucket, &fields, i64::MAX).is_err(), "a policy without an end");
    // Two escapes are S3's alone; JSON of its own has one reader.
    let Ok(document) = serde_json::from_str::<Value>(document) else { return };
    let is_meant = |name: &&str| !name.to_ascii_lowercase().starts_with("x-ignore-");
    let form = PlainForm {
        bucket,
        fields: texts
            .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
            .filter(|(name, _)| is_meant(name))
            .collect(),
        filename: filename.as_deref().and_then(|path| path.rsplit(['/', '\\']).next()),
    };
    let (is_allowed, sizes) = reference(&document, &form);
    assert_eq!(allowed.is_ok(), is_allowed, "{allowed:?}");
    assert_eq!(policy.size_range(u64::MAX), sizes);
}
