//! Forms of browsers: the parts of a `multipart/form-data` body, decoded as the body comes.
//!
//! ```text
//!   preamble ──► head ──► value ──► head ──► file ──► head ──► value ──► epilogue
//!                │         field     │         data    └─ read over ─┘
//!                └── name ───────────┘ file name
//! ```
//!
//! Source: RFC 7578 and RFC 2046, section 5.1, with S3's rules: the part named `file` is the file, whatever other parts
//! have a file name, and parts behind the file are ignored. The bytes may be split anywhere. Fields, heads and what
//! stands before the file are bounded; the bytes of the file are passed on as they come.

mod credentials;
mod delimiter;
mod fields;
mod head;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use bytes::{Buf, Bytes, BytesMut};

use crate::error::{ErrorCode, S3Error};
use delimiter::{Delimiter, DelimiterSearch};
use head::PartHead;

pub use credentials::FormCredentials;
pub use fields::FormFields;
pub use head::boundary;

/// The most bytes of all names and values before the file, as AWS has it: 20 KiB.
pub const FIELD_BYTES_MAX: usize = 20 << 10;
/// The most bytes of a body before the first byte of the file, heads of parts included: 64 KiB.
pub const PRELUDE_BYTES_MAX: u64 = 64 << 10;
/// The most bytes of one part's head: 8 KiB.
const HEAD_BYTES_MAX: usize = 8 << 10;

/// A piece of a form, in the order of the body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FormEvent {
    /// A field before the file, with its name and value.
    Field(String, String),
    /// The beginning of the file.
    File {
        /// The file name that the form gives, with its folders if it has them; `None` without one.
        filename: Option<String>,
        /// The place of the file's first byte in the body.
        position: u64,
    },
    /// The next bytes of the file; never empty.
    Data(Bytes),
    /// The end of the file.
    FileEnd,
}

/// The place in a form to which a parser has come.
#[derive(Clone, PartialEq, Eq, Debug)]
enum FormState {
    /// Before the first delimiter.
    Preamble,
    /// In the head of a part.
    Head,
    /// In the value of the field with a name.
    Value(String),
    /// In the file.
    File,
    /// Behind the closing delimiter.
    Epilogue,
}

/// The parser of one form. After an error it must be dropped.
pub struct FormParser {
    delimiter: Delimiter,
    state: FormState,
    /// Bytes of which nothing has been made yet. Begins with a line end, since the first delimiter needs none before it.
    buffer: BytesMut,
    /// The bytes of the buffer in which the end of the state was searched in vain.
    searched: usize,
    /// The bytes of the body that have come.
    received: u64,
    /// The bytes of the names and values of fields.
    field_bytes: usize,
    has_file: bool,
}

fn malformed() -> S3Error {
    ErrorCode::MalformedPostRequest.into()
}

fn too_long() -> S3Error {
    S3Error::from(ErrorCode::MaxPostPreDataLengthExceeded)
        .with("MaxPostPreDataLengthBytes", FIELD_BYTES_MAX.to_string())
}

/// The error for another number of files than one.
pub fn not_one_file(files: usize) -> S3Error {
    ErrorCode::InvalidArgument
        .because("POST requires exactly one file upload per request.")
        .with("ArgumentName", "file")
        .with("ArgumentValue", files.to_string())
}

impl FormParser {
    /// A parser of a body whose parts are separated by a boundary, which must be one that [`boundary`] has read.
    pub fn new(boundary: &str) -> Self {
        Self {
            delimiter: Delimiter::new(boundary),
            state: FormState::Preamble,
            buffer: BytesMut::from(&b"\r\n"[..]),
            searched: 0,
            received: 0,
            field_bytes: 0,
            has_file: false,
        }
    }

    /// The bytes of a body from the end of its file on, only for a form whose last part is the file and whose last byte is
    /// a line end.
    pub fn ending_len(&self) -> u64 {
        self.delimiter.len() as u64 + "--\r\n".len() as u64
    }

    /// Takes the next bytes of the body, and appends the events that they complete.
    ///
    /// Fails with `MalformedPostRequest` for a part without a readable head, with `MaxPostPreDataLengthExceeded` when too
    /// much comes before the file, with `InvalidArgument` for a field that is not text and for a second file.
    pub fn feed(&mut self, bytes: Bytes, events: &mut VecDeque<FormEvent>) -> Result<(), S3Error> {
        self.received += bytes.len() as u64;
        if self.state == FormState::File {
            // Without bytes from before, the file's are passed on without a copy.
            let bytes = if self.buffer.is_empty() {
                bytes
            } else {
                self.buffer.extend_from_slice(&bytes);
                self.buffer.split().freeze()
            };
            self.take_file(bytes, events);
        } else {
            self.buffer.extend_from_slice(&bytes);
        }
        while self.step(events)? {}
        Ok(())
    }

    /// Ends the body. Fails with `MalformedPostRequest` unless the closing delimiter has come.
    pub fn finish(&self) -> Result<(), S3Error> {
        if self.state == FormState::Epilogue { Ok(()) } else { Err(malformed()) }
    }

