//! File handles: the limit of this process, and its division among the engine and the listeners.
//!
//! Connections must never take the handles that the engine needs to read a file or to write one. Therefore half
//! of all handles are reserved for the engine, and connections share the rest.

use anyhow::bail;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::connections::ConnectionLimits;

/// The smallest limit with which a server starts.
const HANDLES_MIN: u64 = 128;
/// The largest limit that a process requests, even if the system allows more.
const HANDLES_MAX: u64 = 1 << 20;
/// The largest number of connections to S3 without a setting. With about 100 KiB for each, it bounds their memory.
const CONNECTIONS_DEFAULT: usize = 4096;
/// The largest number of connections to the admin address, which serves probes, metrics and queries.
const ADMIN_MAX: usize = 1100;
/// Handles of one PostgreSQL connection: its socket and an internal pair.
pub const POSTGRES_EACH: usize = 3;
/// The largest number of handles of all PostgreSQL connections.
const POSTGRES_HANDLES: usize = 240 * POSTGRES_EACH;

/// The bounds on the connections of each listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleShares {
    /// The bounds of the S3 address.
    pub s3: ConnectionLimits,
    /// The bounds of the admin address.
    pub admin: ConnectionLimits,
    /// The handles of the PostgreSQL address, [`POSTGRES_EACH`] for each of its connections; 0 without the address.
    pub postgres: usize,
}

/// Raises the process's limit of open files as far as the system allows, up to 1,048,576, and returns the limit in
/// force. Only logs a warning if the limit cannot be raised. Fails if it cannot be read. Called once, before any
/// listener opens.
pub fn raise() -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(HANDLES_MAX).max(soft);
    if wanted > soft
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files cannot be raised");
        return Ok(soft);
    }
    Ok(wanted)
}

/// Divides `handles` among the engine and the listeners. `connections` and `per_address` are the settings of the S3
/// address. Fails for fewer than 128 handles, for more connections than the share of S3 has, and for a setting of 0.
pub fn shares(
    handles: u64,
    has_postgres: bool,
    connections: Option<usize>,
    per_address: Option<usize>,
) -> anyhow::Result<HandleShares> {
    if handles < HANDLES_MIN {
        bail!(
            "a server needs at least {HANDLES_MIN} file handles, and this process may open only {handles}"
        );
    }
    // Connections that are being closed for others need an eighth more; see `ConnectionLimits::leaving`.
    let half = usize::try_from(handles / 2)?;
    let half = half - half / 8;
    let admin = ADMIN_MAX.min(half / 8).max(4);
    let postgres = if has_postgres { POSTGRES_HANDLES.min(half / 4) } else { 0 };
    let room = half - admin - postgres;
    let all = connections.unwrap_or_else(|| room.min(CONNECTIONS_DEFAULT));
    if all > room || all == 0 {
        bail!(
            "connections must be 1 to {room} here, not {all}: the process may open {handles} files, and half of them are reserved for the store"
        );
    }
    if per_address == Some(0) {
        bail!("connections_per_address must be at least 1");
    }
    let s3 = ConnectionLimits {
        all,
        per_address: per_address.unwrap_or_else(|| (all - all / 4).max(1)),
        spares_loopback: per_address.is_none(),
    };
    let admin = ConnectionLimits { all: admin, per_address: admin, spares_loopback: true };
    Ok(HandleShares { s3, admin, postgres })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_the_handles_are_the_engines() {
        for handles in [128, 200, 256, 512, 1024, 4096, 20_000, 1 << 20] {
            for has_postgres in [false, true] {
                let shares = shares(handles, has_postgres, None, None).unwrap();
                let taken = shares.s3.all + shares.admin.all + shares.postgres;
                let leaving = shares.s3.leaving() + shares.admin.leaving();
                assert!((taken + leaving) as u64 <= handles / 2 + 8, "{handles}: {shares:?}");
                assert!(shares.s3.all >= 16 && shares.s3.per_address <= shares.s3.all);
                assert!(shares.s3.all <= CONNECTIONS_DEFAULT);
            }
        }
        assert!(shares(127, false, None, None).is_err());
        assert!(shares(1024, false, Some(1000), None).is_err());
        assert!(shares(1024, false, Some(0), None).is_err());
        let asked = shares(1024, false, Some(100), Some(10)).unwrap().s3;
        assert_eq!(asked, ConnectionLimits { all: 100, per_address: 10, spares_loopback: false });
    }
}
