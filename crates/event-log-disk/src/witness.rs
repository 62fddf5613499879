//! A witness outside the segments: which ones there are, and how far the newest was written when the witness was.
//!
//! A file that ends early or is missing looks like one that was never written, so only a record outside can reveal it. The
//! witness is one line, overwritten about once a second while the log grows and at the end, never during a commit; it
//! is not synced, since losing it costs no more than the check.
//!
//! ```text
//! agentbench-witness 2 newest=7:1048576 segments=3,6,7 at=1700000000000 crc=1a2b3c4d
//! ```

use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_disk::{Disk, Opening};

const NAME: &str = "segments.witness";
/// The line is padded to a multiple of this, one sector, so that a short one is either old or new.
const PADDED: usize = 512;

/// What is there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Extent {
    /// Number of the newest segment, and its bytes up to the end of the last record; 0 if there is none.
    pub(crate) newest: (u32, u64),
    /// Numbers of all segments with records, in order.
    pub(crate) segments: Vec<u32>,
}

/// The contents of a witness.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Testimony {
    pub(crate) extent: Extent,
    /// When it was written, ms since 1970.
    pub(crate) at_ms: u64,
}

impl fmt::Display for Testimony {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (number, bytes) = self.extent.newest;
        write!(f, "agentbench-witness 2 newest={number}:{bytes} segments=")?;
        for (place, segment) in self.extent.segments.iter().enumerate() {
            write!(f, "{}{segment}", if place == 0 { "" } else { "," })?;
        }
        write!(f, " at={}", self.at_ms)
    }
}

impl Testimony {
    fn parse(text: &str) -> Option<Self> {
        let (body, crc) = text.trim_end().rsplit_once(" crc=")?;
        if u32::from_str_radix(crc, 16).ok()? != crc32c::crc32c(body.as_bytes()) {
            return None;
        }
        let mut fields = body.strip_prefix("agentbench-witness 2 ")?.split(' ');
        let (number, bytes) = fields.next()?.strip_prefix("newest=")?.split_once(':')?;
        let newest = (number.parse().ok()?, bytes.parse().ok()?);
        let list = fields.next()?.strip_prefix("segments=")?;
        let numbers = list.split(',').filter(|number| !number.is_empty()).map(|number| number.parse().ok());
        let segments = numbers.collect::<Option<_>>()?;
        let at_ms = fields.next()?.strip_prefix("at=")?.parse().ok()?;
        Some(Self { extent: Extent { newest, segments }, at_ms })
    }
}

/// Path of a data folder's witness.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(NAME)
}

