//! Heads: the media type of a form with its boundary, and the name and file name of a part.

use http::HeaderMap;

use crate::error::{ErrorCode, S3Error};

/// The longest boundary, in bytes.
const BOUNDARY_BYTES_MAX: usize = 70;

/// The boundary of the form that a request carries. Fails with `PreconditionFailed` for a body of another type, and with
/// `MalformedPostRequest` without a boundary of 1 to 70 visible characters and blanks.
pub fn boundary(headers: &HeaderMap) -> Result<String, S3Error> {
    let no_form = || {
        S3Error::from(ErrorCode::PreconditionFailed)
            .with("Condition", "Bucket POST must be of the enclosure-type multipart/form-data")
    };
    let mut types = headers.get_all("content-type").iter();
    let (Some(media_type), None) = (types.next(), types.next()) else { return Err(no_form()) };
    let text = media_type.to_str().map_err(|_| no_form())?;
    let (of, parameters) = text.split_once(';').unwrap_or((text, ""));
    if !of.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Err(no_form());
    }
    let is_good = |boundary: &str| {
        (1..=BOUNDARY_BYTES_MAX).contains(&boundary.len())
            && boundary.bytes().all(|byte| (0x20..0x7f).contains(&byte))
            && !boundary.ends_with(' ')
    };
    let found = parameters_of(parameters).and_then(|all| one(&all, "boundary"));
    found.filter(|boundary| is_good(boundary)).ok_or(ErrorCode::MalformedPostRequest.into())
}

/// The head of a part.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PartHead {
    /// The field's name.
    pub name: String,
    /// The file name, which any part may have.
    pub filename: Option<String>,
}

impl PartHead {
    /// Reads the lines of a head. `None` unless they are UTF-8 and one of them is a `Content-Disposition` of the type
    /// `form-data` with one name and at most one file name. All other lines are ignored, as RFC 7578 wants it.
    pub fn parse(lines: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(lines).ok()?;
        // A line that begins with a blank continues the line before.
        let unfolded = text.replace("\r\n ", " ").replace("\r\n\t", " ");
        let mut dispositions = unfolded.split("\r\n").filter_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let (value, None) = (dispositions.next()?, dispositions.next()) else { return None };
        let (kind, parameters) = value.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return None;
        }
        let all = parameters_of(parameters)?;
        let name = one(&all, "name")?;
        let is_named = all.iter().any(|(name, _)| name == "filename");
        let filename = one(&all, "filename");
        (filename.is_some() == is_named).then_some(Self { name, filename })
    }
}

/// The value of the parameter with a name; `None` without one and for two.
fn one(parameters: &[(String, String)], name: &str) -> Option<String> {
    let mut found = parameters.iter().filter(|(known, _)| known == name);
    match (found.next(), found.next()) {
        (Some((_, value)), None) => Some(value.clone()),
        _ => None,
    }
}

/// Splits parameters such as `; name="a"; filename="b"`; names in lower case. `None` when they cannot be read.
fn parameters_of(text: &str) -> Option<Vec<(String, String)>> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', ';']);
        if rest.is_empty() {
            return Some(found);
        }
        let (name, behind) = rest.split_once('=')?;
        let (value, next) = match behind.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => {
                let end = behind.find(';').unwrap_or(behind.len());
                (behind[..end].trim().to_owned(), &behind[end..])
            }
        };
        found.push((name.trim().to_ascii_lowercase(), value));
        rest = next.trim_start_matches([' ', '\t']);
        if !rest.is_empty() && !rest.starts_with(';') {
            return None;
        }
    }
}

/// The text up to the closing quotation mark, and the rest behind the mark. A backslash protects a quotation mark and a
/// backslash; before any other character it is a character itself, since some browsers send paths such as `C:\a.txt`.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        match character {
            '"' => return Some((value, &text[at + 1..])),
            '\\' => {
                let protected = characters.next_if(|(_, next)| matches!(next, '"' | '\\'));
                value.push(protected.map_or('\\', |(_, next)| next));
            }
            other => value.push(other),
        }
    }
    None
}
