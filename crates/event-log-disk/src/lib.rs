//! The embedded durable log engine: every session's log on this machine's disk, without another service.
//!
//! ```text
//! submit ─► inbox ─► writer thread ─► hot log (raft-engine: all live sessions in one set of files)
//! read ──────────────────────────────►    │ archive(session)
//!      └─────────────────────────────► archive (one compressed file per ended session)
//! ```
//! In reading order:
//! - [`DiskLog`] is the engine: the guarantees of [`EventLog`], retention, sizes and counters.
//! - `writer` is the one thread that changes the hot log: compare-and-swap, group commit, outcomes.
//! - `hot`, `files`, `scan`, `repair`, `listing` are raft-engine and the code around it that makes it fail safely.
//! - `unpromised` is what a power cut may have left incomplete, and what the last process did not sync.
//! - `entry`, `record`, `archive::format`, `archive::catalogue` are the stored formats, one file each.
//! - `quarantine` keeps copies of damaged bytes before they are changed, `witness` detects files that end early or are missing.
//! - [`ArchiveLog`] is the fallback when the hot log cannot be opened: ended sessions, read only.
//! - `write_back` limits how much of the hot log the kernel holds in memory.
//! - `reading` finds the frame that contains a seq.
//! - [`faults`] is for tests.
//!
//! Files on disk: `lock` (which process has the directory open), `hot/` (raft-engine's files), `hot.witness`, `archive/`,
//! `quarantine/`.
//!
//! Absent on purpose: a cache of frames (the server has the newest ones), a timer that enlarges batches (the appends that arrive
//! during a commit do), and recovery from a failed fsync (the process is restarted, reads what
//! is there, and writes again what it cannot know to be on the disk).

mod archive;
mod archive_only;
mod config;
mod entry;
pub mod faults;
mod files;
mod hot;
mod inbox;
mod listing;
mod lock;
mod open;
mod private;
mod quarantine;
mod reading;
mod record;
mod removed;
mod repair;
mod scan;
mod stats;
mod table;
mod unpromised;
mod witness;
mod write_back;
mod writer;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::mpsc::{Sender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use agentbench_disk::{Disk, RealDisk};
use agentbench_event_log::{
    Append, Done, EventLog, Health, Listed, LogError, Observer, ReadLimit, Reading, Retention,
};
use agentbench_protocol::{Epoch, Head, Seq, SessionId};

use crate::archive::format::Header;
pub use crate::archive_only::ArchiveLog;
use crate::config::unavailable;
pub use crate::config::{ArchiveConfig, Damage, DiskConfig, Durability, OpenError, RecoveryReport};
use crate::inbox::Request;
pub use crate::stats::{COMMIT_TIME_BUCKETS, Stats};
use crate::table::LiveLog;
use crate::writer::EngineState;

/// Number of tries to read a log that is moved, trimmed or deleted meanwhile.
const MOVED_TRIES: usize = 8;
/// Number of locks that serialize archiving, trimming and deleting of one session, chosen by its id.
const CHANGE_LOCKS: usize = 64;

/// The embedded engine. Dropping it closes it.
pub struct DiskLog {
    shared: Arc<EngineState>,
    changes: [Mutex<()>; CHANGE_LOCKS],
    disk: Arc<dyn Disk>,
    hot_dir: PathBuf,
    writer: Option<JoinHandle<()>>,
    cleaner: Option<(Sender<()>, JoinHandle<()>)>,
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
    pub fn open(config: DiskConfig) -> Result<(Self, RecoveryReport), OpenError> {
        Self::open_with_faults(config, Arc::default())
    }

    /// Opens with a disk that has the faults that a test injects.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_with_faults(
        config: DiskConfig,
        faults: Arc<faults::Faults>,
    ) -> Result<(Self, RecoveryReport), OpenError> {
        open::open(config, open::Ground { disk: Arc::new(RealDisk), is_real: true, faults })
    }

