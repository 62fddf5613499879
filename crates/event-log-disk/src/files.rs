//! The files of the hot log as raft-engine sees them.
//!
//! It changes how raft-engine accesses files:
//! - raft-engine panics when an fsync fails. Here the failure is recorded ([`HotFiles::failure`]) and from then on no
//!   file is started or removed; the writer checks it before it answers anything, and appends end permanently.
//! - raft-engine starts a new file on every write that finds the disk full, so that a full disk fills up with empty files.
//!   Here a full disk has an error text that raft-engine does not recognize, so that it just rolls the write back.
//! - A batch that fails raft-engine's checksum can be captured ([`capture`]), to find out which frames are affected.
//! - Tests inject [`Faults`].

use std::cell::RefCell;
use std::io::{Error, ErrorKind, Read, Result, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};

use agentbench_disk::{Disk, DiskFile, Opening, folder_of};
use raft_engine::env::{FileSystem, Handle, Permission, WriteExt};

use crate::faults::Faults;
use crate::quarantine;
use crate::scan::FILE_HEADER;
use crate::witness::{End, Ends};
use crate::write_back::{Notes, WriteBack};

/// Opens the hot log's files. All of its handles, readers and writers share the record of a failure.
pub(crate) struct HotFiles {
    shared: Arc<FileState>,
}

struct FileState {
    disk: Arc<dyn Disk>,
    failure: OnceLock<String>,
    /// The file that batches are currently appended to. raft-engine owns it; this is a reference.
    current: Mutex<Weak<HotFile>>,
    syncs: AtomicU64,
    /// `None` if the thread could not be started, which costs only the pacing.
    write_back: Option<WriteBack>,
    /// The offset of the next byte of each queue.
    ends: Mutex<Ends>,
    faults: Arc<Faults>,
}

impl FileState {
    /// Records how far a file has been written.
    fn wrote_up_to(&self, file: &HotFile, at: usize) {
        let Some(number) = file.number else { return };
        let mut ends = self.ends.lock().unwrap_or_else(PoisonError::into_inner);
        let end = if file.is_append() { &mut ends.append } else { &mut ends.rewrite };
        // A file without a batch is not missed: it may be one that could not be started.
        if number == end.number || number > end.number && at > FILE_HEADER {
            *end = End { number, bytes: at as u64 };
        }
    }

    fn sync(&self, file: &HotFile) -> Result<()> {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.noted(self.faults.on_sync().and_then(|()| file.sync_with_name()))
    }

    /// Records the failure of a sync.
    fn noted(&self, result: Result<()>) -> Result<()> {
        result.inspect_err(|error| {
            self.failure.get_or_init(|| format!("fsync failed: {error}"));
        })
    }

    fn is_sound(&self) -> Result<()> {
        match self.failure.get() {
            None => Ok(()),
            Some(failure) => Err(Error::other(format!("no file is started or removed any more: {failure}"))),
        }
    }
}

