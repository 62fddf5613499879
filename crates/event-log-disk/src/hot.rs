//! The hot log: raft-engine, made safe for a server.
//!
//! It owns the engine and the interpretation of its errors and panics. raft-engine asserts in places that only a damaged or
//! failing disk reaches (a file that ends inside a batch, a directory that cannot be synced), so every call that accesses
//! the disk is guarded: such a panic becomes an error. Its locks do not poison, and a failed read or recovery leaves
//! nothing behind; after a panic in a write the engine is given up ([`WriteError::Unknown`]).

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use raft_engine::{Command, Config, Engine, Error, LogBatch, ReadableSize, RecoveryMode};

use crate::config::{DiskConfig, OpenError};
use crate::entry::{Entries, Entry};
use crate::files::{Captured, HotFiles, capture, is_full};
use crate::record::{FIRST_LOG, LogRecord, RECORD_GROUPS, group_of, key_of, log_of};
use crate::witness::Ends;

/// Number of retries of a read: before each, one more damaged batch was re-signed, or a file was cleaned up.
const READ_ATTEMPTS: usize = 64;
/// raft-engine rewrites a log of live sessions that never shrinks only after this many requests.
const PURGE_ROUNDS: usize = 10;
/// Key of the next unused log number, in the first group of records.
const NEXT_LOG: &[u8] = b"next";

/// raft-engine and its files.
pub(crate) struct Hot {
    engine: Engine<HotFiles>,
    files: Arc<HotFiles>,
    /// The ends of the files up to which everything is promised.
    promised: Mutex<Ends>,
}

/// Why a write failed.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// Nothing was written: the disk is full.
    Full,
    /// The outcome is unknown; the engine accepts no more writes.
    Unknown(String),
}

/// Why entries could not be read.
#[derive(Debug)]
pub(crate) enum ReadError {
    /// They do not exist (any more).
    Gone,
    /// The first requested one is damaged.
    Damaged(String),
    /// The disk failed.
    Io(String),
}

/// Entries and key-values of one write.
#[derive(Default)]
pub(crate) struct Batch {
    raft: LogBatch,
    /// Bytes of the entries so far.
    pub(crate) bytes: usize,
}

impl Batch {
    pub(crate) fn add(&mut self, entry: Entry) -> Result<(), Error> {
        let log = entry.header.log;
        self.bytes += crate::entry::HEADER + entry.header.frame_len as usize;
        self.raft.add_entries::<Entries>(log, &[entry])
    }

    pub(crate) fn set_record(&mut self, log: u64, record: Vec<u8>) -> Result<(), Error> {
        self.raft.put(group_of(log), key_of(log).to_vec(), record)
    }

    pub(crate) fn set_next_log(&mut self, next: u64) -> Result<(), Error> {
        self.raft.put(1, NEXT_LOG.to_vec(), next.to_le_bytes().to_vec())
    }

    /// Removes entries before `ordinal`.
    pub(crate) fn compact(&mut self, log: u64, ordinal: u64) {
        self.raft.add_command(log, Command::Compact { index: ordinal });
    }

    /// Removes a log with everything that belongs to it.
    pub(crate) fn remove(&mut self, log: u64) {
        self.raft.add_command(log, Command::Clean);
        self.remove_record(log);
    }

    pub(crate) fn remove_record(&mut self, log: u64) {
        self.raft.delete(group_of(log), key_of(log).to_vec());
    }
}

