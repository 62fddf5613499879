//! Opening: from what is on disk to a running engine.

use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use agentbench_disk::Disk;
use agentbench_event_log::{Health, LogError};

use crate::DiskLog;
use crate::appender::{Appender, Hot};
use crate::archive::Archive;
use crate::cleaning::Cleaning;
use crate::config::{Damage, DiskConfig, Durability, OpenError, RecoveryReport, unavailable};
use crate::damage::DamageFound;
use crate::inbox::Request;
use crate::index::Indexed;
use crate::lock::DirLock;
use crate::record::{LogIdentity, RecordKind};
use crate::recovery::{self, Recovered};
use crate::removed::Removed;
use crate::segment::{Files, Segments, is_full};
use crate::state::EngineState;
use crate::table::{LiveLog, LiveLogs, Logs};
use crate::tombstones::Tombstones;
use crate::witness::{self, Testimony};
use crate::write_back::WriteBack;
use crate::writer::Writer;
use crate::{inbox, migration, private, stats};

/// Name of the folder with the segments.
pub(crate) const SEGMENTS: &str = "segments";

/// A log that is to be removed, with the segments that have records of it.
type Leftover = (LogIdentity, Vec<u32>);

pub(crate) fn open(config: &DiskConfig, disk: Arc<dyn Disk>) -> Result<(DiskLog, RecoveryReport), OpenError> {
    let begun = Instant::now();
    check(config)?;
    let dir = config.dir.join(SEGMENTS);
    private::create_dir_all(&config.dir).map_err(OpenError::io(&config.dir))?;
    private::close_dir(&config.dir);
    let lock = DirLock::take(&config.dir)?;
    let migrated = migration::run(config)?.unwrap_or_default();
    disk.create_dir_all(&dir).map_err(OpenError::io(&dir))?;
    let segments = Arc::new(Segments::new(disk, dir.clone()));
    let files = segments.list().map_err(OpenError::io(&dir))?;
    let mut recovered = recovery::recover(&segments, &files.numbers, config.durability);
    let testimony = read_witness(&segments, &config.dir, &mut recovered.damage);
    let mut missing =
        testimony.as_ref().map_or_else(Vec::new, |testimony| missing(&dir, testimony, &recovered));
    missing.append(&mut recovered.lost);
    missing.extend(migrated.missing);
    recovered.damage.extend(migrated.damage);
    let hot = Hot::default();
    complete(&segments, &hot, &recovered, config.durability).map_err(OpenError::io(&dir))?;
    let archive = Archive::open(config.dir.join("archive"), config.archive.clone(), &mut recovered.damage)?;
    let (logs, leftovers) = live_logs(&archive, &mut recovered);
    for (segment, len) in logs.values().flat_map(LiveLog::records) {
        segments.add_live(segment, len);
    }
    let report = RecoveryReport {
        sessions: logs.len() + archive.len(),
        frames: logs.values().map(|log| log.places.len() as u64).sum(),
        bytes: recovered.bytes,
        damage: std::mem::take(&mut recovered.damage),
        missing,
        witnessed_at: testimony.map(|testimony| testimony.at_ms),
        took: Duration::ZERO,
    };
    log_report(&report);
    let parts = Parts { segments, hot, archive, lock, logs, files, recovered };
    let log = start(config, parts)?;
    if let Err(error) = log.forget(leftovers) {
        // They are found again at the next start.
        tracing::warn!(%error, "logs that are not needed cannot be removed now");
    }
    Ok((log, RecoveryReport { took: begun.elapsed(), ..report }))
}

fn log_report(report: &RecoveryReport) {
    for Damage { place, what } in &report.damage {
        tracing::warn!(place, what, "the log is damaged");
    }
    for Damage { place, what } in &report.missing {
        tracing::error!(place, what, "events that were acknowledged are missing from the log");
    }
}

fn check(config: &DiskConfig) -> Result<(), OpenError> {
    let wrong = |what: &str| Err(OpenError::Config(what.into()));
    if !(64 << 10..=1 << 30).contains(&config.segment_bytes) {
        return wrong("segment_bytes is not from 64 KiB to 1 GiB");
    }
    if config.purge_threshold < config.segment_bytes {
        return wrong("purge_threshold is below segment_bytes");
    }
    if !(1..=16 << 20).contains(&config.archive.block_bytes) {
        return wrong("archive.block_bytes is not from 1 to 16 MiB");
    }
    if !(1..=22).contains(&config.archive.level) {
        return wrong("archive.level is not from 1 to 22");
    }
    Ok(())
}

/// An unreadable witness counts as damage, and nothing is compared.
fn read_witness(segments: &Segments, dir: &Path, damage: &mut Vec<Damage>) -> Option<Testimony> {
    witness::read(segments.disk(), dir).unwrap_or_else(|what| {
        damage.push(Damage {
            place: witness::path(dir).display().to_string(),
            what: format!(
                "the witness of the hot log cannot be read ({what}): it is unknown whether segments end early or are missing"
            ),
        });
        None
    })
}

/// What was there but is not in the files.
fn missing(dir: &Path, testimony: &Testimony, recovered: &Recovered) -> Vec<Damage> {
    let missing = witness::missing(&testimony.extent, &recovered.ends).into_iter();
    missing.map(|what| Damage { place: dir.display().to_string(), what }).collect()
}

