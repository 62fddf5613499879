//! Repairs a stretch of a hot log's file in which a batch has a broken header or footer, so that it can be read again.
//!
//! The footer of a batch says where its entries are, and without it raft-engine reads no further in a file. The entries
//! identify themselves ([`entry`](crate::entry)), so a footer can be rewritten in place of the old one:
//! frames are recovered, and a damaged frame fails its own checksum when it is read. What was only in the footer
//! is lost: summaries, trims and deletions of that moment. A trimmed or deleted log may reappear; that is reported.

use agentbench_disk::DiskFile;

use crate::entry::{EntryHeader, HEADER};
use crate::scan::{BATCH_HEADER, CHECKSUM};

/// Group that owns the bytes between two readable entries; it is never read.
const NOBODY: u64 = 100;
/// raft-engine's number for "entries of a group" in a footer.
const ENTRIES_ITEM: u8 = 1;

/// An entry found in the stretch, with offsets from the end of the batch's header.
struct FoundEntry {
    log: u64,
    ordinal: u64,
    begin: usize,
    end: usize,
}

/// Turns the bytes `begin..end` of a file, which contain no whole batch, into one batch with the entries found there.
/// Returns what was done, or why it is impossible.
pub(crate) fn repair(
    file: &dyn DiskFile,
    number: u64,
    begin: usize,
    end: usize,
) -> std::io::Result<Result<String, &'static str>> {
    let mut bytes = vec![0; end - begin];
    file.read_exact_at(&mut bytes, begin as u64)?;
    let Some((header, body)) = bytes.split_first_chunk_mut::<BATCH_HEADER>() else {
        return Ok(Err("damaged, and too short to be repaired; restore the file from a copy"));
    };
    let found = find_entries(body);
    let mut footer = encode_footer(&found);
    footer.extend_from_slice(&(crc32fast::hash(&footer) ^ number as u32).to_le_bytes());
    let used = found.last().map_or(0, |entry| entry.end + CHECKSUM);
    let Some(footer_at) = body.len().checked_sub(footer.len()).filter(|at| *at >= used) else {
        return Ok(Err("damaged, without room to be repaired; restore the file from a copy"));
    };
    let (entries, place) = body.split_at_mut(footer_at);
    place.copy_from_slice(&footer);
    if let Some((entries, crc)) = entries.split_last_chunk_mut::<CHECKSUM>() {
        *crc = crc32fast::hash(entries).to_le_bytes();
    }
    header[..8].copy_from_slice(&((end - begin) as u64 * 256).to_be_bytes());
    header[8..].copy_from_slice(&((BATCH_HEADER + footer_at) as u64).to_be_bytes());
    file.write_all_at(&bytes, begin as u64)?;
    file.sync()?;
    Ok(Ok(format!(
        "a batch of {} bytes is damaged; {} frames in it were recovered, and what was recorded with them (summaries, \
         trims, deletions) is lost",
        end - begin,
        found.len()
    )))
}

fn find_entries(body: &[u8]) -> Vec<FoundEntry> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + HEADER <= body.len() {
        let header = EntryHeader::decode(&body[at..]);
        let end = header.map(|header| at + HEADER + header.frame_len as usize);
        match (header, end) {
            (Some(header), Some(end)) if end <= body.len() => {
                found.push(FoundEntry { log: header.log, ordinal: header.ordinal, begin: at, end });
                at = end;
            }
            _ => at += 1,
        }
    }
    found
}

/// Number of items, then for each: group, kind, number of entries, ordinal of the first, end of each (counted from the
/// start of the first item's entries). Every entry begins where the one before ends, so gaps need an owner.
fn encode_footer(found: &[FoundEntry]) -> Vec<u8> {
    let mut items = Vec::new();
    let mut count = 0;
    let mut item = |group, ordinal, end: usize| {
        put_number(&mut items, group);
        items.push(ENTRIES_ITEM);
        put_number(&mut items, 1);
        put_number(&mut items, ordinal);
        put_number(&mut items, end as u64);
        count += 1;
    };
    let mut next = 0;
    for entry in found {
        if entry.begin > next {
            item(NOBODY, 1, entry.begin);
        }
        item(entry.log, entry.ordinal, entry.end);
        next = entry.end;
    }
    let mut footer = Vec::new();
    put_number(&mut footer, count);
    footer.extend_from_slice(&items);
    footer
}

/// Seven bits per byte, the lowest first, with the highest bit set in all but the last.
fn put_number(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push(number as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}
