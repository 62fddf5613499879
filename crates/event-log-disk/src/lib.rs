//! The embedded durable log engine: every session's log on this machine's disk, without another service.
//!
//! ```text
//! submit ─► inbox ─► writer thread ─► segments (all live sessions in one set of files)
//! read ──────────────────────────────►    │ archive(session)
//!      └─────────────────────────────► archive (one compressed file per ended session)
//! ```
//! In reading order:
//! - [`DiskLog`] is the engine: the guarantees of [`EventLog`], retention, sizes and counters.
//! - `record` is the stored form of all that is in a segment; `segment` and `index` are the files.
//! - `state` is what the threads share.
//! - `writer` is the one thread that changes the hot log: compare-and-swap, group commit, outcomes. `appender` writes its records.
//! - `table` is the live logs in memory, `reading` reads frames from their places.
//! - `recovery` makes live logs of what a start finds, by `scan` where the index says nothing; `witness` detects segments that end
//!   early or are missing.
//! - `cleaning` frees segments (`moving`, `tombstones`), and does all else behind the writer; `scrub` looks for damage.
//! - `archive` is the ended sessions: `archive::format` and `archive::catalogue` are their stored forms.
//! - [`ArchiveLog`] is the fallback when the hot log cannot be opened: ended sessions, read only.
//! - [`inspect`] reads all that a stopped folder holds.
//! - `migration` moves the logs of the former engine's folder, which `old` reads, into segments.
//! - `write_back` limits how much of the hot log the kernel holds in memory.
//! - [`faults`] is for tests.
//!
//! Files on disk: `lock` (which process has the directory open), `segments/`, `segments.witness`, `archive/`.
//!
//! Absent on purpose: a cache of frames (the server has the newest ones), a timer that enlarges batches (the appends that arrive
//! during a commit do), repairs (what is damaged is left as it is, and told), and recovery from a failed fsync (the process is
//! restarted, reads what is there, and writes again what it cannot know to be on the disk).

mod appender;
mod archive;
mod archive_only;
mod cleaning;
mod config;
mod damage;
pub mod faults;
mod inbox;
mod index;
mod inspection;
mod lock;
mod migration;
mod moving;
mod old;
mod open;
mod poke;
mod private;
mod reading;
mod record;
mod recovery;
mod removed;
mod scan;
mod scrub;
mod segment;
mod state;
mod stats;
mod table;
mod tombstones;
mod witness;
mod write_back;
mod writer;

use std::collections::HashSet;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use agentbench_disk::{Disk, RealDisk};
use agentbench_event_log::{
    Append, Done, EventLog, Health, Listed, LogError, Observer, ReadLimit, Reading, Retention,
};
use agentbench_protocol::{Epoch, Head, Seq, SessionId};

use crate::archive::format::Header;
pub use crate::archive_only::ArchiveLog;
use crate::cleaning::Cleaning;
use crate::config::unavailable;
pub use crate::config::{ArchiveConfig, Damage, DiskConfig, Durability, OpenError, RecoveryReport};
use crate::faults::FaultyDisk;
use crate::inbox::Request;
pub use crate::inspection::{Finding, inspect};
pub use crate::migration::{Migration, migrate};
use crate::reading::ReadFailure;
use crate::record::LogIdentity;
use crate::state::EngineState;
pub use crate::stats::{COMMIT_TIME_BUCKETS, Stats};
use crate::table::{LiveLog, Picked, Place};
use crate::writer::ShutLog;

/// Number of tries to read a log that is moved, trimmed or deleted meanwhile.
const MOVED_TRIES: usize = 8;
/// Number of locks that serialize archiving, trimming and deleting of one session, chosen by its id.
const CHANGE_LOCKS: usize = 64;

/// The embedded engine. Dropping it closes it.
pub struct DiskLog {
    shared: Arc<EngineState>,
    changes: [Mutex<()>; CHANGE_LOCKS],
    cleaning: Arc<Cleaning>,
    writer: Option<JoinHandle<()>>,
    cleaner: Option<JoinHandle<()>>,
}

/// The engine's disk usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DiskUsage {
    /// Bytes of live sessions' logs, including preallocated space and what is not cleaned up yet.
    pub hot_bytes: u64,
    /// Bytes of archived logs.
    pub archive_bytes: u64,
    /// Number of archived logs.
    pub archived: usize,
}

impl DiskLog {
    /// Opens the logs in a directory, with recovery if the last process did not close them.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use or cannot be used, or its contents are damaged beyond repair.
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is made for one log")]
    pub fn open(config: DiskConfig) -> Result<(Self, RecoveryReport), OpenError> {
        open::open(&config, Arc::new(RealDisk))
    }

    /// Opens with a disk that has the faults that a test injects.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is made for one log")]
    pub fn open_with_faults(
        config: DiskConfig,
        faults: Arc<faults::Faults>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        open::open(&config, Arc::new(FaultyDisk(faults)))
    }