/// Makes durable what was found and is answered as committed from now on, and completes the indexes, so that the next start sees
/// the same.
fn complete(
    segments: &Segments,
    hot: &Hot,
    recovered: &Recovered,
    durability: Durability,
) -> std::io::Result<()> {
    if recovered.unindexed.is_empty() {
        return Ok(());
    }
    if durability == Durability::Synced {
        let mut touched = Vec::new();
        for record in recovered.unindexed.iter().filter(|record| record.header.kind != RecordKind::Void) {
            if write_again(segments, record)? && touched.last() != Some(&record.header.segment) {
                touched.push(record.header.segment);
            }
        }
        for segment in touched.iter().filter_map(|number| segments.get(*number)) {
            segment.file.sync()?;
        }
        segments.sync_names()?;
    }
    hot.behind.add(&recovered.unindexed);
    match hot.behind.write(segments, durability == Durability::Synced) {
        // It is tried again every second; the segments themselves are whole.
        Err(error) if is_full(&error) => Ok(()),
        done => done,
    }
}

/// A sync is not enough: after a failed one the operating system takes pages for written that are not.
fn write_again(segments: &Segments, record: &Indexed) -> std::io::Result<bool> {
    let len = record.header.record_len();
    let Some(segment) = segments.get(record.header.segment) else { return Ok(false) };
    let mut bytes = vec![0; len];
    let read = segment.file.read_at(&mut bytes, u64::from(record.offset))?;
    match segment.file.write_all_at(&bytes[..read], u64::from(record.offset)) {
        // Only where a file system writes elsewhere what is overwritten. Then it has to do with the sync.
        Err(error) if is_full(&error) => Ok(true),
        done => done.map(|()| true),
    }
}

/// The live logs by their sessions, and those that are no longer needed.
fn live_logs(archive: &Archive, recovered: &mut Recovered) -> (Logs, Vec<Leftover>) {
    let found = std::mem::take(&mut recovered.logs);
    let mut logs = Logs::with_capacity_and_hasher(found.len(), foldhash::fast::RandomState::default());
    let mut leftovers = Vec::new();
    // In the order of their numbers: a session's later log replaces one whose removal was lost.
    for (session, log) in found {
        if is_archived(archive, session, &log, &mut recovered.damage) {
            leftovers.push((log.identity(session), log.segments));
        } else if let Some(older) = logs.insert(session, log) {
            leftovers.push((older.identity(session), older.segments));
        }
    }
    (logs, leftovers)
}

/// Whether the archive has the complete log: the process ended between copying and removing it.
fn is_archived(
    archive: &Archive,
    session: agentbench_protocol::SessionId,
    log: &LiveLog,
    damage: &mut Vec<Damage>,
) -> bool {
    let Some(head) = archive.head(session) else { return false };
    if head.epoch == log.epoch && head.seq >= log.head {
        return true;
    }
    // The live log is another one or has continued: the copy was to be removed.
    if let Err(error) = archive.remove(session) {
        damage.push(Damage {
            place: format!("the archived log of session {session}"),
            what: format!("it is out of date and cannot be removed: {error}"),
        });
    }
    false
}

struct Parts {
    segments: Arc<Segments>,
    hot: Hot,
    archive: Archive,
    lock: DirLock,
    logs: Logs,
    files: Files,
    recovered: Recovered,
}

fn start(config: &DiskConfig, parts: Parts) -> Result<DiskLog, OpenError> {
    let Parts { segments, hot, archive, lock, logs, files, recovered } = parts;
    let hot = Arc::new(hot);
    *hot.spares.lock().unwrap_or_else(std::sync::PoisonError::into_inner) =
        usable_spares(&segments, files.spares, config.durability);
    let tombstones = Tombstones::default();
    recovered.tombstones.into_iter().for_each(|tombstone| tombstones.add(tombstone));
    let newest = recovered.ends.last().copied().unwrap_or_default();
    let shared = Arc::new(EngineState {
        segments: segments.clone(),
        hot: hot.clone(),
        live: LiveLogs::new(logs),
        archive,
        inbox: inbox::Inbox::default(),
        removed: Removed::default(),
        tombstones,
        damage: DamageFound::default(),
        health: RwLock::new(Health::Writable),
        counters: stats::Counters::default(),
        promised: Mutex::new(newest),
        _lock: lock,
    });
    let cleaning = Arc::new(Cleaning::new(shared.clone(), config));
    let mut log = DiskLog {
        shared: shared.clone(),
        changes: std::array::from_fn(|_| Mutex::default()),
        cleaning: cleaning.clone(),
        writer: None,
        cleaner: None,
    };
    let write_back = WriteBack::start().ok();
    let next = files.highest.max(newest.0) + 1;
    let capacity = config.segment_bytes;
    let appender = Appender::new(segments, hot, config.durability, capacity, next, write_back);
    let (next_log, commit) = (recovered.last_log + 1, recovered.last_commit + 1);
    let writer = Writer::new(shared, config.durability, appender, next_log, commit);
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    log.writer = Some(thread("log-writer").spawn(|| writer.run()).map_err(OpenError::io(&config.dir))?);
    let cleaner = thread("log-cleaner").spawn(move || cleaning.run());
    log.cleaner = Some(cleaner.map_err(OpenError::io(&config.dir))?);
    Ok(log)
}

/// The files to use again: none at `logged`, where that would cost reads of pages that are not in memory.
fn usable_spares(segments: &Segments, spares: Vec<PathBuf>, durability: Durability) -> Vec<PathBuf> {
    if durability == Durability::Synced {
        return spares;
    }
    for spare in spares {
        // One that stays is removed at another start.
        drop(segments.disk().remove(&spare));
    }
    Vec::new()
}

impl DiskLog {
    /// Removes logs that an earlier process left behind.
    fn forget(&self, leftovers: Vec<Leftover>) -> Result<(), LogError> {
        if leftovers.is_empty() {
            return Ok(());
        }
        let (reply, answer) = sync_channel(1);
        self.shared.inbox.push(Request::Forget { logs: leftovers, reply });
        answer.recv().unwrap_or_else(|_| Err(unavailable("the writer has stopped")))
    }
}
