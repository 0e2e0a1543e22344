//! Encoded words (RFC 2047): text beyond ASCII in the value of a header.

use std::borrow::Cow;

use crate::checksum::base64;

/// The most bytes of text in one word: RFC 2047 permits 75 characters, of which `=?UTF-8?B?` and `?=` take 12.
const WORD_BYTES_MAX: usize = 45;

/// Returns a text as the value of a header that every client can read: visible ASCII, spaces and tabs stay as they are;
/// any other text becomes encoded words in UTF-8 and base64, as AWS sends user metadata. Words are separated by single
/// spaces, which decoders drop. A character is never split over two words, and no word is longer than RFC 2047 permits.
pub fn encoded_word(text: &str) -> Cow<'_, str> {
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~' | b'\t');
    if text.bytes().all(is_plain) {
        return Cow::Borrowed(text);
    }
    let mut words = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut end = rest.len().min(WORD_BYTES_MAX);
        while !rest.is_char_boundary(end) {
            end -= 1;
        }
        let (word, after) = rest.split_at(end);
        if !words.is_empty() {
            words.push(' ');
        }
        words.push_str("=?UTF-8?B?");
        words.push_str(&base64(word.as_bytes()));
        words.push_str("?=");
        rest = after;
    }
    Cow::Owned(words)
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD as BASE64;
    use proptest::prelude::*;

    use super::*;

    fn decoded(words: &str) -> String {
        let word = |word: &str| {
            assert!(word.len() <= 75, "{word}");
            let base64 = word.strip_prefix("=?UTF-8?B?").unwrap().strip_suffix("?=").unwrap();
            String::from_utf8(BASE64.decode(base64).unwrap()).unwrap()
        };
        words.split(' ').map(word).collect()
    }

    #[test]
    fn ascii_stays_and_other_text_is_encoded() {
        for plain in ["", "a b\tc", "=?UTF-8?Q?caf=C3=A9?="] {
            assert_eq!(encoded_word(plain), plain);
        }
        assert_eq!(encoded_word("Miniö"), "=?UTF-8?B?TWluacO2?=");
    }

    proptest! {
        #[test]
        fn words_decode_to_the_text(text in "\\PC{0,200}é") {
            prop_assert_eq!(decoded(&encoded_word(&text)), text);
        }
    }
}
