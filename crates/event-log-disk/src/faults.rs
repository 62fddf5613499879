//! Disk faults for tests: nothing happens unless a test injects it.
//!
//! They act where the hot log's bytes meet the operating system, below raft-engine, so that everything above runs as
//! in production.

use std::io::{Error, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

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
            return (room, Some(Error::new(ErrorKind::StorageFull, "injected: no space")));
        }
        self.room.0.fetch_sub(i64::try_from(len).unwrap_or(i64::MAX), Ordering::SeqCst);
        (len, None)
    }
}
