//! File handles: how many this process may have, and who may take how many.
//!
//! Connections must never take the handles that the engine needs to read a file or to seal a cut. So half of
//! all handles are the engine's, and connections share the rest.

use anyhow::bail;
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::connections::ConnectionLimits;

/// A process with fewer cannot serve.
const HANDLES_MIN: u64 = 128;
/// More than this are not asked for, whatever the system allows.
const HANDLES_MAX: u64 = 1 << 20;
/// Connections to S3, unless the settings say more: a bound on their memory, about 100 KiB each.
const CONNECTIONS_DEFAULT: usize = 4096;
/// Connections to the admin address: a person, a probe, a scraper, some queries.
const ADMIN_MAX: usize = 1100;
/// Handles that a connection to PostgreSQL's door takes: its socket, and a pair inside.
pub const POSTGRES_EACH: usize = 3;
/// The most handles that PostgreSQL's door takes.
const POSTGRES_HANDLES: usize = 240 * POSTGRES_EACH;

/// How many connections each listener may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandleShares {
    /// S3.
    pub s3: ConnectionLimits,
    /// The admin address.
    pub admin: ConnectionLimits,
    /// PostgreSQL's door: handles kept for it, [`POSTGRES_EACH`] for each of its connections.
    pub postgres: usize,
}

/// Raises the process's limit of open files as far as the system allows; gives the limit in force.
pub fn raise() -> anyhow::Result<u64> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    let wanted = hard.min(HANDLES_MAX).max(soft);
    if wanted > soft
        && let Err(error) = setrlimit(Resource::RLIMIT_NOFILE, wanted, hard)
    {
        tracing::warn!(%error, soft, hard, "the limit of open files stays as it is");
        return Ok(soft);
    }
    Ok(wanted)
}

/// Divides handles among the engine and the listeners. What the settings ask for must fit.
pub fn shares(
    handles: u64,
    has_postgres: bool,
    connections: Option<usize>,
    per_address: Option<usize>,
) -> anyhow::Result<HandleShares> {
    if handles < HANDLES_MIN {
        bail!("a server needs {HANDLES_MIN} file handles at least, and may open {handles}");
    }
    // Connections that make room for others have a handle for a moment: an eighth of all, see `Limits`.
    let half = usize::try_from(handles / 2)?;
    let half = half - half / 8;
    let admin = ADMIN_MAX.min(half / 8).max(4);
    let postgres = if has_postgres { POSTGRES_HANDLES.min(half / 4) } else { 0 };
    let room = half - admin - postgres;
    let all = connections.unwrap_or_else(|| room.min(CONNECTIONS_DEFAULT));
    if all > room || all == 0 {
        bail!(
            "connections is 1 to {room} here, not {all}: the process may open {handles} files, and half of them are kept for the store's own"
        );
    }
    if per_address == Some(0) {
        bail!("connections_per_address is 1 at least");
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
