//! Ensures one process at a time: a locked file that names its process.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::Path;

use crate::config::OpenError;
use crate::private;

/// Held while the directory is in use. The operating system releases it when the process ends, in any way.
pub(crate) struct DirLock {
    _file: File,
}

impl DirLock {
    pub(crate) fn take(dir: &Path) -> Result<Self, OpenError> {
        let path = dir.join("lock");
        let mut file = private::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(OpenError::io(&path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(error)) => return Err(OpenError::io(&path)(error)),
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                // Unreadable content just means an unknown process.
                drop(file.read_to_string(&mut pid));
                let pid = if pid.is_empty() { "(unknown)".into() } else { pid.trim().to_owned() };
                return Err(OpenError::InUse { dir: dir.display().to_string(), pid });
            }
        }
        // The process id is for people only: a disk too full to write it must not prevent the start.
        drop(write_pid(&mut file));
        Ok(Self { _file: file })
    }
}

fn write_pid(file: &mut File) -> std::io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}