impl HotFiles {
    /// `ends` are the ends of the existing files.
    pub(crate) fn new(disk: Arc<dyn Disk>, faults: Arc<Faults>, ends: Ends) -> Self {
        let shared = FileState {
            disk,
            failure: OnceLock::new(),
            current: Mutex::default(),
            syncs: AtomicU64::new(0),
            write_back: WriteBack::start().ok(),
            ends: Mutex::new(ends),
            faults,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The first fsync that failed, if any: what was written since the last successful one may be lost.
    pub(crate) fn failure(&self) -> Option<&str> {
        self.shared.failure.get().map(String::as_str)
    }

    /// Number of fsyncs so far.
    pub(crate) fn syncs(&self) -> u64 {
        self.shared.syncs.load(Ordering::Relaxed)
    }

    /// The offset of the next byte of each queue: between two writes, the end of the last whole batch.
    pub(crate) fn ends(&self) -> Ends {
        *self.shared.ends.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes all appended batches durable. Files before the current one are synced when it is started.
    pub(crate) fn sync_appended(&self) -> Result<()> {
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner).upgrade();
        match current {
            Some(file) => self.shared.sync(&file),
            None => Ok(()),
        }
    }

    fn file(&self, path: &Path, raw: Box<dyn DiskFile>, is_new: bool) -> HotFile {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        let has_unsynced_name = AtomicBool::new(is_new);
        HotFile { raw, path: path.to_owned(), number, has_unsynced_name, shared: self.shared.clone() }
    }
}

impl FileSystem for HotFiles {
    type Handle = HotFile;
    type Reader = HotReader;
    type Writer = HotWriter;

    fn create<P: AsRef<Path>>(&self, path: P) -> Result<HotFile> {
        self.shared.is_sound()?;
        let (_, error) = self.shared.faults.on_write(1);
        if let Some(error) = error {
            return Err(name_full(error));
        }
        let raw = self.shared.disk.open(path.as_ref(), Opening::Any).map_err(name_full)?;
        Ok(self.file(path.as_ref(), raw, true))
    }

    fn open<P: AsRef<Path>>(&self, path: P, _: Permission) -> Result<HotFile> {
        // Always writable: a damaged batch is re-signed in its file.
        Ok(self.file(path.as_ref(), self.shared.disk.open(path.as_ref(), Opening::Existing)?, false))
    }

    fn delete<P: AsRef<Path>>(&self, path: P) -> Result<()> {
        self.shared.is_sound()?;
        self.shared.disk.remove(path.as_ref())?;
        // In the order in which they are removed: files that a power cut brings back must not have a gap before them.
        self.shared.noted(self.shared.disk.sync_dir(folder_of(path.as_ref())))
    }

    fn rename<P: AsRef<Path>>(&self, from: P, to: P) -> Result<()> {
        self.shared.is_sound()?;
        self.shared.disk.rename(from.as_ref(), to.as_ref())
    }

    fn new_reader(&self, file: Arc<HotFile>) -> Result<HotReader> {
        Ok(HotReader { file, at: 0 })
    }

    fn new_writer(&self, file: Arc<HotFile>) -> Result<HotWriter> {
        if file.is_append() {
            *self.shared.current.lock().unwrap_or_else(PoisonError::into_inner) = Arc::downgrade(&file);
        }
        let write_back = self.shared.write_back.as_ref();
        let notes = write_back.and_then(|write_back| Some(write_back.watch(file.raw.os_file()?)));
        Ok(HotWriter { file, at: 0, notes })
    }
}

/// One open file.
pub(crate) struct HotFile {
    raw: Box<dyn DiskFile>,
    path: PathBuf,
    /// Whether its name may not be durable yet: it was created, and no sync has succeeded since.
    has_unsynced_name: AtomicBool,
    /// Its number among the files of its queue.
    number: Option<u64>,
    shared: Arc<FileState>,
}

impl HotFile {
    /// Whether it belongs to the queue that batches are appended to, not to the one that old ones are moved to.
    fn is_append(&self) -> bool {
        self.path.extension().is_some_and(|extension| extension == "raftlog")
    }

    /// Makes its bytes durable, and its name if it is new. raft-engine does the latter past its file system, and not for the
    /// first file of a queue.
    fn sync_with_name(&self) -> Result<()> {
        self.raw.sync()?;
        if self.has_unsynced_name.load(Ordering::Acquire) {
            self.shared.disk.sync_dir(folder_of(&self.path))?;
            self.has_unsynced_name.store(false, Ordering::Release);
        }
        Ok(())
    }
}

impl Handle for HotFile {
    fn truncate(&self, len: usize) -> Result<()> {
        self.raw.set_len(len as u64)
    }

    fn file_size(&self) -> Result<usize> {
        usize::try_from(self.raw.len()?).map_err(Error::other)
    }

    /// Always returns `Ok`, since raft-engine would panic. A failure is in [`HotFiles::failure`].
    fn sync(&self) -> Result<()> {
        drop(self.shared.sync(self));
        Ok(())
    }
}

/// Reads one file.
pub(crate) struct HotReader {
    file: Arc<HotFile>,
    at: usize,
}

impl Read for HotReader {
    fn read(&mut self, to: &mut [u8]) -> Result<usize> {
        let read = self.file.raw.read_at(to, self.at as u64)?;
        note_read(&self.file, self.at, &to[..read]);
        self.at += read;
        Ok(read)
    }
}

impl Seek for HotReader {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.at = position(&self.file, self.at, to)?;
        Ok(self.at as u64)
    }
}

/// Writes one file.
pub(crate) struct HotWriter {
    file: Arc<HotFile>,
    at: usize,
    notes: Option<Notes>,
}

impl Write for HotWriter {
    fn write(&mut self, bytes: &[u8]) -> Result<usize> {
        let (len, error) = self.file.shared.faults.on_write(bytes.len());
        let written = self.file.raw.write_at(&bytes[..len], self.at as u64).map_err(name_full)?;
        if let Some(error) = error {
            return Err(name_full(error));
        }
        if let Some(notes) = &mut self.notes {
            notes.on_write(self.at, written);
        }
        self.at += written;
        self.file.shared.wrote_up_to(&self.file, self.at);
        Ok(written)
    }

