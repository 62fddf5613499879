//! What is done behind the writer: indexes, witness, fsyncs of finished segments, and freeing segments.
//!
//! A segment that nothing needs is freed. If the log is larger than it may be, what lives in those that are mostly dead is
//! written again at the end of the log, and they are freed, too. Each step is safe against what may happen before the next:
//! ```text
//! move what lives ─► fsync ─► witness without the segment, fsync ─► remove the files, fsync of the folder ─► forget removals
//! ```
//! A segment with a damaged record that is still needed stays as it is: it is evidence, and may be readable tomorrow.

use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use agentbench_event_log::LogError;

use crate::config::{DiskConfig, Durability, unavailable};
use crate::inbox::{Reply, Request};
use crate::index::{self, Indexed};
use crate::moving::Moving;
use crate::reading;
use crate::record::{HEADER, LogIdentity, RecordKind};
use crate::scan;
use crate::scrub::Scrub;
use crate::segment::Segment;
use crate::state::EngineState;
use crate::table::Place;
use crate::witness::Witness;

/// Interval for indexes and witness. They cannot detect the loss of what was written after them, and cost next to nothing.
const PERIOD: Duration = Duration::from_secs(1);
/// How often a wait for the writer looks whether the log is being closed.
const STOP_CHECKS: Duration = Duration::from_millis(20);
/// Bytes that are moved with one request, so that appends are not held up for long.
const MOVED_TOGETHER: usize = 256 << 10;
/// Segments that are more needed than this, in percent, are not emptied: it would cost more than it frees.
const MOST_LIVE: u64 = 75;
/// Segments that were left nearly empty, by as many starts, are joined beyond this number.
const SMALL_SEGMENTS: usize = 16;
/// Spare files that are kept where writes are synced: to write to a file again needs no room and no change of its length.
const SPARES: usize = 2;

/// See the module.
pub(crate) struct Cleaning {
    shared: Arc<EngineState>,
    durability: Durability,
    capacity: u64,
    threshold: u64,
    interval: Duration,
    witness: Mutex<Witness>,
    /// Held while segments are freed.
    one_at_a_time: Mutex<()>,
    /// Held while segments are synced.
    syncing: Mutex<()>,
    scrub: Mutex<Scrub>,
}

impl Cleaning {
    pub(crate) fn new(shared: Arc<EngineState>, config: &DiskConfig) -> Self {
        Self {
            shared,
            durability: config.durability,
            capacity: config.segment_bytes,
            threshold: config.purge_threshold,
            interval: config.purge_interval,
            witness: Mutex::new(Witness::new(&config.dir)),
            one_at_a_time: Mutex::default(),
            syncing: Mutex::default(),
            scrub: Mutex::new(Scrub::new(config.scrub_bytes)),
        }
    }

    /// The thread: runs until it is stopped.
    pub(crate) fn run(&self) {
        let mut purged = Instant::now();
        while self.shared.hot.poke.wait(PERIOD.min(self.interval)) {
            self.write_behind();
            if purged.elapsed() >= self.interval {
                if let Err(error) = self.purge() {
                    tracing::error!(%error, "the hot log cannot be cleaned up");
                }
                purged = Instant::now();
            }
            self.scrub.lock().unwrap_or_else(PoisonError::into_inner).go_on(&self.shared);
        }
    }

    /// Writes indexes and witness, and syncs segments that were finished.
    pub(crate) fn write_behind(&self) {
        if let Err(error) = self.shared.hot.behind.write(&self.shared.segments, false) {
            // The next start searches the segments instead.
            tracing::debug!(%error, "the indexes of the hot log cannot be written");
        }
        self.sync_finished();
        let mut witness = self.witness();
        witness.note(self.shared.segments.disk(), self.shared.extent());
    }

    /// Syncs segments that were finished. Of two concurrent calls the second waits for the first.
    fn sync_finished(&self) {
        let _one = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        for segment in self.shared.hot.take_finished() {
            if let Err(error) = self.shared.hot.sync(&segment) {
                tracing::error!(error, segment = segment.number, "a finished segment cannot be synced");
            }
        }
    }

