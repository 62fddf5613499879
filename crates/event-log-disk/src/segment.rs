//! The files of the hot log: segments, numbered 1, 2, 3 …, and the index beside each.
//!
//! ```text
//! segments/0000000007.seg      records one after another, then zeros or what the file contained before
//! segments/0000000007.idx      the headers of those records, written up to a second later; see `index`
//! segments/0000000003.spare    a segment that is no longer needed, to be used again
//! ```
//! A segment is written once from its begin to its end, and never changed afterwards, also not where it is damaged.

use std::collections::BTreeMap;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use agentbench_disk::{Disk, DiskFile, Listed, Opening};

/// Extension of a segment.
const SEGMENT: &str = "seg";
/// Extension of a segment's index.
const INDEX: &str = "idx";
/// Extension of a segment that may be used again.
const SPARE: &str = "spare";

/// One segment.
pub(crate) struct Segment {
    pub(crate) number: u32,
    pub(crate) file: Box<dyn DiskFile>,
    /// Bytes of records that are still needed.
    live: AtomicU64,
    /// Bytes of all its records.
    written: AtomicU64,
    /// Some record of it cannot be read: it is kept as it is for as long as its logs are.
    is_damaged: AtomicBool,
}

impl Segment {
    pub(crate) fn new(number: u32, file: Box<dyn DiskFile>) -> Self {
        let zero = || AtomicU64::new(0);
        Self { number, file, live: zero(), written: zero(), is_damaged: AtomicBool::new(false) }
    }

    // Only one thread changes these, and nothing else depends on when another one sees it.
    pub(crate) fn add_live(&self, bytes: u32) {
        self.live.fetch_add(u64::from(bytes), Ordering::Relaxed);
    }

    pub(crate) fn take_live(&self, bytes: u32) {
        self.live.fetch_sub(u64::from(bytes), Ordering::Relaxed);
    }

    pub(crate) fn live(&self) -> u64 {
        self.live.load(Ordering::Relaxed)
    }

    pub(crate) fn set_written(&self, bytes: u64) {
        self.written.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn written(&self) -> u64 {
        self.written.load(Ordering::Relaxed)
    }

    /// Returns whether that is news.
    pub(crate) fn set_damaged(&self) -> bool {
        !self.is_damaged.swap(true, Ordering::Relaxed)
    }

    pub(crate) fn is_damaged(&self) -> bool {
        self.is_damaged.load(Ordering::Relaxed)
    }
}

/// All segments of a folder.
pub(crate) struct Segments {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    open: RwLock<BTreeMap<u32, Arc<Segment>>>,
}

/// The files in a folder of segments.
#[derive(Debug, Default)]
pub(crate) struct Files {
    /// Numbers of the segments that are there, or whose index is.
    pub(crate) numbers: Vec<u32>,
    pub(crate) spares: Vec<PathBuf>,
    /// The highest number in any file's name.
    pub(crate) highest: u32,
}

impl Segments {
    pub(crate) fn new(disk: Arc<dyn Disk>, dir: PathBuf) -> Self {
        Self { disk, dir, open: RwLock::default() }
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Bytes of all files; 0 if they cannot be listed.
    pub(crate) fn bytes(&self) -> u64 {
        self.disk.list(&self.dir).unwrap_or_default().iter().map(|file| file.len).sum()
    }

    pub(crate) fn list(&self) -> std::io::Result<Files> {
        let mut files = Files::default();
        for Listed { path, .. } in self.disk.list(&self.dir)? {
            let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
            let Some(number) = number else { continue };
            match path.extension().and_then(|extension| extension.to_str()) {
                Some(SEGMENT | INDEX) => files.numbers.push(number),
                Some(SPARE) => files.spares.push(path),
                _ => continue,
            }
            files.highest = files.highest.max(number);
        }
        files.numbers.sort_unstable();
        files.numbers.dedup();
        Ok(files)
    }

    pub(crate) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.{SEGMENT}"))
    }

    pub(crate) fn index_path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.{INDEX}"))
    }

    fn spare_path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.{SPARE}"))
    }

    pub(crate) fn get(&self, number: u32) -> Option<Arc<Segment>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&number).cloned()
    }

    /// Counts a record that is needed.
    pub(crate) fn add_live(&self, segment: u32, bytes: u32) {
        if let Some(segment) = self.get(segment) {
            segment.add_live(bytes);
        }
    }

    /// A record is no longer needed.
    pub(crate) fn take_live(&self, segment: u32, bytes: u32) {
        if let Some(segment) = self.get(segment) {
            segment.take_live(bytes);
        }
    }

    pub(crate) fn all(&self) -> Vec<Arc<Segment>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    pub(crate) fn insert(&self, segment: Arc<Segment>) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.insert(segment.number, segment);
    }

    /// Begins a segment: a spare file if there is one, else a new one.
    pub(crate) fn create(&self, number: u32, spare: Option<&Path>) -> std::io::Result<Arc<Segment>> {
        let path = self.path(number);
        let file = match spare {
            Some(spare) => {
                self.disk.rename(spare, &path)?;
                self.disk.open(&path, Opening::Existing)?
            }
            None => self.disk.open(&path, Opening::New)?,
        };
        let segment = Arc::new(Segment::new(number, file));
        self.insert(segment.clone());
        Ok(segment)
    }

    /// Removes a segment and its index durably. Returns the path that its file has now, if it is kept as a spare.
    pub(crate) fn free(&self, number: u32, keep: bool) -> std::io::Result<Option<PathBuf>> {
        // From here on it does not count, whatever fails: its name may be gone.
        self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&number);
        let spare = self.spare_path(number);
        let done = if keep {
            self.disk.rename(&self.path(number), &spare)
        } else {
            self.disk.remove(&self.path(number))
        };
        ignore_missing(done)?;
        ignore_missing(self.disk.remove(&self.index_path(number)))?;
        self.disk.sync_dir(&self.dir)?;
        Ok(keep.then_some(spare))
    }

    /// Makes the names of all files durable.
    pub(crate) fn sync_names(&self) -> std::io::Result<()> {
        self.disk.sync_dir(&self.dir)
    }
}

fn ignore_missing(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Whether the disk is full.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}
