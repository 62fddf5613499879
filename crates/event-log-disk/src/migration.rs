//! Moves the logs of the former engine's folder into segments, once.
//!
//! ```text
//! hot/ ─► segments.incoming/ ─► read again and compared ─► renamed to segments/ ─► hot/ removed
//! ```
//! Until the last step the old folder stays as it is. A start that finds an earlier one interrupted begins anew, or, if `segments/`
//! has the mark of a complete migration, removes what is left of the old folder.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agentbench_disk::{Disk, Opening, RealDisk};
use agentbench_event_log::Frame;
use agentbench_protocol::Seq;

use crate::appender::{Appender, Hot, WriteError};
use crate::config::{Damage, DiskConfig, Durability, OpenError};
use crate::lock::DirLock;
use crate::old::{OldFolder, OldLog, witness};
use crate::open::SEGMENTS;
use crate::private;
use crate::reading;
use crate::record::{Draft, HEADER, LogIdentity};
use crate::recovery;
use crate::segment::Segments;
use crate::table::LiveLog;

const OLD: &str = "hot";
const INCOMING: &str = "segments.incoming";
/// A file in `segments/`: it is the whole content of the old folder.
const MARK: &str = "migrated";
/// Most events of one frame: so many seqs are passed over for each frame of which nothing but its existence is known.
const MOST_EVENTS: u64 = agentbench_event_log::MAX_FRAME_EVENTS as u64;

/// A migration that was done, or would be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Migration {
    /// Live sessions.
    pub sessions: usize,
    /// Their frames.
    pub frames: u64,
    /// Bytes of segments that are needed.
    pub bytes: u64,
    /// Bytes that are free where they are needed.
    pub free_bytes: u64,
    /// Damage of the old folder that was found.
    pub damage: Vec<Damage>,
    /// What was acknowledged but is not in the old folder, according to its witness.
    pub missing: Vec<Damage>,
    /// Duration.
    pub took: Duration,
}

impl Migration {
    /// Whether there is room for it.
    pub fn fits(&self) -> bool {
        self.bytes <= self.free_bytes
    }
}

/// Moves the logs of the former engine's folder into segments, as the first start does by itself. With `dry_run` it only reads.
/// `None` if there is no such folder.
///
/// # Errors
/// [`OpenError`]: the directory is in use or cannot be used, or there is no room. The old folder is as it was.
pub fn migrate(config: &DiskConfig, dry_run: bool) -> Result<Option<Migration>, OpenError> {
    let _lock = DirLock::take(&config.dir)?;
    let places = Places::of(&config.dir);
    if !places.has_old_logs()? {
        return Ok(None);
    }
    if dry_run {
        let folder = places.read_old()?;
        return Ok(Some(places.plan(&folder)?));
    }
    run(config)
}

/// The migration that a start needs; the folder is locked. `None` if it needs none.
pub(crate) fn run(config: &DiskConfig) -> Result<Option<Migration>, OpenError> {
    let begun = Instant::now();
    let places = Places::of(&config.dir);
    if places.segments.join(MARK).exists() {
        places.finish().map_err(OpenError::io(&places.old))?;
        return Ok(None);
    }
    if !places.has_old_logs()? {
        return Ok(None);
    }
    if is_filled(&places.segments) {
        return Err(OpenError::Config(format!(
            "{} and {} both have logs: move the one away that is not wanted",
            places.old.display(),
            places.segments.display()
        )));
    }
    let folder = places.read_old()?;
    let plan = places.plan(&folder)?;
    if !plan.fits() {
        let what = format!("the migration needs {} bytes, and {} are free", plan.bytes, plan.free_bytes);
        let error = Error::new(ErrorKind::StorageFull, what);
        return Err(OpenError::Io { path: places.incoming.display().to_string(), error });
    }
    tracing::warn!(
        sessions = plan.sessions,
        frames = plan.frames,
        bytes = plan.bytes,
        "the logs of the former engine are migrated; this is done once"
    );
    let incoming = OpenError::io(&places.incoming);
    places.write_all(&folder, config.segment_bytes).map_err(incoming)?;
    places.verify(&folder)?;
    places.switch().map_err(OpenError::io(&places.segments))?;
    drop(folder);
    places.finish().map_err(OpenError::io(&places.old))?;
    let took = begun.elapsed();
    tracing::info!(?took, "the migration is complete");
    Ok(Some(Migration { took, ..plan }))
}

