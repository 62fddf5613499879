//! Folders and files that only the server's own user may read: logs hold what tests saw, and tokens' subjects.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes a folder and those above it, as far as they are missing, for this user alone.
pub(crate) fn create_dir_all(dir: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Takes the rights of others from a folder that an older version made. A folder of another user's is left as it is.
pub(crate) fn close_dir(dir: &Path) {
    let Ok(metadata) = fs::metadata(dir) else { return };
    let mode = metadata.permissions().mode();
    if mode & 0o077 != 0 && fs::set_permissions(dir, fs::Permissions::from_mode(mode & 0o7700)).is_err() {
        tracing::warn!(path = %dir.display(), mode = format!("{:o}", mode & 0o777), "others may look into this folder, and that cannot be changed");
    }
}

/// Options that make files for this user alone.
pub(crate) fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600);
    options
}

/// Takes the rights of others from a file that was made by somebody else's code.
pub(crate) fn close_file(path: &Path) {
    // One that stays as it was made is within a folder that is closed.
    drop(fs::set_permissions(path, fs::Permissions::from_mode(0o600)));
}
