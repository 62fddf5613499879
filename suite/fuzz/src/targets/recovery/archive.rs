//! One file of the archive, whose checksums may fit what is in it.

use std::ops::Range;

use agentbench_event_log::{EventLog, LogError, ReadLimit};
use agentbench_event_log_disk::{ArchiveLog, OpenError};

use super::{Seed, folder};

/// Sizes of the format (`archive::format` of the engine).
const HEADER: usize = 72;
const INDEX_ENTRY: usize = 40;
const FOOTER: usize = 24;
/// Places of numbers in the header.
const SUMMARY_LENGTH: usize = 12;
const LAST_SEQ: usize = 48;
/// Most reads of one log.
const MAX_READS: usize = 1_000;

/// Any bytes as the file of an archived session.
///
/// Input: which checksums are made anew (bits: header, blocks, index, footer), then the file. Holds if the session is served or not,
/// and if it is, in whole frames one behind the other, up to its head or to damage that is said.
pub fn archive_file(input: &[u8]) {
    let Some((&sealed, file)) = input.split_first() else { return };
    let mut file = file.to_vec();
    seal(&mut file, sealed);
    let place = folder::temporary();
    let (name, _) = sample();
    folder::write(place.path(), &[(name.clone(), file)]);
    let why = OpenError::Config("only the archive is read".into());
    let Ok((log, _)) = ArchiveLog::open(&folder::config(place.path()), &why) else { return };
    for listed in log.list().expect("an open log has a list") {
        let mut from = 1;
        for _ in 0..MAX_READS {
            match log.read(listed.session, from, ReadLimit { bytes: 1, events: 1 }) {
                Ok(reading) => {
                    let (Some(first), Some(last)) = (reading.frames.first(), reading.frames.last()) else {
                        break;
                    };
                    assert!((first.first_seq()..=last.last_seq()).contains(&from), "{from} was asked for");
                    from = last.last_seq() + 1;
                }
                Err(LogError::Damaged { to, .. }) if to >= from => from = to.saturating_add(1),
                Err(LogError::Trimmed { first_seq }) if first_seq > from => from = first_seq,
                Err(
                    error @ (LogError::Damaged { .. } | LogError::Trimmed { .. } | LogError::NotFound(_)),
                ) => {
                    panic!("at {from}: {error}")
                }
                Err(_) => break,
            }
            if from > listed.head.seq {
                break;
            }
        }
    }
}

/// Makes checksums anew, as far as the file has their places.
fn seal(file: &mut [u8], which: u8) {
    if which & 1 != 0 {
        seal_header(file);
    }
    let Some(index) = index(file) else { return };
    if which & 2 != 0 {
        index.clone().step_by(INDEX_ENTRY).for_each(|entry| seal_block(file, entry));
    }
    let footer = index.end;
    if which & 4 != 0 {
        put_crc(file, index, footer + 12);
    }
    if which & 8 != 0 {
        put_crc(file, footer..footer + 16, footer + 16);
    }
}

fn seal_header(file: &mut [u8]) {
    let Some(summary) = number::<4>(file, SUMMARY_LENGTH) else { return };
    let Some(end) = HEADER.checked_add(summary).filter(|end| *end <= file.len()) else { return };
    let crc = crc32c::crc32c_append(crc32c::crc32c(&file[..HEADER - 8]), &file[HEADER..end]);
    file[HEADER - 8..HEADER - 4].copy_from_slice(&crc.to_le_bytes());
}

fn seal_block(file: &mut [u8], entry: usize) {
    let (Some(offset), Some(length)) = (number::<8>(file, entry + 16), number::<4>(file, entry + 24)) else {
        return;
    };
    if let Some(end) = offset.checked_add(length).filter(|end| *end <= file.len()) {
        put_crc(file, offset..end, entry + 32);
    }
}

/// Where the index stands, if the footer says so.
fn index(file: &[u8]) -> Option<Range<usize>> {
    let footer = file.len().checked_sub(FOOTER)?;
    let length = number::<4>(file, footer + 8)?.checked_mul(INDEX_ENTRY)?;
    Some(footer.checked_sub(length)?..footer)
}

/// A little-endian number of `N` bytes.
fn number<const N: usize>(file: &[u8], at: usize) -> Option<usize> {
    let bytes = file.get(at..at + N)?;
    let number = bytes.iter().rev().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    usize::try_from(number).ok()
}

fn put_crc(file: &mut [u8], of: Range<usize>, at: usize) {
    let crc = crc32c::crc32c(&file[of]).to_le_bytes();
    file[at..at + 4].copy_from_slice(&crc);
}

/// An archived session's file.
fn sample() -> &'static folder::File {
    let files = &folder::template().files;
    files.iter().find(|(name, _)| name.ends_with(".abz")).expect("it has archived sessions")
}

/// A file with each selection of new checksums, and two whose checksums fit numbers at the end of their range.
pub(crate) fn seeds() -> Vec<Seed> {
    let (_, file) = sample();
    let sealed =
        [0_u8, 1, 12, 14, 15].map(|sealed| (format!("sealed-{sealed:02}"), [&[sealed], &file[..]].concat()));
    crate::targets::named(sealed.into_iter().chain([last_seq(file), empty(file)]))
}

/// The last seq of all, in the header and in the last block.
fn last_seq(file: &[u8]) -> Seed {
    let mut file = [&[15], file].concat();
    let index = file.len() - FOOTER - INDEX_ENTRY;
    for at in [1 + LAST_SEQ, index + 8] {
        file[at..at + 8].fill(0xff);
    }
    ("last-seq".into(), file)
}

/// Without blocks, and with the last seq of all.
fn empty(file: &[u8]) -> Seed {
    let footer = &file[file.len() - FOOTER..];
    let mut file = [&[15], &file[..HEADER], footer].concat();
    file[1 + SUMMARY_LENGTH..][..4].fill(0);
    file[1 + LAST_SEQ..][..8].fill(0xff);
    file[1 + HEADER..][..8].copy_from_slice(&(HEADER as u64).to_le_bytes());
    file[1 + HEADER + 8..][..4].fill(0);
    ("empty".into(), file)
}
