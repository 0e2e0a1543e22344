//! Checks a client's messages before pgwire reads them, and pgwire's messages until the client has logged in.
//!
//! ```text
//!   client ──bytes──▶ complete, well-formed messages ──▶ pgwire
//!   client ◀────────────────────bytes────────────────── pgwire
//! ```
//! pgwire decodes a message without checking its length, and panics if it is too short. Therefore lengths and
//! shapes are checked here first. A client that breaks the protocol receives an error and is disconnected.
//! Requests for encryption, which is not supported yet, are declined here as well.
//!
//! Until pgwire has sent AuthenticationOk, client and server take turns: for each question of the server one
//! message of the client is passed on, and none after an error. Later messages that a client has sent already
//! wait here, and are dropped if the login fails. Shapes: PostgreSQL's documentation, "Message Formats".
//!
//! Memory: a connection buffers at most one message of a client and what one read adds to it.

use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{self, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// The most bytes of a startup message, as in PostgreSQL.
const STARTUP_BYTES_MAX: usize = 10_000;
/// The most bytes of a message during the login.
const LOGIN_BYTES_MAX: usize = 16 << 10;
/// The most bytes of any other message: a query's text with its parameters.
const MESSAGE_BYTES_MAX: usize = 1 << 20;
/// The most bytes of an answer during the login.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// The time, and below the bytes, in which a disconnected client may finish sending, so that it can read the
/// error.
const FAREWELL: Duration = Duration::from_secs(1);
const FAREWELL_BYTES_MAX: usize = 16 << 20;

const SSL: i32 = 80_877_103;
const GSS: i32 = 80_877_104;
const CANCEL: i32 = 80_877_102;

/// Kinds of AuthenticationRequest: the end of the login, and the two questions of SASL.
const OK: i32 = 0;
const SASL: i32 = 10;
const SASL_CONTINUE: i32 = 11;

/// The SQLSTATE of a message that breaks the protocol, and below that of a message beyond a limit.
pub const PROTOCOL_VIOLATION: &str = "08P01";
const LIMIT_EXCEEDED: &str = "54000";

/// The next item in a client's bytes.
#[derive(PartialEq, Eq, Debug)]
enum NextFrame {
    /// An incomplete message.
    More,
    /// A request for encryption, with its length in bytes.
    Encryption(usize),
    /// A message, with its length in bytes.
    Message(usize),
    /// A violation of the protocol.
    Wrong(&'static str),
    /// A message beyond the limit.
    Long(&'static str),
}

/// The messages that a client may send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum ClientTurn {
    /// The startup message.
    Startup,
    /// The first message of SCRAM, with the name of the mechanism.
    First,
    /// The proof of SCRAM.
    Proof,
    /// Messages after the login.
    Queries,
}

impl ClientTurn {
    /// Returns the next item in the client's bytes.
    fn next(self, bytes: &[u8]) -> NextFrame {
        match self {
            ClientTurn::Startup => Self::startup(bytes),
            _ => self.message(bytes),
        }
    }

    /// Reads a startup message, a request for encryption or a cancellation.
    fn startup(bytes: &[u8]) -> NextFrame {
        let (Some(len), Some(code)) = (number(bytes, 0), number(bytes, 4)) else {
            return NextFrame::More;
        };
        let len = match usize::try_from(len) {
            Ok(len) if (8..=STARTUP_BYTES_MAX).contains(&len) => len,
            _ => return NextFrame::Wrong("the startup message has an invalid length"),
        };
        match code {
            SSL | GSS if len == 8 => return NextFrame::Encryption(len),
            CANCEL if len < 16 => return NextFrame::Wrong("a cancellation that is too short"),
            CANCEL => {}
            // Version 3 of the protocol; pgwire negotiates the minor version.
            code if code >> 16 == 3 && len > 8 => {}
            _ => return NextFrame::Wrong("unsupported version of the protocol"),
        }
        if bytes.len() < len {
            return NextFrame::More;
        }
        NextFrame::Message(len)
    }

    /// Reads a message with a kind and a length.
    fn message(self, bytes: &[u8]) -> NextFrame {
        let Some(kind) = bytes.first() else { return NextFrame::More };
        if self != ClientTurn::Queries && !matches!(kind, b'p' | b'X') {
            return NextFrame::Wrong("a message before the login has finished");
        }
        let Some(len) = number(bytes, 1) else { return NextFrame::More };
        let longest = if self == ClientTurn::Queries { MESSAGE_BYTES_MAX } else { LOGIN_BYTES_MAX };
        let len = match usize::try_from(len) {
            Ok(len) if (4..=longest).contains(&len) => len,
            // Only these messages may be long for a good reason: the client learns the limit, and not that the
            // protocol is broken.
            Ok(len) if len > longest && matches!(kind, b'Q' | b'P' | b'B') => {
                return NextFrame::Long("a message may have 1 MiB");
            }
            _ => return NextFrame::Wrong("a message has an invalid length"),
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
            false => NextFrame::Wrong("a message is malformed"),
        }
    }
}

/// Returns the big-endian number at a position, if all of its bytes are there.
fn number(bytes: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The rest of a message's body.
struct MessageBody<'a>(&'a [u8]);

impl MessageBody<'_> {
    /// Removes bytes from the front; `None` if there are not as many.
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    /// Removes a text that ends with a zero byte.
    fn text(&mut self) -> Option<()> {
        let end = self.0.iter().position(|byte| *byte == 0)?;
        self.take(end + 1).map(|_| ())
    }

    /// Removes a number of two bytes.
    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|mut bytes| bytes.get_u16())
    }

    /// Removes a count, and as many items of `bytes` bytes.
    fn items(&mut self, bytes: usize) -> Option<()> {
        let count = usize::from(self.short()?);
        self.take(count * bytes).map(|_| ())
    }

    /// Removes a value with its length before it; -1 is the length of NULL.
    fn value(&mut self) -> Option<()> {
        let len = number(self.take(4)?, 0)?;
        match usize::try_from(len) {
            Ok(len) => self.take(len).map(|_| ()),
            Err(_) => (len == -1).then_some(()),
        }
    }

    /// Succeeds only at the end of the body.
    fn is_over(&self) -> Option<()> {
        self.0.is_empty().then_some(())
    }

    /// Returns true if this is the body of SCRAM's first message.
    fn begins_login(mut self) -> bool {
        let mut read = || {
            self.text()?;
            self.value()?;
            self.is_over()
        };
        read().is_some()
    }

    /// Returns true if this is the body of a message of a kind.
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
                // COPY is not supported, and functions are called in queries only.
                _ => return None,
            }
            self.is_over()
        };
        read().is_some()
    }
}

