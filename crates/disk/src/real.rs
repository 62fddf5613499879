//! The operating system's disk: one system call for each operation, and files that only this user can read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Error, ErrorKind, Result};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;

use crate::{Disk, DiskFile, Listed, Opening, folder_of};

/// The operating system's disk. What it creates is for this user alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// One open file.
struct RealFile(File);

impl Disk for RealDisk {
    fn open(&self, path: &Path, opening: Opening) -> Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).mode(0o600);
        match opening {
            Opening::Existing => {}
            Opening::Any => drop(options.create(true).truncate(false)),
            Opening::New => drop(options.create_new(true)),
        }
        Ok(Box::new(RealFile(options.open(path)?)))
    }

    fn list(&self, folder: &Path) -> Result<Vec<Listed>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_file() => files.push(Listed { path, len: metadata.len() }),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(files)
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        if folder_of(from) != folder_of(to) {
            return Err(Error::from(ErrorKind::CrossesDevices));
        }
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        fs::remove_file(path)
    }

    fn create_dir(&self, folder: &Path) -> Result<()> {
        DirBuilder::new().mode(0o700).create(folder)
    }

    fn sync_dir(&self, folder: &Path) -> Result<()> {
        File::open(folder)?.sync_all()
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, to: &mut [u8], at: u64) -> Result<usize> {
        let mut read = 0;
        while read < to.len() {
            match self.0.read_at(&mut to[read..], at + read as u64) {
                Ok(0) => break,
                Ok(more) => read += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(read)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<usize> {
        self.0.write_at(bytes, at)
    }

    fn sync(&self) -> Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.0.set_len(len)
    }

    fn allocate(&self, at: u64, len: u64) -> Result<()> {
        match rustix::fs::fallocate(&self.0, rustix::fs::FallocateFlags::empty(), at, len) {
            Err(rustix::io::Errno::OPNOTSUPP) => Ok(()),
            done => Ok(done?),
        }
    }

    fn len(&self) -> Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn os_file(&self) -> Option<File> {
        self.0.try_clone().ok()
    }
}
