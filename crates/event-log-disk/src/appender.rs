//! Writes records to the newest segment, one after another, and begins the next one when it is full.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::config::Durability;
use crate::faults::{self, Defect};
use crate::index::{Behind, Indexed};
use crate::poke::Poke;
use crate::record::{Draft, HEADER, LogIdentity};
use crate::recovery::end_of_segment;
use crate::segment::{Segment, Segments, is_full};
use crate::write_back::{Notes, WriteBack};

/// Room is reserved in portions that double between these sizes, so that a small log takes little.
const LEAST_RESERVED: u64 = 256 << 10;
const MOST_RESERVED: u64 = 8 << 20;

/// Why a write failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum WriteError {
    /// Nothing was written: the disk is full.
    Full,
    /// Nothing was written, for another reason that may pass.
    Refused(String),
    /// The outcome is unknown; nothing more can be written.
    Unknown(String),
}

/// What the appender and the clean-up share.
#[derive(Default)]
pub(crate) struct Hot {
    pub(crate) behind: Behind,
    /// Segments that were finished and are not synced yet.
    pub(crate) finished: Mutex<Vec<Arc<Segment>>>,
    /// Files to use again.
    pub(crate) spares: Mutex<Vec<PathBuf>>,
    /// Wakes the thread that cleans up.
    pub(crate) poke: Poke,
    /// The first fsync that failed.
    failure: OnceLock<String>,
    syncs: std::sync::atomic::AtomicU64,
}

impl Hot {
    pub(crate) fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.syncs.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Makes a segment's records durable. A failure is permanent: the operating system may have forgotten what it could not
    /// write.
    pub(crate) fn sync(&self, segment: &Segment) -> Result<(), String> {
        self.syncs.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        segment.file.sync().map_err(|error| {
            let reason = format!("fsync failed: {error}");
            drop(self.failure.set(reason.clone()));
            reason
        })
    }

