//! Damage is believed only after two reads agree.
//!
//! A bad cable, a controller's buffer or a device that recovers may return wrong bytes, or none, once,
//! and the right ones a moment later. Such a read, reported as damage at once, would cost an object, a
//! run or a partition that is whole, so every reader that verifies its bytes goes through [`confirm`].

use std::future::Future;
use std::sync::atomic::{AtomicU64, Ordering};

use super::ReadError;
use crate::env::{DiskError, File};

/// Number of reads of this process that were bad at first and good on repetition.
static MENDED: AtomicU64 = AtomicU64::new(0);

/// Returns the number of reads of this process that failed verification once and passed when repeated.
/// Never falls; a number that rises points to a device in trouble. Read by the server's metrics.
pub fn mended() -> u64 {
    MENDED.load(Ordering::Relaxed)
}

/// Reads and verifies by `read`, and repeats it once only if the result is corruption. Returns the good
/// result of either, or the error of the second read: confirmed damage, or an error unrelated to the
/// bytes. Any other error of the first read is returned at once. May be dropped at any time.
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

/// Reads and verifies by `read`, and repeats it once when nothing valid was found. For recovery, which
/// takes invalid content for the end of the log and must not do so because of one bad read.
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

/// Counts a read that was good on repetition, and logs its place.
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