/// A connection between a client and pgwire.
pub struct BoundedStream {
    client: TcpStream,
    inner: UnixStream,
    /// Bytes of the client that were not passed on yet.
    asked: BytesMut,
    /// Bytes of pgwire that were not passed on yet.
    answered: BytesMut,
    /// A seeded bug: everything is passed on after as many messages as a login has, regardless of the answers.
    opens_early: bool,
}

impl BoundedStream {
    /// Makes a connection between a client and pgwire's half of a socket pair. Sends nothing;
    /// [`BoundedStream::log_in`] must follow.
    pub fn new(client: TcpStream, inner: UnixStream, opens_early: bool) -> Self {
        let (asked, answered) = (BytesMut::with_capacity(4 << 10), BytesMut::new());
        Self { client, inner, asked, answered, opens_early }
    }

    /// Carries the login to its end. Returns true only if pgwire has sent AuthenticationOk, which
    /// [`BoundedStream::carry`] then passes on.
    ///
    /// False means that the login failed, was refused or was cut off; the client has received an error if it
    /// could. Must not be called again after it was dropped or has returned. Errors: those of the sockets.
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
                // The kind of an AuthenticationRequest is the first number of its body.
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

    /// Passes one message of the client on. Returns false if the connection has ended.
    async fn let_through(&mut self, turn: ClientTurn) -> io::Result<bool> {
        loop {
            match turn.next(&self.asked) {
                NextFrame::More if self.client.read_buf(&mut self.asked).await? == 0 => {
                    return Ok(false);
                }
                NextFrame::More => {}
                NextFrame::Encryption(len) => {
                    // `N` declines: the client then goes on without encryption, or disconnects.
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

    /// Waits for a complete answer of pgwire and returns its kind and its length; `None` if pgwire has
    /// disconnected.
    async fn answer(&mut self) -> io::Result<Option<(u8, usize)>> {
        loop {
            if let (Some(kind), Some(len)) = (self.answered.first(), number(&self.answered, 1)) {
                // A negative length is beyond the limit as well.
                let len = 1 + usize::try_from(len).unwrap_or(usize::MAX - 1);
                if len > ANSWER_BYTES_MAX {
                    return Err(io::Error::other("an answer of the server has an invalid length"));
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

    /// Passes messages on after a login, in order, until either side disconnects. A client that breaks the
    /// protocol receives an error and is disconnected.
    ///
    /// Must only be called once, after [`BoundedStream::log_in`] has returned true. Errors: those of the
    /// sockets.
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
                            return Ok(Some((
                                PROTOCOL_VIOLATION,
                                "a request for encryption after the login",
                            )));
                        }
                        NextFrame::Wrong(what) => return Ok(Some((PROTOCOL_VIOLATION, what))),
                        NextFrame::Long(what) => return Ok(Some((LIMIT_EXCEEDED, what))),
                    }
                }
            };
            tokio::select! {
                end = up => end?,
                // pgwire has ended the session: nothing that the client still sends can be answered.
                copied = io::copy(&mut from_inner, &mut to_client) => return copied.map(|_| ()),
            }
        };
        match refusal {
            None => {
                // The client may have closed its sending half only, and still wait for answers.
                to_inner.shutdown().await?;
                io::copy(&mut from_inner, &mut to_client).await.map(|_| ())
            }
            Some((code, what)) => self.refuse(code, what).await,
        }
    }

    /// Sends a client a FATAL error with a SQLSTATE and disconnects it. Takes at most one second after the
    /// error was sent. Errors: those of the socket.
    pub async fn refuse(&mut self, code: &str, what: &str) -> io::Result<()> {
        let fields = format!("SFATAL\0VFATAL\0C{code}\0M{what}\0\0");
        let mut message = vec![b'E'];
        message.extend_from_slice(&(fields.len() as u32 + 4).to_be_bytes());
        message.extend_from_slice(fields.as_bytes());
        self.client.write_all(&message).await?;
        self.farewell().await;
        Ok(())
    }

    /// Closes the sending half and drops what the client still sends. A connection that is closed with unread
    /// bytes is reset, and the client may then never read the error.
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
            // A body that is cut short, with a length that fits.
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

    /// A connection whose client and server are played by the test.
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

    /// The messages of a client that sends a whole login and a query at once, without waiting for answers.
    fn pipelined() -> Vec<u8> {
        let startup =
            [&20i32.to_be_bytes()[..], &196_608i32.to_be_bytes(), b"user\0root\0\0\0"].concat();
        let first = framed(b'p', b"SCRAM-SHA-256\0\0\0\0\x03n,,");
        [startup, first, framed(b'p', b"proof"), framed(b'Q', b"SELECT 1\0")].concat()
    }

    /// Plays a server that sends these answers and would run everything that arrives. Returns whether the login
    /// succeeded, and the kinds of messages that reached the server.
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

    /// Regression: a wrong proof was answered with an error, and the query behind it ran, since only messages
    /// were counted.
    #[test]
    fn nothing_passes_behind_a_login_that_failed() {
        runtime().block_on(async {
            let error = framed(b'E', b"SFATAL\0\0");
            let failing = [
                vec![question(SASL), question(SASL_CONTINUE), error.clone()],
                // The server even announces that it is ready for queries.
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
            // The test detects the seeded bug.
            assert!(play(&failing[0], true).await.1.contains(&b'Q'));
        });
    }
}
