//! The archive: one immutable, compressed file per ended session.
//!
//! ```text
//! archive/catalogue            the list of logs, append only
//! archive/4f/<session>.abz     one log; 4f is the last byte of the session's id
//! archive/incoming/<session>   a file that is being written; removed at the next start
//! ```
//! It owns these files, the list of them in memory, and a few open ones. The [engine](crate::DiskLog) decides when a log is
//! archived, and removes it from the hot log afterwards.

mod catalogue;
pub(crate) mod file;
pub(crate) mod format;
mod inspection;
mod search;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use agentbench_event_log::{Frame, Listed, LogError, ReadLimit, Reading};
use agentbench_protocol::{Head, Seq, SessionId};

use self::catalogue::Record;
use self::file::{FileReader, FileWriter};
use self::format::Header;
pub(crate) use self::inspection::inspect;
use crate::config::{ArchiveConfig, Damage, OpenError, unavailable};
use crate::private;

const SUFFIX: &str = "abz";

/// All archived logs.
pub(crate) struct Archive {
    dir: PathBuf,
    config: ArchiveConfig,
    logs: RwLock<HashMap<SessionId, ArchivedLog, foldhash::fast::RandomState>>,
    catalogue: Mutex<File>,
    open: Mutex<OpenFiles>,
}

#[derive(Clone)]
struct ArchivedLog {
    header: Header,
    file_bytes: u64,
}

impl ArchivedLog {
    fn listed(&self) -> Listed {
        Listed {
            session: self.header.session,
            head: Head { epoch: self.header.epoch, seq: self.header.last_seq },
            summary: self.header.summary.clone(),
            archived: true,
        }
    }
}

