//! Opening: from what is on disk to a running engine.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use agentbench_disk::Disk;
use agentbench_event_log::Health;

use crate::DiskLog;
use crate::archive::Archive;
use crate::config::{Damage, DiskConfig, OpenError, RecoveryReport};
use crate::entry::EntryHeader;
use crate::faults::Faults;
use crate::files::HotFiles;
use crate::hot::{Batch, Hot, WriteError};
use crate::lock::DirLock;
use crate::quarantine::Quarantine;
use crate::record::LogRecord;
use crate::removed::Removed;
use crate::scan::Repairs;
use crate::table::{LiveLog, LiveLogs, Logs};
use crate::witness::{End, Ends, Witness};
use crate::writer::{EngineState, Writer};
use crate::{inbox, listing, private, reading, scan, stats, unpromised, witness};

/// Interval for writing the witness while the log grows: it cannot detect the loss of what was written after it, and one short
/// write per second costs nothing.
const WITNESS_PERIOD: Duration = Duration::from_secs(1);

/// The contents of one raft-engine group.
struct FoundLog {
    number: u64,
    first_ordinal: u64,
    last_ordinal: u64,
    /// The header of the last entry with a readable one, and its ordinal.
    last: Option<EntryHeader>,
}

/// What the hot log's files are on.
pub(crate) struct Ground {
    pub(crate) disk: Arc<dyn Disk>,
    /// Whether `disk` is the operating system's.
    pub(crate) is_real: bool,
    pub(crate) faults: Arc<Faults>,
}

pub(crate) fn open(config: DiskConfig, ground: Ground) -> Result<(DiskLog, RecoveryReport), OpenError> {
    let begun = Instant::now();
    check(&config)?;
    let hot_dir = config.dir.join("hot");
    let disk = ground.disk.clone();
    disk.create_dir_all(&hot_dir).map_err(OpenError::io(&hot_dir))?;
    private::create_dir_all(&hot_dir).map_err(OpenError::io(&hot_dir))?;
    private::close_dir(&config.dir);
    let lock = DirLock::take(&config.dir)?;
    let mut damage = Vec::new();
    let mut quarantine = Quarantine::new(disk.clone(), &config.dir);
    let witnessed_at = witness::read(&config.dir).ok().flatten().map(|testimony| testimony.at_ms);
    let (hot, missing) = open_hot(&hot_dir, &config, ground, &mut quarantine, &mut damage).inspect_err(|_| {
        if let Err(error) = quarantine.put_back() {
            tracing::error!(%error, "the hot log's files could not be restored to their previous state; their damaged bytes are in quarantine/");
        }
    })?;
    let archive = Archive::open(config.dir.join("archive"), config.archive, &mut damage)?;

    let found = find_ends(&hot);
    let next_log = found.iter().map(|found| found.number + 1).max().unwrap_or(0).max(hot.next_log());
    let mut leftovers = Vec::new();
    let logs = live_logs(&hot, &archive, found, &mut leftovers, &mut damage);
    let mut report = RecoveryReport {
        sessions: logs.len() + archive.len(),
        frames: logs.values().map(|log| log.head_ordinal + 1 - log.first_ordinal).sum(),
        bytes: bytes_in(&*disk, &hot_dir),
        damage,
        missing,
        witnessed_at,
        took: Duration::ZERO,
    };
    remove_leftovers(&hot, &leftovers);
    for Damage { place, what } in &report.damage {
        tracing::warn!(place, what, "the log is damaged");
    }
    for Damage { place, what } in &report.missing {
        tracing::error!(place, what, "events that were acknowledged are missing from the log");
    }

    let shared = Arc::new(EngineState {
        hot,
        live: LiveLogs::new(logs),
        archive,
        inbox: inbox::Inbox::default(),
        removed: Removed::default(),
        health: RwLock::new(Health::Writable),
        counters: stats::Counters::default(),
        hints: reading::Hints::default(),
        _lock: lock,
    });
    let mut log = DiskLog {
        shared: shared.clone(),
        changes: std::array::from_fn(|_| std::sync::Mutex::default()),
        disk,
        hot_dir,
        writer: None,
        cleaner: None,
    };
    let thread = |name: &str| std::thread::Builder::new().name(name.into());
    let writer = Writer::new(shared.clone(), config.durability, next_log);
    log.writer = Some(thread("log-writer").spawn(|| writer.run()).map_err(OpenError::io(&config.dir))?);
    let (stop, stopped) = channel();
    let mut witness = Witness::new(&config.dir);
    witness.begin(shared.hot.promised());
    let cleaner = thread("log-cleaner").spawn(move || {
        let mut purged = Instant::now();
        while stopped.recv_timeout(WITNESS_PERIOD.min(config.purge_interval))
            == Err(RecvTimeoutError::Timeout)
        {
            if purged.elapsed() >= config.purge_interval {
                if let Err(error) = shared.hot.purge() {
                    tracing::error!(error, "the hot log cannot be cleaned up");
                }
                purged = Instant::now();
            }
            witness.note(shared.hot.promised());
        }
        witness.note(shared.hot.promised());
    });
    log.cleaner = Some((stop, cleaner.map_err(OpenError::io(&config.dir))?));
    report.took = begun.elapsed();
    Ok((log, report))
}