    fn flush(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Seek for HotWriter {
    fn seek(&mut self, to: SeekFrom) -> Result<u64> {
        self.at = position(&self.file, self.at, to)?;
        self.file.shared.wrote_up_to(&self.file, self.at);
        Ok(self.at as u64)
    }
}

impl WriteExt for HotWriter {
    fn truncate(&mut self, len: usize) -> Result<()> {
        self.file.raw.set_len(len as u64)?;
        self.at = len;
        self.file.shared.wrote_up_to(&self.file, self.at);
        Ok(())
    }

    fn allocate(&mut self, at: usize, len: usize) -> Result<()> {
        self.file.raw.allocate(at as u64, len as u64)
    }
}

fn position(file: &HotFile, at: usize, to: SeekFrom) -> Result<usize> {
    let (base, offset) = match to {
        SeekFrom::Start(offset) => return usize::try_from(offset).map_err(Error::other),
        SeekFrom::Current(offset) => (at, offset),
        SeekFrom::End(offset) => (file.file_size()?, offset),
    };
    let offset = isize::try_from(offset).map_err(Error::other)?;
    base.checked_add_signed(offset).ok_or_else(|| Error::from(ErrorKind::InvalidInput))
}

/// Whether an error means that the disk is currently full.
pub(crate) fn is_full(error: &Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

/// raft-engine looks for "nospace" in the text of an error and then starts a new file.
fn name_full(error: Error) -> Error {
    if is_full(&error) { Error::new(error.kind(), "the disk is full") } else { error }
}

/// The bytes last read from a file on this thread while [`capture`] was active.
pub(crate) struct Captured {
    file: Arc<HotFile>,
    at: usize,
    pub(crate) bytes: Vec<u8>,
}

impl Captured {
    /// Gives a batch's entries, which these bytes are with their checksum at the end, a valid checksum, so that
    /// raft-engine returns them again and their own checksums show which ones are damaged.
    pub(crate) fn sign_again(&self) -> Result<()> {
        let Some(entries) = self.bytes.len().checked_sub(4) else {
            return Err(Error::from(ErrorKind::UnexpectedEof));
        };
        quarantine::keep_read(&self.file.path, self.at as u64, &self.bytes)?;
        let crc = crc32fast::hash(&self.bytes[..entries]).to_le_bytes();
        self.file.raw.write_all_at(&crc, (self.at + entries) as u64)
    }

    /// The place of the bytes, for people.
    pub(crate) fn place(&self) -> String {
        format!("{} at byte {}", self.file.path.display(), self.at)
    }
}

thread_local! {
    static CAPTURE: RefCell<Option<Option<Captured>>> = const { RefCell::new(None) };
}

/// Runs `read` on this thread and returns its result with the last bytes that it read from a file.
pub(crate) fn capture<T>(read: impl FnOnce() -> T) -> (T, Option<Captured>) {
    CAPTURE.with(|slot| *slot.borrow_mut() = Some(None));
    let result = read();
    (result, CAPTURE.with(|slot| slot.borrow_mut().take()).flatten())
}

fn note_read(file: &Arc<HotFile>, at: usize, bytes: &[u8]) {
    CAPTURE.with(|slot| {
        if let Some(last) = slot.borrow_mut().as_mut()
            // The read that finds the end of the file comes last and contributes nothing.
            && !bytes.is_empty()
        {
            *last = Some(Captured { file: file.clone(), at, bytes: bytes.to_vec() });
        }
    });
}