impl Hot {
    /// Opens files that were checked before: raft-engine is configured to refuse any incomplete file, so that it drops
    /// nothing silently.
    ///
    /// Its other modes do drop data: `TolerateTailCorruption` cuts the newest file at the first broken batch even if whole ones
    /// follow, `TolerateAnyCorruption` does so in every file.
    pub(crate) fn open(dir: &Path, config: &DiskConfig, files: Arc<HotFiles>) -> Result<Self, OpenError> {
        let settings = Config {
            dir: dir.to_str().ok_or_else(|| OpenError::Config("the path is not UTF-8".into()))?.to_owned(),
            recovery_mode: RecoveryMode::AbsoluteConsistency,
            recovery_threads: std::thread::available_parallelism().map_or(1, usize::from).min(4),
            recovery_read_block_size: ReadableSize::kb(64),
            batch_compression_threshold: ReadableSize(0),
            target_file_size: ReadableSize(config.segment_bytes),
            purge_threshold: ReadableSize(config.purge_threshold),
            // A reused file contains old batches after new ones, which would look like damage.
            enable_log_recycle: false,
            ..Config::default()
        };
        let opened = catch_unwind(AssertUnwindSafe(|| {
            Engine::<HotFiles>::open_with_file_system(settings, files.clone())
        }));
        let place = dir.display().to_string();
        match opened {
            Ok(Ok(engine)) => {
                let promised = Mutex::new(files.ends());
                Ok(Self { engine, files, promised })
            }
            Ok(Err(Error::Io(error))) => Err(OpenError::Io { path: place, error }),
            Ok(Err(Error::InvalidArgument(what))) => Err(OpenError::Config(what)),
            Ok(Err(error)) => Err(OpenError::Damaged { place, what: error.to_string() }),
            // Most likely frames in the middle of a log that were lost without a trace.
            Err(panic) => Err(OpenError::Damaged {
                place,
                what: format!("{}; restore the directory from a copy", panic_text(panic.as_ref())),
            }),
        }
    }