    fn witness(&self) -> MutexGuard<'_, Witness> {
        self.witness.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, request: impl FnOnce(Reply<()>) -> Request) -> Result<(), LogError> {
        let (reply, answer) = sync_channel(1);
        self.shared.inbox.push(request(reply));
        loop {
            match answer.recv_timeout(STOP_CHECKS) {
                Ok(answer) => return answer,
                // The writer's own thread may be waiting for this one to end.
                Err(RecvTimeoutError::Timeout) if !self.shared.hot.poke.is_stopped() => {}
                Err(_) => return Err(unavailable("the writer has stopped")),
            }
        }
    }

    /// Frees segments. Of two concurrent calls the second waits for the first.
    ///
    /// # Errors
    /// [`LogError::Unavailable`]: what is left is freed another time.
    pub(crate) fn purge(&self) -> Result<(), LogError> {
        let _one = self.one_at_a_time.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = self.shared.hot.failure() {
            return Err(unavailable(failure));
        }
        self.write_behind();
        for segment in self.shared.finished() {
            if segment.live() == 0 {
                self.empty(&segment)?;
            }
        }
        for segment in self.worth_moving() {
            self.empty(&segment)?;
        }
        Ok(())
    }

    /// Segments to empty, in this order.
    fn worth_moving(&self) -> Vec<Arc<Segment>> {
        let mut finished = self.shared.finished();
        finished.retain(|segment| !segment.is_damaged() && segment.live() > 0);
        let is_small = |segment: &Arc<Segment>| segment.written() < self.capacity / 8;
        let mut chosen = Vec::new();
        if finished.iter().filter(|segment| is_small(segment)).count() > SMALL_SEGMENTS {
            let (small, others) = finished.into_iter().partition(is_small);
            chosen = small;
            finished = others;
        }
        let share = |segment: &Segment| segment.live() * 100 / segment.written().max(1);
        finished.sort_by_key(|segment| share(segment));
        let mut excess = self.shared.segments.bytes().saturating_sub(self.threshold);
        for segment in finished {
            if excess == 0 || share(&segment) > MOST_LIVE {
                break;
            }
            excess = excess.saturating_sub(segment.written().saturating_sub(segment.live()));
            chosen.push(segment);
        }
        chosen
    }

    /// Moves what is needed out of a segment, and frees it.
    fn empty(&self, segment: &Segment) -> Result<(), LogError> {
        if segment.live() > 0 {
            self.move_all(segment, index::read(&self.shared.segments, segment.number))?;
        }
        if segment.live() > 0 && !segment.is_damaged() {
            // The index does not know all of them.
            let found = scan::search(&*segment.file, segment.number, 0, segment.written());
            self.move_all(segment, found.records.into_iter().map(|found| found.record).collect())?;
        }
        let removals = self.shared.tombstones.in_segment(segment.number);
        let removals =
            removals.into_iter().map(|found| Moving::Removal { log: found.log, segment: segment.number });
        self.send(removals.collect())?;
        if segment.live() > 0 || !self.shared.tombstones.in_segment(segment.number).is_empty() {
            return Ok(());
        }
        // What replaces it has to be on the disk before it goes, in whichever segments it was written to.
        self.request(|reply| Request::Sync { reply })?;
        self.sync_finished();
        if let Some(failure) = self.shared.hot.failure() {
            return Err(unavailable(failure));
        }
        self.free(segment).map_err(unavailable)
    }

    fn free(&self, segment: &Segment) -> std::io::Result<()> {
        // An entry that is written later would be taken for a segment that is missing.
        self.shared.hot.behind.write(&self.shared.segments, false)?;
        // Held until the segment is gone, so that nothing is noted in between that was seen before.
        let mut witness = self.witness();
        let mut extent = self.shared.extent();
        extent.segments.retain(|number| *number != segment.number);
        witness.note_durably(self.shared.segments.disk(), extent, true)?;
        let spares = || self.shared.hot.spares.lock().unwrap_or_else(PoisonError::into_inner);
        let is_kept = self.durability == Durability::Synced
            && segment.written() >= self.capacity / 2
            && spares().len() < SPARES;
        let spare = self.shared.segments.free(segment.number, is_kept)?;
        drop(witness);
        if is_kept {
            read_through(segment);
        }
        spares().extend(spare);
        self.shared.tombstones.freed(segment.number);
        Ok(())
    }

    fn move_all(&self, segment: &Segment, records: Vec<Indexed>) -> Result<(), LogError> {
        let mut together = Vec::new();
        let mut bytes = 0;
        for record in records {
            if let Some(moving) = self.moving(segment, &record) {
                bytes += record.header.record_len();
                together.push(moving);
            }
            if bytes >= MOVED_TOGETHER {
                self.send(std::mem::take(&mut together))?;
                bytes = 0;
            }
        }
        self.send(together)
    }

    fn send(&self, records: Vec<Moving>) -> Result<(), LogError> {
        if records.is_empty() {
            return Ok(());
        }
        self.request(|reply| Request::Move { records, reply })
    }

    /// `None` if the record is not needed, or cannot be read.
    fn moving(&self, segment: &Segment, record: &Indexed) -> Option<Moving> {
        let header = &record.header;
        let log = LogIdentity { number: header.log, session: header.session, epoch: header.epoch };
        let from = Place::of(header, record.offset);
        let is_needed = {
            let logs = self.shared.live.read();
            let live = logs.get(&log.session).filter(|live| live.number == log.number)?;
            match header.kind {
                RecordKind::State => live.state.is_some_and(|(at, _)| at == segment.number),
                RecordKind::Frame => {
                    let at = live.places.binary_search_by_key(&from.first_seq, |place| place.first_seq);
                    at.is_ok_and(|at| live.places[at] == from)
                }
                RecordKind::Removal | RecordKind::End | RecordKind::Void => false,
            }
        };
        if !is_needed {
            return None;
        }
        if header.kind == RecordKind::State {
            return Some(Moving::State { log, segment: segment.number });
        }
        let read = reading::record_at(segment, log, &from);
        let (header, payload) = read.inspect_err(|why| self.shared.note_damage(&log, &from, why)).ok()?;
        let frame = header.frame(&payload).ok()?;
        let summary = header.has_summary.then(|| payload.slice(header.body_len as usize..));
        Some(Moving::Frame { log, from, frame, summary })
    }
}

/// Brings a file's pages into memory: to write a part of one that is not there, the operating system has to read it first.
fn read_through(segment: &Segment) {
    let mut buffer = vec![0; 1 << 20];
    let mut at = 0;
    while let Ok(read) = segment.file.read_at(&mut buffer, at) {
        if read < HEADER {
            break;
        }
        at += read as u64;
    }
}
