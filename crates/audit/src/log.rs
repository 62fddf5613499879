//! Writing: a bounded queue, and a thread that takes all waiting lines, chains them, and writes them together.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use crate::chain::{self, BEGINNING, Link};
use crate::faults::Faults;
use crate::record::Record;

/// Maximum number of lines per write.
const BATCH: usize = 1024;
/// Maximum time between a write and its sync.
const SYNC_PERIOD: Duration = Duration::from_secs(1);
/// Delay before a failed write is retried.
const RETRY: Duration = Duration::from_millis(200);
/// Time limit for closing on a disk that does not accept the last lines.
const CLOSE_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes at a file's end in which its last line is searched for; no line is longer.
const TAIL: u64 = 1 << 20;

/// Settings of the log.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The file. Full ones are renamed to `<stem>-<number of their first line>.<extension>` beside it.
    pub file: PathBuf,
    /// Size in bytes at which a new file is started.
    pub max_bytes: u64,
    /// Age at which a new file is started.
    pub max_age: Option<Duration>,
    /// Number of lines that may wait for the disk before [`Log::has_room`] returns false. The same number again is accepted from
    /// operations in progress; beyond that, a line is lost and counted.
    pub queue: usize,
    /// Disk faults injected by tests.
    pub faults: Faults,
}

/// Lines are waiting, and the disk has not accepted one for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// For how long.
    pub since: Duration,
    /// The system's error, if there was one.
    pub error: Option<String>,
}

/// The progress of the writing thread.
#[derive(Default)]
struct Progress {
    waiting: AtomicUsize,
    /// When the current batch was started, and the error of the last try.
    busy: Mutex<Option<(Instant, Option<String>)>>,
}

impl Progress {
    fn busy(&self) -> std::sync::MutexGuard<'_, Option<(Instant, Option<String>)>> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The file cannot be opened or written.
    #[error("cannot write the audit log {path}: {error}")]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: io::Error,
    },
    /// The last line was altered.
    #[error(
        "the last line of the audit log {0} was changed; inspect it with `agentbench audit verify`, and move the file away to start a new one"
    )]
    Broken(PathBuf),
}

