//! Reads: whole frames, in order, within the limits.

use super::{NO_LIMIT, Storage, frame, head, not_found, put, put_nine, read_all, session};
use crate::{Appended, EventLog, FrameBuilder, Kind, ReadLimit, Record};

/// Conformance case: see the name.
pub fn a_frame_is_read_as_it_was_appended(storage: &impl Storage) {
    let log = storage.open();
    let mut builder = FrameBuilder::new(1, 4096);
    builder.push(&Record {
        kind: Kind::Lifecycle,
        received_at: u64::MAX,
        ttl_ms: u32::MAX,
        digest: 7,
        user: "Ünï",
        producer: "p",
        id: "",
        body: b"",
    });
    let big = vec![0xa5; 1 << 20];
    builder.push(&Record {
        kind: Kind::Event,
        received_at: 0,
        ttl_ms: 0,
        digest: 0,
        user: "",
        producer: "",
        id: "x",
        body: &big,
    });
    let frame = builder.finish();
    assert_eq!(put(&log, frame.clone()), Appended::Committed(head(2)));
    assert_eq!(read_all(&log, session(1)), [frame]);
}

/// Conformance case: see the name.
pub fn read_stops_at_the_limit_of_events(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let read = |from, events| {
        log.read(session(1), from, ReadLimit { bytes: usize::MAX, events }).expect("readable").frames
    };
    assert_eq!(read(1, 1), frames[..1]);
    assert_eq!(read(1, 3), frames[..1]);
    assert_eq!(read(1, 4), frames[..2]);
    assert_eq!(read(1, 5), frames[..3]);
    assert_eq!(read(4, 1), frames[1..2]);
}

/// Conformance case: see the name.
pub fn read_stops_before_the_limit_of_bytes(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let size = |n: usize| frames[..n].iter().map(|frame| frame.bytes().len()).sum::<usize>();
    let read =
        |bytes| log.read(session(1), 1, ReadLimit { bytes, events: usize::MAX }).expect("readable").frames;
    assert_eq!(read(size(2)), frames[..2]);
    assert_eq!(read(size(3) - 1), frames[..2]);
    assert_eq!(read(size(3)), frames);
}

/// Conformance case: see the name.
pub fn read_returns_a_first_frame_over_the_limit(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    let reading = log.read(session(1), 5, ReadLimit { bytes: 0, events: 0 }).expect("readable");
    assert_eq!(reading.frames, frames[2..]);
}

/// Conformance case: see the name.
pub fn read_from_inside_a_frame_returns_the_whole_frame(storage: &impl Storage) {
    let log = storage.open();
    let frames = put_nine(&log);
    for from in 5..=9 {
        let reading = log.read(session(1), from, NO_LIMIT).expect("readable");
        assert_eq!(reading.frames, frames[2..]);
        assert_eq!((reading.head, reading.first_seq), (head(9), 1));
    }
}

/// Conformance case: see the name.
pub fn read_from_every_seq_finds_its_frame(storage: &impl Storage) {
    let log = storage.open();
    let mut frames = Vec::new();
    let mut next = 1;
    for n in 0..200 {
        // Runs of short and long frames, so that a search cannot rely on an even distribution.
        let count = if n % 50 < 40 { 1 } else { 37 };
        frames.push(frame(next, count, 30, n as u8));
        next += count as u64;
        assert_eq!(put(&log, frames[n].clone()), Appended::Committed(head(next - 1)));
    }
    for from in (1..next).rev() {
        let at = frames.partition_point(|frame| frame.last_seq() < from);
        let limit = ReadLimit { bytes: usize::MAX, events: frames[at].count() };
        assert_eq!(log.read(session(1), from, limit).expect("readable").frames, frames[at..=at], "{from}");
    }
}

/// Conformance case: see the name.
pub fn read_past_the_head_gives_no_frames(storage: &impl Storage) {
    let log = storage.open();
    put_nine(&log);
    for from in [10, 11, u64::MAX] {
        let reading = log.read(session(1), from, NO_LIMIT).expect("readable");
        assert_eq!((reading.frames.len(), reading.head, reading.first_seq), (0, head(9), 1));
    }
}

/// Conformance case: see the name.
pub fn read_of_a_log_that_is_not_there_is_not_found(storage: &impl Storage) {
    let log = storage.open();
    assert!(not_found(&log.read(session(1), 1, NO_LIMIT)));
}
