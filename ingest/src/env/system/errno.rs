//! The meaning of each system error for a caller: one table, so that no caller has to guess.

use std::io;

use rustix::io::Errno;

use crate::env::DiskErrorKind;

/// Classifies an error of the system or of the standard library. Unknown errors are
/// [`DiskErrorKind::Refused`], never damage.
pub(super) fn kind_of(error: &io::Error) -> DiskErrorKind {
    match Errno::from_io_error(error) {
        Some(errno) => of_errno(errno),
        None => of_std(error.kind()),
    }
}

/// Classifies errors that the standard library makes itself.
fn of_std(kind: io::ErrorKind) -> DiskErrorKind {
    match kind {
        io::ErrorKind::NotFound => DiskErrorKind::NotFound,
        io::ErrorKind::AlreadyExists => DiskErrorKind::Exists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DiskErrorKind::NoSpace,
        io::ErrorKind::UnexpectedEof => DiskErrorKind::ShortRead,
        io::ErrorKind::OutOfMemory | io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock => {
            DiskErrorKind::Exhausted
        }
        // A write that wrote nothing: most likely a failure of the device.
        io::ErrorKind::WriteZero => DiskErrorKind::Io,
        _ => DiskErrorKind::Refused,
    }
}

/// Classifies errors of the system.
fn of_errno(errno: Errno) -> DiskErrorKind {
    match errno {
        Errno::NOENT => DiskErrorKind::NotFound,
        Errno::EXIST => DiskErrorKind::Exists,
        // An exhausted quota is a full device for this process.
        Errno::NOSPC | Errno::DQUOT => DiskErrorKind::NoSpace,
        Errno::MFILE
        | Errno::NFILE
        | Errno::NOMEM
        | Errno::NOBUFS
        | Errno::AGAIN
        | Errno::INTR
        | Errno::BUSY
        | Errno::NOLCK
        | Errno::DEADLK
        | Errno::TIMEDOUT
        | Errno::USERS
        | Errno::NOSR => DiskErrorKind::Exhausted,
        // The medium cannot deliver a sector (`EIO`, `ENODATA`, `EREMOTEIO`, `EILSEQ`, `ENOLINK`), or
        // the file system has found its own checksums wrong (`EUCLEAN`, `EBADMSG`).
        Errno::IO
        | Errno::NODATA
        | Errno::REMOTEIO
        | Errno::ILSEQ
        | Errno::UCLEAN
        | Errno::BADMSG => DiskErrorKind::Io,
        // Rights (`EACCES`, `EPERM`, `EROFS`), a device or server that is gone (`ENODEV`, `ENXIO`, `ESTALE`,
        // `ENOTCONN`), a path of another kind (`ENOTDIR`, `EISDIR`, `ELOOP`), and any other error.
        _ => DiskErrorKind::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every number that Linux may return, and some that it does not define.
    #[test]
    fn every_errno_has_its_kind() {
        let not_found = [Errno::NOENT];
        let exists = [Errno::EXIST];
        let no_space = [Errno::NOSPC, Errno::DQUOT];
        let exhausted = [
            Errno::MFILE,
            Errno::NFILE,
            Errno::NOMEM,
            Errno::NOBUFS,
            Errno::AGAIN,
            Errno::INTR,
            Errno::BUSY,
            Errno::NOLCK,
            Errno::DEADLK,
            Errno::TIMEDOUT,
            Errno::USERS,
            Errno::NOSR,
        ];
        let io =
            [Errno::IO, Errno::NODATA, Errno::REMOTEIO, Errno::ILSEQ, Errno::UCLEAN, Errno::BADMSG];
        for number in 1..200 {
            let errno = Errno::from_raw_os_error(number);
            let wanted = match errno {
                errno if not_found.contains(&errno) => DiskErrorKind::NotFound,
                errno if exists.contains(&errno) => DiskErrorKind::Exists,
                errno if no_space.contains(&errno) => DiskErrorKind::NoSpace,
                errno if exhausted.contains(&errno) => DiskErrorKind::Exhausted,
                errno if io.contains(&errno) => DiskErrorKind::Io,
                _ => DiskErrorKind::Refused,
            };
            let found = kind_of(&io::Error::from_raw_os_error(number));
            assert_eq!(found, wanted, "errno {number}: {errno}");
        }
    }

    /// Only these errors may be reported as damage.
    #[test]
    fn few_errors_speak_of_the_bytes() {
        let speaks =
            |number: &i32| kind_of(&io::Error::from_raw_os_error(*number)).is_of_the_bytes();
        let found: Vec<i32> = (1..200).filter(speaks).collect();
        // ENOENT, EIO, ENODATA, EBADMSG, EILSEQ, EUCLEAN, EREMOTEIO.
        assert_eq!(found, [2, 5, 61, 74, 84, 117, 121]);
    }

    #[test]
    fn errors_of_the_standard_library_have_their_kind() {
        let of = |kind: io::ErrorKind| kind_of(&io::Error::new(kind, "said"));
        assert_eq!(of(io::ErrorKind::UnexpectedEof), DiskErrorKind::ShortRead);
        assert_eq!(of(io::ErrorKind::OutOfMemory), DiskErrorKind::Exhausted);
        assert_eq!(of(io::ErrorKind::WriteZero), DiskErrorKind::Io);
        assert_eq!(of(io::ErrorKind::Other), DiskErrorKind::Refused);
    }
}
