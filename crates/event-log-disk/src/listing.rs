//! Shows raft-engine the names on a disk that is not the operating system's.
//!
//! raft-engine opens, creates and removes its files through its file-system trait, but lists its folder with `std::fs` when it
//! starts. So an empty file is put there for each one on the disk, and it opens the disk's file of that name.

use std::collections::HashSet;
use std::fs;
use std::io::Result;
use std::path::Path;

use agentbench_disk::Disk;

use crate::private;

/// Puts an empty file into the operating system's folder for each file that the disk has in it, and removes other empty ones.
pub(crate) fn show(disk: &dyn Disk, folder: &Path) -> Result<()> {
    let mut missing: HashSet<_> = disk.list(folder)?.into_iter().map(|listed| listed.path).collect();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Only what was put here is ever removed.
        if !missing.remove(&entry.path()) && entry.metadata()?.len() == 0 {
            fs::remove_file(entry.path())?;
        }
    }
    for path in missing {
        private::options().write(true).create_new(true).open(path)?;
    }
    Ok(())
}
