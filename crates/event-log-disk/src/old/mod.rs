//! Reads a folder `hot/` of the former engine, which kept its logs in the files of the crate raft-engine 0.4.
//!
//! It changes nothing in the folder, and yields what the former engine served: damaged bytes are left out and reported. In
//! reading order:
//! - [`OldFolder`] is what a folder holds: logs, the places of their frames, damage.
//! - `files`, `batch`, `items` are the forms of the files, from outside to inside; `entry` and `record` those of what this
//!   project stored in them.
//! - `unpromised` decides which incomplete writes are left out.
//! - `logs` applies batch after batch, `assemble` makes logs of the result.
//! - `witness` is the file beside the folder that tells how far it was written.
//!
//! Absent on purpose: the archive (its files have not changed), and whether a log is also there.

mod assemble;
mod batch;
mod entry;
mod files;
mod items;
mod logs;
mod record;
#[cfg(test)]
mod tests;
mod unpromised;
pub(crate) mod witness;

use std::path::Path;

use agentbench_disk::Disk;
use agentbench_event_log::Frame;
use agentbench_protocol::{Epoch, Seq, SessionId};
use bytes::Bytes;

use self::batch::{BATCH_HEADER, Batch, Stretch, View};
use self::entry::{EntryHeader, HEADER};
use self::files::{APPENDED, OldFile, QUEUES};
use self::logs::{Logs, Place};
use self::witness::{End, Ends};
use crate::config::{Damage, OpenError};

/// What a folder of the former engine holds.
pub(crate) struct OldFolder {
    /// The latest log of each session, in order of their numbers. One that is also in the archive, with this epoch and no lower
    /// head, was copied there and is to be ignored.
    pub(crate) logs: Vec<OldLog>,
    /// Damage that was found, and what it costs. Includes an incomplete last write.
    pub(crate) damage: Vec<Damage>,
    /// What was acknowledged but is not in the files, according to the witness.
    pub(crate) missing: Vec<Damage>,
    files: Vec<OldFile>,
}

/// One log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OldLog {
    pub(crate) session: SessionId,
    pub(crate) epoch: Epoch,
    /// Its number in the folder: a session's later log has a higher one.
    pub(crate) number: u64,
    /// The oldest seq in the log: 1 unless trimmed, `head + 1` if nothing is left.
    pub(crate) first_seq: Seq,
    pub(crate) head: Seq,
    /// The summary of the last append that had one.
    pub(crate) summary: Bytes,
    /// The frames from `first_seq` to `head` in order. The first one may begin before `first_seq`.
    pub(crate) frames: Vec<OldFrame>,
    /// The seqs from `first_seq` to `head` that are in no frame, in order.
    pub(crate) holes: Vec<Hole>,
    /// Number of frames after `head` of which only the existence is known. They were delivered to readers, so with any, the log
    /// must not continue in this epoch.
    pub(crate) lost_at_end: u64,
}

/// The place of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct OldFrame {
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    /// Index of the file. Frames in order of file and offset are read fastest.
    pub(crate) file: u32,
    /// Offset of the frame's entry in the file.
    pub(crate) offset: u64,
    /// Bytes of the frame.
    pub(crate) len: u32,
}

/// Seqs of a log that are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    pub(crate) first_seq: Seq,
    pub(crate) last_seq: Seq,
    /// What was found.
    pub(crate) what: &'static str,
}

impl OldFolder {
    /// Reads the folder. `promised` are the ends in the witness, if there is a readable one.
    ///
    /// # Errors
    /// [`OpenError::Io`]: the folder or a file in it cannot be read. Damaged contents are reported instead.
    pub(crate) fn read(disk: &dyn Disk, hot_dir: &Path, promised: Option<Ends>) -> Result<Self, OpenError> {
        let mut folder =
            Self { logs: Vec::new(), damage: Vec::new(), missing: Vec::new(), files: Vec::new() };
        let (mut logs, mut left_out) = (Logs::default(), Vec::new());
        let promised = [promised.map(|ends| ends.rewrite), promised.map(|ends| ends.append)];
        for (extension, promised) in QUEUES.into_iter().zip(promised) {
            let mut files = files::open(disk, hot_dir, extension, &mut folder.damage)?;
            let kept = if extension == APPENDED { promised } else { Some(unpromised::KEEP_ALL) };
            unpromised::leave_out(&mut files, kept, &mut left_out);
            folder.missing.extend(missing(&hot_dir.join(format!("*.{extension}")), promised, &files));
            for file in files {
                let index = folder.files.len() as u32;
                let read = read_file(&file, index, &mut logs, &mut folder.damage);
                read.map_err(OpenError::io(&file.path))?;
                folder.files.push(file);
            }
        }
        // What is left out was written last, so it leaves no gaps.
        let may_have_gaps = !folder.damage.is_empty() || !folder.missing.is_empty();
        folder.damage.append(&mut left_out);
        folder.logs = assemble::assemble(logs, may_have_gaps, &mut folder.damage);
        Ok(folder)
    }