/// Repairs the hot log's files, compares them with the witness, and opens them. Also returns what is missing.
fn open_hot(
    hot_dir: &Path,
    config: &DiskConfig,
    ground: Ground,
    quarantine: &mut Quarantine,
    damage: &mut Vec<Damage>,
) -> Result<(Hot, Vec<Damage>), OpenError> {
    let promised = read_witness(&config.dir, damage);
    let mut repairs = Repairs { disk: &*ground.disk, quarantine, damage };
    if let Some(promised) = promised {
        unpromised::cut_off(hot_dir, promised, &mut repairs)?;
    }
    let found = scan::make_whole(hot_dir, &mut repairs)?;
    let missing = promised.map_or_else(Vec::new, |promised| what_is_missing(&config.dir, promised, &found));
    if !missing.is_empty() {
        // The first commit overwrites it; its record may be needed longer.
        if let Err(error) = quarantine.keep_file(&witness::path(&config.dir)) {
            tracing::warn!(%error, "the witness of the hot log cannot be kept");
        }
    }
    let newest = |ends: &[End]| ends.last().copied().unwrap_or_default();
    let ends = Ends { append: newest(&found.append), rewrite: newest(&found.rewrite) };
    if !ground.is_real {
        listing::show(&*ground.disk, hot_dir).map_err(OpenError::io(hot_dir))?;
    }
    let files = HotFiles::new(ground.disk.clone(), ground.faults, ends);
    let disk = ground.disk;
    let hot = Hot::open(hot_dir, config, Arc::new(files))?;
    unpromised::make_durable(&*disk, hot_dir, promised)?;
    // Not all of them are created by our code, and older versions created them with default permissions.
    private::close_dir(hot_dir);
    for file in fs::read_dir(hot_dir).into_iter().flatten().flatten() {
        private::close_file(&file.path());
    }
    Ok((hot, missing))
}

/// The promised ends of the files. An unreadable witness counts as damage, and nothing is compared.
fn read_witness(dir: &Path, damage: &mut Vec<Damage>) -> Option<Ends> {
    witness::read(dir).map(|testimony| Some(testimony?.ends)).unwrap_or_else(|what| {
        damage.push(Damage {
            place: witness::path(dir).display().to_string(),
            what: format!(
                "the witness of the hot log cannot be read ({what}): it is unknown whether files end early"
            ),
        });
        None
    })
}

/// What was promised but is not in the files.
fn what_is_missing(dir: &Path, saw: Ends, found: &scan::FoundEnds) -> Vec<Damage> {
    let queues =
        [("hot/*.raftlog", saw.append, &found.append), ("hot/*.rewrite", saw.rewrite, &found.rewrite)];
    let missing = queues.into_iter().filter_map(|(place, saw, found)| {
        Some(Damage { place: dir.join(place).display().to_string(), what: witness::missing(saw, found)? })
    });
    missing.collect()
}