impl Archive {
    /// Opens the archive; creates it if necessary. Damage is added to `damage`.
    pub(crate) fn open(
        dir: PathBuf,
        config: ArchiveConfig,
        damage: &mut Vec<Damage>,
    ) -> Result<Self, OpenError> {
        let incoming = dir.join("incoming");
        private::create_dir_all(&incoming).map_err(OpenError::io(&incoming))?;
        remove_all_in(&incoming)?;
        let path = dir.join("catalogue");
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            read => read.map_err(OpenError::io(&path))?,
        };
        let (records, whole) = catalogue::decode(&bytes);
        let lines = records.len();
        let mut logs: HashMap<_, _, foldhash::fast::RandomState> = HashMap::default();
        let mut removed = HashSet::new();
        for Record { removed: gone, file_bytes, header } in records {
            let session = header.session;
            if gone {
                logs.remove(&session);
                removed.insert(session);
            } else {
                removed.remove(&session);
                logs.insert(session, ArchivedLog { header, file_bytes });
            }
        }
        let changed = reconcile(&dir, &mut logs, &removed, damage)?;
        if whole < bytes.len() {
            damage.push(Damage {
                place: format!("{} at byte {whole}", path.display()),
                what: "the rest of the list is damaged; it was rebuilt from the files".into(),
            });
        }
        let catalogue = if changed || whole < bytes.len() || lines > 2 * logs.len() + 1024 {
            write_catalogue(&dir, &path, &logs)?
        } else {
            open_catalogue(&path)?
        };
        let open = OpenFiles { limit: config.open_files.max(1), ..OpenFiles::default() };
        Ok(Self {
            dir,
            config,
            logs: RwLock::new(logs),
            catalogue: Mutex::new(catalogue),
            open: Mutex::new(open),
        })
    }

    fn get(&self, session: SessionId) -> Option<ArchivedLog> {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).get(&session).cloned()
    }

    /// The head of an archived log.
    pub(crate) fn head(&self, session: SessionId) -> Option<Head> {
        self.get(session).map(|log| Head { epoch: log.header.epoch, seq: log.header.last_seq })
    }

    pub(crate) fn len(&self) -> usize {
        self.logs.read().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Total size of all files in bytes.
    pub(crate) fn bytes(&self) -> u64 {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.values().map(|log| log.file_bytes).sum()
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        logs.values().map(ArchivedLog::listed).collect()
    }

    pub(crate) fn find(&self, session: SessionId) -> Option<Listed> {
        self.get(session).map(|log| log.listed())
    }

    pub(crate) fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        let log = self.get(session).ok_or(LogError::NotFound(session))?;
        let first_seq = log.header.first_seq;
        let head = Head { epoch: log.header.epoch, seq: log.header.last_seq };
        if from < first_seq {
            return Err(LogError::Trimmed { first_seq });
        }
        let frames = if from > head.seq { Vec::new() } else { self.read_frames(&log.header, from, limit)? };
        Ok(Reading { head, first_seq, frames })
    }

    fn read_frames(&self, header: &Header, from: Seq, limit: ReadLimit) -> Result<Vec<Frame>, LogError> {
        let file = self.reader(header)?;
        let mut frames = Vec::new();
        let (mut bytes, mut events) = (0, 0);
        let Some(begin) = file.find(from) else { return Ok(frames) };
        for at in begin.. {
            let block = match file.block(at) {
                None => break,
                Some(Err(_)) if !frames.is_empty() => break,
                Some(read) => read?,
            };
            for frame in block.into_iter().skip_while(|frame| frame.last_seq() < from) {
                bytes += frame.bytes().len();
                if !frames.is_empty() && bytes > limit.bytes {
                    return Ok(frames);
                }
                events += frame.count();
                frames.push(frame);
                if events >= limit.events {
                    return Ok(frames);
                }
            }
        }
        Ok(frames)
    }

    /// Reads a block of a log, not through the cache. Returns its first and last seq and its bytes, or why it cannot be read;
    /// `None` if there is no such block.
    pub(crate) fn verify_block(
        &self,
        session: SessionId,
        at: usize,
    ) -> Option<(Seq, Seq, Result<u64, String>)> {
        let log = self.get(session)?;
        match self.reader(&log.header) {
            Ok(file) => file.verify(at),
            // Once, for the whole log.
            Err(error) if at == 0 => {
                Some((log.header.first_seq, log.header.last_seq, Err(error.to_string())))
            }
            Err(_) => None,
        }
    }

    fn reader(&self, header: &Header) -> Result<Arc<FileReader>, LogError> {
        let key = (header.session, header.archived_at);
        if let Some(file) = self.open_files().get(&key) {
            return Ok(file);
        }
        let file = Arc::new(FileReader::open(&path_of(&self.dir, header.session), header)?);
        self.open_files().insert(key, file.clone());
        Ok(file)
    }

    fn open_files(&self) -> std::sync::MutexGuard<'_, OpenFiles> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stores a log. `next` returns its frames, a few at a time, and none at the end. After an error nothing is left.
    pub(crate) fn add(
        &self,
        header: Header,
        next: impl FnMut() -> Result<Vec<Frame>, LogError>,
    ) -> Result<(), LogError> {
        let temporary = self.dir.join("incoming").join(header.session.to_string());
        let file_bytes = self.write_file(&temporary, &header, next).inspect_err(|_| {
            // What cannot be removed now is removed at the next start.
            drop(fs::remove_file(&temporary));
        })?;
        let record = Record { removed: false, file_bytes, header: header.clone() };
        self.note(&[record], false)?;
        let log = ArchivedLog { header, file_bytes };
        self.logs.write().unwrap_or_else(PoisonError::into_inner).insert(log.header.session, log);
        Ok(())
    }

    fn write_file(
        &self,
        temporary: &Path,
        header: &Header,
        mut next: impl FnMut() -> Result<Vec<Frame>, LogError>,
    ) -> Result<u64, LogError> {
        let mut writer = FileWriter::create(temporary, header, &self.config).map_err(unavailable)?;
        loop {
            let frames = next()?;
            if frames.is_empty() {
                break;
            }
            for frame in &frames {
                writer.push(frame).map_err(unavailable)?;
            }
        }
        let bytes = writer.finish().map_err(unavailable)?;
        let path = path_of(&self.dir, header.session);
        let dir = path.parent().unwrap_or(&self.dir);
        if !dir.exists() {
            private::create_dir_all(dir).and_then(|()| sync_dir(&self.dir)).map_err(unavailable)?;
        }
        fs::rename(temporary, &path).and_then(|()| sync_dir(dir)).map_err(unavailable)?;
        Ok(bytes)
    }

    /// Removes a log permanently.
    pub(crate) fn remove(&self, session: SessionId) -> Result<(), LogError> {
        let log = self.get(session).ok_or(LogError::NotFound(session))?;
        self.remove_logs(vec![log])
    }

    /// The logs to remove so that none is older than `max_age` ms and their total is at most `max_bytes`; oldest first.
    pub(crate) fn overdue(
        &self,
        now_ms: u64,
        max_age: Option<u64>,
        max_bytes: Option<u64>,
    ) -> Vec<SessionId> {
        let logs = self.logs.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> =
            (logs.values()).map(|log| (log.header.archived_at, log.header.session, log.file_bytes)).collect();
        drop(logs);
        all.sort_unstable();
        let mut bytes: u64 = all.iter().map(|(.., bytes)| bytes).sum();
        let overdue = |(archived_at, _, size): &(u64, SessionId, u64)| {
            let age = now_ms.saturating_sub(*archived_at);
            let over = max_age.is_some_and(|max| age > max) || max_bytes.is_some_and(|max| bytes > max);
            bytes -= if over { *size } else { 0 };
            over
        };
        // Oldest first, and each removal reduces the total, so the first log that may stay ends the list.
        let count = all.iter().map(overdue).take_while(|over| *over).count();
        all.truncate(count);
        all.into_iter().map(|(_, session, _)| session).collect()
    }

    fn remove_logs(&self, logs: Vec<ArchivedLog>) -> Result<(), LogError> {
        let records: Vec<_> = (logs.into_iter())
            .map(|ArchivedLog { header, file_bytes }| Record { removed: true, file_bytes, header })
            .collect();
        // Recorded before it is done: an interrupted removal is completed at the next start.
        self.note(&records, true)?;
        for record in &records {
            let session = record.header.session;
            self.logs.write().unwrap_or_else(PoisonError::into_inner).remove(&session);
            self.open_files().forget(&(session, record.header.archived_at));
            match fs::remove_file(path_of(&self.dir, session)) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(unavailable(error)),
                _ => {}
            }
        }
        Ok(())
    }

    /// Appends to the catalogue, completely or not at all.
    fn note(&self, records: &[Record], durably: bool) -> Result<(), LogError> {
        let mut bytes = Vec::new();
        for record in records {
            record.encode(&mut bytes);
        }
        let mut file = self.catalogue.lock().unwrap_or_else(PoisonError::into_inner);
        let before = file.metadata().map_err(unavailable)?.len();
        let mut written = file.write_all(&bytes);
        if durably {
            written = written.and_then(|()| file.sync_data());
        }
        written.map_err(|error| {
            // Half a record would hide all later ones until the next start, which reads the files' headers instead.
            drop(file.set_len(before));
            unavailable(error)
        })
    }
}

