//! Copies of bytes before a repair: no damaged bytes are rewritten or cut off before a copy of them is here.
//!
//! ```text
//! quarantine/0000000000000003.raftlog.at-4096.5f2a11c0     bytes of that file from byte 4096 on, and their CRC-32
//! ```
//! A copy is named by its content, so the same damage, found at each start, is stored once.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use agentbench_disk::{Disk, Opening, folder_of};

use crate::private;

/// Maximum total size of all copies in bytes. Beyond it the oldest copies are removed, so that a disk that keeps damaging files
/// is not filled by them; sixteen whole files of the hot log fit.
const MAX_BYTES: u64 = 1 << 30;

/// The quarantine of a data folder, and the copies made since it was opened.
pub(crate) struct Quarantine {
    /// Where the files are that are copied. The copies are on the operating system's disk.
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    max_bytes: u64,
    copies: Vec<Copy>,
}

/// A stretch of a file that is about to be changed.
struct Copy {
    file: PathBuf,
    begin: u64,
    bytes: PathBuf,
}

impl Quarantine {
    /// For the data folder `dir`; nothing is created until there is something to keep.
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: &Path) -> Self {
        Self { disk, dir: dir.join("quarantine"), max_bytes: MAX_BYTES, copies: Vec::new() }
    }

    /// Copies the bytes `begin..end` of a file and makes the copy durable. Returns its name for messages.
    pub(crate) fn keep(&mut self, path: &Path, begin: u64, end: u64) -> io::Result<String> {
        let file = self.disk.open(path, Opening::Existing)?;
        let len = file.len()?.min(end).saturating_sub(begin);
        let mut bytes = vec![0; usize::try_from(len).map_err(io::Error::other)?];
        file.read_exact_at(&mut bytes, begin)?;
        let copy = keep_bytes(&self.dir, self.max_bytes, path, begin, &bytes)?;
        let name = shown(&copy);
        self.copies.push(Copy { file: path.to_owned(), begin, bytes: copy });
        Ok(name)
    }

    /// Keeps a whole file of the operating system's disk that is about to be replaced. It is not put back.
    pub(crate) fn keep_file(&self, path: &Path) -> io::Result<()> {
        keep_bytes(&self.dir, self.max_bytes, path, 0, &fs::read(path)?).map(drop)
    }

    /// Restores the copied bytes, newest first, so that a failed start leaves the files as it found them.
    pub(crate) fn put_back(&self) -> io::Result<()> {
        for Copy { file, begin, bytes } in self.copies.iter().rev() {
            let bytes = fs::read(bytes)?;
            let restored = self.disk.open(file, Opening::Any)?;
            restored.write_all_at(&bytes, *begin)?;
            restored.sync()?;
            self.disk.sync_dir(folder_of(file))?;
        }
        Ok(())
    }
}

/// Keeps bytes read from a file of the folder `hot/` while the engine runs.
pub(crate) fn keep_read(path: &Path, begin: u64, bytes: &[u8]) -> io::Result<()> {
    let data = path.parent().and_then(Path::parent).ok_or(io::ErrorKind::InvalidInput)?;
    keep_bytes(&data.join("quarantine"), MAX_BYTES, path, begin, bytes).map(drop)
}

fn keep_bytes(dir: &Path, max_bytes: u64, path: &Path, begin: u64, bytes: &[u8]) -> io::Result<PathBuf> {
    private::create_dir_all(dir)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let copy = dir.join(format!("{name}.at-{begin}.{:08x}", crc32fast::hash(bytes)));
    if copy.metadata().is_ok_and(|there| there.len() == bytes.len() as u64) {
        return Ok(copy);
    }
    make_room(dir, max_bytes, bytes.len() as u64)?;
    let mut file = private::options().write(true).create(true).truncate(true).open(&copy)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    written.and_then(|()| File::open(dir)?.sync_all()).inspect_err(|_| {
        // Half a copy is worthless.
        drop(fs::remove_file(&copy));
    })?;
    Ok(copy)
}

/// Removes the oldest copies until `more` bytes fit.
fn make_room(dir: &Path, max_bytes: u64, more: u64) -> io::Result<()> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry.path()));
    }
    files.sort_unstable();
    let mut bytes: u64 = files.iter().map(|(_, length, _)| length).sum();
    for (_, length, path) in files {
        if bytes.saturating_add(more) <= max_bytes {
            break;
        }
        tracing::warn!(path = %path.display(), "the quarantine is full: its oldest copy is removed");
        fs::remove_file(&path)?;
        bytes -= length;
    }
    Ok(())
}

fn shown(copy: &Path) -> String {
    format!("quarantine/{}", copy.file_name().unwrap_or_default().to_string_lossy())
}

#[cfg(test)]
mod tests {
    use agentbench_disk::RealDisk;

    use super::*;

    #[test]
    fn what_was_copied_is_put_back_after_changes_and_removals() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1.raftlog"), folder.path().join("2.raftlog"));
        fs::write(&one, b"0123456789").unwrap();
        fs::write(&two, b"abc").unwrap();
        let mut quarantine = Quarantine::new(Arc::new(RealDisk), folder.path());
        let name = quarantine.keep(&one, 4, 10).unwrap();
        assert_eq!(fs::read(folder.path().join(&name)).unwrap(), b"456789");
        assert_eq!(quarantine.keep(&one, 4, 10).unwrap(), name, "the same bytes are kept once");
        quarantine.keep(&two, 0, 3).unwrap();
        fs::write(&one, b"0123").unwrap();
        fs::remove_file(&two).unwrap();
        quarantine.put_back().unwrap();
        assert_eq!(
            (fs::read(&one).unwrap(), fs::read(&two).unwrap()),
            (b"0123456789".to_vec(), b"abc".to_vec())
        );
    }

    #[test]
    fn copies_are_bounded_and_the_oldest_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("1.raftlog");
        fs::write(&file, [7; 100]).unwrap();
        let mut quarantine =
            Quarantine { max_bytes: 100, ..Quarantine::new(Arc::new(RealDisk), folder.path()) };
        let mut names = Vec::new();
        for begin in [0, 40, 41] {
            names.push(quarantine.keep(&file, begin, begin + 40).unwrap());
            // Copies of one moment have no order.
            let age = std::time::Duration::from_secs(100 - begin);
            let copy = File::options().write(true).open(folder.path().join(names.last().unwrap())).unwrap();
            copy.set_modified(SystemTime::now() - age).unwrap();
        }
        let there: Vec<_> = names.iter().map(|name| folder.path().join(name).exists()).collect();
        assert_eq!(there, [false, true, true]);
    }
}