fn check(config: &DiskConfig) -> Result<(), OpenError> {
    let wrong = |what: &str| Err(OpenError::Config(what.into()));
    if config.segment_bytes < 64 << 10 {
        return wrong("segment_bytes is below 64 KiB");
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

/// Reads the last entry of every log, on all processors, which gives session, epoch and head.
fn find_ends(hot: &Hot) -> Vec<FoundLog> {
    let logs = hot.logs();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(8);
    let share = logs.len().div_ceil(threads).max(1);
    std::thread::scope(|scope| {
        let parts: Vec<_> = logs
            .chunks(share)
            .map(|part| scope.spawn(move || part.iter().map(|log| find_end(hot, *log)).collect::<Vec<_>>()))
            .collect();
        // Reading is guarded against panics.
        parts.into_iter().flat_map(|part| part.join().unwrap_or_default()).collect()
    })
}

fn find_end(hot: &Hot, (number, first_ordinal, last_ordinal): (u64, u64, u64)) -> FoundLog {
    let header = |ordinal| hot.entry(number, ordinal).ok().map(|entry| entry.header);
    let last = (first_ordinal..=last_ordinal).rev().find_map(header);
    FoundLog { number, first_ordinal, last_ordinal, last }
}

/// Assembles the live logs. Logs that are no longer needed are added to `leftovers`.
fn live_logs(
    hot: &Hot,
    archive: &Archive,
    mut found: Vec<FoundLog>,
    leftovers: &mut Vec<u64>,
    damage: &mut Vec<Damage>,
) -> Logs {
    let mut records: HashMap<u64, Option<LogRecord>> = hot.records().into_iter().collect();
    let mut logs = Logs::with_capacity_and_hasher(found.len(), foldhash::fast::RandomState::default());
    // A session's later log has the higher number and replaces one whose removal was lost.
    found.sort_unstable_by_key(|found| found.number);
    for FoundLog { number, first_ordinal, last_ordinal, last } in found {
        let record = records.remove(&number);
        let Some(last) = last else {
            damage.push(Damage {
                place: format!("log {number}"),
                what: "none of its frames can be read, so its session is unknown".into(),
            });
            continue;
        };
        if is_archived(archive, &last, damage) {
            leftovers.push(number);
            continue;
        }
        let log = live_log(hot, (number, first_ordinal, last_ordinal), &last, record, damage);
        if let Some(older) = logs.insert(last.session, log) {
            leftovers.push(older.number);
        }
    }
    // Records without entries belong to removed logs.
    leftovers.extend(records.into_keys());
    logs
}

/// Whether the archive has the complete log: the process ended between copying and removing it.
fn is_archived(archive: &Archive, last: &EntryHeader, damage: &mut Vec<Damage>) -> bool {
    let Some(head) = archive.head(last.session) else { return false };
    if head.epoch == last.epoch && head.seq >= last.last_seq() {
        return true;
    }
    // The live log is another one or has continued: the copy was to be removed.
    if let Err(error) = archive.remove(last.session) {
        damage.push(Damage {
            place: format!("the archived log of session {}", last.session),
            what: format!("it is out of date and cannot be removed: {error}"),
        });
    }
    false
}

fn live_log(
    hot: &Hot,
    (number, first_ordinal, last_ordinal): (u64, u64, u64),
    last: &EntryHeader,
    record: Option<Option<LogRecord>>,
    damage: &mut Vec<Damage>,
) -> LiveLog {
    let session = last.session;
    if record == Some(None) {
        damage.push(Damage {
            place: format!("the record of session {session}"),
            what: "it is invalid; its summary is lost".into(),
        });
    }
    let first_seq = record.flatten().map(|record| record.first_seq);
    let first_seq = first_seq.unwrap_or_else(|| first_stored(hot, number, first_ordinal));
    if first_seq > 1 && hot.record(number).is_none() {
        damage.push(Damage {
            place: format!("the log of session {session}"),
            what: format!(
                "its record is lost, and with it its frames before seq {first_seq} if there were any"
            ),
        });
    }
    let lost_end = last.ordinal < last_ordinal;
    if lost_end {
        damage.push(Damage {
            place: format!("the log of session {session}"),
            what: format!(
                "its last {} frames, after seq {}, cannot be read; it accepts no appends",
                last_ordinal - last.ordinal,
                last.last_seq()
            ),
        });
    }
    LiveLog {
        number,
        epoch: last.epoch,
        head: last.last_seq(),
        head_ordinal: last.ordinal,
        first_seq,
        first_ordinal,
        tail: last.last_seq(),
        tail_ordinal: last.ordinal,
        // Its lost entries were delivered to readers, so the log must not continue differently in the same epoch.
        shut: lost_end.then_some("the end of the log is damaged"),
    }
}

/// A log without a record was never trimmed, or its record is lost.
fn first_stored(hot: &Hot, number: u64, first_ordinal: u64) -> u64 {
    if first_ordinal == 1 {
        return 1;
    }
    hot.entry(number, first_ordinal).map_or(1, |entry| entry.header.first_seq)
}

/// Removes logs that are not needed; what cannot be removed now is found again at the next start.
fn remove_leftovers(hot: &Hot, leftovers: &[u64]) {
    for part in leftovers.chunks(4096) {
        let mut batch = Batch::default();
        for number in part {
            batch.remove(*number);
        }
        if let Err(WriteError::Full | WriteError::Unknown(_)) = hot.write(&mut batch) {
            tracing::warn!("unneeded logs cannot be removed now");
            return;
        }
    }
}

/// Total size of the files in a directory in bytes; 0 if it cannot be read.
pub(crate) fn bytes_in(disk: &dyn Disk, dir: &Path) -> u64 {
    disk.list(dir).unwrap_or_default().iter().map(|file| file.len).sum()
}
