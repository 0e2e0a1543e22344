//! A look at the bytes of a head for a `Content-Length` that hyper takes away.
//!
//! A head with `Transfer-Encoding` and `Content-Length` is how requests are smuggled past a proxy that believes the length.
//! hyper goes by the coding, removes the length from the headers, and closes the connection after the response; a handler
//! cannot see that there was one. The scan sees it, so that such a head can be refused.
//!
//! The scan follows heads that begin between two requests. A head that came while the request before was under way is not
//! scanned; hyper's treatment holds for it alone.

/// The name to look for.
const NAME: &[u8] = b"content-length";

/// The scan of one connection. Costs a pass over the bytes of heads, and keeps a few bytes.
#[derive(Default)]
pub struct HeadScan {
    /// The number of requests that had begun when the scan of this head began.
    after: usize,
    place: HeadPlace,
    /// The beginning of the line, in lower case.
    line: [u8; NAME.len() + 1],
    filled: usize,
}

/// The place in a head.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
enum HeadPlace {
    /// Before the request line; empty lines are skipped.
    #[default]
    Start,
    Lines,
    /// Behind the empty line.
    End,
}

impl HeadScan {
    /// Takes the next bytes that came between two requests, in order; `requests` is the number of requests that have begun.
    /// Returns true if they end a line with a content length, in the head of the next request.
    pub fn feed(&mut self, bytes: &[u8], requests: usize) -> bool {
        if self.after != requests {
            *self = Self { after: requests, ..Self::default() };
        }
        let mut is_found = false;
        let mut rest = bytes;
        while self.place != HeadPlace::End && !rest.is_empty() {
            let line = rest.iter().position(|byte| *byte == b'\n');
            let (text, after) = rest.split_at(line.unwrap_or(rest.len()));
            self.take(text);
            rest = after;
            if line.is_some() {
                rest = &rest[1..];
                is_found |= self.end_line();
            }
        }
        is_found
    }

    /// Takes bytes of a line.
    fn take(&mut self, text: &[u8]) {
        let room = self.line.len() - self.filled;
        for byte in text.iter().filter(|byte| **byte != b'\r').take(room) {
            self.line[self.filled] = byte.to_ascii_lowercase();
            self.filled += 1;
        }
    }

    /// Ends the line; returns true if it is that of a content length.
    fn end_line(&mut self) -> bool {
        let line = &self.line[..self.filled];
        let is_found = line.strip_prefix(NAME).is_some_and(|rest| rest.starts_with(b":"));
        self.place = match (self.place, line.is_empty()) {
            (HeadPlace::Start, true) => HeadPlace::Start,
            (_, true) => HeadPlace::End,
            (_, false) => HeadPlace::Lines,
        };
        self.filled = 0;
        is_found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_is_found_in_its_own_head_only_however_the_bytes_come() {
        let heads: [(&[u8], bool); 8] = [
            (b"PUT / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", true),
            (b"PUT / HTTP/1.1\nhost: a\ncontent-length:3\n\n", true),
            (b"\r\n\r\nPUT / HTTP/1.1\r\nCONTENT-LENGTH: 0\r\nTransfer-Encoding: chunked\r\n\r\n", true),
            (b"PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n30\r\ncontent-length: 3\r\n\r\n", false),
            (b"PUT / HTTP/1.1\r\nx-content-length: 3\r\ncontent-length-x: 3\r\n\r\n", false),
            (b"PUT /content-length: HTTP/1.1\r\nx: content-length: 3\r\n\r\n", false),
            (b"GET / HTTP/1.1\r\n\r\n", false),
            (b"", false),
        ];
        for (head, has_length) in heads {
            for piece in [1, 2, 3, 7, 1000] {
                let mut scan = HeadScan::default();
                for requests in 0..3 {
                    let mut found = head.chunks(piece).filter(|piece| scan.feed(piece, requests));
                    let text = String::from_utf8_lossy(head);
                    assert_eq!(found.next().is_some(), has_length, "{text} by {piece}");
                }
            }
        }
    }
}
