//! Looks at what a client sends before the protocol's implementation does, and at what it is answered until it has
//! logged in.
//!
//! ```text
//!   client ──bytes──▶ whole, well-formed messages ──▶ pgwire
//!   client ◀────────────────bytes─────────────────── pgwire
//! ```
//! pgwire takes a message apart without asking whether all of it is there, and panics where it is not. Here
//! lengths and shapes are checked first; a client that breaks the protocol is told so and hung up on. It is
//! also where encryption, which there is none of yet, is declined.
//!
//! Until AuthenticationOk has come from pgwire, client and server take turns: one message of the client's is let
//! through for each question of the server's, and nothing at all after an error. What a client sent ahead waits here,
//! and is thrown away if the login fails. Shapes: PostgreSQL's documentation, "Message Formats".

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// A startup message, as PostgreSQL limits it.
const STARTUP_BYTES_MAX: usize = 10_000;
/// A message of a login.
const LOGIN_BYTES_MAX: usize = 16 << 10;
/// Any other message: a query's text with its parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// An answer of ours during a login.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// A client that is hung up on may finish its sending, so that it gets to read why: so long, and so much.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 16 << 20;

const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// Kinds of AuthenticationRequest: the login is over, and the two questions of SASL.
const OK: i32 = 0;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;

/// PostgreSQL's codes: a broken protocol, a message beyond what is taken.
pub const PROTOCOL_VIOLATION: &str = "08P01";
const LIMIT_EXCEEDED: &str = "54000";

/// What stands next in a client's bytes.
#[derive(PartialEq, Eq, Debug)]
enum NextFrame {
    /// Not all of it has come.
    More,
    /// Encryption is asked for, in so many bytes.
    Encryption(usize),
    /// A message of so many bytes.
    Message(usize),
    /// The protocol is broken.
    Wrong(&'static str),
    /// The message is longer than any may be.
    Long(&'static str),
}

/// The messages that a client may send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientTurn {
    /// The startup message.
    Startup,
    /// The first message of SCRAM, with the mechanism's name.
    First,
    /// SCRAM's proof.
    Proof,
    /// Queries.
    Queries,
}

impl ClientTurn {
    fn next(self, bytes: &[u8]) -> NextFrame {
        match self {
            ClientTurn::Startup => Self::startup(bytes),
            _ => self.message(bytes),
        }
    }

    fn startup(bytes: &[u8]) -> NextFrame {
        let (Some(len), Some(code)) = (number(bytes, 0), number(bytes, 4)) else {
            return NextFrame::More;
        };
        let len = match usize::try_from(len) {
            Ok(len) if (8..=STARTUP_BYTES_MAX).contains(&len) => len,
            _ => return NextFrame::Wrong("a startup message of no possible length"),
        };
        match code {
            SSL | GSS if len == 8 => return NextFrame::Encryption(len),
            CANCEL if len < 16 => return NextFrame::Wrong("a cancellation that is too short"),
            CANCEL => {}
            code if code >> 16 == 3 && len > 8 => {}
            _ => return NextFrame::Wrong("no protocol that is spoken here"),
        }
        if bytes.len() < len {
            return NextFrame::More;
        }
        NextFrame::Message(len)
    }

    fn message(self, bytes: &[u8]) -> NextFrame {
        let Some(kind) = bytes.first() else { return NextFrame::More };
        if self != ClientTurn::Queries && !matches!(kind, b'p' | b'X') {
            return NextFrame::Wrong("a message before the login is over");
        }
        let Some(len) = number(bytes, 1) else { return NextFrame::More };
        let longest = if self == ClientTurn::Queries { MESSAGE_BYTES_MAX } else { LOGIN_BYTES_MAX };
        let len = match usize::try_from(len) {
            Ok(len) if (4..=longest).contains(&len) => len,
            Ok(len) if len > longest && matches!(kind, b'Q' | b'P' | b'B') => {
                return NextFrame::Long("a message may have 1 MiB");
            }
            _ => return NextFrame::Wrong("a message of no possible length"),
        };
        let Some(body) = bytes.get(5..1 + len) else { return NextFrame::More };
        let is_well_formed = match (self, kind) {
            (ClientTurn::First, b'p') => MessageBody(body).begins_login(),
            (ClientTurn::Proof, b'p') => true,
            (_, b'X') => body.is_empty(),
            (_, kind) => MessageBody(body).fits(*kind),
        };
        match is_well_formed {
            true => NextFrame::Message(1 + len),
            false => NextFrame::Wrong("a message that is not what its kind has to be"),
        }
    }
}

/// A big-endian number at a place.
fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The rest of a message's body.
struct MessageBody<'a>(&'a [u8]);