    /// Writes a batch. It is durable only after [`sync`](Self::sync).
    pub(crate) fn write(&self, batch: &mut Batch) -> Result<(), WriteError> {
        let result = catch_unwind(AssertUnwindSafe(|| self.engine.write(&mut batch.raft, false)));
        // Also after success: the write may have started a new file, with a failed fsync that went unnoticed.
        if let Some(failure) = self.files.failure() {
            return Err(WriteError::Unknown(failure.to_owned()));
        }
        batch.bytes = 0;
        match result {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(Error::Io(error))) if is_full(&error) => Err(WriteError::Full),
            Ok(Err(error)) => Err(WriteError::Unknown(error.to_string())),
            Err(panic) => Err(WriteError::Unknown(panic_text(panic.as_ref()))),
        }
    }

    /// Makes everything written durable. That cannot be said any more once a sync has failed, also of an earlier file that
    /// some of it was written to.
    pub(crate) fn sync(&self) -> Result<(), String> {
        self.files.sync_appended().map_err(|error| format!("fsync failed: {error}"))?;
        self.files.failure().map_or(Ok(()), |failure| Err(failure.to_owned()))
    }

    /// Records that everything appended so far is about to be promised. Called by the one appending thread.
    pub(crate) fn promise(&self) {
        self.promised.lock().unwrap_or_else(PoisonError::into_inner).append = self.files.ends().append;
    }

    /// The ends of the files up to which everything is promised.
    pub(crate) fn promised(&self) -> Ends {
        *self.promised.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The first fsync that failed, in any file.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.files.failure()
    }

    /// Number of fsyncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.files.syncs()
    }

    /// Numbers of all logs that have entries, with their first and last ordinal.
    pub(crate) fn logs(&self) -> Vec<(u64, u64, u64)> {
        let groups = self.engine.raft_groups();
        let span = |log: u64| Some((log, self.engine.first_index(log)?, self.engine.last_index(log)?));
        groups.into_iter().filter(|group| *group >= FIRST_LOG).filter_map(span).collect()
    }

    /// Every stored record, with the number of its log; `None` for an invalid one.
    pub(crate) fn records(&self) -> Vec<(u64, Option<LogRecord>)> {
        let mut records = Vec::new();
        for group in 1..=RECORD_GROUPS {
            // Reads memory only, and a callback that always continues leaves no possible error.
            drop(self.engine.scan_raw_messages(group, None, None, false, |key, value| {
                records.extend(log_of(key).map(|log| (log, LogRecord::decode(value))));
                true
            }));
        }
        records
    }

    /// The record of one log.
    pub(crate) fn record(&self, log: u64) -> Option<LogRecord> {
        LogRecord::decode(&self.engine.get(group_of(log), &key_of(log))?)
    }

    /// The first unused log number.
    pub(crate) fn next_log(&self) -> u64 {
        let stored = self.engine.get(1, NEXT_LOG).and_then(|bytes| bytes.try_into().ok());
        stored.map_or(FIRST_LOG, u64::from_le_bytes).max(FIRST_LOG)
    }

    /// Entries of a log from ordinal `from` up to but excluding `to`, as many as fit into `max_bytes` but at least one.
    /// Stops before the first damaged one.
    pub(crate) fn read(
        &self,
        log: u64,
        from: u64,
        to: u64,
        max_bytes: usize,
    ) -> Result<Vec<Entry>, ReadError> {
        for _ in 0..READ_ATTEMPTS {
            match self.fetch(log, from, to, max_bytes) {
                Ok(entries) => return Ok(entries),
                Err(ReadError::Damaged(_)) if self.sign_damaged(log, from, to, max_bytes) => {}
                Err(ReadError::Damaged(_)) if to > from + 1 => return self.read_singly(log, from, to),
                Err(error) => return Err(error),
            }
        }
        self.fetch(log, from, from + 1, max_bytes)
    }

    /// One entry.
    pub(crate) fn entry(&self, log: u64, ordinal: u64) -> Result<Entry, ReadError> {
        self.read(log, ordinal, ordinal + 1, 1)?.pop().ok_or(ReadError::Gone)
    }

    fn read_singly(&self, log: u64, from: u64, to: u64) -> Result<Vec<Entry>, ReadError> {
        let mut entries = vec![self.entry(log, from)?];
        for ordinal in from + 1..to.min(from + READ_ATTEMPTS as u64) {
            match self.entry(log, ordinal) {
                Ok(entry) => entries.push(entry),
                Err(_) => break,
            }
        }
        Ok(entries)
    }

    fn fetch(&self, log: u64, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Entry>, ReadError> {
        let mut entries = Vec::new();
        let fetched = catch_unwind(AssertUnwindSafe(|| {
            self.engine.fetch_entries_to::<Entries>(log, from, to, Some(max_bytes), &mut entries)
        }));
        match fetched {
            Ok(Ok(0)) | Ok(Err(Error::EntryCompacted | Error::EntryNotFound)) => Err(ReadError::Gone),
            Ok(Ok(_)) => Ok(entries),
            Ok(Err(Error::Io(error))) => Err(ReadError::Io(error.to_string())),
            Ok(Err(error)) => Err(ReadError::Damaged(error.to_string())),
            Err(panic) => Err(ReadError::Damaged(panic_text(panic.as_ref()))),
        }
    }

    /// Reads again to find the failure. If it is a batch with a wrong checksum, the batch gets a valid one:
    /// its frames have their own, which show the damaged ones. Returns whether another try is worthwhile.
    fn sign_damaged(&self, log: u64, from: u64, to: u64, max_bytes: usize) -> bool {
        let (read, captured) = capture(|| self.fetch(log, from, to, max_bytes));
        match (read, captured) {
            (Ok(_), _) => true,
            (Err(ReadError::Damaged(why)), Some(captured)) => sign_again(&captured, &why),
            (Err(_), _) => false,
        }
    }

    /// Cleans up old files; moves entries that are still needed out of them. Of two concurrent calls, one does nothing.
    pub(crate) fn purge(&self) -> Result<(), String> {
        for _ in 0..PURGE_ROUNDS {
            if self.purge_once()? {
                break;
            }
        }
        Ok(())
    }

    /// Returns whether raft-engine requests nothing more.
    fn purge_once(&self) -> Result<bool, String> {
        let mut last = String::new();
        for _ in 0..READ_ATTEMPTS {
            if let Some(failure) = self.files.failure() {
                return Err(failure.to_owned());
            }
            let (purged, captured) =
                capture(|| catch_unwind(AssertUnwindSafe(|| self.engine.purge_expired_files())));
            match purged {
                Ok(Ok(asked)) => {
                    let rewrite = self.files.ends().rewrite;
                    self.promised.lock().unwrap_or_else(PoisonError::into_inner).rewrite = rewrite;
                    return Ok(asked.is_empty());
                }
                // A damaged batch must not stop the clean-up forever.
                Ok(Err(Error::Corruption(why))) => match captured {
                    Some(captured) if sign_again(&captured, &why) => last = why,
                    _ => return Err(why),
                },
                Ok(Err(error)) => return Err(error.to_string()),
                Err(panic) => return Err(panic_text(panic.as_ref())),
            }
        }
        Err(last)
    }
}

fn sign_again(captured: &Captured, why: &str) -> bool {
    let Some((entries, crc)) = captured.bytes.split_last_chunk::<4>() else { return false };
    if crc32fast::hash(entries) == u32::from_le_bytes(*crc) {
        return false;
    }
    tracing::error!(
        place = captured.place(),
        why,
        "a batch of the hot log is damaged; its intact frames stay readable"
    );
    captured.sign_again().is_ok()
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    format!("the storage engine panicked: {}", text.unwrap_or("no reason given"))
}
