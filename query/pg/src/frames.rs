//! Looks at what a client sends before the protocol's implementation does.
//!
//! ```text
//!   client ──bytes──▶ whole, well-formed messages ──▶ pgwire
//!   client ◀────────────────bytes─────────────────── pgwire
//! ```
//! pgwire takes a message apart without asking whether all of it is there, and panics where it is not. Here
//! lengths and shapes are checked first; a client that breaks the protocol is told so and hung up on. It is
//! also where encryption, which there is none of yet, is declined. Shapes: PostgreSQL's documentation,
//! "Message Formats".

use bytes::{Buf, BytesMut};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A startup message, as PostgreSQL limits it.
const STARTUP_BYTES_MAX: usize = 10_000;
/// A message of a login.
const LOGIN_BYTES_MAX: usize = 64 << 10;
/// Any other message: a query's text with its parameters.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// Messages with which a client proves who it is, with SCRAM.
const LOGIN_MESSAGES: usize = 2;

/// What stands next in a client's bytes.
#[derive(PartialEq, Eq, Debug)]
enum Next {
    /// Not all of it has come.
    More,
    /// Encryption is asked for, in so many bytes.
    Encryption(usize),
    /// A message of so many bytes.
    Message(usize),
    /// The protocol is broken.
    Wrong(&'static str),
}

/// How far a connection has come.
#[derive(Default)]
struct Progress {
    has_started: bool,
    logins: usize,
}

impl Progress {
    fn next(&mut self, bytes: &[u8]) -> Next {
        match self.has_started {
            false => self.startup(bytes),
            true => self.message(bytes),
        }
    }

    fn startup(&mut self, bytes: &[u8]) -> Next {
        let (Some(len), Some(code)) = (number(bytes, 0), number(bytes, 4)) else {
            return Next::More;
        };
        let len = match usize::try_from(len) {
            Ok(len) if (8..=STARTUP_BYTES_MAX).contains(&len) => len,
            _ => return Next::Wrong("a startup message of no possible length"),
        };
        match code {
            SSL | GSS if len == 8 => return Next::Encryption(len),
            CANCEL if len < 16 => return Next::Wrong("a cancellation that is too short"),
            CANCEL => {}
            code if code >> 16 == 3 && len > 8 => {}
            _ => return Next::Wrong("no protocol that is spoken here"),
        }
        if bytes.len() < len {
            return Next::More;
        }
        self.has_started = true;
        Next::Message(len)
    }

    fn message(&mut self, bytes: &[u8]) -> Next {
        let (Some(kind), Some(len)) = (bytes.first(), number(bytes, 1)) else { return Next::More };
        let is_login = self.logins < LOGIN_MESSAGES;
        let longest = if is_login { LOGIN_BYTES_MAX } else { MESSAGE_BYTES_MAX };
        let len = match usize::try_from(len) {
            Ok(len) if (4..=longest).contains(&len) => len,
            _ => return Next::Wrong("a message of no possible length"),
        };
        let Some(body) = bytes.get(5..1 + len) else { return Next::More };
        let is_well_formed = match (is_login, kind) {
            (true, b'p') if self.logins == 0 => Body(body).begins_login(),
            (true, b'p') => true,
            (true, b'X') => body.is_empty(),
            (true, _) => return Next::Wrong("a message before the login is over"),
            (false, kind) => Body(body).fits(*kind),
        };
        if !is_well_formed {
            return Next::Wrong("a message that is not what its kind has to be");
        }
        self.logins += usize::from(is_login);
        Next::Message(1 + len)
    }
}

/// A big-endian number at a place.
fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The rest of a message's body.
struct Body<'a>(&'a [u8]);

impl Body<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Takes a text that ends with a zero.
    fn text(&mut self) -> Option<()> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        self.take(end + 1).map(|_| ())
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|mut bytes| bytes.get_u16())
    }

    /// Takes a count and so many items of so many bytes.
    fn items(&mut self, bytes: usize) -> Option<()> {
        let count = usize::from(self.short()?);
        self.take(count * bytes).map(|_| ())
    }

    /// Takes a value with its length before it; none has length -1.
    fn value(&mut self) -> Option<()> {
        let len = number(self.take(4)?, 0)?;
        match usize::try_from(len) {
            Ok(len) => self.take(len).map(|_| ()),
            Err(_) => (len == -1).then_some(()),
        }
    }

    fn is_over(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    fn begins_login(mut self) -> bool {
        let mut read = || {
            self.text()?;
            self.value()?;
            self.is_over()
        };
        read().is_some()
    }

    /// Whether this is the body of a message of that kind.
    fn fits(mut self, kind: u8) -> bool {
        let mut read = || {
            match kind {
                b'Q' => self.text()?,
                b'P' => {
                    self.text()?;
                    self.text()?;
                    self.items(4)?;
                }
                b'B' => {
                    self.text()?;
                    self.text()?;
                    self.items(2)?;
                    for _ in 0..self.short()? {
                        self.value()?;
                    }
                    self.items(2)?;
                }
                b'D' | b'C' => {
                    self.take(1).filter(|target| matches!(target, [b'S' | b'P']))?;
                    self.text()?;
                }
                b'E' => {
                    self.text()?;
                    self.take(4)?;
                }
                b'H' | b'S' | b'X' => {}
                // Nothing is copied in here, and functions are called in queries.
                _ => return None,
            }
            self.is_over()
        };
        read().is_some()
    }
}

