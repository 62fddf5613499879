//! The former engine's witness: how far the newest files were written when it was last updated.
//!
//! ```text
//! agentbench-witness 1 append=7:1048576 rewrite=2:77 at=1700000000000 crc=1a2b3c4d
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// How far one file was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct End {
    /// The file's number; 0 if there is none.
    pub(crate) number: u64,
    /// Its bytes up to the end of the last whole batch.
    pub(crate) bytes: u64,
}

/// The end of the newest file of each of the two queues.
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
    dir.join("hot.witness")
}

/// Reads the witness of a data folder: `None` if there is none, `Err` with the reason if it is not trustworthy.
pub(crate) fn read(dir: &Path) -> Result<Option<Testimony>, String> {
    match fs::read_to_string(path(dir)) {
        Ok(text) => Testimony::parse(&text).map(Some).ok_or_else(|| "its checksum does not fit".to_owned()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// What is missing of the witnessed end, if anything: compares it with the ends of the existing files, in order.
pub(crate) fn missing(saw: End, found: &[End]) -> Option<String> {
    if saw.number == 0 {
        return None;
    }
    let End { number, bytes } = saw;
    if found.last().is_none_or(|newest| newest.number < number) {
        return Some(format!("file {number} of {bytes} bytes is missing, with what was acknowledged in it"));
    }
    // A missing file with newer ones after it was cleaned up.
    let same = found.iter().find(|end| end.number == number)?;
    (same.bytes < bytes).then(|| {
        let now = same.bytes;
        format!(
            "file {number} was written up to byte {bytes} and now ends at byte {now}: what was acknowledged in between is gone"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_has_this_form_and_one_that_was_changed_is_not_believed() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(read(folder.path()), Ok(None));
        let body = "agentbench-witness 1 append=7:123 rewrite=2:77 at=1700000000000";
        let line = format!("{body} crc={:08x}          \n", crc32fast::hash(body.as_bytes()));
        fs::write(path(folder.path()), &line).unwrap();
        let ends = Ends { append: End { number: 7, bytes: 123 }, rewrite: End { number: 2, bytes: 77 } };
        assert_eq!(read(folder.path()), Ok(Some(Testimony { ends, at_ms: 1_700_000_000_000 })));
        for (from, to) in [("append=7", "append=6"), (":123", ":12 "), ("crc=", "crc=1")] {
            fs::write(path(folder.path()), line.replace(from, to)).unwrap();
            assert!(read(folder.path()).is_err(), "{to}");
        }
    }

    #[test]
    fn a_file_that_is_gone_or_short_is_missing_and_one_that_was_cleaned_up_is_not() {
        let end = |number, bytes| End { number, bytes };
        let cases = [
            (end(0, 0), vec![], false),
            (end(3, 900), vec![end(2, 10), end(3, 900)], false),
            (end(3, 900), vec![end(3, 950), end(4, 77)], false),
            (end(3, 900), vec![end(3, 100), end(4, 77)], true),
            (end(3, 900), vec![end(2, 10)], true),
            (end(3, 900), vec![], true),
            (end(3, 900), vec![end(5, 77)], false),
        ];
        for (saw, found, expected) in cases {
            assert_eq!(missing(saw, &found).is_some(), expected, "{saw:?} {found:?}");
        }
    }
}