/// Compares the list with the existing files. Returns whether the list was changed.
fn reconcile(
    dir: &Path,
    logs: &mut HashMap<SessionId, ArchivedLog, foldhash::fast::RandomState>,
    removed: &HashSet<SessionId>,
    damage: &mut Vec<Damage>,
) -> Result<bool, OpenError> {
    let mut changed = false;
    let mut there = HashSet::with_capacity_and_hasher(logs.len(), foldhash::fast::RandomState::default());
    for shard in 0..=u8::MAX {
        let shard = dir.join(format!("{shard:02x}"));
        let files = match fs::read_dir(&shard) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.map_err(OpenError::io(&shard))?,
        };
        for file in files {
            let path = file.map_err(OpenError::io(&shard))?.path();
            let Some(session) = session_of(&path) else { continue };
            let Entry::Vacant(place) = logs.entry(session) else {
                there.insert(session);
                continue;
            };
            if removed.contains(&session) {
                fs::remove_file(&path).map_err(OpenError::io(&path))?;
                continue;
            }
            changed = true;
            match unlisted(&path, session) {
                Ok(log) => {
                    there.insert(session);
                    place.insert(log);
                }
                Err(what) => damage.push(Damage {
                    place: path.display().to_string(),
                    what: format!("{what}; the file is kept, but its log is not served"),
                }),
            }
        }
    }
    logs.retain(|session, _| {
        let found = there.contains(session);
        if !found {
            changed = true;
            damage.push(Damage {
                place: path_of(dir, *session).display().to_string(),
                what: "the archive file is missing, so the session is lost".into(),
            });
        }
        found
    });
    Ok(changed)
}

