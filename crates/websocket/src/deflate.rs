//! Compresses messages (RFC 7692 §7.2.1) with state that a whole thread shares.

use bytes::BytesMut;
use flate2::{Compress, Compression, FlushCompress, Status};

/// The end of a sync flush, which is omitted on the wire.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
const MIN_WINDOW_BITS: u8 = 9;
const MAX_WINDOW_BITS: u8 = 15;
const WINDOWS: usize = (MAX_WINDOW_BITS - MIN_WINDOW_BITS + 1) as usize;

/// Compresses independent messages, for all connections of a thread; uses up to 380 KB per window size
/// in use.
///
/// A peer that allows context takeover can read such messages, too, so one compressed event can be sent
/// to all.
#[derive(Debug)]
pub struct Deflater {
    level: Compression,
    /// By window bits. Nearly every peer accepts the largest.
    states: [Option<Box<Compress>>; WINDOWS],
}

impl Deflater {
    /// `level` is 0 (store) to 9 (smallest). Nothing is allocated before the first message.
    pub fn new(level: u8) -> Self {
        Self { level: Compression::new(u32::from(level.min(9))), states: Default::default() }
    }

    /// Appends `payload` as a compressed message's payload.
    /// `window_bits` is [`Negotiated::send_window_bits`](crate::Negotiated::send_window_bits).
    ///
    /// # Panics
    /// If `window_bits` is not 9 to 15, which no negotiation results in.
    pub fn compress(&mut self, window_bits: u8, payload: &[u8], dst: &mut BytesMut) {
        assert!((MIN_WINDOW_BITS..=MAX_WINDOW_BITS).contains(&window_bits), "window bits are 9 to 15");
        let level = self.level;
        let state = self.states[usize::from(window_bits - MIN_WINDOW_BITS)]
            .get_or_insert_with(|| Box::new(Compress::new_with_window_bits(level, false, window_bits)));
        deflate(state, payload, dst);
        state.reset();
    }
}

/// Compresses the messages of one connection, each with those before it as its dictionary (context takeover).
///
/// Smaller on the wire, but it costs a compressor per connection, and its output is valid for that connection
/// only, in that order. Created by [`Negotiated::retaining_deflater`](crate::Negotiated::retaining_deflater),
/// only where both sides agreed.
#[derive(Debug)]
pub struct RetainingDeflater(Compress);

impl RetainingDeflater {
    pub(crate) fn new(level: u8, window_bits: u8) -> Self {
        let level = Compression::new(u32::from(level.min(9)));
        Self(Compress::new_with_window_bits(level, false, window_bits))
    }

    /// Appends `payload` as a compressed message's payload. It must be sent before the next one.
    pub fn compress(&mut self, payload: &[u8], dst: &mut BytesMut) {
        deflate(&mut self.0, payload, dst);
    }
}

fn deflate(state: &mut Compress, payload: &[u8], dst: &mut BytesMut) {
    if payload.is_empty() {
        // An empty stored block without its tail (RFC 7692 §7.2.3.6); a flush with nothing new would write
        // nothing.
        return dst.extend_from_slice(&[0x00]);
    }
    let start = dst.len();
    let mut written = start;
    let mut rest = payload;
    let mut room = payload.len() / 2 + 64;
    loop {
        dst.resize(written + room, 0);
        let (read_before, written_before) = (state.total_in(), state.total_out());
        let status = state
            .compress(rest, &mut dst[written..], FlushCompress::Sync)
            .expect("compressing has no bad input");
        debug_assert_ne!(status, Status::StreamEnd, "a sync flush does not end the stream");
        let delta =
            |now: u64, before: u64| usize::try_from(now - before).expect("no more than the slices hold");
        rest = &rest[delta(state.total_in(), read_before)..];
        written += delta(state.total_out(), written_before);
        // Remaining room is the library's sign that the flush is complete.
        if written < dst.len() {
            break;
        }
        room *= 2;
    }
    debug_assert!(rest.is_empty() && dst[..written].ends_with(&TAIL));
    dst.truncate(written - TAIL.len());
}
