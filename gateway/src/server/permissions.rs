//! Warnings at a start about weak secrets and about files that other users of the machine can read.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::ServerSettings;

/// Logs a warning for each weak secret key, and for each file of secrets and a data directory that every user of the
/// machine can access. Never fails: the owner of a mounted volume may have set its permissions, and only the server can
/// read the files in the data directory anyway.
pub fn tell(settings: &ServerSettings) {
    let short = settings.accounts.with_short_secrets();
    if !short.is_empty() {
        let users = short.join(", ");
        tracing::warn!(users, "a secret key of fewer than 16 characters is easy to guess");
    }
    let kept = settings.service.data.join("credentials");
    for path in settings.secret_files.iter().chain([&kept]) {
        if let Some(mode) = mode(path).filter(|mode| mode & 0o004 != 0) {
            let path = path.display();
            tracing::warn!(%path, mode = format!("{mode:o}"), "every user of this machine can read this file of secrets: chmod 600");
        }
    }
    if let Some(mode) = mode(&settings.service.data).filter(|mode| mode & 0o007 != 0) {
        let path = settings.service.data.display();
        tracing::warn!(%path, mode = format!("{mode:o}"), "every user of this machine can access the data directory: chmod 700");
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}
