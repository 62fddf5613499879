//! Reads all that a stopped folder holds, frame by frame, and changes nothing: for checks, and to save what can be read.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use agentbench_disk::RealDisk;
use agentbench_event_log::{Frame, ReadLimit};
use agentbench_protocol::{Epoch, Seq, SessionId};

use crate::archive;
use crate::config::{Damage, Durability, OpenError};
use crate::lock::DirLock;
use crate::open::SEGMENTS;
use crate::record::LogIdentity;
use crate::segment::Segments;
use crate::table::{LiveLog, Picked};
use crate::{migration, reading, recovery, witness};

/// Frames that are read together, in bytes.
const STEP: usize = 4 << 20;

/// Something that was found. A [`Log`](Self::Log) is followed by what it holds, in order.
#[derive(Debug)]
pub enum Finding<'a> {
    /// A log.
    Log {
        /// The session.
        session: SessionId,
        /// The log's incarnation.
        epoch: Epoch,
        /// Whether it is in the archive.
        is_archived: bool,
        /// The oldest seq that may be read.
        first_seq: Seq,
        /// The last seq.
        last_seq: Seq,
    },
    /// A frame, which is as it was written.
    Frame(&'a Frame),
    /// Events that cannot be read.
    Lost {
        /// Their first seq.
        from: Seq,
        /// Their last seq.
        to: Seq,
        /// What is wrong with them.
        detail: String,
    },
    /// Damage of a file. What it costs follows with the logs, or cannot be known.
    Damage(Damage),
    /// What was acknowledged but is not there, according to the witness.
    Missing(Damage),
}

/// Reads the folder of a stopped server, and calls `found` for everything in it.
///
/// # Errors
/// [`OpenError`]: the folder is in use or cannot be read. It must not hold a folder of the former engine; see
/// [`migrate`](crate::migrate).
pub fn inspect(dir: &Path, mut found: impl FnMut(Finding<'_>)) -> Result<(), OpenError> {
    let _lock = DirLock::take(dir)?;
    if migration::is_needed(dir)? {
        let what = format!("{} has logs of an older version: migrate it first", dir.display());
        return Err(OpenError::Config(what));
    }
    inspect_live(dir, &mut found)?;
    archive::inspect(&dir.join("archive"), &mut found)
}

fn inspect_live(dir: &Path, found: &mut dyn FnMut(Finding<'_>)) -> Result<(), OpenError> {
    let folder = dir.join(SEGMENTS);
    if !fs::exists(&folder).map_err(OpenError::io(&folder))? {
        return Ok(());
    }
    let segments = Segments::new(Arc::new(RealDisk), folder.clone());
    let numbers = segments.list().map_err(OpenError::io(&folder))?.numbers;
    let recovered = recovery::recover(&segments, &numbers, Durability::Logged);
    recovered.damage.into_iter().for_each(|damage| found(Finding::Damage(damage)));
    let place = witness::path(dir).display().to_string();
    match witness::read(&RealDisk, dir) {
        Err(what) => found(Finding::Damage(Damage { place, what })),
        Ok(None) => {}
        Ok(Some(testimony)) => {
            for what in witness::missing(&testimony.extent, &recovered.ends) {
                found(Finding::Missing(Damage { place: place.clone(), what }));
            }
        }
    }
    for (session, log) in &recovered.logs {
        found(Finding::Log {
            session: *session,
            epoch: log.epoch,
            is_archived: false,
            first_seq: log.first_seq,
            last_seq: log.head,
        });
        read_live(&segments, log.identity(*session), log, found);
    }
    Ok(())
}

fn read_live(segments: &Segments, identity: LogIdentity, log: &LiveLog, found: &mut dyn FnMut(Finding<'_>)) {
    let mut next = log.first_seq;
    while next <= log.head {
        next = match log.pick(next, ReadLimit { bytes: STEP, events: usize::MAX }) {
            Picked::Lost { from, to } => {
                found(Finding::Lost { from, to, detail: "no record of these events is left".to_owned() });
                to + 1
            }
            Picked::Places(places) => match reading::read(segments, identity, &places) {
                Ok(frames) => {
                    frames.iter().for_each(|frame| found(Finding::Frame(frame)));
                    frames.last().map_or(next + 1, |frame| frame.last_seq() + 1)
                }
                Err(reading::ReadFailure::Damaged(detail) | reading::ReadFailure::Io(detail)) => {
                    let (from, to) = (places[0].first_seq, places[0].last_seq());
                    found(Finding::Lost { from, to, detail });
                    to + 1
                }
            },
        };
    }
}
