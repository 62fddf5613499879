//! The stored form of 1..N events of one session, appended whole or not at all.
//!
//! ```text
//! frame  = magic "AF" · version u8 = 1 · zero u8 · count u16 · zero u16 · first_seq u64 · record × count
//! record = length u32 (of all that follows) · kind u8 · zero u8 · user_len u16 · producer_len u16 · id_len u16
//!          · received_at u64 · ttl_ms u32 · digest u64 · user · producer · id · body
//! ```
//! All numbers are little-endian. `length` makes a record skippable; the body is the JSON envelope as readers receive it.
//! A `Frame` value is always valid: lengths add up and the texts are UTF-8.

use agentbench_protocol::Seq;
use bytes::{BufMut, Bytes, BytesMut};

/// Maximum number of events per frame, so that one session's burst cannot delay a group commit.
pub const MAX_FRAME_EVENTS: usize = 512;
/// Maximum size of a frame in bytes, unless a single event is larger.
pub const MAX_FRAME_BYTES: usize = 256 * 1024;

const MAGIC: [u8; 2] = *b"AF";
const VERSION: u8 = 1;
const HEADER: usize = 16;
const RECORD_FIXED: usize = 28;

/// The kind of a log entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// An event that a producer published.
    Event,
    /// A step of the session's lifecycle, written by the server after a command or a timeout.
    Lifecycle,
}

/// One event as stored in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// Event or lifecycle.
    pub kind: Kind,
    /// When the server received it, ms since 1970.
    pub received_at: u64,
    /// How long after `received_at` it may be delivered to a reader, ms; 0 for no limit.
    pub ttl_ms: u32,
    /// Hash of the published content: distinguishes a repeat from another event with the same id.
    pub digest: u64,
    /// The user who published it.
    pub user: &'a str,
    /// Which of the user's producers; empty if not named.
    pub producer: &'a str,
    /// The event's id, given by the sender.
    pub id: &'a str,
    /// The JSON envelope as readers receive it, including `seq` and `receivedAt`.
    pub body: &'a [u8],
}

/// Bytes that are not a frame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a frame: {0}")]
pub struct FrameError(pub &'static str);

/// A validated, immutable frame. Clones share the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Bytes,
    first_seq: Seq,
    count: u16,
}

impl Frame {
    /// Validates bytes from a disk or a peer.
    ///
    /// # Errors
    /// What is wrong with them; never panics.
    pub fn parse(bytes: Bytes) -> Result<Self, FrameError> {
        if bytes.len() < HEADER || bytes[..2] != MAGIC {
            return Err(FrameError("no frame header"));
        }
        if bytes[2] != VERSION {
            return Err(FrameError("unknown frame version"));
        }
        let count = u16::from_le_bytes([bytes[4], bytes[5]]);
        let first_seq = u64_at(&bytes, 8);
        if count == 0 || usize::from(count) > MAX_FRAME_EVENTS {
            return Err(FrameError("event count out of range"));
        }
        if first_seq == 0 || first_seq.checked_add(u64::from(count)).is_none() {
            return Err(FrameError("first seq out of range"));
        }
        let mut rest = &bytes[HEADER..];
        for _ in 0..count {
            (_, rest) = split_record(rest)?;
        }
        if !rest.is_empty() {
            return Err(FrameError("bytes after the last record"));
        }
        Ok(Self { bytes, first_seq, count })
    }

    /// The encoded form.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Seq of the first event.
    pub fn first_seq(&self) -> Seq {
        self.first_seq
    }

    /// Seq of the last event.
    pub fn last_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count) - 1
    }

    /// Number of events, at least 1.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// The events with their seqs, in order.
    pub fn records(&self) -> impl Iterator<Item = (Seq, Record<'_>)> {
        records_of(&self.bytes[HEADER..], self.first_seq, self.count())
    }

    /// Cuts the frame into runs of events, front to back.
    pub fn runs(&self) -> Runs<'_> {
        Runs { frame: self, offset: HEADER, next_seq: self.first_seq }
    }
}

/// Events that stand side by side in a frame. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    bytes: Bytes,
    first_seq: Seq,
    count: usize,
}

impl Run {
    /// The events with their seqs, in order.
    pub fn records(&self) -> impl Iterator<Item = (Seq, Record<'_>)> + Clone {
        records_of(&self.bytes, self.first_seq, self.count)
    }

    /// Number of events.
    pub fn count(&self) -> usize {
        self.count
    }
}

/// A frame that is being cut into runs; see [`Frame::runs`].
#[derive(Debug, Clone)]
pub struct Runs<'a> {
    frame: &'a Frame,
    offset: usize,
    next_seq: Seq,
}

impl Runs<'_> {
    /// The next `count` events, or as many as are left.
    pub fn take(&mut self, count: usize) -> Run {
        let (start, first_seq) = (self.offset, self.next_seq);
        let left = (self.frame.last_seq() + 1 - first_seq) as usize;
        let count = count.min(left);
        for _ in 0..count {
            self.offset += 4 + u32_at(&self.frame.bytes, self.offset) as usize;
        }
        self.next_seq += count as u64;
        Run { bytes: self.frame.bytes.slice(start..self.offset), first_seq, count }
    }
}

fn records_of(
    mut rest: &[u8],
    first_seq: Seq,
    count: usize,
) -> impl Iterator<Item = (Seq, Record<'_>)> + Clone {
    (first_seq..first_seq + count as u64).map(move |seq| {
        // Both constructors of frames have checked every record.
        let (record, next) = split_record(rest).expect("a frame holds whole records");
        rest = next;
        (seq, record)
    })
}

