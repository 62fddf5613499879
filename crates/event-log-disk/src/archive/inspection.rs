//! Reads all that the archive of a stopped folder holds, and changes nothing.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use agentbench_event_log::LogError;

use super::catalogue;
use super::file::{self, FileReader};
use super::format::Header;
use super::session_of;
use crate::config::{Damage, OpenError};
use crate::inspection::Finding;

/// Calls `found` for each log, with its frames and what of it is lost.
pub(crate) fn inspect(dir: &Path, found: &mut dyn FnMut(Finding<'_>)) -> Result<(), OpenError> {
    let listed = listed(dir, found)?;
    for shard in 0..=u8::MAX {
        let shard = dir.join(format!("{shard:02x}"));
        let files = match fs::read_dir(&shard) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            read => read.map_err(OpenError::io(&shard))?,
        };
        let mut paths: Vec<_> = files.flatten().map(|file| file.path()).collect();
        paths.sort_unstable();
        for path in paths {
            let Some(session) = session_of(&path) else { continue };
            // As at a start: what the list says counts, and a file that is not in it speaks for itself.
            let header = match listed.get(&session) {
                Some(None) => continue,
                Some(Some(header)) => Ok(header.clone()),
                None => file::read_header(&path),
            };
            match header {
                Ok(header) => inspect_file(&path, &header, found),
                Err(what) => found(Finding::Damage(Damage { place: path.display().to_string(), what })),
            }
        }
    }
    Ok(())
}

/// The headers in the list of logs; `None` for a log that was removed.
fn listed(
    dir: &Path,
    found: &mut dyn FnMut(Finding<'_>),
) -> Result<HashMap<agentbench_protocol::SessionId, Option<Header>>, OpenError> {
    let path = dir.join("catalogue");
    let bytes = match fs::read(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        read => read.map_err(OpenError::io(&path))?,
    };
    let (records, whole) = catalogue::decode(&bytes);
    if whole < bytes.len() {
        let place = format!("{} at byte {whole}", path.display());
        found(Finding::Damage(Damage { place, what: "the rest of the list is damaged".into() }));
    }
    let entry =
        |record: catalogue::Record| (record.header.session, (!record.removed).then_some(record.header));
    Ok(records.into_iter().map(entry).collect())
}

fn inspect_file(path: &Path, header: &Header, found: &mut dyn FnMut(Finding<'_>)) {
    let Header { session, epoch, first_seq, last_seq, .. } = *header;
    found(Finding::Log { session, epoch, is_archived: true, first_seq, last_seq });
    let lost = |from, to, detail| Finding::Lost { from, to, detail };
    let file = match FileReader::open(path, header) {
        Ok(file) => file,
        Err(error) => return found(lost(first_seq, last_seq, error.to_string())),
    };
    for at in 0.. {
        match file.block(at) {
            None => break,
            Some(Ok(frames)) => frames.iter().for_each(|frame| found(Finding::Frame(frame))),
            Some(Err(LogError::Damaged { from, to, detail })) => found(lost(from, to, detail)),
            Some(Err(error)) => return found(lost(first_seq, last_seq, error.to_string())),
        }
    }
}
