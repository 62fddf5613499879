//! A witness outside the hot log's files: the ends of its newest files when it was last written.
//!
//! Files that end early or are missing look like files that were never written, so only a record outside them can reveal it. The
//! witness is one short line, overwritten about once a second while the log grows and at the end, never during
//! a commit; it is not synced, since losing it costs no more than the check.
//!
//! ```text
//! agentbench-witness 1 append=7:1048576 rewrite=2:77 at=1700000000000 crc=1a2b3c4d
//! ```

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_disk::folder_of;

use crate::private;

const NAME: &str = "hot.witness";
/// The line is padded to its longest form, so that it always overwrites the previous one completely.
const LENGTH: usize = 160;

/// How far one file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// The file's number; 0 if there is none.
    pub(crate) number: u64,
    /// Its bytes up to the end of the last whole batch.
    pub(crate) bytes: u64,
}

/// The end of the newest file of each of raft-engine's two queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Ends {
    pub(crate) append: End,
    pub(crate) rewrite: End,
}

/// The contents of a witness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Testimony {
    pub(crate) ends: Ends,
    /// When it was written, ms since 1970.
    pub(crate) at_ms: u64,
}

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Ends { append, rewrite } = self.ends;
        let (a, b, at) = (append.bytes, rewrite.bytes, self.at_ms);
        write!(f, "agentbench-witness 1 append={}:{a} rewrite={}:{b} at={at}", append.number, rewrite.number)
    }
}

impl Testimony {
    fn parse(text: &str) -> Option<Self> {
        let (body, crc) = text.trim_end().rsplit_once(" crc=")?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let mut fields = body.strip_prefix("agentbench-witness 1 ")?.split(' ');
        let end = |field: Option<&str>, name: &str| {
            let (number, bytes) = field?.strip_prefix(name)?.split_once(':')?;
            Some(End { number: number.parse().ok()?, bytes: bytes.parse().ok()? })
        };
        let (append, rewrite) = (end(fields.next(), "append=")?, end(fields.next(), "rewrite=")?);
        let at_ms = fields.next()?.strip_prefix("at=")?.parse().ok()?;
        Some(Self { ends: Ends { append, rewrite }, at_ms })
    }
}

/// Path of a data folder's witness.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads it: `None` if there is none, `Err` with the reason if it is not trustworthy.
pub(crate) fn read(dir: &Path) -> Result<Option<Testimony>, String> {
    match fs::read_to_string(path(dir)) {
        Ok(text) => Testimony::parse(&text).map(Some).ok_or_else(|| "its checksum does not fit".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes the witness repeatedly.
pub(crate) struct Witness {
    file: Option<File>,
    path: PathBuf,
    written: Option<Ends>,
}

impl Witness {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { file: None, path: path(dir), written: None }
    }

    /// Writes the first witness of a folder, durably: without one, nothing distinguishes writes that a power cut left incomplete
    /// from damage.
    pub(crate) fn begin(&mut self, ends: Ends) {
        if self.path.exists() {
            return;
        }
        self.note(ends);
        let synced = self.file.as_ref().map(|file| {
            file.sync_all()?;
            File::open(folder_of(&self.path))?.sync_all()
        });
        if let Some(Err(error)) = synced {
            tracing::debug!(%error, "the witness of the hot log cannot be synced");
        }
    }

    /// Records the ends of the files, if they have changed.
    pub(crate) fn note(&mut self, ends: Ends) {
        if self.written == Some(ends) {
            return;
        }
        match self.write(ends) {
            Ok(()) => self.written = Some(ends),
            // It is retried after a second. A full or broken disk is reported by more important writers.
            Err(error) => tracing::debug!(%error, "the witness of the hot log cannot be written"),
        }
    }

    fn write(&mut self, ends: Ends) -> io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let body = Testimony { ends, at_ms: at.as_millis() as u64 }.to_string();
        let mut line = format!("{body} crc={:08x}", crc32fast::hash(body.as_bytes()));
        line.extend(std::iter::repeat_n(' ', LENGTH.saturating_sub(line.len() + 1)));
        line.push('\n');
        if self.file.is_none() {
            self.file = Some(private::options().write(true).create(true).truncate(false).open(&self.path)?);
        }
        // Within one sector of the disk, so the line is either old or new.
        self.file.as_ref().map_or(Ok(()), |file| file.write_all_at(line.as_bytes(), 0))
    }
}

/// What is missing, if anything: compares the record with the existing files, by number and length
/// up to the last whole batch, in order.
pub(crate) fn missing(saw: End, found: &[End]) -> Option<String> {
    if saw.number == 0 {
        return None;
    }
    let newest = found.last().map_or(0, |end| end.number);
    if newest < saw.number {
        return Some(format!(
            "file {} of {} bytes is missing, with what was acknowledged in it",
            saw.number, saw.bytes
        ));
    }
    // A missing file with newer ones after it was cleaned up.
    let same = found.iter().find(|end| end.number == saw.number)?;
    (same.bytes < saw.bytes).then(|| {
        format!(
            "file {} was written up to byte {} and now ends at byte {}: what was acknowledged in between is gone",
            saw.number, saw.bytes, same.bytes
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn end(number: u64, bytes: u64) -> End {
        End { number, bytes }
    }

    #[test]
    fn what_is_written_is_read_and_what_was_changed_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Ok(None));
        let mut witness = Witness::new(folder.path());
        let long = Ends { append: end(u64::MAX, u64::MAX), rewrite: end(u64::MAX, u64::MAX) };
        for ends in [long, Ends { append: end(7, 123), rewrite: end(0, 0) }] {
            witness.note(ends);
            assert_eq!(read(folder.path()).unwrap().unwrap().ends, ends);
        }
        let text = fs::read_to_string(path(folder.path())).unwrap();
        for (from, to) in
            [("append=7", "append=6"), (":123", ":12 "), ("1 append", "2 append"), ("crc=", "crc=1")]
        {
            fs::write(path(folder.path()), text.replace(from, to)).unwrap();
            assert!(read(folder.path()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_file_that_is_gone_or_short_is_missing_and_one_that_was_cleaned_up_is_not() {
        type Case<'a> = (&'a str, End, &'a [End], bool);
        let cases: &[Case<'_>] = &[
            ("no witness", end(0, 0), &[], false),
            ("as it was", end(3, 900), &[end(2, 10), end(3, 900)], false),
            ("it went on", end(3, 900), &[end(3, 950), end(4, 77)], false),
            ("short", end(3, 900), &[end(2, 10), end(3, 899)], true),
            ("short, with a newer one", end(3, 900), &[end(3, 100), end(4, 77)], true),
            ("the newest is gone", end(3, 900), &[end(2, 10)], true),
            ("all are gone", end(3, 900), &[], true),
            ("cleaned up", end(3, 900), &[end(5, 77)], false),
        ];
        for (name, saw, found, expected) in cases {
            assert_eq!(missing(*saw, found).is_some(), *expected, "{name}");
        }
    }
}
