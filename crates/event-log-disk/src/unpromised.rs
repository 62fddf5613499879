//! What the hot log's files hold beyond the promised ends (those in the witness): it may not have been on the disk when the last
//! process ended.
//!
//! - Of several batches written before one sync, a power cut may leave a later one and lose an earlier one. Neither was
//!   answered, and a log with a gap cannot be opened, so everything from the first incomplete batch on is cut off
//!   ([`cut_off`]). Before the promised end an incomplete batch is damage, which [`scan`](crate::scan) repairs.
//! - What is found whole is answered as committed from now on, so it must be on the disk ([`make_durable`]). A sync is not
//!   enough: after a failed one the operating system takes pages for written that are not. So it is written again.
//!
//! The witness is up to a second old. Damage by the disk in what was promised in that second is cut off as well, is reported,
//! and stays in the quarantine.

use std::path::Path;

use agentbench_disk::{Disk, Opening, folder_of};

use crate::config::OpenError;
use crate::files::is_full;
use crate::scan::{FILE_HEADER, QUEUES, Repairs, View, files};
use crate::witness::{End, Ends};

/// Bytes that are written again at once.
const STEP: u64 = 1 << 20;

/// Cuts off what follows the first incomplete batch beyond the promised ends, if there is more than that one batch.
pub(crate) fn cut_off(dir: &Path, promised: Ends, repairs: &mut Repairs<'_>) -> Result<(), OpenError> {
    for (extension, promised) in QUEUES.into_iter().zip([promised.append, promised.rewrite]) {
        let files = files(repairs.disk, dir, extension)?;
        let newest = files.len().saturating_sub(1);
        for (place, (number, path)) in files.iter().enumerate() {
            let Some(begin) = first_unpromised(*number, promised) else { continue };
            let Some(at) = first_incomplete(path, *number, begin, place == newest, repairs)? else {
                continue;
            };
            // The newest first, so that no gap is left if this is interrupted.
            for (_, later) in files[place + 1..].iter().rev() {
                cut_at(later, 0, repairs)?;
            }
            cut_at(path, at, repairs)?;
            break;
        }
    }
    Ok(())
}

/// Where in a file the bytes begin that nothing was promised about; `None` if there are none.
fn first_unpromised(number: u64, promised: End) -> Option<usize> {
    match number.cmp(&promised.number) {
        std::cmp::Ordering::Less => None,
        std::cmp::Ordering::Equal => usize::try_from(promised.bytes).ok(),
        std::cmp::Ordering::Greater => Some(0),
    }
}

/// The place of the first incomplete batch from `begin` on, or 0 for an incomplete header. `None` if there is none, or if nothing
/// whole follows it: [`scan`](crate::scan) handles a last write that was cut short.
fn first_incomplete(
    path: &Path,
    number: u64,
    begin: usize,
    is_newest: bool,
    repairs: &Repairs<'_>,
) -> Result<Option<usize>, OpenError> {
    let io = OpenError::io;
    let file = repairs.disk.open(path, Opening::Existing).map_err(io(path))?;
    let mut view = View::new(&*file).map_err(io(path))?;
    let has_header = begin >= FILE_HEADER || view.has_file_header().map_err(io(path))?;
    let mut at = if has_header { begin.max(FILE_HEADER) } else { 0 };
    while has_header && at < view.size {
        match view.batch(at, number).map_err(io(path))? {
            Some(batch) if view.entries_are_whole(&batch).map_err(io(path))? => at += batch.length,
            _ => break,
        }
    }
    let is_whole = has_header && at >= view.size;
    if is_whole
        || is_newest && view.find_batch(at.max(FILE_HEADER - 1) + 1, number).map_err(io(path))?.is_none()
    {
        return Ok(None);
    }
    Ok(Some(at))
}

/// Cuts a file at byte `at`, or removes it if that is its begin, durably.
fn cut_at(path: &Path, at: usize, repairs: &mut Repairs<'_>) -> Result<(), OpenError> {
    let io = OpenError::io;
    let file = repairs.disk.open(path, Opening::Existing).map_err(io(path))?;
    let size = View::new(&*file).map_err(io(path))?.size;
    if size > at {
        let kept = repairs.keep(path, at, size)?;
        let count = size - at;
        repairs.report(path, at, format!("the last writes are incomplete; {count} bytes removed; {kept}"));
    }
    if at > 0 {
        return file.set_len(at as u64).and_then(|()| file.sync()).map_err(io(path));
    }
    repairs.disk.remove(path).map_err(io(path))?;
    repairs.disk.sync_dir(folder_of(path)).map_err(io(path))
}

/// Writes again what was not promised, and makes all of it durable. Without a witness that is the whole newest file of each queue;
/// those before it were synced when it was started.
pub(crate) fn make_durable(disk: &dyn Disk, dir: &Path, promised: Option<Ends>) -> Result<(), OpenError> {
    let promised = promised.unwrap_or_default();
    for (extension, promised) in QUEUES.into_iter().zip([promised.append, promised.rewrite]) {
        if let Some((number, path)) = files(disk, dir, extension)?.pop() {
            let begin = first_unpromised(number, promised).unwrap_or(0);
            write_again(disk, &path, begin as u64).map_err(OpenError::io(&path))?;
        }
    }
    disk.sync_dir(dir).map_err(OpenError::io(dir))
}

fn write_again(disk: &dyn Disk, path: &Path, begin: u64) -> std::io::Result<()> {
    let file = disk.open(path, Opening::Existing)?;
    let end = file.len()?;
    let mut bytes = Vec::new();
    let mut at = begin;
    while at < end {
        bytes.resize(STEP.min(end - at) as usize, 0);
        file.read_exact_at(&mut bytes, at)?;
        match file.write_all_at(&bytes, at) {
            // Only where a file system writes elsewhere what is overwritten. Then it has to do with the sync.
            Err(error) if is_full(&error) => break,
            done => done?,
        }
        at += bytes.len() as u64;
    }
    file.sync()
}
