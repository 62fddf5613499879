//! What is not read of the former engine's files: writes that were not complete, and were never acknowledged.
//!
//! - An incomplete write at the end of the newest file is left out.
//! - Of several batches written before one sync, a power cut may leave a later one and lose an earlier one. So beyond the
//!   witnessed end everything is left out from the first incomplete batch on.
//! - Moved batches are copies of appended ones, which were removed only after a sync of the copies. So none of them needs to
//!   be left out ([`KEEP_ALL`]), and an incomplete one may be all that is left of a damaged one.
//! - Before the witnessed end an incomplete batch is damage: the frames in it that are whole were acknowledged, and are read.

use super::batch::{FILE_HEADER, Stretch};
use super::files::OldFile;
use super::witness::End;
use crate::config::Damage;

/// The end before which nothing is left out.
pub(crate) const KEEP_ALL: End = End { number: u64::MAX, bytes: u64::MAX };

/// Leaves out what was not acknowledged of one queue's files.
pub(crate) fn leave_out(files: &mut Vec<OldFile>, promised: Option<End>, damage: &mut Vec<Damage>) {
    if let Some(promised) = promised {
        leave_out_from_first_incomplete(files, promised, damage);
    }
    let Some(mut newest) = files.pop() else { return };
    let promised = promised_bytes(newest.number, promised.unwrap_or_default());
    let is_empty = promised.min(newest.size) <= FILE_HEADER;
    if !newest.has_header && !newest.has_batch() && is_empty {
        // The process ended while it created the file.
        if newest.size > 0 {
            damage.push(newest.damage(0, "a file that had just been started is left out".into()));
        }
        return;
    }
    leave_out_incomplete_end(&mut newest, promised, damage);
    files.push(newest);
}

/// The bytes of a file about which something was promised.
fn promised_bytes(number: u64, promised: End) -> usize {
    match number.cmp(&promised.number) {
        std::cmp::Ordering::Less => usize::MAX,
        std::cmp::Ordering::Equal => usize::try_from(promised.bytes).unwrap_or(usize::MAX),
        std::cmp::Ordering::Greater => 0,
    }
}

fn leave_out_from_first_incomplete(files: &mut Vec<OldFile>, promised: End, damage: &mut Vec<Damage>) {
    let newest = files.len().saturating_sub(1);
    let found = files.iter().enumerate().find_map(|(place, file)| {
        Some((place, first_incomplete(file, promised_bytes(file.number, promised), place == newest)?))
    });
    let Some((place, at)) = found else { return };
    for file in &files[place + 1..] {
        damage.push(file.damage(0, left_out(file.size)));
    }
    let file = &mut files[place];
    damage.push(file.damage(at, left_out(file.size.saturating_sub(at))));
    file.stretches.retain(|stretch| stretch.begin() < at);
    if let Some(Stretch::Damaged { end, .. }) = file.stretches.last_mut() {
        *end = at.min(*end);
    }
    files.truncate(if at == 0 { place } else { place + 1 });
}

/// The place of the first incomplete batch after the promised bytes, or 0 for an incomplete header. `None` if there is none, or
/// if nothing whole follows it: that is the last write.
fn first_incomplete(file: &OldFile, promised: usize, is_newest: bool) -> Option<usize> {
    if promised < FILE_HEADER && !file.has_header {
        return (!is_newest || file.has_batch()).then_some(0);
    }
    let place = file.stretches.iter().position(|stretch| stretch.end() > promised && !stretch.is_whole())?;
    let mut later = file.stretches[place + 1..].iter();
    let has_later = later.any(|stretch| matches!(stretch, Stretch::Batch(_)));
    (!is_newest || has_later).then(|| file.stretches[place].begin().max(promised))
}

fn leave_out_incomplete_end(file: &mut OldFile, promised: usize, damage: &mut Vec<Damage>) {
    while let Some(last) = file.stretches.last()
        && !last.is_whole()
        && last.begin() >= promised
    {
        let count = last.end() - last.begin();
        let what = format!("the last write was cut short; {count} bytes are left out");
        damage.push(file.damage(last.begin(), what));
        file.stretches.pop();
    }
}

fn left_out(count: usize) -> String {
    format!("the last writes are incomplete; {count} bytes are left out")
}
