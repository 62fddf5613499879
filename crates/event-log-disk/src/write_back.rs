//! Limits what the kernel holds of the hot log: written pages are sent to disk soon, and then leave memory.
//!
//! By default the kernel gathers gigabytes before it writes, and then an fsync at the end of a file waits for all of it, and
//! every commit with it. A log's pages would also push everything else out of memory, although they are hardly ever read
//! again: the server keeps the newest events itself. So a separate thread starts the write-back of each step that is
//! appended, and drops the pages [`KEEP`] bytes behind. Nothing depends on it: the next fsync reports a step that cannot be
//! written back.
//!
//! The two calls have no safe wrapper in the standard library; they take a descriptor that we own and numbers, and access no
//! memory of ours, which is why `unsafe` is allowed here.
#![expect(unsafe_code, reason = "see the module's documentation")]

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// Bytes after which write-back is started.
pub(crate) const STEP: usize = 1 << 20;
/// Bytes before the end that stay in memory, for readers that are slightly behind.
const KEEP: usize = 16 << 20;

/// A written part of a file.
struct WrittenRange {
    file: Arc<File>,
    at: usize,
    len: usize,
}

/// The thread's inbox. The thread ends with it.
#[derive(Clone)]
pub(crate) struct WriteBack {
    inbox: Sender<WrittenRange>,
}

/// Reports what is written to one file.
pub(crate) struct Notes {
    write_back: WriteBack,
    file: Arc<File>,
    start: usize,
    end: usize,
}

impl WriteBack {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (inbox, written) = channel();
        std::thread::Builder::new().name("log-write-back".to_owned()).spawn(move || run(&written))?;
        Ok(Self { inbox })
    }

    /// Watches a file.
    pub(crate) fn watch(&self, file: File) -> Notes {
        Notes { write_back: self.clone(), file: Arc::new(file), start: 0, end: 0 }
    }
}

impl Notes {
    /// Reports that `len` bytes were written at `at`.
    pub(crate) fn on_write(&mut self, at: usize, len: usize) {
        if at != self.end {
            self.start = at;
        }
        self.end = at + len;
        if self.end - self.start >= STEP {
            let written =
                WrittenRange { file: Arc::clone(&self.file), at: self.start, len: self.end - self.start };
            // The thread ends only with its last sender.
            let _ = self.write_back.inbox.send(written);
            self.start = self.end;
        }
    }
}

fn run(inbox: &Receiver<WrittenRange>) {
    let mut cached: VecDeque<WrittenRange> = VecDeque::new();
    let mut bytes = 0;
    while let Ok(written) = inbox.recv() {
        sync_range(&written, libc::SYNC_FILE_RANGE_WRITE);
        bytes += written.len;
        cached.push_back(written);
        while bytes > KEEP
            && let Some(oldest) = cached.pop_front()
        {
            bytes -= oldest.len;
            let wait = libc::SYNC_FILE_RANGE_WAIT_BEFORE
                | libc::SYNC_FILE_RANGE_WRITE
                | libc::SYNC_FILE_RANGE_WAIT_AFTER;
            sync_range(&oldest, wait);
            drop_pages(&oldest);
        }
    }
}

fn sync_range(written: &WrittenRange, flags: libc::c_uint) {
    // SAFETY: the descriptor is open as long as `written.file`; sync_file_range(2) touches no memory of the process.
    unsafe { libc::sync_file_range(written.file.as_raw_fd(), written.at as i64, written.len as i64, flags) };
}

fn drop_pages(written: &WrittenRange) {
    let advice = libc::POSIX_FADV_DONTNEED;
    // SAFETY: as above, for posix_fadvise(2).
    unsafe { libc::posix_fadvise(written.file.as_raw_fd(), written.at as i64, written.len as i64, advice) };
}