    /// Makes one state's work; false when more bytes are needed.
    fn step(&mut self, events: &mut VecDeque<FormEvent>) -> Result<bool, S3Error> {
        let goes_on = match &self.state {
            FormState::Preamble => self.skip_preamble(),
            FormState::Head => self.take_head(events)?,
            FormState::Value(_) => self.take_value(events)?,
            FormState::File => false,
            FormState::Epilogue => {
                self.buffer.clear();
                false
            }
        };
        let prelude = (self.received + 2).saturating_sub(self.buffer.len() as u64);
        if !self.has_file && prelude > PRELUDE_BYTES_MAX {
            return Err(too_long());
        }
        Ok(goes_on)
    }

    /// Removes bytes from the front of the buffer.
    fn drop_front(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.searched = 0;
    }

    /// Goes behind a delimiter that ends at `next`.
    fn enter(&mut self, next: usize, state: FormState) -> bool {
        self.drop_front(next);
        self.state = state;
        true
    }

    fn skip_preamble(&mut self) -> bool {
        match self.delimiter.search(&self.buffer, 0) {
            DelimiterSearch::Part { next, .. } => self.enter(next, FormState::Head),
            DelimiterSearch::Close { at } => self.enter(at, FormState::Epilogue),
            DelimiterSearch::Undecided { at } => {
                self.drop_front(at);
                false
            }
        }
    }

    /// Reads a part's head, which begins with the line end of the delimiter and ends with an empty line.
    fn take_head(&mut self, events: &mut VecDeque<FormEvent>) -> Result<bool, S3Error> {
        let from = self.searched;
        let Some(at) = memchr::memmem::find(&self.buffer[from..], b"\r\n\r\n") else {
            // The longest head has a line end in front, and all but one byte of the empty line behind it may have come.
            if self.buffer.len() > 2 + HEAD_BYTES_MAX + 3 {
                return Err(malformed());
            }
            self.searched = self.buffer.len().saturating_sub(3);
            return Ok(false);
        };
        let end = from + at;
        let lines = self.buffer.get(2..end).unwrap_or_default();
        if lines.len() > HEAD_BYTES_MAX {
            return Err(malformed());
        }
        let PartHead { name, filename } = PartHead::parse(lines).ok_or_else(malformed)?;
        self.drop_front(end + 4);
        if !name.eq_ignore_ascii_case("file") {
            self.state = FormState::Value(name);
            return Ok(true);
        }
        if std::mem::replace(&mut self.has_file, true) {
            return Err(not_one_file(2));
        }
        self.state = FormState::File;
        let position = self.received - self.buffer.len() as u64;
        events.push_back(FormEvent::File { filename, position });
        let rest = self.buffer.split().freeze();
        self.take_file(rest, events);
        Ok(true)
    }

    /// Reads a field's value, or over it when it stands behind the file.
    fn take_value(&mut self, events: &mut VecDeque<FormEvent>) -> Result<bool, S3Error> {
        let (end, next, state) = match self.delimiter.search(&self.buffer, self.searched) {
            DelimiterSearch::Part { at, next } => (at, next, FormState::Head),
            DelimiterSearch::Close { at } => (at, at, FormState::Epilogue),
            DelimiterSearch::Undecided { at } if self.has_file => {
                self.drop_front(at);
                return Ok(false);
            }
            DelimiterSearch::Undecided { at } => {
                self.searched = at;
                let is_over = self.field_bytes + at > FIELD_BYTES_MAX;
                return if is_over { Err(too_long()) } else { Ok(false) };
            }
        };
        if !self.has_file
            && let FormState::Value(name) = &mut self.state
        {
            let name = std::mem::take(name);
            self.field_bytes += name.len() + end;
            if self.field_bytes > FIELD_BYTES_MAX {
                return Err(too_long());
            }
            let value = String::from_utf8(self.buffer[..end].to_vec()).map_err(|_| {
                ErrorCode::InvalidArgument
                    .because("The value of a field is not text.")
                    .with("ArgumentName", name.clone())
            })?;
            events.push_back(FormEvent::Field(name, value));
        }
        Ok(self.enter(next, state))
    }

    /// Passes the file's bytes on. Only what may be the beginning of a delimiter stays here.
    fn take_file(&mut self, bytes: Bytes, events: &mut VecDeque<FormEvent>) {
        let (end, next, state) = match self.delimiter.search(&bytes, 0) {
            DelimiterSearch::Part { at, next } => (at, next, FormState::Head),
            DelimiterSearch::Close { at } => (at, at, FormState::Epilogue),
            DelimiterSearch::Undecided { at } => (at, at, FormState::File),
        };
        if end > 0 {
            events.push_back(FormEvent::Data(bytes.slice(..end)));
        }
        if state != FormState::File {
            events.push_back(FormEvent::FileEnd);
        }
        self.searched = 0;
        self.buffer.extend_from_slice(&bytes[next..]);
        self.state = state;
    }
}