    /// Opens with the hot log on another disk: the folder `config.dir` joined with `segments`, and its witness.
    ///
    /// On the operating system's disk, in `config.dir`, remain the lock and the archive.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    #[expect(clippy::needless_pass_by_value, reason = "a configuration is made for one log")]
    pub fn open_on(config: DiskConfig, disk: Arc<dyn Disk>) -> Result<(Self, RecoveryReport), OpenError> {
        open::open(&config, disk)
    }

    /// The disk usage. Reads the sizes of the hot log's few files.
    pub fn disk_usage(&self) -> DiskUsage {
        DiskUsage {
            hot_bytes: self.shared.segments.bytes(),
            archive_bytes: self.shared.archive.bytes(),
            archived: self.shared.archive.len(),
        }
    }

    /// The counters. Cheap enough for a metrics page.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read(self.shared.hot.syncs(), self.shared.damage.count())
    }

    /// Frees segments that nothing needs, and, if the log exceeds `purge_threshold`, moves what is still needed out of those that
    /// are mostly dead. Runs automatically every `purge_interval`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub fn purge(&self) -> Result<(), LogError> {
        self.cleaning.purge()
    }

    fn remove_archived(&self, session: SessionId) -> Result<Epoch, LogError> {
        let head = self.shared.archive.head(session).ok_or(LogError::NotFound(session))?;
        self.shared.removed.add(session, head.epoch);
        self.shared.archive.remove(session)?;
        Ok(head.epoch)
    }

    fn change(&self, session: SessionId) -> MutexGuard<'_, ()> {
        let place = session.as_u128() as usize % CHANGE_LOCKS;
        self.changes[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request to the writer and waits for its answer.
    fn request<T>(&self, request: impl FnOnce(inbox::Reply<T>) -> Request) -> Result<T, LogError> {
        let (reply, answer) = sync_channel(1);
        self.shared.inbox.push(request(reply));
        answer.recv().unwrap_or_else(|_| Err(unavailable("the writer has stopped")))
    }

    /// Copies a log that accepts no appends into the archive and removes it from the hot log.
    fn move_to_archive(&self, session: SessionId, log: &ShutLog, now: u64) -> Result<(), LogError> {
        let header = Header {
            session,
            epoch: log.identity.epoch,
            first_seq: log.first_seq,
            last_seq: log.head,
            archived_at: now,
            summary: log.summary.clone(),
        };
        let step = ReadLimit { bytes: 4 << 20, events: usize::MAX };
        let mut next = log.first_seq;
        self.shared.archive.add(header, || {
            if next > log.head {
                return Ok(Vec::new());
            }
            let frames =
                self.read_live(session, next, step).unwrap_or(Err(LogError::NotFound(session)))?.frames;
            next = frames.last().map_or(next, |frame| frame.last_seq() + 1);
            Ok(frames)
        })?;
        let number = log.identity.number;
        self.request(|reply| Request::Remove { session, number, reply })
    }

    /// Reads a live log; `None` if there is none.
    fn read_live(
        &self,
        session: SessionId,
        from: Seq,
        limit: ReadLimit,
    ) -> Option<Result<Reading, LogError>> {
        let mut failed: Option<(Place, ReadFailure)> = None;
        for _ in 0..MOVED_TRIES {
            let (identity, head, first_seq, picked) = self.shared.live.with(session, |log| {
                let head = Head { epoch: log.epoch, seq: log.head };
                let is_inside = (log.first_seq..=log.head).contains(&from);
                (log.identity(session), head, log.first_seq, is_inside.then(|| log.pick(from, limit)))
            })?;
            let reading = |frames| Ok(Reading { head, first_seq, frames });
            if from < first_seq {
                return Some(Err(LogError::Trimmed { first_seq }));
            }
            let places = match picked {
                None => return Some(reading(Vec::new())),
                Some(Picked::Lost { from, to }) => {
                    let detail = "no record of these events is left".to_owned();
                    return Some(Err(LogError::Damaged { from, to, detail }));
                }
                Some(Picked::Places(places)) => places,
            };
            if let Some((place, failure)) = failed.take_if(|(place, _)| *place == places[0]) {
                // It was not moved meanwhile.
                return Some(Err(self.damaged(&identity, &place, failure)));
            }
            match reading::read(&self.shared.segments, identity, &places) {
                Ok(frames) => return Some(reading(frames)),
                Err(failure) => failed = Some((places[0], failure)),
            }
        }
        Some(Err(unavailable("the log kept changing during the read")))
    }

    fn damaged(&self, log: &LogIdentity, place: &Place, failure: ReadFailure) -> LogError {
        self.shared.note_damage(log, place, &failure);
        match failure {
            ReadFailure::Io(error) => unavailable(error),
            ReadFailure::Damaged(detail) => {
                LogError::Damaged { from: place.first_seq, to: place.last_seq(), detail }
            }
        }
    }
}