/// Collects events into a frame.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: BytesMut,
    first_seq: Seq,
    count: u16,
}

impl FrameBuilder {
    /// Starts a frame whose first event has `first_seq` (≥ 1).
    pub fn new(first_seq: Seq, capacity: usize) -> Self {
        assert!(first_seq > 0, "seq 0 stands for before the first event");
        let mut bytes = BytesMut::with_capacity(HEADER + capacity);
        bytes.put_slice(&MAGIC);
        bytes.put_u8(VERSION);
        bytes.put_bytes(0, 5);
        bytes.put_u64_le(first_seq);
        Self { bytes, first_seq, count: 0 }
    }

    /// The seq of the next pushed event.
    pub fn next_seq(&self) -> Seq {
        self.first_seq + u64::from(self.count)
    }

    /// Whether an event with a body of `body` bytes still fits this frame.
    pub fn has_room(&self, body: usize) -> bool {
        self.count == 0
            || (usize::from(self.count) < MAX_FRAME_EVENTS && self.bytes.len() + body < MAX_FRAME_BYTES)
    }

    /// Number of events so far.
    pub fn count(&self) -> usize {
        usize::from(self.count)
    }

    /// Adds an event. Its texts must have at most 65,535 bytes each, its body less than 2 GiB: the protocol's limits are far below.
    pub fn push(&mut self, record: &Record<'_>) {
        self.push_with(record, |bytes| bytes.extend_from_slice(record.body));
    }

    /// Adds an event whose body `write_body` writes in place; `record.body` is ignored.
    pub fn push_with(&mut self, record: &Record<'_>, write_body: impl FnOnce(&mut BytesMut)) {
        assert!(usize::from(self.count) < MAX_FRAME_EVENTS, "the frame is full");
        let start = self.bytes.len();
        self.bytes.put_u32_le(0);
        self.bytes.put_u8(match record.kind {
            Kind::Event => 0,
            Kind::Lifecycle => 1,
        });
        self.bytes.put_u8(0);
        for text in [record.user, record.producer, record.id] {
            self.bytes.put_u16_le(u16::try_from(text.len()).expect("names are bounded by the protocol"));
        }
        self.bytes.put_u64_le(record.received_at);
        self.bytes.put_u32_le(record.ttl_ms);
        self.bytes.put_u64_le(record.digest);
        for text in [record.user, record.producer, record.id] {
            self.bytes.put_slice(text.as_bytes());
        }
        write_body(&mut self.bytes);
        let length = u32::try_from(self.bytes.len() - start - 4).expect("events are bounded by the protocol");
        self.bytes[start..start + 4].copy_from_slice(&length.to_le_bytes());
        self.count += 1;
    }

    /// The finished frame.
    ///
    /// # Panics
    /// If nothing was pushed: there are no empty frames.
    pub fn finish(mut self) -> Frame {
        assert!(self.count > 0, "a frame holds at least one event");
        self.bytes[4..6].copy_from_slice(&self.count.to_le_bytes());
        Frame { bytes: self.bytes.freeze(), first_seq: self.first_seq, count: self.count }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(number)
}

fn u16_at(bytes: &[u8], at: usize) -> usize {
    usize::from(u16::from_le_bytes([bytes[at], bytes[at + 1]]))
}

fn split_record(bytes: &[u8]) -> Result<(Record<'_>, &[u8]), FrameError> {
    if bytes.len() < 4 {
        return Err(FrameError("record cut short"));
    }
    let length = u32_at(bytes, 0) as usize;
    let Some((record, rest)) = bytes[4..].split_at_checked(length) else {
        return Err(FrameError("record cut short"));
    };
    if record.len() < RECORD_FIXED {
        return Err(FrameError("record too short"));
    }
    let kind = match record[0] {
        0 => Kind::Event,
        1 => Kind::Lifecycle,
        _ => return Err(FrameError("unknown kind of record")),
    };
    let (user_len, producer_len, id_len) = (u16_at(record, 2), u16_at(record, 4), u16_at(record, 6));
    let texts = &record[RECORD_FIXED..];
    if texts.len() < user_len + producer_len + id_len {
        return Err(FrameError("texts cut short"));
    }
    let (user, texts) = texts.split_at(user_len);
    let (producer, texts) = texts.split_at(producer_len);
    let (id, body) = texts.split_at(id_len);
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| FrameError("text is not UTF-8"));
    let record = Record {
        kind,
        received_at: u64_at(record, 8),
        ttl_ms: u32_at(record, 16),
        digest: u64_at(record, 20),
        user: text(user)?,
        producer: text(producer)?,
        id: text(id)?,
        body,
    };
    Ok((record, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_cut_a_frame_into_all_of_its_events_in_order() {
        let mut builder = FrameBuilder::new(7, 0);
        for n in 0..5_u8 {
            let (id, body) = (format!("e{n}"), vec![n; usize::from(n) * 3]);
            let record = Record {
                kind: Kind::Event,
                user: "u",
                producer: "p",
                id: &id,
                received_at: u64::from(n),
                ttl_ms: 0,
                digest: 0,
                body: &body,
            };
            builder.push(&record);
        }
        let frame = builder.finish();
        for lengths in [vec![5], vec![1, 4], vec![2, 0, 2, 1], vec![1; 5], vec![3, 9]] {
            let mut runs = frame.runs();
            let cut: Vec<Run> = lengths.iter().map(|length| runs.take(*length)).collect();
            let joined: Vec<_> = cut.iter().flat_map(Run::records).collect();
            assert_eq!(joined, frame.records().collect::<Vec<_>>(), "{lengths:?}");
            assert_eq!(cut.iter().map(Run::count).sum::<usize>(), 5);
        }
    }
}
