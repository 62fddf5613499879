//! Reads frames of a live log from their places. Whatever is read was checked: header, checksum, frame.

use agentbench_event_log::Frame;
use bytes::Bytes;

use crate::record::{HEADER, Header, LogIdentity, RecordKind};
use crate::segment::{Segment, Segments};
use crate::table::Place;

/// Maximum bytes that are read together.
const MOST_TOGETHER: u32 = 1 << 20;

/// Why the frame at a place was not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReadFailure {
    /// It is not there, or not as it was written. Where it was moved meanwhile, another try finds it.
    Damaged(String),
    /// The disk failed.
    Io(String),
}

/// The frames at `places`, of which there is at least one: as many as can be read before the first that cannot.
///
/// # Errors
/// Why the first one cannot.
pub(crate) fn read(
    segments: &Segments,
    log: LogIdentity,
    places: &[Place],
) -> Result<Vec<Frame>, ReadFailure> {
    let mut frames = Vec::with_capacity(places.len());
    let mut rest = places;
    while !rest.is_empty() {
        let (together, others) = rest.split_at(run_of(rest));
        match read_together(segments, log, together, &mut frames) {
            Ok(()) => rest = others,
            Err(_) if !frames.is_empty() => break,
            Err(failure) => return Err(failure),
        }
    }
    Ok(frames)
}

/// How many places to read with one call: those that fill at least half of what they span.
fn run_of(places: &[Place]) -> usize {
    let first = &places[0];
    let mut wanted = u64::from(first.len());
    let mut end = first.offset;
    let follows = places[1..].iter().take_while(|place| {
        if place.segment != first.segment || place.offset <= end {
            return false;
        }
        end = place.offset;
        let span = place.offset - first.offset + place.len();
        wanted += u64::from(place.len());
        span <= MOST_TOGETHER && u64::from(span) <= 2 * wanted
    });
    1 + follows.count()
}

fn read_together(
    segments: &Segments,
    log: LogIdentity,
    places: &[Place],
    frames: &mut Vec<Frame>,
) -> Result<(), ReadFailure> {
    let (first, last) = (&places[0], &places[places.len() - 1]);
    let segment = segments
        .get(first.segment)
        .ok_or_else(|| ReadFailure::Damaged(format!("its segment {} is missing", first.segment)))?;
    let bytes = bytes_at(&segment, first.offset, (last.offset - first.offset + last.len()) as usize)?;
    for place in places {
        let begin = (place.offset - first.offset) as usize;
        let end = bytes.len().min(begin + place.len() as usize);
        let record = bytes.slice(begin.min(end)..end);
        frames.push(check(&record, log, place).map_err(|why| {
            ReadFailure::Damaged(format!("{why}, in segment {} at byte {}", place.segment, place.offset))
        })?);
    }
    Ok(())
}

/// Bytes of a segment; fewer if it ends before.
pub(crate) fn bytes_at(segment: &Segment, offset: u32, len: usize) -> Result<Bytes, ReadFailure> {
    let mut bytes = vec![0; len];
    let read = segment.file.read_at(&mut bytes, u64::from(offset));
    let read = read.map_err(|error| match error.raw_os_error() {
        // The disk cannot read these sectors; others may be fine.
        Some(libc::EIO) => ReadFailure::Damaged(error.to_string()),
        _ => ReadFailure::Io(error.to_string()),
    })?;
    bytes.truncate(read);
    Ok(Bytes::from(bytes))
}

/// The frame of a record, if it is the one that belongs to `place`.
fn check(record: &Bytes, log: LogIdentity, place: &Place) -> Result<Frame, &'static str> {
    let (header, payload) = take_apart(record, log, place)?;
    header.frame(&payload)
}

/// Header and payload of the record at a place, checked.
pub(crate) fn record_at(
    segment: &Segment,
    log: LogIdentity,
    place: &Place,
) -> Result<(Header, Bytes), ReadFailure> {
    let record = bytes_at(segment, place.offset, place.len() as usize)?;
    take_apart(&record, log, place).map_err(|why| ReadFailure::Damaged(why.to_owned()))
}

fn take_apart(record: &Bytes, log: LogIdentity, place: &Place) -> Result<(Header, Bytes), &'static str> {
    let header = Header::decode(record, place.segment, place.offset).ok_or("its header is damaged")?;
    let is_same = (header.kind, header.log, header.session, header.epoch)
        == (RecordKind::Frame, log.number, log.session, log.epoch)
        && (header.first_seq, header.count) == (place.first_seq, place.count);
    if !is_same {
        return Err("the record belongs to another log");
    }
    let end = (HEADER + header.payload_len()).min(record.len());
    let payload = record.slice(HEADER..end);
    if !header.fits(&payload) {
        return Err("it fails its checksum");
    }
    Ok((header, payload))
}
