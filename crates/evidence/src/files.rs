//! Names of files: where a file of evidence is, and what a session's folder contains.

use std::fs::{self, File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use agentbench_protocol::SessionId;

use crate::hash::Hash;
use crate::media_type::MediaType;

/// Extension of an incomplete upload.
const PARTIAL: &str = "part";
/// Extension of a file's inner hashes.
const TREE: &str = "tree";
/// Minimum size that a file counts as: a block of the disk, since many empty files fill a disk, too.
const BLOCK: u64 = 4096;

pub(crate) fn folder(dir: &Path, session: SessionId) -> PathBuf {
    dir.join(session.to_string())
}

pub(crate) fn whole(dir: &Path, session: SessionId, hash: Hash, kind: MediaType) -> PathBuf {
    folder(dir, session).join(format!("{hash}.{}", kind.ending()))
}

pub(crate) fn partial(dir: &Path, session: SessionId, hash: Hash) -> PathBuf {
    folder(dir, session).join(format!("{hash}.{PARTIAL}"))
}

/// Path of a complete file's inner hashes.
pub(crate) fn tree(dir: &Path, session: SessionId, hash: Hash) -> PathBuf {
    folder(dir, session).join(format!("{hash}.{TREE}"))
}

/// Parses a complete file's name; `None` for every other file.
pub(crate) fn named(path: &Path) -> Option<(Hash, MediaType)> {
    let hash = path.file_stem()?.to_str()?.parse().ok()?;
    let ending = path.extension()?.to_str()?;
    Some((hash, MediaType::ALL.into_iter().find(|kind| kind.ending() == ending)?))
}

pub(crate) fn is_partial(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == PARTIAL)
}

/// Whether the file counts for the session's limit: its own files do, not those kept beside them.
pub(crate) fn is_charged(path: &Path) -> bool {
    path.extension().is_none_or(|ending| ending != TREE)
}

/// The size that a file of `size` bytes counts as.
pub(crate) fn charge(bytes: u64) -> u64 {
    bytes.max(BLOCK)
}

/// `None` if there is no such file.
pub(crate) fn metadata(path: &Path) -> io::Result<Option<Metadata>> {
    match fs::metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The files of a folder; none if there is no folder.
pub(crate) fn list(folder: &Path) -> io::Result<Vec<(PathBuf, Metadata)>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read?,
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        // A file that was removed meanwhile is skipped.
        if let Some(metadata) = metadata(&path)? {
            files.push((path, metadata));
        }
    }
    Ok(files)
}

pub(crate) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
