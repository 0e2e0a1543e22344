//! What is told at a start of secrets that are not well kept.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use crate::config::ServerSettings;

/// Warns of files with secrets, and of a data directory, that others may read. It is no refusal: what others
/// may do is sometimes decided by who mounts a volume, and the files inside are the server's alone.
pub fn tell(settings: &ServerSettings) {
    let short = settings.accounts.with_short_secrets();
    if !short.is_empty() {
        let users = short.join(", ");
        tracing::warn!(users, "a secret key of fewer than 16 characters is soon guessed");
    }
    let kept = settings.service.data.join("credentials");
    for path in settings.secret_files.iter().chain([&kept]) {
        if let Some(mode) = mode(path).filter(|mode| mode & 0o004 != 0) {
            let path = path.display();
            tracing::warn!(%path, mode = format!("{mode:o}"), "everybody on this machine may read this file of secrets: chmod 600");
        }
    }
    if let Some(mode) = mode(&settings.service.data).filter(|mode| mode & 0o007 != 0) {
        let path = settings.service.data.display();
        tracing::warn!(%path, mode = format!("{mode:o}"), "the data directory is open to everybody on this machine: chmod 700");
    }
}

fn mode(path: &Path) -> Option<u32> {
    Some(fs::metadata(path).ok()?.permissions().mode() & 0o777)
}