    /// Reads and checks one frame.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn frame(&self, frame: &OldFrame) -> Result<Frame, String> {
        let file = self.files.get(frame.file as usize).ok_or("there is no such file")?;
        let place = || format!("{} at byte {}", file.path.display(), frame.offset);
        let mut bytes = vec![0; HEADER + frame.len as usize];
        let read = file.file.read_exact_at(&mut bytes, frame.offset);
        read.map_err(|error| format!("{}: {error}", place()))?;
        let header = EntryHeader::decode(&bytes).filter(|header| {
            (header.first_seq, header.last_seq(), header.frame_len)
                == (frame.first_seq, frame.last_seq, frame.len)
        });
        let header = header.ok_or_else(|| format!("{}: the header of the frame has changed", place()))?;
        let parsed = header.parse(Bytes::from(bytes).slice(HEADER..));
        parsed.map_err(|what| format!("{}: {what}", place()))
    }
}

fn missing(place: &Path, promised: Option<End>, files: &[OldFile]) -> Option<Damage> {
    let end = |file: &OldFile| End { number: file.number, bytes: file.end() as u64 };
    let ends: Vec<_> = files.iter().map(end).collect();
    let what = witness::missing(promised?, &ends)?;
    Some(Damage { place: place.display().to_string(), what })
}

fn read_file(file: &OldFile, index: u32, logs: &mut Logs, damage: &mut Vec<Damage>) -> std::io::Result<()> {
    let mut view = View::new(&*file.file)?;
    if !file.has_header {
        damage
            .push(file.damage(0, "the header of the file is damaged; its batches were searched for".into()));
    }
    for stretch in &file.stretches {
        let (begin, length) = (stretch.begin(), stretch.end() - stretch.begin());
        // The file was as long as this when it was checked.
        let bytes = view.bytes(begin, length)?.ok_or(std::io::ErrorKind::UnexpectedEof)?;
        let place = Place { file: index, offset: begin as u64 };
        let damaged = match stretch {
            Stretch::Batch(batch) => read_batch(batch, bytes, place, logs),
            Stretch::Damaged { .. } => None,
        };
        let what = match damaged {
            Some(0) if stretch.is_whole() => continue,
            Some(0) => "the checksum of this batch is damaged, but none of its frames".into(),
            Some(count) => format!("{count} frames in this batch are damaged"),
            None => salvage(bytes, place, logs),
        };
        damage.push(file.damage(begin, what));
    }
    Ok(())
}

/// Applies a batch. Returns how many of its frames are damaged; `None` if its footer cannot be read.
fn read_batch(batch: &Batch, bytes: &[u8], place: Place, logs: &mut Logs) -> Option<usize> {
    let (entries, footer) = batch.split(bytes)?;
    let items = items::decode(footer, entries.len())?;
    Some(logs.apply(&items, entries, Place { offset: place.offset + BATCH_HEADER as u64, ..place }))
}

/// Adds the entries in bytes without a readable footer. Returns what that means.
fn salvage(bytes: &[u8], place: Place, logs: &mut Logs) -> String {
    let mut intact = 0;
    for (at, header) in entry::find(bytes) {
        let is_intact = logs.add_found(&header, &bytes[at..], place.offset + at as u64, place.file);
        intact += usize::from(is_intact);
    }
    format!(
        "{} bytes are damaged; {intact} frames in them were recovered, and what was recorded with them (summaries, trims, \
         deletions) is lost",
        bytes.len()
    )
}