impl MessageBody<'_> {
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

/// A connection between a client and the protocol's implementation.
pub struct BoundedStream {
    client: TcpStream,
    inner: UnixStream,
    /// Bytes that came from the client and were not let through yet.
    asked: BytesMut,
    /// Bytes that came from the implementation and were not let through yet.
    answered: BytesMut,
    /// A seeded bug: the gate opens after so many messages as a login has, whatever became of them.
    opens_early: bool,
}

impl BoundedStream {
    pub fn new(client: TcpStream, inner: UnixStream, opens_early: bool) -> Self {
        let (asked, answered) = (BytesMut::with_capacity(4 << 10), BytesMut::new());
        Self { client, inner, asked, answered, opens_early }
    }

    /// Carries a login to its end. Gives whether the client is in; AuthenticationOk itself waits to be carried.
    pub async fn log_in(&mut self) -> io::Result<bool> {
        let mut turn = ClientTurn::Startup;
        loop {
            if !self.let_through(turn).await? {
                return Ok(false);
            }
            if self.opens_early && turn == ClientTurn::Proof {
                return Ok(true);
            }
            turn = loop {
                let Some((kind, len)) = self.answer().await? else { return Ok(false) };
                let question = number(&self.answered, 5).filter(|_| kind == b'R' && len >= 9);
                if question == Some(OK) {
                    return Ok(true);
                }
                self.client.write_all(&self.answered.split_to(len)).await?;
                match (kind, question) {
                    (b'E', _) => {
                        self.farewell().await;
                        return Ok(false);
                    }
                    (_, Some(SASL)) => break ClientTurn::First,
                    (_, Some(SASL_CONTINUE)) => break ClientTurn::Proof,
                    _ => {}
                }
            };
        }
    }

    /// Lets one message of the client's through. Gives false where the connection is over.
    async fn let_through(&mut self, turn: ClientTurn) -> io::Result<bool> {
        loop {
            match turn.next(&self.asked) {
                NextFrame::More if self.client.read_buf(&mut self.asked).await? == 0 => {
                    return Ok(false);
                }
                NextFrame::More => {}
                NextFrame::Encryption(len) => {
                    self.asked.advance(len);
                    self.client.write_all(b"N").await?;
                }
                NextFrame::Message(len) => {
                    self.inner.write_all(&self.asked.split_to(len)).await?;
                    return Ok(true);
                }
                NextFrame::Wrong(what) => {
                    self.refuse(PROTOCOL_VIOLATION, what).await?;
                    return Ok(false);
                }
                NextFrame::Long(what) => {
                    self.refuse(LIMIT_EXCEEDED, what).await?;
                    return Ok(false);
                }
            }
        }
    }