/// How a client's side of a connection ended.
enum End {
    /// It sends no more.
    Closed,
    /// It broke the protocol.
    Broken(&'static str),
}

/// Carries a connection between a client and the protocol's implementation until either hangs up.
pub async fn carry(mut client: TcpStream, mut inner: UnixStream) -> io::Result<()> {
    let mut bytes = BytesMut::with_capacity(8 << 10);
    let mut progress = Progress::default();
    // Until the protocol begins, answers are ours.
    while !progress.has_started {
        match progress.next(&bytes) {
            Next::More if client.read_buf(&mut bytes).await? == 0 => return Ok(()),
            Next::More => {}
            Next::Encryption(len) => {
                bytes.advance(len);
                client.write_all(b"N").await?;
            }
            Next::Message(len) => inner.write_all(&bytes.split_to(len)).await?,
            Next::Wrong(what) => return refuse(&mut client, what).await,
        }
    }
    let (mut from_client, mut to_client) = client.split();
    let (mut from_inner, mut to_inner) = inner.split();
    let end = {
        let up = async {
            loop {
                match progress.next(&bytes) {
                    Next::More if from_client.read_buf(&mut bytes).await? == 0 => {
                        return Ok::<_, io::Error>(End::Closed);
                    }
                    Next::More => {}
                    Next::Message(len) => to_inner.write_all(&bytes.split_to(len)).await?,
                    Next::Encryption(_) => return Ok(End::Broken("encryption asked for late")),
                    Next::Wrong(what) => return Ok(End::Broken(what)),
                }
            }
        };
        let down = io::copy(&mut from_inner, &mut to_client);
        tokio::select! {
            end = up => end?,
            copied = down => {
                copied?;
                return Ok(());
            }
        }
    };
    match end {
        End::Closed => {
            to_inner.shutdown().await?;
            io::copy(&mut from_inner, &mut to_client).await.map(|_| ())
        }
        End::Broken(what) => refuse(&mut client, what).await,
    }
}

/// Tells a client that it broke the protocol: code 08P01.
async fn refuse(client: &mut TcpStream, what: &str) -> io::Result<()> {
    let fields = format!("SFATAL\0VFATAL\0C08P01\0M{what}\0\0");
    let mut message = vec![b'E'];
    message.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
    message.extend_from_slice(fields.as_bytes());
    client.write_all(&message).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started() -> Progress {
        Progress { has_started: true, logins: LOGIN_MESSAGES }
    }

    fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
        let len = (body.len() as u32 + 4).to_be_bytes();
        [&[kind], &len[..], body].concat()
    }

    #[test]
    fn messages_are_let_through_when_all_of_them_is_there() {
        let bind = b"portal\0statement\0\0\x01\0\x01\0\x02\0\0\0\x03abc\xff\xff\xff\xff\0\x01\0\0";
        for (kind, body) in [
            (b'Q', b"SELECT 1\0".as_slice()),
            (b'P', b"\0SELECT $1\0\0\x01\0\0\0\x17"),
            (b'B', bind),
            (b'D', b"Sname\0"),
            (b'C', b"P\0"),
            (b'E', b"\0\0\0\0\0"),
            (b'S', b""),
            (b'X', b""),
        ] {
            let message = framed(kind, body);
            assert_eq!(started().next(&message), Next::Message(message.len()), "{}", kind as char);
            for end in 0..message.len() {
                assert_eq!(started().next(&message[..end]), Next::More, "{} {end}", kind as char);
            }
            // Cut short inside, with a length that says so.
            for end in 0..body.len() {
                let cut = started().next(&framed(kind, &body[..end]));
                assert!(matches!(cut, Next::Wrong(_)), "{} {end}: {cut:?}", kind as char);
            }
        }
    }

    #[test]
    fn impossible_lengths_and_unknown_kinds_are_refused() {
        for message in [
            [&b"Q"[..], &3i32.to_be_bytes()].concat(),
            [&b"Q"[..], &(-1i32).to_be_bytes()].concat(),
            [&b"Q"[..], &(1i32 << 30).to_be_bytes()].concat(),
            framed(b'F', b"\0\0\0\0"),
            framed(b'd', b"copy"),
            framed(b'D', b"Zname\0"),
        ] {
            assert!(matches!(started().next(&message), Next::Wrong(_)), "{message:?}");
        }
        let mut at_login = Progress { has_started: true, logins: 0 };
        assert!(matches!(at_login.next(&framed(b'Q', b"SELECT 1\0")), Next::Wrong(_)));
        assert!(matches!(at_login.next(&framed(b'p', b"SCRAM")), Next::Wrong(_)));
        let first = framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
        assert_eq!(at_login.next(&first), Next::Message(first.len()));
    }

    #[test]
    fn a_connection_begins_with_a_protocol_that_is_spoken() {
        let startup = |len: i32, code: i32| [len.to_be_bytes(), code.to_be_bytes()].concat();
        assert_eq!(Progress::default().next(&startup(8, SSL)), Next::Encryption(8));
        assert_eq!(Progress::default().next(&startup(20, 196_608)), Next::More);
        for (len, code) in
            [(7, 196_608), (8, 196_608), (1 << 20, 196_608), (-1, SSL), (20, 2 << 16)]
        {
            let next = Progress::default().next(&startup(len, code));
            assert!(matches!(next, Next::Wrong(_)), "{len} {code}: {next:?}");
        }
    }
}