/// An open log. Closed by [`Log::close`], or when dropped.
pub struct Log {
    queue: Mutex<Option<SyncSender<Record>>>,
    bound: usize,
    progress: Arc<Progress>,
    lost: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Log {
    /// Opens the log after its last line. An incomplete line left by a crash is removed, and the first
    /// new line records that.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(settings: Settings, now_ms: u64) -> Result<Self, OpenError> {
        let failed = |error| OpenError::Io { path: settings.file.clone(), error };
        let (mut file, link, removed) = reopen(&settings.file).map_err(failed)?;
        let link = link.ok_or_else(|| OpenError::Broken(settings.file.clone()))?;
        let size = file.seek(SeekFrom::End(0)).map_err(failed)?;
        let begun = begun(&settings.file, size).map_err(failed)?;
        let (queue, records) = sync_channel(settings.queue.saturating_mul(2));
        let (lost, closing) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (bound, progress) = (settings.queue, Arc::<Progress>::default());
        let mut opened = Record::allowed(now_ms, "audit_opened");
        if removed > 0 {
            opened.detail = format!("{removed} bytes of an incomplete line were removed");
        }
        let mut writer = Writer {
            settings,
            file,
            size,
            begun,
            link,
            lost: Arc::clone(&lost),
            closing: Arc::clone(&closing),
            progress: Arc::clone(&progress),
            unsynced: None,
            gave_up: false,
        };
        // Detected before any caller relies on it.
        let mut first = Vec::new();
        let next = chain::append(&mut first, link, &opened, 0);
        writer
            .file
            .write_all(&first)
            .map_err(|error| OpenError::Io { path: writer.settings.file.clone(), error })?;
        (writer.link, writer.size) = (next, writer.size + first.len() as u64);
        let thread = std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer.run(&records));
        let thread = thread.map_err(|error| OpenError::Io { path: PathBuf::from("(thread)"), error })?;
        let (queue, thread) = (Mutex::new(Some(queue)), Mutex::new(Some(thread)));
        Ok(Self { queue, bound, progress, lost, closing, thread })
    }

    /// Passes a decision to the log; never waits. `false` if it was lost.
    pub fn record(&self, mut record: Record) -> bool {
        record.shorten();
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(queue) = queue else { return false };
        self.progress.waiting.fetch_add(1, Ordering::Relaxed);
        let taken =
            !matches!(queue.try_send(record), Err(TrySendError::Full(_) | TrySendError::Disconnected(_)));
        if !taken {
            self.progress.waiting.fetch_sub(1, Ordering::Relaxed);
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Number of lines that wait for the disk, and the maximum.
    pub fn depth(&self) -> (usize, usize) {
        (self.progress.waiting.load(Ordering::Relaxed), self.bound)
    }

    /// Whether a decision that requires its line may be made.
    pub fn has_room(&self) -> bool {
        let (waiting, bound) = self.depth();
        waiting < bound
    }

    /// How long the disk has been working on lines, if it is.
    pub fn stuck(&self) -> Option<Stuck> {
        let busy = self.progress.busy();
        busy.as_ref().map(|(begun, error)| Stuck { since: begun.elapsed(), error: error.clone() })
    }

    /// Announces the shutdown: from now on a disk that accepts nothing is given up after a few seconds, so that callers that wait
    /// for it can finish, too.
    pub fn hurry(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Writes the waiting lines and stops. A disk that accepts nothing is given a few seconds.
    pub fn close(&self) {
        self.hurry();
        *self.queue.lock().unwrap_or_else(PoisonError::into_inner) = None;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A panic of the thread was printed; there is nothing more to do.
        let _ = thread.map(JoinHandle::join);
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.close();
    }
}

/// Opens the file for appending and finds its last line: `None` for an altered one. Also returns the number of bytes of an
/// incomplete line that were removed.
fn reopen(path: &Path) -> io::Result<(File, Option<Link>, u64)> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    let mut options = OpenOptions::new();
    options.read(true).append(true).create(true);
    // Readable by its owner only.
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path)?;
    let length = file.metadata()?.len();
    let from = length.saturating_sub(TAIL);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    (&file).take(TAIL).read_to_end(&mut tail)?;
    let whole = tail.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let torn = (tail.len() - whole) as u64;
    if torn > 0 {
        file.set_len(length - torn)?;
    }
    if whole == 0 {
        // This file is empty; the chain continues where the newest full one ends.
        return Ok((file, if length == torn { last_of_rotated(path)? } else { None }, torn));
    }
    let start = tail[..whole - 1].iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    Ok((file, chain::read(&tail[start..whole - 1]).map(|line| line.link), torn))
}

/// The last line of the newest full file, for a crash between renaming it and writing the next file's first line.
fn last_of_rotated(path: &Path) -> io::Result<Option<Link>> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let prefix = rotated_name(path, None);
    let mut newest: Option<PathBuf> = None;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let is_ours = entry.file_name().to_string_lossy().starts_with(&prefix);
        if is_ours && newest.as_ref().is_none_or(|newest| entry.path() > *newest) {
            newest = Some(entry.path());
        }
    }
    let Some(newest) = newest else { return Ok(Some(BEGINNING)) };
    let report = crate::verify([BufReader::new(File::open(newest)?)], None)?;
    Ok(report.last.map(|(number, hash)| Link { number, hash }))
}

/// Name of a full file, or the common prefix of all of them.
fn rotated_name(path: &Path, first: Option<u64>) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    first.map_or_else(|| format!("{stem}-"), |first| format!("{stem}-{first:012}.{extension}"))
}

/// When the file was started, and the number of its first line, if it has one.
fn begun(path: &Path, size: u64) -> io::Result<CurrentFile> {
    let created = std::fs::metadata(path)?.created().unwrap_or_else(|_| SystemTime::now());
    let age = SystemTime::now().duration_since(created).unwrap_or_default();
    let mut begun =
        CurrentFile { at: Instant::now().checked_sub(age).unwrap_or_else(Instant::now), first: None };
    if size > 0 {
        let mut line = Vec::new();
        io::BufRead::read_until(&mut BufReader::new(File::open(path)?), b'\n', &mut line)?;
        line.pop();
        begun.first = chain::read(&line).map(|line| line.link.number);
    }
    Ok(begun)
}

