//! The delimiters between the parts of a form.

use memchr::memmem::Finder;

/// The most blanks that may stand between a boundary and the end of its line.
const PADDING_BYTES_MAX: usize = 64;

/// The delimiter of one form: a line end, two hyphens and the boundary. A delimiter counts only if its line ends behind
/// it, or if two more hyphens close the form; other bytes that look like one are bytes of a part.
pub struct Delimiter {
    text: Vec<u8>,
    finder: Finder<'static>,
}

/// The result of a search. All places are indices in the bytes that were searched.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DelimiterSearch {
    /// A delimiter with a part behind it.
    Part {
        /// The end of the bytes before the delimiter.
        at: usize,
        /// The place of the line end with which the delimiter's line ends.
        next: usize,
    },
    /// The delimiter that closes the form.
    Close {
        /// The end of the bytes before the delimiter.
        at: usize,
    },
    /// No delimiter before a place. From there on more bytes are needed to tell.
    Undecided {
        /// The place.
        at: usize,
    },
}

/// The meaning of the bytes behind a delimiter.
enum DelimiterEnd {
    Part(usize),
    Close,
    MoreNeeded,
    NoDelimiter,
}

/// Reads on behind a delimiter.
fn end_of(rest: &[u8]) -> DelimiterEnd {
    if rest.starts_with(b"--") {
        return DelimiterEnd::Close;
    }
    let blanks = rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match &rest[blanks..] {
        _ if blanks > PADDING_BYTES_MAX => DelimiterEnd::NoDelimiter,
        [b'\r', b'\n', ..] => DelimiterEnd::Part(blanks),
        [] | [b'\r'] => DelimiterEnd::MoreNeeded,
        [b'-'] if blanks == 0 => DelimiterEnd::MoreNeeded,
        _ => DelimiterEnd::NoDelimiter,
    }
}

impl Delimiter {
    /// The delimiter of a boundary, which must not be empty.
    pub fn new(boundary: &str) -> Self {
        let text = format!("\r\n--{boundary}").into_bytes();
        let finder = Finder::new(&text).into_owned();
        Self { text, finder }
    }

    /// The length in bytes, with the line end before the boundary.
    pub fn len(&self) -> usize {
        self.text.len()
    }

    /// Searches the first delimiter that begins at or behind `from`. Bytes before `from` must have been searched already.
    pub fn search(&self, bytes: &[u8], mut from: usize) -> DelimiterSearch {
        while let Some(found) = self.finder.find(&bytes[from..]) {
            let at = from + found;
            let behind = at + self.text.len();
            match end_of(&bytes[behind..]) {
                DelimiterEnd::Part(blanks) => {
                    return DelimiterSearch::Part { at, next: behind + blanks };
                }
                DelimiterEnd::Close => return DelimiterSearch::Close { at },
                DelimiterEnd::MoreNeeded => return DelimiterSearch::Undecided { at },
                DelimiterEnd::NoDelimiter => from = at + 1,
            }
        }
        let longest = self.text.len().min(bytes.len() - from);
        let begun = (1..=longest).rev().find(|len| bytes.ends_with(&self.text[..*len]));
        DelimiterSearch::Undecided { at: bytes.len() - begun.unwrap_or(0) }
    }
}
