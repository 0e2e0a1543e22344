//! The body of a browser's form: the fields before the file, then the file as a source of payload.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use http::request::Parts;
use s3::error::{ErrorCode, S3Error};
use s3::form::{FormEvent, FormFields, FormParser, boundary, not_one_file};
use s3::headers;
use s3::names::number;
use s3::post_policy::SizeRange;

use super::receive::ReceivedPieces;
use super::source::PayloadSource;
use crate::api::request::RequestBody;

/// A client that keeps up is still waited for no longer than this before the file.
const FIELDS_TIME: Duration = Duration::from_secs(120);

/// The body of a form. Anyone may send one, so everything before the file is bounded in bytes and in time.
pub struct FormBody {
    pieces: ReceivedPieces,
    parser: FormParser,
    events: VecDeque<FormEvent>,
    /// The length of the whole body in bytes.
    len: u64,
    /// The place of the file's first byte in the body.
    position: u64,
}

impl FormBody {
    /// The form that a request carries, unread. Fails with `PreconditionFailed` for a body that is no form, with
    /// `MissingContentLength` for one of unknown length, and with `MalformedPostRequest` without a boundary.
    pub fn new(parts: &Parts, body: RequestBody, stall: Duration) -> Result<Self, S3Error> {
        let boundary = boundary(&parts.headers)?;
        let declared = headers::text(&parts.headers, "content-length")?;
        let len = declared.and_then(number::<u64>).ok_or(ErrorCode::MissingContentLength)?;
        Ok(Self {
            pieces: ReceivedPieces::undecoded(parts, body, stall, FIELDS_TIME),
            parser: FormParser::new(&boundary),
            events: VecDeque::new(),
            len,
            position: 0,
        })
    }

    /// The next event; `None` at the end of a form that was closed.
    async fn event(&mut self) -> Result<Option<FormEvent>, S3Error> {
        loop {
            if let Some(event) = self.events.pop_front() {
                return Ok(Some(event));
            }
            match self.pieces.next().await? {
                Some(bytes) => self.parser.feed(bytes, &mut self.events)?,
                None => return self.parser.finish().map(|()| None),
            }
        }
    }

    /// Reads up to the first byte of the file. Fails with `InvalidArgument` for a form without a file, and as the parser of
    /// forms does.
    pub async fn fields(&mut self) -> Result<FormFields, S3Error> {
        let mut fields = FormFields::default();
        while let Some(event) = self.event().await? {
            match event {
                FormEvent::Field(name, value) => fields.push(name, value)?,
                FormEvent::File { filename, position } => {
                    fields.set_filename(filename)?;
                    self.position = position;
                    return Ok(fields);
                }
                FormEvent::Data(_) | FormEvent::FileEnd => {}
            }
        }
        Err(not_one_file(0))
    }

    /// The file, of a size in a range. [`Self::fields`] must have succeeded before. From now on the client is waited for as long as it
    /// keeps up.
    pub fn file(mut self, sizes: SizeRange) -> FormFile {
        self.pieces.wait_in_all(Duration::MAX);
        FormFile { form: self, sizes, came: 0, ahead: VecDeque::new(), has_ended: false }
    }
}

/// The file of a form. Ends only after the whole form has come.
pub struct FormFile {
    form: FormBody,
    sizes: SizeRange,
    came: u64,
    /// Bytes that were read before they were asked for.
    ahead: VecDeque<Bytes>,
    has_ended: bool,
}

impl FormFile {
    /// The most bytes that the file may have, those that came included. The file never becomes longer.
    pub fn len_max(&self) -> u64 {
        self.form.len.saturating_sub(self.form.position).min(self.sizes.max)
    }

    /// The size of the file if it is the last part of the form, which it is as browsers send forms.
    fn proposed(&self) -> u64 {
        self.form.len.saturating_sub(self.form.position + self.form.parser.ending_len())
    }

    /// Reads the file ahead. Returns its size once all of it has come; `None` as soon as more than `bytes` bytes have.
    pub async fn look_ahead(&mut self, bytes: u64) -> Result<Option<u64>, S3Error> {
        while self.came <= bytes {
            match self.receive().await? {
                Some(piece) => self.ahead.push_back(piece),
                None => return Ok(Some(self.came)),
            }
        }
        Ok(None)
    }

    /// The next bytes from the client. Fails with `EntityTooLarge` as soon as the file is too large, and at its end with
    /// `EntityTooSmall`.
    async fn receive(&mut self) -> Result<Option<Bytes>, S3Error> {
        while !self.has_ended {
            match self.form.event().await? {
                Some(FormEvent::Data(bytes)) => {
                    self.came += bytes.len() as u64;
                    self.sizes.check_max(self.came, self.proposed())?;
                    return Ok(Some(bytes));
                }
                Some(FormEvent::FileEnd) => self.sizes.check_min(self.came)?,
                // Nothing but the end is told of what stands behind the file.
                Some(_) => {}
                None => self.has_ended = true,
            }
        }
        Ok(None)
    }
}

impl PayloadSource for FormFile {
    async fn next(&mut self) -> Result<Option<Bytes>, S3Error> {
        match self.ahead.pop_front() {
            Some(bytes) => Ok(Some(bytes)),
            None => self.receive().await,
        }
    }
}