impl EventLog for DiskLog {
    fn submit(&self, appends: Vec<Append>, done: Done) {
        for append in &appends {
            assert_eq!(
                append.frame.first_seq(),
                append.expected.seq + 1,
                "a frame follows the head it expects"
            );
        }
        self.shared.counters.submitted(appends.len());
        self.shared.inbox.push(Request::Append { appends, done });
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn head(&self, session: SessionId) -> Option<Head> {
        let live = self.shared.live.with(session, |log| log.head());
        // In this order: a log on its way to the archive is in one of the two, or both.
        live.flatten().or_else(|| self.shared.archive.head(session))
    }

    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        self.read_live(session, from, limit).unwrap_or_else(|| self.shared.archive.read(session, from, limit))
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        let mut list: Vec<_> = {
            let live = self.shared.live.read();
            let listed = |(session, log): (&SessionId, &LiveLog)| {
                Some(Listed {
                    session: *session,
                    head: log.head()?,
                    summary: log.summary.clone(),
                    archived: false,
                })
            };
            live.iter().filter_map(listed).collect()
        };
        let seen: HashSet<_, foldhash::fast::RandomState> = list.iter().map(|log| log.session).collect();
        // A log that was moved in between is in both.
        list.extend(self.shared.archive.list().into_iter().filter(|log| !seen.contains(&log.session)));
        Ok(list)
    }

    fn find(&self, session: SessionId) -> Result<Listed, LogError> {
        let live = self.shared.live.with(session, |log| {
            Some(Listed { session, head: log.head()?, summary: log.summary.clone(), archived: false })
        });
        // In this order: a log on its way to the archive is in one of the two, or both.
        live.flatten().or_else(|| self.shared.archive.find(session)).ok_or(LogError::NotFound(session))
    }

    /// There is only one writer, and it is told of everything by its calls.
    fn observe(&self, _: Observer) {}

    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError> {
        let _change = self.change(session);
        let found =
            self.shared.live.with(session, |log| (log.number, log.first_seq, log.first_seq_without(before)));
        let Some((number, first_seq, wanted)) = found else {
            return match self.shared.archive.head(session) {
                Some(_) => Err(LogError::Refused("the log is archived".into())),
                None => Err(LogError::NotFound(session)),
            };
        };
        if wanted <= first_seq {
            return Ok(first_seq);
        }
        self.request(|reply| Request::Trim { session, number, first_seq: wanted, reply })?;
        Ok(wanted)
    }

    fn archive(&self, session: SessionId, now: u64) -> Result<(), LogError> {
        let _change = self.change(session);
        if !self.shared.live.has(session) && self.shared.archive.head(session).is_some() {
            return Ok(());
        }
        let log = self.request(|reply| Request::Shut { session, reply })?;
        self.move_to_archive(session, &log, now).inspect_err(|_| {
            // An existing copy would be taken for the log at the next start, when the log may have continued.
            drop(self.shared.archive.remove(session));
            let (number, shut) = (log.identity.number, log.shut);
            self.shared.inbox.push(Request::Reopen { session, number, shut });
        })
    }

    fn retain(&self, now: u64, retention: Retention) -> Result<Vec<(SessionId, Epoch)>, LogError> {
        let max_age = retention.max_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let mut overdue = self.shared.archive.overdue(now, max_age, retention.max_bytes);
        if retention.at_most > 0 {
            overdue.truncate(retention.at_most);
        }
        let mut removed = Vec::new();
        for session in overdue {
            let _change = self.change(session);
            match self.remove_archived(session) {
                Ok(epoch) => removed.push((session, epoch)),
                // Deleted meanwhile.
                Err(LogError::NotFound(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn delete(&self, session: SessionId) -> Result<(), LogError> {
        let _change = self.change(session);
        if let Some((number, epoch)) = self.shared.live.with(session, |log| (log.number, log.epoch)) {
            self.shared.removed.add(session, epoch);
            return self.request(|reply| Request::Remove { session, number, reply });
        }
        self.remove_archived(session).map(|_| ())
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn damaged_frames(&self) -> u64 {
        self.shared.damage.count()
    }

    fn close(&self) -> Result<(), LogError> {
        self.request(|reply| Request::Close { reply })
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        self.shared.hot.poke.stop();
        if let Some(cleaner) = self.cleaner.take() {
            // A thread that panicked has reported it.
            drop(cleaner.join());
        }
        // The writer makes everything durable before it stops.
        self.shared.inbox.push(Request::Stop);
        if let Some(writer) = self.writer.take()
            // A completion may own the last reference to the engine, and the writer cannot wait for itself.
            && writer.thread().id() != std::thread::current().id()
        {
            drop(writer.join());
        }
        self.cleaning.write_behind();
    }
}
