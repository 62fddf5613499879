//! Detects that the data folder was removed or moved while it is open. Files that are still open go on working for a while,
//! but their data is lost.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// The data folder, checked twice a second by the monitoring thread.
#[derive(Debug)]
pub(crate) struct DataFolder {
    /// The lock file, which is removed or moved with the folder.
    lock: PathBuf,
    /// Device and inode of the lock file when the folder was opened.
    identity: Option<(u64, u64)>,
    is_gone: AtomicBool,
}

impl DataFolder {
    /// The log in the folder is open.
    pub(crate) fn new(dir: &Path) -> Self {
        let lock = dir.join("lock");
        Self { identity: identity(&lock), lock, is_gone: AtomicBool::new(false) }
    }

    /// Checks the folder and logs a change.
    pub(crate) fn check(&self) {
        let is_gone = self.identity.is_some() && identity(&self.lock) != self.identity;
        if self.is_gone.swap(is_gone, Ordering::Relaxed) == is_gone {
            return;
        }
        let path = self.lock.display();
        if is_gone {
            tracing::error!(%path, "the data folder was removed or moved while the server runs: new events will be lost");
        } else {
            tracing::info!(%path, "the data folder is back");
        }
    }

    /// Why the server is not ready because of the folder.
    pub(crate) fn not_ready(&self) -> Option<String> {
        self.is_gone.load(Ordering::Relaxed).then(|| {
            let folder = self.lock.parent().unwrap_or(&self.lock).display();
            format!(
                "data_folder_gone: {folder} was removed or moved away while the server runs; put it back, or restart the server to begin \
                 a new one"
            )
        })
    }
}

fn identity(path: &Path) -> Option<(u64, u64)> {
    fs::metadata(path).ok().map(|metadata| (metadata.dev(), metadata.ino()))
}