/// Whether the folder has logs of the former engine.
pub(crate) fn is_needed(dir: &Path) -> Result<bool, OpenError> {
    Places::of(dir).has_old_logs()
}

struct Places {
    dir: PathBuf,
    old: PathBuf,
    incoming: PathBuf,
    segments: PathBuf,
}

impl Places {
    fn of(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            old: dir.join(OLD),
            incoming: dir.join(INCOMING),
            segments: dir.join(SEGMENTS),
        }
    }

    fn has_old_logs(&self) -> Result<bool, OpenError> {
        let files = match fs::read_dir(&self.old) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            read => read.map_err(OpenError::io(&self.old))?,
        };
        let is_log =
            |path: &Path| path.extension().is_some_and(|found| found == "raftlog" || found == "rewrite");
        Ok(files.flatten().any(|file| is_log(&file.path())))
    }

    fn read_old(&self) -> Result<OldFolder, OpenError> {
        let testimony = witness::read(&self.dir);
        let promised = testimony.as_ref().ok().and_then(|found| found.as_ref()).map(|found| found.ends);
        let mut folder = OldFolder::read(&RealDisk, &self.old, promised)?;
        if let Err(what) = testimony {
            let place = witness::path(&self.dir).display().to_string();
            folder.damage.push(Damage { place, what: format!("the witness cannot be read: {what}") });
        }
        Ok(folder)
    }

    fn plan(&self, folder: &OldFolder) -> Result<Migration, OpenError> {
        let frames = || folder.logs.iter().flat_map(|log| &log.frames);
        // Header, padding and entry in the index of each frame; a state for each log; reserved room.
        let bytes: u64 = frames().map(|frame| u64::from(frame.len) + 2 * HEADER as u64 + 16).sum();
        let states: u64 = folder.logs.iter().map(|log| log.summary.len() as u64 + 3 * HEADER as u64).sum();
        let free = rustix::fs::statvfs(&self.dir).map_err(|error| OpenError::io(&self.dir)(error.into()))?;
        Ok(Migration {
            sessions: folder.logs.len(),
            frames: frames().count() as u64,
            bytes: bytes + states + (16 << 20),
            free_bytes: free.f_bavail.saturating_mul(free.f_frsize),
            damage: folder.damage.clone(),
            missing: folder.missing.clone(),
            took: Duration::ZERO,
        })
    }

    /// Writes all logs into a new folder, durably.
    fn write_all(&self, folder: &OldFolder, capacity: u64) -> std::io::Result<()> {
        if self.incoming.exists() {
            fs::remove_dir_all(&self.incoming)?;
        }
        RealDisk.create_dir_all(&self.incoming)?;
        private::close_dir(&self.incoming);
        let segments = Arc::new(Segments::new(Arc::new(RealDisk), self.incoming.clone()));
        let hot = Arc::new(Hot::default());
        let appender = Appender::new(segments.clone(), hot.clone(), Durability::Logged, capacity, 1, None);
        let mut writing = Writing { appender, hot, segments, commit: 1 };
        // In the order of the old files, so that they are read from begin to end.
        let mut frames: Vec<_> =
            folder.logs.iter().flat_map(|log| log.frames.iter().map(move |frame| (log, frame))).collect();
        frames.sort_unstable_by_key(|(_, frame)| (frame.file, frame.offset));
        for (log, frame) in frames {
            // One that cannot be read is lost here, as it was there.
            if let Ok(frame) = folder.frame(frame) {
                writing.add(log, &Draft::Frame { frame: &frame, summary: None })?;
            }
        }
        for log in &folder.logs {
            let state =
                Draft::State { first_seq: first_seq_of(log), head: head_of(log), summary: &log.summary };
            writing.add(log, &state)?;
        }
        writing.finish()?;
        RealDisk.open(&self.incoming.join(MARK), Opening::Any)?.sync()?;
        RealDisk.sync_dir(&self.incoming)
    }

    /// Compares what was written with the old folder.
    fn verify(&self, folder: &OldFolder) -> Result<(), OpenError> {
        let segments = Segments::new(Arc::new(RealDisk), self.incoming.clone());
        let numbers = segments.list().map_err(OpenError::io(&self.incoming))?.numbers;
        let found = recovery::recover(&segments, &numbers, Durability::Synced);
        let differs = |what: String| OpenError::Damaged { place: self.incoming.display().to_string(), what };
        if let Some(damage) = found.damage.first() {
            return Err(differs(format!(
                "what was just written is damaged: {}: {}",
                damage.place, damage.what
            )));
        }
        if found.logs.len() != folder.logs.len() {
            let (now, then) = (found.logs.len(), folder.logs.len());
            return Err(differs(format!("the old folder has {then} logs, and the new one {now}")));
        }
        for ((session, log), old) in found.logs.iter().zip(&folder.logs) {
            let is_same = (*session, log.epoch, log.first_seq, log.head, &log.summary)
                == (old.session, old.epoch, first_seq_of(old), head_of(old), &old.summary);
            if !is_same || !has_same_frames(&segments, log, old, folder) {
                return Err(differs(format!("the log of session {session} is not as it was")));
            }
        }
        Ok(())
    }

    fn switch(&self) -> std::io::Result<()> {
        if self.segments.exists() {
            // It is empty.
            fs::remove_dir(&self.segments)?;
        }
        fs::rename(&self.incoming, &self.segments)?;
        RealDisk.sync_dir(&self.dir)
    }

    /// Removes the old folder, and then the mark.
    fn finish(&self) -> std::io::Result<()> {
        for remove in [fs::remove_dir_all(&self.old), fs::remove_file(witness::path(&self.dir))] {
            match remove {
                Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        RealDisk.sync_dir(&self.dir)?;
        fs::remove_file(self.segments.join(MARK))?;
        RealDisk.sync_dir(&self.segments)
    }
}

fn is_filled(folder: &Path) -> bool {
    fs::read_dir(folder).is_ok_and(|mut files| files.next().is_some())
}

/// Frames at the end of which only the existence is known were delivered to readers: their seqs must not be used again, so as many
/// are passed over as they may have had.
fn head_of(log: &OldLog) -> Seq {
    log.head.saturating_add(log.lost_at_end.saturating_mul(MOST_EVENTS)).min(Seq::MAX - 1)
}

/// A frame of which a part is trimmed counts from its begin.
fn first_seq_of(log: &OldLog) -> Seq {
    log.frames.first().map_or(log.first_seq, |frame| frame.first_seq.min(log.first_seq))
}

fn has_same_frames(segments: &Segments, log: &LiveLog, old: &OldLog, folder: &OldFolder) -> bool {
    let identity = log.identity(old.session);
    let mut places = log.places.iter();
    let mut written = old.frames.iter().filter_map(|frame| folder.frame(frame).ok());
    let is_same = written.all(|frame: Frame| {
        let read = places.next().map(|place| reading::read(segments, identity, &[*place]));
        read.is_some_and(|read| read.is_ok_and(|frames| frames == [frame]))
    });
    is_same && places.next().is_none()
}

/// The new folder while it is written.
struct Writing {
    appender: Appender,
    hot: Arc<Hot>,
    segments: Arc<Segments>,
    commit: u64,
}

impl Writing {
    fn add(&mut self, log: &OldLog, draft: &Draft<'_>) -> std::io::Result<()> {
        if !self.appender.has_room(draft) {
            self.write()?;
            self.appender.begin_segment(self.commit).map_err(to_io)?;
        }
        let identity = LogIdentity { number: log.number, session: log.session, epoch: log.epoch };
        let record = self.appender.add(draft, identity, self.commit);
        self.hot.behind.add(&[record]);
        if self.appender.buffered() >= 1 << 20 { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> std::io::Result<()> {
        self.commit += 1;
        self.appender.write().map_err(to_io)?;
        self.hot.behind.write(&self.segments, false)?;
        for segment in self.hot.take_finished() {
            segment.file.sync()?;
        }
        Ok(())
    }

    fn finish(&mut self) -> std::io::Result<()> {
        self.write()?;
        self.appender.close();
        self.appender.sync().map_err(Error::other)?;
        self.segments.sync_names()
    }
}

fn to_io(error: WriteError) -> Error {
    match error {
        WriteError::Full => Error::from(ErrorKind::StorageFull),
        WriteError::Refused(why) | WriteError::Unknown(why) => Error::other(why),
    }
}
