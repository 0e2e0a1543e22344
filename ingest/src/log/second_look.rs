//! Damage is believed when it has been seen twice.
//!
//! A bad cable, a controller's buffer or a device that recovers may give wrong bytes, or none, once and the
//! right ones a moment later. Called damage at once, such a read would cost an object, a run or a partition
//! that is whole. So every reader that verifies what it reads goes through [`confirm`].

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadError;
use crate::env::{DiskError, File};

/// Reads of this process whose first answer was bad and whose second was good.
static MENDED: AtomicU64 = AtomicU64::new(0);

/// How many reads of this process were bad at first and good when they were done again: a device to look at.
pub fn mended() -> u64 {
    MENDED.load(Ordering::Relaxed)
}

/// Reads and verifies something by `read`, once more if it seems damaged. Gives what is good, or what the
/// second read says: damage that two reads agree on, or "not now".
pub async fn confirm<T, R>(read: impl Fn() -> R) -> Result<T, ReadError>
where
    R: Future<Output = Result<T, ReadError>>,
{
    match read().await {
        Err(ReadError::Corrupt(corruption)) => {
            let again = read().await;
            if again.is_ok() {
                count_mended(&corruption);
            }
            again
        }
        read => read,
    }
}

/// Reads and verifies something by `read`, once more if nothing valid is there. For a start, which takes
/// content that is not valid for the end of a log.
pub(super) async fn confirm_absent<T, R>(
    file: &dyn File,
    position: u64,
    read: impl Fn() -> R,
) -> Result<Option<T>, DiskError>
where
    R: Future<Output = Result<Option<T>, DiskError>>,
{
    if let Some(found) = read().await? {
        return Ok(Some(found));
    }
    let again = read().await?;
    if again.is_some() {
        count_mended(&format_args!("{}, position {position}", file.path()));
    }
    Ok(again)
}

fn count_mended(place: &dyn std::fmt::Display) {
    MENDED.fetch_add(1, Ordering::Relaxed);
    tracing::warn!(%place, "a read was bad once and good when it was done again");
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use futures::FutureExt;

    use super::*;
    use crate::ids::PartitionId;
    use crate::log::Corruption;

    fn rot() -> ReadError {
        ReadError::Corrupt(Corruption { file: "f".into(), position: 0, detail: "bad".into() })
    }

    fn not_now() -> ReadError {
        ReadError::Unavailable { partition: PartitionId::ZERO, reason: "no handles".into() }
    }

    #[test]
    fn damage_needs_two_reads_and_nothing_else_does() {
        let table = [
            (vec![Ok(1)], Ok(1), 1),
            (vec![Err(rot()), Ok(2)], Ok(2), 2),
            (vec![Err(rot()), Err(rot())], Err(rot()), 2),
            (vec![Err(rot()), Err(not_now())], Err(not_now()), 2),
            (vec![Err(not_now()), Ok(3)], Err(not_now()), 1),
        ];
        for (answers, wanted, wanted_reads) in table {
            let reads = Cell::new(0);
            let read = || {
                let answer = answers[reads.get()].clone();
                reads.set(reads.get() + 1);
                std::future::ready(answer)
            };
            assert_eq!(confirm(read).now_or_never(), Some(wanted));
            assert_eq!(reads.get(), wanted_reads);
        }
    }
}
