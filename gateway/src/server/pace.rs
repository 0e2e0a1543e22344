//! The least rate at which a client must send or take: so many bytes in each stretch of waiting for it.
//!
//! Only waiting counts. A disk that is slow, or a query that takes long, is not the client's fault.

use std::time::Duration;

/// Bytes that must move within each stretch.
const LEAST_BYTES: u64 = 64 << 10;

/// How a client keeps up.
#[derive(Clone, Copy, Debug)]
pub struct ClientPace {
    within: Duration,
    bytes: u64,
    waited: Duration,
}

impl ClientPace {
    /// A stretch begins: 64 KiB must move before the client has been waited for this long.
    pub fn new(within: Duration) -> Self {
        Self { within, bytes: 0, waited: Duration::ZERO }
    }

    /// How much longer the client may be waited for.
    pub fn left(&self) -> Duration {
        self.within.saturating_sub(self.waited)
    }

    /// Notes that the client was waited for.
    pub fn waited(&mut self, time: Duration) {
        self.waited += time;
    }

    /// Notes that bytes moved.
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
