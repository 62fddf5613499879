//! Frames of a log: what a disk or a peer gives.

use agentbench_event_log::{Frame, FrameBuilder, Kind, Record};
use bytes::Bytes;

use super::Seed;

/// Any bytes as a frame of a log.
///
/// Holds if a frame that is taken has the events that it counts, in order, and a frame built of them is read as the same events;
/// cut into runs it has them all.
pub fn log_frame(input: &[u8]) {
    let Ok(frame) = Frame::parse(Bytes::copy_from_slice(input)) else { return };
    let records: Vec<_> = frame.records().collect();
    assert_eq!(records.len(), frame.count());
    let seqs: Vec<_> = records.iter().map(|(seq, _)| *seq).collect();
    assert_eq!(seqs, (frame.first_seq()..=frame.last_seq()).collect::<Vec<_>>());

    let mut builder = FrameBuilder::new(frame.first_seq(), 0);
    records.iter().for_each(|(_, record)| builder.push(record));
    let built = builder.finish();
    assert_eq!(built.records().collect::<Vec<_>>(), records, "built again of the same events");
    assert_eq!(built.bytes().len(), input.len(), "bytes that belong to no event");
    assert_eq!(Frame::parse(built.bytes().clone()).as_ref(), Ok(&built), "what is built can be read");

    let mut runs = frame.runs();
    let (first, rest) = (runs.take(frame.count() / 2), runs.take(usize::MAX));
    assert_eq!(first.records().chain(rest.records()).collect::<Vec<_>>(), records, "in runs");
}

/// A frame of `count` events of different sizes.
pub(crate) fn frame(first_seq: u64, count: u8, mark: u8) -> Frame {
    let mut builder = FrameBuilder::new(first_seq, 0);
    for n in 0..count {
        let (id, body) = (format!("e{mark}-{n}"), format!(r#"{{"mark":{mark},"n":{n}}}"#));
        builder.push(&Record {
            kind: if n == 2 { Kind::Lifecycle } else { Kind::Event },
            received_at: 1_760_000_000_000 + u64::from(n),
            ttl_ms: u32::from(n) * 1000,
            digest: u64::from(mark) << 32 | u64::from(n),
            user: "user",
            producer: if n == 0 { "" } else { "producer" },
            id: &id,
            body: body.repeat(1 + usize::from(n)).as_bytes(),
        });
    }
    builder.finish()
}

/// Frames with one event and with several.
pub(crate) fn seeds() -> Vec<Seed> {
    let frames = [("one", frame(1, 1, 1)), ("five", frame(100, 5, 2)), ("last", frame(u64::MAX - 3, 3, 3))];
    super::named(frames.into_iter().map(|(name, frame)| (name.to_owned(), frame.bytes().to_vec())))
}
