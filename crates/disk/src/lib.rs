//! The disk under a log engine: few operations, each of which says what a power cut may undo.
//!
//! - [`Disk`] is a tree of folders with files, [`DiskFile`] one open file.
//! - [`RealDisk`] is the operating system's.
//! - `MemoryDisk` (feature `memory`) keeps the same promises and no more: what was not synced is lost, reordered and torn as
//!   one seed decides. An engine that runs on it can be shown thousands of power cuts in a second.
//!
//! What is promised, on both:
//! - A file's bytes and its length are durable once a [`sync`](DiskFile::sync) that began after the change has succeeded.
//!   Until then every sector, and the length, may have its old or any later content, each by itself.
//! - A name (created, renamed, removed) is durable once a [`sync_dir`](Disk::sync_dir) of its folder has succeeded, whether or
//!   not its file was synced. Until then each change may be undone by itself; a rename is undone whole.
//! - A sync that fails has made nothing durable, and what it was to write may be gone although a later one succeeds:
//!   the operating system takes pages that it could not write for written. What is read afterwards may be the old content.
//!
//! Absent on purpose: memory maps (their errors are signals), positions of files (each access says its own) and locks of files
//! (the end of a process releases them, which a simulation has none of).

#[cfg(feature = "memory")]
mod memory;
mod real;

use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

#[cfg(feature = "memory")]
pub use crate::memory::{MemoryDisk, SectorSize};
pub use crate::real::RealDisk;

/// A tree of folders with files. Paths are absolute, or relative to the same place for the disk's whole life.
pub trait Disk: Send + Sync {
    /// Opens a file for reading and writing.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the file or its folder is missing, [`ErrorKind::AlreadyExists`] for [`Opening::New`], and those
    /// of the disk.
    fn open(&self, path: &Path, opening: Opening) -> Result<Box<dyn DiskFile>>;

    /// The files directly in a folder, without its folders, in no particular order. One that vanishes meanwhile is left out.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the folder is missing, and those of the disk.
    fn list(&self, folder: &Path) -> Result<Vec<Listed>>;

    /// Gives a file another name in the same folder, and replaces the file that has it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is missing, [`ErrorKind::CrossesDevices`] for another folder, and those of the disk.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Those who have it open can go on reading it.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if it is missing, and those of the disk.
    fn remove(&self, path: &Path) -> Result<()>;

    /// Creates a folder in an existing one.
    ///
    /// # Errors
    /// [`ErrorKind::NotFound`] if the folder around it is missing, [`ErrorKind::AlreadyExists`], and those of the disk.
    fn create_dir(&self, folder: &Path) -> Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// Those of the disk: each change may be undone as before.
    fn sync_dir(&self, folder: &Path) -> Result<()>;

    /// Creates a folder and those around it, durably, even if an earlier call was interrupted before its last step.
    ///
    /// # Errors
    /// Those of [`create_dir`](Self::create_dir) and [`sync_dir`](Self::sync_dir).
    fn create_dir_all(&self, folder: &Path) -> Result<()> {
        match self.create_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound && folder.parent().is_some() => {
                self.create_dir_all(folder_of(folder))?;
                self.create_dir(folder)?;
            }
            Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        self.sync_dir(folder_of(folder))
    }
}

/// One open file. It may be used by several threads; what they write to the same bytes is in no particular order.
#[expect(clippy::len_without_is_empty, reason = "no engine asks whether a file is empty")]
pub trait DiskFile: Send + Sync {
    /// Reads from byte `at` on. Returns fewer bytes than fit into `to` only where the file ends.
    ///
    /// # Errors
    /// Those of the disk.
    fn read_at(&self, to: &mut [u8], at: u64) -> Result<usize>;

    /// Writes from byte `at` on; the file grows if need be, and what was skipped is zero. Returns how many of the bytes, which
    /// is fewer than all for a disk that becomes full.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] or [`ErrorKind::QuotaExceeded`] if none fits, and those of the disk, after which any part of
    /// the bytes may have been written.
    fn write_at(&self, bytes: &[u8], at: u64) -> Result<usize>;

    /// Makes the file's bytes and its length durable, but not its name.
    ///
    /// # Errors
    /// Those of the disk: what was not durable before may be lost, also if a later sync succeeds.
    fn sync(&self) -> Result<()>;

    /// Cuts the file, or extends it by zeros.
    ///
    /// # Errors
    /// Those of the disk.
    fn set_len(&self, len: u64) -> Result<()>;

    /// Reserves room for `len` bytes from byte `at` on, so that writing them cannot find the disk full and need not change the
    /// file's length, which makes a sync cheaper. The file grows by zeros. On a file system that cannot do it, nothing happens.
    ///
    /// # Errors
    /// [`ErrorKind::StorageFull`] or [`ErrorKind::QuotaExceeded`] if they do not fit, and those of the disk.
    fn allocate(&self, at: u64, len: u64) -> Result<()>;

    /// Length in bytes.
    ///
    /// # Errors
    /// Those of the disk.
    fn len(&self) -> Result<u64>;

    /// Another handle of the operating system's file, for advice on its page cache; `None` if there is no such file.
    fn os_file(&self) -> Option<File>;

    /// Reads exactly as many bytes as fit into `to`.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if the file ends before, and those of the disk.
    fn read_exact_at(&self, to: &mut [u8], at: u64) -> Result<()> {
        if self.read_at(to, at)? < to.len() {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        }
        Ok(())
    }

    /// Writes all of the bytes.
    ///
    /// # Errors
    /// As [`write_at`](Self::write_at); any part of the bytes may have been written.
    fn write_all_at(&self, mut bytes: &[u8], mut at: u64) -> Result<()> {
        while !bytes.is_empty() {
            match self.write_at(bytes, at) {
                Ok(0) => return Err(Error::from(ErrorKind::WriteZero)),
                Ok(written) => {
                    bytes = &bytes[written..];
                    at += written as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What [`Disk::open`] does about a file that is missing or there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// The file exists.
    Existing,
    /// The file is created if it is missing, and left as it is otherwise.
    Any,
    /// The file is created and did not exist.
    New,
}

/// One file in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its path: the folder as it was asked for, and the file's name.
    pub path: PathBuf,
    /// Its length in bytes.
    pub len: u64,
}

/// The folder that a path's last name is in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        // "." for a name alone, and the root is in itself.
        Some(_) => Path::new("."),
        None => path,
    }
}