    /// Opens with the hot log's files on another disk, in the folder `config.dir` joined with `hot`.
    ///
    /// Everything that is done to those files goes to this disk: raft-engine's reads and writes, checks and repairs before it
    /// starts, syncs of files and of their folder. On the operating system's disk, in `config.dir`, remain: the lock, the witness,
    /// the archive, the quarantine, and empty files in `hot/` that only show raft-engine the names.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_on(config: DiskConfig, disk: Arc<dyn Disk>) -> Result<(Self, RecoveryReport), OpenError> {
        open::open(config, open::Ground { disk, is_real: false, faults: Arc::default() })
    }

    /// The disk usage. Reads the sizes of the hot log's few files.
    pub fn disk_usage(&self) -> DiskUsage {
        DiskUsage {
            hot_bytes: open::bytes_in(&*self.disk, &self.hot_dir),
            archive_bytes: self.shared.archive.bytes(),
            archived: self.shared.archive.len(),
        }
    }

    /// The counters. Cheap enough for a metrics page.
    pub fn stats(&self) -> Stats {
        self.shared.counters.read(self.shared.hot.syncs())
    }

    /// Moves what is still needed out of old files of the hot log and removes them, if the log exceeds
    /// `purge_threshold`. Runs automatically every `purge_interval`.
    ///
    /// # Errors
    /// [`LogError::Unavailable`].
    pub fn purge(&self) -> Result<(), LogError> {
        self.shared.hot.purge().map_err(unavailable)
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
    fn move_to_archive(&self, session: SessionId, log: &LiveLog, now: u64) -> Result<(), LogError> {
        let header = Header {
            session,
            epoch: log.epoch,
            first_seq: log.first_seq,
            last_seq: log.head,
            archived_at: now,
            summary: self.shared.hot.record(log.number).map(|record| record.summary).unwrap_or_default(),
        };
        let step = ReadLimit { bytes: 4 << 20, events: usize::MAX };
        let mut next = log.first_seq;
        self.shared.archive.add(header, || {
            if next > log.head {
                return Ok(Vec::new());
            }
            let frames = reading::read(&self.shared.hot, &self.shared.hints, log, next, step)
                .unwrap_or_else(|_| Err(unavailable("the log was moved while it was archived")))?;
            next = frames.last().map_or(next, |frame| frame.last_seq() + 1);
            Ok(frames)
        })?;
        self.request(|reply| Request::Remove { session, number: log.number, reply })
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
        let live = self.shared.live.get(session).and_then(|log| log.head());
        // In this order: a log on its way to the archive is in one of the two, or both.
        live.or_else(|| self.shared.archive.head(session))
    }

    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        for _ in 0..MOVED_TRIES {
            let Some(log) = self.shared.live.get(session) else {
                return self.shared.archive.read(session, from, limit);
            };
            if from < log.first_seq {
                return Err(LogError::Trimmed { first_seq: log.first_seq });
            }
            let reading = |frames| Reading {
                head: Head { epoch: log.epoch, seq: log.head },
                first_seq: log.first_seq,
                frames,
            };
            if from > log.head {
                return Ok(reading(Vec::new()));
            }
            if let Ok(read) = reading::read(&self.shared.hot, &self.shared.hints, &log, from, limit) {
                return read.map(reading);
            }
        }
        Err(unavailable("the log kept changing during the read"))
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        let logs: Vec<_> = {
            let live = self.shared.live.read();
            live.iter().filter_map(|(session, log)| Some((*session, log.head()?, log.number))).collect()
        };
        let seen: HashSet<_, foldhash::fast::RandomState> =
            logs.iter().map(|(session, ..)| *session).collect();
        let summary =
            |number| self.shared.hot.record(number).map(|record| record.summary).unwrap_or_default();
        let mut list: Vec<_> = (logs.into_iter())
            .map(|(session, head, number)| Listed {
                session,
                head,
                summary: summary(number),
                archived: false,
            })
            .collect();
        // A log that was moved in between is in both.
        list.extend(self.shared.archive.list().into_iter().filter(|log| !seen.contains(&log.session)));
        Ok(list)
    }

    fn find(&self, session: SessionId) -> Result<Listed, LogError> {
        if let Some(log) = self.shared.live.get(session)
            && let Some(head) = log.head()
        {
            let record = self.shared.hot.record(log.number);
            let is_moved = self.shared.live.get(session).is_none_or(|now| now.number != log.number);
            if !is_moved {
                let summary = record.map(|record| record.summary).unwrap_or_default();
                return Ok(Listed { session, head, summary, archived: false });
            }
        }
        // In this order: a log on its way to the archive is in one of the two, or both.
        self.shared.archive.find(session).ok_or(LogError::NotFound(session))
    }

    /// There is only one writer, and it is told of everything by its calls.
    fn observe(&self, _: Observer) {}

    fn trim(&self, session: SessionId, before: Seq) -> Result<Seq, LogError> {
        let _change = self.change(session);
        for _ in 0..MOVED_TRIES {
            let Some(log) = self.shared.live.get(session) else {
                return match self.shared.archive.head(session) {
                    Some(_) => Err(LogError::Refused("the log is archived".into())),
                    None => Err(LogError::NotFound(session)),
                };
            };
            if before <= log.first_seq {
                return Ok(log.first_seq);
            }
            let (first_seq, ordinal) = if before > log.head {
                (log.head + 1, log.head_ordinal + 1)
            } else {
                let Ok(found) = reading::find(&self.shared.hot, &log, before) else { continue };
                let ordinal = found?;
                match self.shared.hot.entry(log.number, ordinal) {
                    Ok(entry) => (entry.header.first_seq.max(log.first_seq), ordinal),
                    Err(_) => continue,
                }
            };
            if first_seq > log.first_seq {
                let number = log.number;
                self.request(|reply| Request::Trim { session, number, first_seq, ordinal, reply })?;
            }
            return Ok(first_seq);
        }
        Err(unavailable("the log kept changing meanwhile"))
    }

    fn archive(&self, session: SessionId, now: u64) -> Result<(), LogError> {
        let _change = self.change(session);
        if self.shared.live.get(session).is_none() && self.shared.archive.head(session).is_some() {
            return Ok(());
        }
        let log = self.request(|reply| Request::Shut { session, reply })?;
        self.move_to_archive(session, &log, now).inspect_err(|_| {
            // An existing copy would be taken for the log at the next start, when the log may have continued.
            drop(self.shared.archive.remove(session));
            self.shared.inbox.push(Request::Reopen { session, number: log.number, shut: log.shut });
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
        if let Some(log) = self.shared.live.get(session) {
            self.shared.removed.add(session, log.epoch);
            return self.request(|reply| Request::Remove { session, number: log.number, reply });
        }
        self.remove_archived(session).map(|_| ())
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn close(&self) -> Result<(), LogError> {
        self.request(|reply| Request::Close { reply })
    }
}

impl Drop for DiskLog {
    fn drop(&mut self) {
        // The writer makes everything durable before it stops.
        self.shared.inbox.push(Request::Stop);
        if let Some(writer) = self.writer.take()
            // A completion may own the last reference to the engine, and the writer cannot wait for itself.
            && writer.thread().id() != std::thread::current().id()
        {
            // A thread that panicked has reported it.
            drop(writer.join());
        }
        if let Some((stop, cleaner)) = self.cleaner.take() {
            drop(stop);
            drop(cleaner.join());
        }
    }
}
