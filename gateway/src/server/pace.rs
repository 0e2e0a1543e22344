//! The least rate at which a client must send or receive: 64 KiB within a bounded time of waiting for the client.
//!
//! Only the time in which the server waits for the client counts, not the time of a slow disk or of a long query.

use std::time::Duration;

/// The number of bytes that must be sent or received before the time of waiting begins again at 0.
const LEAST_BYTES: u64 = 64 << 10;

/// The bytes and the time of waiting of one client, for one direction of a connection.
#[derive(Clone, Copy, Debug)]
pub struct ClientPace {
    within: Duration,
    bytes: u64,
    waited: Duration,
}

impl ClientPace {
    /// Starts with no bytes and no wait. 64 KiB must be sent or received before the server has waited for the
    /// client for the time `within`.
    pub fn new(within: Duration) -> Self {
        Self { within, bytes: 0, waited: Duration::ZERO }
    }

    /// The time that the server may still wait for the client; zero once the client is too slow and must be given up.
    pub fn left(&self) -> Duration {
        self.within.saturating_sub(self.waited)
    }

    /// Adds a time of waiting for the client. Called when the wait has ended, before [`Self::moved`].
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Adds bytes that were sent or received. After 64 KiB the time of waiting begins again at 0.
    pub fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
        if self.bytes >= LEAST_BYTES {
            *self = Self::new(self.within);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drops_of_bytes_give_no_more_time() {
        let mut pace = ClientPace::new(Duration::from_secs(60));
        for _ in 0..12 {
            assert!(pace.left() > Duration::ZERO);
            pace.waited(Duration::from_secs(5));
            pace.moved(1);
        }
        assert_eq!(pace.left(), Duration::ZERO);
        pace.moved(LEAST_BYTES as usize);
        assert_eq!(pace.left(), Duration::from_secs(60));
    }
}