/// A log that was archived just before the process ended, or whose catalogue record is damaged.
fn unlisted(path: &Path, session: SessionId) -> Result<ArchivedLog, String> {
    let header = file::read_header(path)?;
    if header.session != session {
        return Err("the header names another session".into());
    }
    let file_bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    Ok(ArchivedLog { header, file_bytes })
}

fn write_catalogue(
    dir: &Path,
    path: &Path,
    logs: &HashMap<SessionId, ArchivedLog, foldhash::fast::RandomState>,
) -> Result<File, OpenError> {
    let mut bytes = Vec::new();
    for ArchivedLog { header, file_bytes } in logs.values() {
        Record { removed: false, file_bytes: *file_bytes, header: header.clone() }.encode(&mut bytes);
    }
    let temporary = dir.join("incoming").join("catalogue");
    let mut file = private::options()
        .write(true)
        .create(true)
        .truncate(true)
        .open(&temporary)
        .map_err(OpenError::io(&temporary))?;
    file.write_all(&bytes).and_then(|()| file.sync_all()).map_err(OpenError::io(&temporary))?;
    fs::rename(&temporary, path).and_then(|()| sync_dir(dir)).map_err(OpenError::io(path))?;
    open_catalogue(path)
}

fn open_catalogue(path: &Path) -> Result<File, OpenError> {
    private::options().append(true).create(true).open(path).map_err(OpenError::io(path))
}

fn remove_all_in(dir: &Path) -> Result<(), OpenError> {
    for file in fs::read_dir(dir).map_err(OpenError::io(dir))? {
        let path = file.map_err(OpenError::io(dir))?.path();
        fs::remove_file(&path).map_err(OpenError::io(&path))?;
    }
    Ok(())
}

fn path_of(dir: &Path, session: SessionId) -> PathBuf {
    let shard = format!("{:02x}", session.as_u128() & 0xff);
    dir.join(shard).join(format!("{session}.{SUFFIX}"))
}

fn session_of(path: &Path) -> Option<SessionId> {
    let suffix = path.extension()?;
    if suffix != SUFFIX {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

fn sync_dir(dir: &Path) -> std::io::Result<()> {
    File::open(dir)?.sync_all()
}

type FileKey = (SessionId, u64);

/// The most recently read files, with their indexes.
#[derive(Default)]
struct OpenFiles {
    files: HashMap<FileKey, (u64, Arc<FileReader>)>,
    clock: u64,
    limit: usize,
}

impl OpenFiles {
    fn get(&mut self, key: &FileKey) -> Option<Arc<FileReader>> {
        self.clock += 1;
        let (used, file) = self.files.get_mut(key)?;
        *used = self.clock;
        Some(file.clone())
    }

    fn insert(&mut self, key: FileKey, file: Arc<FileReader>) {
        self.clock += 1;
        // There are few enough for a linear search.
        if self.files.len() >= self.limit
            && let Some(oldest) = self.files.iter().min_by_key(|(_, (used, _))| *used).map(|(key, _)| *key)
        {
            self.files.remove(&oldest);
        }
        self.files.insert(key, (self.clock, file));
    }

    fn forget(&mut self, key: &FileKey) {
        self.files.remove(key);
    }
}