struct CurrentFile {
    at: Instant,
    first: Option<u64>,
}

struct Writer {
    settings: Settings,
    file: File,
    size: u64,
    begun: CurrentFile,
    link: Link,
    lost: Arc<AtomicU64>,
    closing: Arc<AtomicBool>,
    progress: Arc<Progress>,
    unsynced: Option<Instant>,
    /// The log is being closed, and the disk has accepted nothing for too long.
    gave_up: bool,
}

impl Writer {
    fn run(mut self, records: &Receiver<Record>) {
        let mut batch = Vec::new();
        loop {
            match records.recv_timeout(SYNC_PERIOD) {
                Ok(record) => batch.push(record),
                Err(RecvTimeoutError::Timeout) => {
                    self.sync();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
            batch.extend(records.try_iter().take(BATCH - 1));
            *self.progress.busy() = Some((Instant::now(), None));
            self.write(&batch);
            self.progress.waiting.fetch_sub(batch.len(), Ordering::Relaxed);
            batch.clear();
            if self.unsynced.is_some_and(|since| since.elapsed() >= SYNC_PERIOD) {
                self.sync();
            }
            *self.progress.busy() = None;
        }
        if self.lost.load(Ordering::Relaxed) > 0 {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.write(&[Record::allowed(now.as_millis() as u64, "audit_closed")]);
        }
        self.sync();
    }

    /// Writes all the lines: retries until the disk accepts them, or the log is closed.
    fn write(&mut self, batch: &[Record]) {
        self.rotate_if_due();
        let (mut bytes, mut link) = (Vec::new(), self.link);
        let mut lost = self.lost.swap(0, Ordering::Relaxed);
        for record in batch {
            link = chain::append(&mut bytes, link, record, lost);
            lost = 0;
        }
        let mut closing_since: Option<Instant> = None;
        let mut failures = 0_u64;
        while let Err(error) = self.settings.faults.on_write().and_then(|()| self.file.write_all(&bytes)) {
            self.say_failure(&error, failures);
            failures += 1;
            // No part of an incomplete line remains.
            let _ = self.file.set_len(self.size);
            if self.gave_up
                || self.closing.load(Ordering::Relaxed)
                    && closing_since.get_or_insert_with(Instant::now).elapsed() > CLOSE_PATIENCE
            {
                self.gave_up = true;
                self.lost.fetch_add(batch.len() as u64, Ordering::Relaxed);
                return;
            }
            std::thread::sleep(RETRY);
        }
        if failures > 0 {
            tracing::info!(path = %self.settings.file.display(), "the audit log can be written again");
        }
        self.begun.first.get_or_insert(self.link.number + 1);
        self.link = link;
        self.size += bytes.len() as u64;
        self.unsynced.get_or_insert_with(Instant::now);
    }

    /// Logs a failure on the first try of a batch, and keeps the last error.
    fn say_failure(&self, error: &io::Error, before: u64) {
        if before == 0 {
            tracing::error!(path = %self.settings.file.display(), %error, "the audit log cannot be written; retrying");
        }
        if let Some((_, last)) = &mut *self.progress.busy() {
            *last = Some(error.to_string());
        }
    }

    fn sync(&mut self) {
        // A failed sync is retried at the next check; the kernel has the lines.
        if self.unsynced.is_some() && self.file.sync_data().is_ok() {
            self.unsynced = None;
        }
    }

    fn rotate_if_due(&mut self) {
        let is_old = self.settings.max_age.is_some_and(|age| self.begun.at.elapsed() >= age);
        if self.size == 0 || (self.size < self.settings.max_bytes && !is_old) {
            return;
        }
        self.sync();
        let first = self.begun.first.unwrap_or(0);
        let full = self.settings.file.with_file_name(rotated_name(&self.settings.file, Some(first)));
        let renamed = std::fs::rename(&self.settings.file, full);
        // If a file cannot be renamed or started, the old one is continued, and the next batch tries again.
        if renamed.is_ok()
            && let Ok((file, _, _)) = reopen(&self.settings.file)
        {
            (self.file, self.size) = (file, 0);
            self.begun = CurrentFile { at: Instant::now(), first: None };
        }
    }
}