/// Reads it: `None` if there is none, `Err` with the reason if it is not trustworthy.
pub(crate) fn read(disk: &dyn Disk, dir: &Path) -> Result<Option<Testimony>, String> {
    let read = || -> std::io::Result<Vec<u8>> {
        let file = disk.open(&path(dir), Opening::Existing)?;
        let len = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
        let mut bytes = vec![0; len.min(1 << 20)];
        let read = file.read_at(&mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => {
            let text = str::from_utf8(&bytes).ok();
            text.and_then(Testimony::parse).map(Some).ok_or_else(|| "its checksum does not fit".to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

/// Writes the witness repeatedly.
pub(crate) struct Witness {
    path: PathBuf,
    written: Option<Extent>,
}

impl Witness {
    pub(crate) fn new(dir: &Path) -> Self {
        Self { path: path(dir), written: None }
    }

    /// Records what is there, if that has changed.
    pub(crate) fn note(&mut self, disk: &dyn Disk, extent: Extent) {
        if self.written.as_ref() == Some(&extent) {
            return;
        }
        // It is retried after a second. A full or broken disk is reported by more important writers.
        if let Err(error) = self.note_durably(disk, extent, false) {
            tracing::debug!(%error, "the witness of the hot log cannot be written");
        }
    }

    /// Records what is there, durably if asked to: before a segment that it names is removed.
    pub(crate) fn note_durably(
        &mut self,
        disk: &dyn Disk,
        extent: Extent,
        durably: bool,
    ) -> std::io::Result<()> {
        self.write(disk, &extent, durably)?;
        self.written = Some(extent);
        Ok(())
    }

    fn write(&self, disk: &dyn Disk, extent: &Extent, durably: bool) -> std::io::Result<()> {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let body = Testimony { extent: extent.clone(), at_ms: at.as_millis() as u64 }.to_string();
        let mut line = format!("{body} crc={:08x}", crc32c::crc32c(body.as_bytes())).into_bytes();
        let file = disk.open(&self.path, Opening::Any)?;
        let former = usize::try_from(file.len()?).map_err(std::io::Error::other)?;
        let padded = (line.len() + 1).next_multiple_of(PADDED).max(former);
        line.resize(padded - 1, b' ');
        line.push(b'\n');
        file.write_all_at(&line, 0)?;
        if durably { file.sync() } else { Ok(()) }
    }
}

/// What is missing of what was there: the numbers of the segments that are found, with the end of the last record in each.
pub(crate) fn missing(saw: &Extent, found: &[(u32, u64)]) -> Vec<String> {
    let end_of = |number: u32| found.iter().find(|found| found.0 == number).map(|found| found.1);
    let gone = saw.segments.iter().filter(|number| end_of(**number).is_none());
    let mut missing: Vec<_> =
        gone.map(|number| format!("segment {number} is missing, with what was acknowledged in it")).collect();
    let (number, bytes) = saw.newest;
    if let Some(end) = end_of(number).filter(|end| *end < bytes) {
        missing.push(format!(
            "segment {number} was written up to byte {bytes} and now ends at byte {end}: what was acknowledged in between is \
             gone"
        ));
    }
    missing
}

#[cfg(test)]
mod tests {
    use agentbench_disk::{MemoryDisk, SectorSize};

    use super::*;

    fn extent(newest: (u32, u64), segments: &[u32]) -> Extent {
        Extent { newest, segments: segments.to_vec() }
    }

    #[test]
    fn what_is_written_is_read_and_what_was_changed_is_not_believed() {
        let disk = MemoryDisk::new(1, SectorSize::Bytes512);
        let dir = Path::new("/");
        assert_eq!(read(&disk, dir), Ok(None));
        let mut witness = Witness::new(dir);
        let long: Vec<u32> = (u32::MAX - 1000..u32::MAX).collect();
        for extent in [extent((u32::MAX, u64::MAX), &long), extent((0, 0), &[]), extent((7, 123), &[3, 7])] {
            witness.note(&disk, extent.clone());
            assert_eq!(read(&disk, dir).unwrap().unwrap().extent, extent);
        }
        let file = disk.open(&path(dir), Opening::Existing).unwrap();
        let mut line = vec![0; 80];
        file.read_exact_at(&mut line, 0).unwrap();
        for at in 0..line.len() {
            let mut changed = line.clone();
            changed[at] ^= 1;
            file.write_all_at(&changed, 0).unwrap();
            assert!(read(&disk, dir).is_err(), "{at}");
        }
    }

    #[test]
    fn a_segment_that_is_gone_or_short_is_missing() {
        type Case<'a> = (&'a str, Extent, &'a [(u32, u64)], usize);
        let cases: &[Case<'_>] = &[
            ("no witness", Extent::default(), &[], 0),
            ("as it was", extent((3, 900), &[2, 3]), &[(2, 10), (3, 900)], 0),
            ("it went on", extent((3, 900), &[3]), &[(3, 950), (4, 77)], 0),
            ("short", extent((3, 900), &[2, 3]), &[(2, 10), (3, 899)], 1),
            ("short, with a newer one", extent((3, 900), &[3]), &[(3, 100), (4, 77)], 1),
            ("the newest is gone", extent((3, 900), &[2, 3]), &[(2, 10)], 1),
            ("an old one is gone", extent((3, 900), &[1, 3]), &[(3, 900)], 1),
            ("all are gone", extent((3, 900), &[2, 3]), &[], 2),
        ];
        for (name, saw, found, expected) in cases {
            assert_eq!(missing(saw, found).len(), *expected, "{name}");
        }
    }
}
