//! The page of parts that a request wants, of an upload or of an object.

use s3::error::{ErrorCode, S3Error};
use s3::names::number;

use super::page_size::page_size;

/// A page of parts, in the order of their numbers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PartPage {
    /// The marker as the client gave it; 0 without one. May be above every part number.
    pub marker: u32,
    /// The number of parts on the page, at most.
    pub max: usize,
}

impl PartPage {
    /// The page from two texts, each with the name of its parameter or header. Fails with `InvalidArgument` for a text
    /// that is no number; an empty text counts as none.
    pub fn of(max: (&str, Option<&str>), marker: (&str, Option<&str>)) -> Result<Self, S3Error> {
        let max = page_size(max.0, max.1)?;
        let (name, text) = marker;
        let text = text.filter(|text| !text.is_empty()).unwrap_or("0");
        let parsed: Option<u32> = number(text).filter(|marker| *marker <= i32::MAX as u32);
        let marker = parsed.ok_or_else(|| {
            ErrorCode::InvalidArgument
                .because(format!("Argument {name} must be an integer between 0 and 2147483647"))
                .with("ArgumentName", name)
                .with("ArgumentValue", text)
        })?;
        Ok(Self { marker, max })
    }

    /// The highest part number that is not on the page, nor on a later one.
    pub fn after(&self) -> u16 {
        u16::try_from(self.marker).unwrap_or(u16::MAX)
    }

    /// Returns true if parts follow the page, when at least `known` parts come after the marker. A page of no parts ends
    /// the listing, as a page of no keys does.
    pub fn is_truncated(&self, known: usize) -> bool {
        self.max > 0 && known > self.max
    }
}
