//! Disk faults for tests: nothing happens unless a test injects it.
//!
//! They act where the hot log's bytes meet the operating system, so that everything above runs as in production.

use std::fs::File;
use std::io::{Error, ErrorKind};
use std::path::Path;
use std::sync::Arc;
#[cfg(feature = "defects")]
use std::sync::atomic::AtomicU8;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use agentbench_disk::{Disk, DiskFile, Listed, Opening, RealDisk};

/// A defect of the engine, planted to see that the tests find it. Without the feature `defects` there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Defect {
    /// A segment that was finished within a commit is not synced with it.
    SegmentLosesTail = 1,
    /// Frames of a last write that was cut short are served.
    TornTailShown = 2,
    /// Removals are forgotten before all records of their logs are gone.
    RemovalForgotten = 3,
}

impl Defect {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SegmentLosesTail, Self::TornTailShown, Self::RemovalForgotten];
}

#[cfg(feature = "defects")]
static PLANTED: AtomicU8 = AtomicU8::new(0);

/// Plants a defect in this process, or none.
#[cfg(feature = "defects")]
pub fn plant(defect: Option<Defect>) {
    PLANTED.store(defect.map_or(0, |defect| defect as u8), Ordering::SeqCst);
}

#[cfg(feature = "defects")]
pub(crate) fn has(defect: Defect) -> bool {
    PLANTED.load(Ordering::SeqCst) == defect as u8
}

#[cfg(not(feature = "defects"))]
pub(crate) const fn has(_: Defect) -> bool {
    false
}

/// Disk faults, effective at once or after a while.
#[derive(Debug, Default)]
pub struct Faults {
    sync_fails: AtomicBool,
    write_fails: AtomicBool,
    short_write: AtomicBool,
    /// Bytes that still fit; negative for no limit.
    room: RoomLeft,
    syncs: AtomicU64,
    writes: AtomicU64,
}

#[derive(Debug)]
struct RoomLeft(AtomicI64);

impl Default for RoomLeft {
    fn default() -> Self {
        Self(AtomicI64::new(-1))
    }
}

impl Faults {
    /// Makes every fsync fail from now on, or work again.
    pub fn fail_syncs(&self, fail: bool) {
        self.sync_fails.store(fail, Ordering::SeqCst);
    }

    /// Makes every write fail with an input/output error from now on, or work again.
    pub fn fail_writes(&self, fail: bool) {
        self.write_fails.store(fail, Ordering::SeqCst);
    }

    /// Makes every write store half of its bytes and then fail from now on, or work again.
    pub fn cut_writes(&self, cut: bool) {
        self.short_write.store(cut, Ordering::SeqCst);
    }

    /// Limits the remaining space to this many bytes; `None` for no limit.
    pub fn limit_room(&self, bytes: Option<u32>) {
        self.room.0.store(bytes.map_or(-1, i64::from), Ordering::SeqCst);
    }

    /// Number of fsyncs requested so far.
    pub fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::SeqCst)
    }

    /// Number of writes requested so far.
    pub fn writes(&self) -> u64 {
        self.writes.load(Ordering::SeqCst)
    }

    pub(crate) fn on_sync(&self) -> std::io::Result<()> {
        self.syncs.fetch_add(1, Ordering::SeqCst);
        if self.sync_fails.load(Ordering::SeqCst) {
            return Err(Error::other("injected: fsync failed"));
        }
        Ok(())
    }

    fn is_only_full(&self) -> bool {
        !self.write_fails.load(Ordering::SeqCst) && !self.short_write.load(Ordering::SeqCst)
    }

    /// How many of `len` bytes to write, and the error to return afterwards, if any.
    pub(crate) fn on_write(&self, len: usize) -> (usize, Option<Error>) {
        self.writes.fetch_add(1, Ordering::SeqCst);
        if self.write_fails.load(Ordering::SeqCst) {
            return (0, Some(Error::other("injected: write failed")));
        }
        if self.short_write.load(Ordering::SeqCst) {
            return (len / 2, Some(Error::other("injected: write cut short")));
        }
        let room = self.room.0.load(Ordering::SeqCst);
        if room < 0 {
            return (len, None);
        }
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        if len > room {
            self.room.0.store(0, Ordering::SeqCst);
            return (room, Some(Error::new(ErrorKind::StorageFull, "injected: no space")));
        }
        self.room.0.fetch_sub(i64::try_from(len).unwrap_or(i64::MAX), Ordering::SeqCst);
        (len, None)
    }
}

/// The operating system's disk with the faults that a test injects.
pub(crate) struct FaultyDisk(pub(crate) Arc<Faults>);

struct FaultyFile {
    file: Box<dyn DiskFile>,
    faults: Arc<Faults>,
    /// Up to here it was written: what is written there again takes no room.
    end: AtomicU64,
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path, opening: Opening) -> std::io::Result<Box<dyn DiskFile>> {
        let file = RealDisk.open(path, opening)?;
        Ok(Box::new(FaultyFile { file, faults: self.0.clone(), end: AtomicU64::new(0) }))
    }

    fn list(&self, folder: &Path) -> std::io::Result<Vec<Listed>> {
        RealDisk.list(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> std::io::Result<()> {
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> std::io::Result<()> {
        RealDisk.remove(path)
    }

    fn create_dir(&self, folder: &Path) -> std::io::Result<()> {
        RealDisk.create_dir(folder)
    }

    fn sync_dir(&self, folder: &Path) -> std::io::Result<()> {
        RealDisk.sync_dir(folder)
    }
}

impl DiskFile for FaultyFile {
    fn read_at(&self, to: &mut [u8], at: u64) -> std::io::Result<usize> {
        self.file.read_at(to, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> std::io::Result<usize> {
        let end = at + bytes.len() as u64;
        if end <= self.end.load(Ordering::SeqCst) && self.faults.is_only_full() {
            return self.file.write_at(bytes, at);
        }
        let (len, error) = self.faults.on_write(bytes.len());
        if len > 0 {
            self.file.write_all_at(&bytes[..len], at)?;
            self.end.fetch_max(at + len as u64, Ordering::SeqCst);
        }
        match error {
            // As the operating system does it: what fits is written, and the next write fails.
            Some(error) if error.kind() == ErrorKind::StorageFull && len > 0 => Ok(len),
            Some(error) => Err(error),
            None => Ok(len),
        }
    }

    fn sync(&self) -> std::io::Result<()> {
        self.faults.on_sync()?;
        self.file.sync()
    }

    fn set_len(&self, len: u64) -> std::io::Result<()> {
        self.file.set_len(len)
    }

    fn allocate(&self, at: u64, len: u64) -> std::io::Result<()> {
        self.file.allocate(at, len)
    }

    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn os_file(&self) -> Option<File> {
        self.file.os_file()
    }
}