    /// Waits for a whole answer; gives its kind and length. None comes where the implementation has hung up.
    async fn answer(&mut self) -> io::Result<Option<(u8, usize)>> {
        loop {
            if let (Some(kind), Some(len)) = (self.answered.first(), number(&self.answered, 1)) {
                let len = 1 + usize::try_from(len).unwrap_or(usize::MAX - 1);
                if len > ANSWER_BYTES_MAX {
                    return Err(io::Error::other("an answer of no possible length"));
                }
                if self.answered.len() >= len {
                    return Ok(Some((*kind, len)));
                }
            }
            if self.inner.read_buf(&mut self.answered).await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Carries messages after the login, until either side hangs up.
    pub async fn carry(&mut self) -> io::Result<()> {
        self.client.write_all(&self.answered.split()).await?;
        let asked = &mut self.asked;
        let (mut from_client, mut to_client) = self.client.split();
        let (mut from_inner, mut to_inner) = self.inner.split();
        let refusal = {
            let up = async {
                loop {
                    match ClientTurn::Queries.next(asked) {
                        NextFrame::More if from_client.read_buf(asked).await? == 0 => {
                            return Ok::<_, io::Error>(None);
                        }
                        NextFrame::More => {}
                        NextFrame::Message(len) => to_inner.write_all(&asked.split_to(len)).await?,
                        NextFrame::Encryption(_) => {
                            return Ok(Some((PROTOCOL_VIOLATION, "encryption asked for late")));
                        }
                        NextFrame::Wrong(what) => return Ok(Some((PROTOCOL_VIOLATION, what))),
                        NextFrame::Long(what) => return Ok(Some((LIMIT_EXCEEDED, what))),
                    }
                }
            };
            tokio::select! {
                end = up => end?,
                copied = io::copy(&mut from_inner, &mut to_client) => return copied.map(|_| ()),
            }
        };
        match refusal {
            None => {
                to_inner.shutdown().await?;
                io::copy(&mut from_inner, &mut to_client).await.map(|_| ())
            }
            Some((code, what)) => self.refuse(code, what).await,
        }
    }

    /// Tells a client why it is hung up on.
    pub async fn refuse(&mut self, code: &str, what: &str) -> io::Result<()> {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{what}\0\0");
        let mut message = vec![b'E'];
        message.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(fields.as_bytes());
        self.client.write_all(&message).await?;
        self.farewell().await;
        Ok(())
    }

    /// Ends the writing half, and throws away what the client still sends: a connection that is closed with unread
    /// bytes is reset, and the client may never read what it was told.
    async fn farewell(&mut self) {
        let discard = async {
            self.client.shutdown().await?;
            let mut left = FAREWELL_BYTES_MAX;
            let mut bytes = [0; 4 << 10];
            while left > 0 {
                match self.client.read(&mut bytes).await? {
                    0 => break,
                    read => left = left.saturating_sub(read),
                }
            }
            Ok::<_, io::Error>(())
        };
        let _ = tokio::time::timeout(FAREWELL, discard).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            assert_eq!(
                ClientTurn::Queries.next(&message),
                NextFrame::Message(message.len()),
                "{}",
                kind as char
            );
            for end in 0..message.len() {
                assert_eq!(
                    ClientTurn::Queries.next(&message[..end]),
                    NextFrame::More,
                    "{} {end}",
                    kind as char
                );
            }
            // Cut short inside, with a length that says so.
            for end in 0..body.len() {
                let cut = ClientTurn::Queries.next(&framed(kind, &body[..end]));
                assert!(matches!(cut, NextFrame::Wrong(_)), "{} {end}: {cut:?}", kind as char);
            }
        }
    }

    #[test]
    fn impossible_lengths_and_unknown_kinds_are_refused() {
        for message in [
            [&b"Q"[..], &3i32.to_be_bytes()].concat(),
            [&b"Q"[..], &(-1i32).to_be_bytes()].concat(),
            framed(b'F', b"\0\0\0\0"),
            framed(b'd', b"copy"),
            framed(b'D', b"Zname\0"),
        ] {
            assert!(
                matches!(ClientTurn::Queries.next(&message), NextFrame::Wrong(_)),
                "{message:?}"
            );
        }
        let long = [&b"Q"[..], &(1i32 << 30).to_be_bytes()].concat();
        assert!(matches!(ClientTurn::Queries.next(&long), NextFrame::Long(_)));
        assert!(matches!(ClientTurn::First.next(&long), NextFrame::Wrong(_)));
        for turn in [ClientTurn::First, ClientTurn::Proof] {
            for kind in *b"QPBDCEHSFdcf" {
                let next = turn.next(&framed(kind, b"SELECT 1\0"));
                assert!(matches!(next, NextFrame::Wrong(_)), "{turn:?} {}: {next:?}", kind as char);
            }
        }
        assert!(matches!(ClientTurn::First.next(&framed(b'p', b"SCRAM")), NextFrame::Wrong(_)));
        let first = framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
        assert_eq!(ClientTurn::First.next(&first), NextFrame::Message(first.len()));
    }

    #[test]
    fn a_connection_begins_with_a_protocol_that_is_spoken() {
        let startup = |len: i32, code: i32| [len.to_be_bytes(), code.to_be_bytes()].concat();
        assert_eq!(ClientTurn::Startup.next(&startup(8, SSL)), NextFrame::Encryption(8));
        assert_eq!(ClientTurn::Startup.next(&startup(20, 196_608)), NextFrame::More);
        for (len, code) in
            [(7, 196_608), (8, 196_608), (1 << 20, 196_608), (-1, SSL), (20, 2 << 16)]
        {
            let next = ClientTurn::Startup.next(&startup(len, code));
            assert!(matches!(next, NextFrame::Wrong(_)), "{len} {code}: {next:?}");
        }
    }

    /// A connection whose server and client halves the test plays.
    async fn connection(opens_early: bool) -> (BoundedStream, TcpStream, UnixStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let address = listener.local_addr().expect("its address");
        let client = TcpStream::connect(address).await.expect("a connection");
        let (accepted, _) = listener.accept().await.expect("its other end");
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        (BoundedStream::new(accepted, ours, opens_early), client, theirs)
    }

    fn question(code: i32) -> Vec<u8> {
        framed(b'R', &code.to_be_bytes())
    }

    /// Messages that a client sends at once, without waiting for anything: a whole login, and a query.
    fn pipelined() -> Vec<u8> {
        let startup =
            [&20i32.to_be_bytes()[..], &196_608i32.to_be_bytes(), b"user\0root\0\0\0"].concat();
        let first = framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
        [startup, first, framed(b'p', b"proof"), framed(b'Q', b"SELECT 1\0")].concat()
    }

    /// Plays a server that asks and answers so, and would run whatever comes. Gives whether the login was let pass,
    /// and the kinds of messages that reached the server.
    async fn play(answers: &[Vec<u8>], opens_early: bool) -> (bool, Vec<u8>) {
        let (mut wire, mut client, mut server) = connection(opens_early).await;
        client.write_all(&pipelined()).await.expect("room");
        client.shutdown().await.expect("an end");
        let server = async move {
            let mut bytes = BytesMut::new();
            let mut kinds = Vec::new();
            let mut answers = answers.iter();
            loop {
                if server.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                    return kinds;
                }
                while let (Some(first), Some(len)) = (bytes.first(), number(&bytes, 1)) {
                    let is_startup = kinds.is_empty();
                    let len = if is_startup { 20 } else { 1 + len as usize };
                    if bytes.len() < len {
                        break;
                    }
                    kinds.push(if is_startup { 0 } else { *first });
                    bytes.advance(len);
                    if let Some(answer) = answers.next() {
                        server.write_all(answer).await.expect("room");
                    }
                }
            }
        };
        let carried = async move {
            let is_in = wire.log_in().await.expect("a login");
            if is_in {
                wire.carry().await.expect("an end");
            }
            is_in
        };
        tokio::join!(carried, server)
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
    }

    /// A wrong proof was answered, and the query behind it run: the gate counted messages.
    #[test]
    fn nothing_passes_behind_a_login_that_failed() {
        runtime().block_on(async {
            let error = framed(b'E', b"SFATAL\0\0");
            let failing = [
                vec![question(SASL), question(SASL_CONTINUE), error.clone()],
                // The server even says that it is ready for queries.
                vec![
                    question(SASL),
                    question(SASL_CONTINUE),
                    [error.clone(), framed(b'Z', b"I")].concat(),
                ],
                vec![question(SASL), error.clone()],
                vec![error.clone()],
                vec![[error.clone(), question(OK)].concat()],
            ];
            for answers in &failing {
                let (is_in, kinds) = play(answers, false).await;
                assert!(!is_in && !kinds.contains(&b'Q'), "{kinds:?}");
            }
            let good =
                [question(SASL), question(SASL_CONTINUE), [question(12), question(OK)].concat()];
            assert_eq!(play(&good, false).await, (true, vec![0, b'p', b'p', b'Q']));
            // The bug that this is about is seen.
            assert!(play(&failing[0], true).await.1.contains(&b'Q'));
        });
    }
}
