//! Directories and files that only the server's own user can read: logs contain what tests saw, and the subjects of tokens.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Creates a directory and its missing parents, for this user alone.
pub(crate) fn create_dir_all(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Removes the rights of others from a directory created by an older version. Another user's directory is left as it is.
pub(crate) fn close_dir(dir: &Path) {
    let Ok(metadata) = fs::metadata(dir) else { return };
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 && fs::set_permissions(dir, fs::Permissions::from_mode(mode & 0o7700)).is_err() {
        tracing::warn!(path = %dir.display(), mode = format!("{:o}", mode & 0o777), "other users can read this folder, and its mode cannot be changed");
    }
}

/// Options that create files for this user alone.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}