    pub(crate) fn take_finished(&self) -> Vec<Arc<Segment>> {
        std::mem::take(&mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The segment that is written to.
struct Active {
    segment: Arc<Segment>,
    /// Bytes written.
    end: u64,
    reserved: u64,
    notes: Option<Notes>,
    /// What follows cannot be written to it any more.
    is_finished: bool,
}

/// See the module.
pub(crate) struct Appender {
    segments: Arc<Segments>,
    hot: Arc<Hot>,
    durability: Durability,
    capacity: u64,
    /// Number of the next segment.
    next: u32,
    active: Option<Active>,
    /// Records that follow the written ones.
    buffer: Vec<u8>,
    write_back: Option<WriteBack>,
}

impl Appender {
    pub(crate) fn new(
        segments: Arc<Segments>,
        hot: Arc<Hot>,
        durability: Durability,
        capacity: u64,
        next: u32,
        write_back: Option<WriteBack>,
    ) -> Self {
        Self { segments, hot, durability, capacity, next, active: None, buffer: Vec::new(), write_back }
    }

    /// Bytes that are not written yet.
    pub(crate) fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// Whether a record fits the segment behind all that were added. If not, what was added is to be written, and a segment begun.
    pub(crate) fn has_room(&self, draft: &Draft<'_>) -> bool {
        let len = draft.record_len() as u64;
        // There is always room for the end, and a record of any size in an empty segment.
        self.position().is_some_and(|at| at == 0 || at + len + HEADER as u64 <= self.capacity)
    }

    /// Adds a record behind all others; there [is room](Self::has_room).
    pub(crate) fn add(&mut self, draft: &Draft<'_>, log: LogIdentity, commit: u64) -> Indexed {
        let (segment, offset) = self.place().expect("a segment with room was begun");
        let header = draft.write(&mut self.buffer, log, commit, segment, offset);
        Indexed { offset, header }
    }

    /// Where the next record begins; `None` if a segment has to be begun first.
    fn position(&self) -> Option<u64> {
        let active = self.active.as_ref().filter(|active| !active.is_finished)?;
        Some(active.end + self.buffer.len() as u64)
    }

    fn place(&self) -> Option<(u32, u32)> {
        let offset = u32::try_from(self.position()?).ok()?;
        Some((self.active.as_ref()?.segment.number, offset))
    }

    /// Finishes the segment and begins the next one.
    ///
    /// # Errors
    /// No segment is begun.
    pub(crate) fn begin_segment(&mut self, commit: u64) -> Result<(), WriteError> {
        self.finish_segment(commit)?;
        let spare = self.hot.spares.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let created = self.segments.create(self.next, spare.as_deref());
        let created = created.and_then(|segment| {
            // A record in a file without a name would be lost with it.
            if self.durability == Durability::Synced {
                self.segments.sync_names()?;
            }
            Ok(segment)
        });
        // A number is not tried again: a file that could not be opened may be there.
        self.next += 1;
        let segment = created.map_err(|error| match error {
            error if is_full(&error) => WriteError::Full,
            error => WriteError::Refused(format!("a segment cannot be begun: {error}")),
        })?;
        let notes = self.write_back.as_ref().zip(segment.file.os_file()).map(|(back, file)| back.watch(file));
        let reserved = if spare.is_some() { segment.file.len().unwrap_or(0) } else { 0 };
        self.active = Some(Active { segment, end: 0, reserved, notes, is_finished: false });
        Ok(())
    }

    fn finish_segment(&mut self, commit: u64) -> Result<(), WriteError> {
        if let Some((segment, offset)) = self.place() {
            let header = Draft::End.write(&mut self.buffer, NO_LOG, commit, segment, offset);
            self.write()?;
            self.hot.behind.add(&[Indexed { offset, header }]);
        }
        let Some(active) = self.active.take() else { return Ok(()) };
        if active.is_finished {
            // What a refused write left behind its end does not count.
            self.hot.behind.add(&[end_of_segment(active.segment.number, active.end)]);
        }
        if self.durability == Durability::Synced && !faults::has(Defect::SegmentLosesTail) {
            return self.hot.sync(&active.segment).map_err(WriteError::Unknown);
        }
        self.hot.finished.lock().unwrap_or_else(PoisonError::into_inner).push(active.segment);
        self.hot.poke.now();
        Ok(())
    }

    /// Writes what was added.
    ///
    /// # Errors
    /// All of it is dropped.
    pub(crate) fn write(&mut self) -> Result<(), WriteError> {
        let Some(active) = self.active.as_mut().filter(|_| !self.buffer.is_empty()) else { return Ok(()) };
        let written = active.write(&self.buffer);
        self.buffer.clear();
        written.map_err(|stopped| match stopped {
            Stopped::Full(0) => WriteError::Full,
            Stopped::Full(written) => self.undo(written),
            Stopped::Failed(error) => WriteError::Unknown(format!("a write failed: {error}")),
        })
    }

    /// Overwrites the part that was written before the disk was full, durably: records there are refused, and must not be found
    /// later.
    fn undo(&mut self, written: usize) -> WriteError {
        let Some(active) = &mut self.active else { return WriteError::Full };
        // Nothing is written behind it if it cannot be overwritten.
        active.is_finished = active.segment.file.write_all_at(&vec![0; written], active.end).is_err();
        match self.hot.sync(&active.segment) {
            Ok(()) => WriteError::Full,
            Err(reason) => WriteError::Unknown(reason),
        }
    }

    /// Makes what was written durable.
    pub(crate) fn sync(&mut self) -> Result<(), String> {
        let Some(active) = &self.active else { return Ok(()) };
        self.hot.sync(&active.segment)
    }

    /// Gives back the room that was reserved ahead: nothing more will be written.
    pub(crate) fn close(&mut self) {
        if let Some(active) = &mut self.active {
            active.is_finished = true;
            // Without it, the file just stays longer.
            drop(active.segment.file.set_len(active.end));
        }
    }

    /// Number of the segment that is written to, and its bytes.
    pub(crate) fn end(&self) -> Option<(u32, u64)> {
        self.active.as_ref().map(|active| (active.segment.number, active.end))
    }
}

/// The log of a record that belongs to none.
const NO_LOG: LogIdentity = LogIdentity {
    number: 0,
    session: agentbench_protocol::SessionId::from_u128(0),
    epoch: agentbench_protocol::Epoch::from_u64(0),
};

/// Why not all bytes were written.
enum Stopped {
    /// The disk is full, after this many.
    Full(usize),
    Failed(std::io::Error),
}

impl Active {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Stopped> {
        self.reserve(bytes.len() as u64);
        let mut written = 0;
        while written < bytes.len() {
            match self.segment.file.write_at(&bytes[written..], self.end + written as u64) {
                Ok(0) => return Err(Stopped::Full(written)),
                Ok(more) => written += more,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if is_full(&error) => return Err(Stopped::Full(written)),
                Err(error) => return Err(Stopped::Failed(error)),
            }
        }
        if let Some(notes) = &mut self.notes {
            notes.on_write(self.end as usize, written);
        }
        self.end += written as u64;
        self.segment.set_written(self.end);
        Ok(())
    }

    /// Reserves room ahead, which makes writes and syncs cheaper. Without room the write itself finds the disk full.
    fn reserve(&mut self, more: u64) {
        let needed = self.end + more;
        if needed <= self.reserved {
            return;
        }
        let step = self.reserved.clamp(LEAST_RESERVED, MOST_RESERVED);
        let reserved = (self.reserved + step).max(needed);
        if self.segment.file.allocate(self.reserved, reserved - self.reserved).is_ok() {
            self.reserved = reserved;
        }
    }
}
