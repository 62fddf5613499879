//! Decompresses messages (RFC 7692 §7.2.2) with state that a whole thread shares.

use std::fmt;

use flate2::{Decompress, FlushDecompress, Status};

use crate::DecodeError;

/// The bytes that the sender removes from every message's end (RFC 7692 §7.2.1): the rest of an empty stored block.
const TAIL: [u8; 4] = [0x00, 0x00, 0xff, 0xff];
/// The tail, then an empty final block: decompression must end exactly there, otherwise the message was truncated.
const TAIL_AND_END: [u8; 9] = [0x00, 0x00, 0xff, 0xff, 0x01, 0x00, 0x00, 0xff, 0xff];
/// Initial size of the output buffer.
const FIRST_OUTPUT: usize = 4 * 1024;
/// A larger output buffer is freed before the next message.
const MAX_KEPT_OUTPUT: usize = 256 * 1024;
/// Largest window, which can read the output of any smaller one.
const MAX_WINDOW_BITS: u8 = 15;

/// Decompresses the messages of all connections of a thread, one after the other; uses 47 KB from the first compressed
/// message on.
///
/// It stores nothing of a connection: where a peer may refer to its earlier messages (context takeover), that
/// connection's [`Decoder`](crate::Decoder) keeps the history itself, so any inflater works with any
/// decoder.
#[derive(Default)]
pub struct Inflater {
    state: Option<Decompress>,
    output: Vec<u8>,
}

/// The history of one connection whose peer uses context takeover.
pub(crate) fn retained_context(window_bits: u8) -> Decompress {
    // The library supports 9 to 15; a window of 9 bits can read the output of one of 8.
    Decompress::new_with_window_bits(false, window_bits.clamp(9, MAX_WINDOW_BITS))
}

impl Inflater {
    /// Nothing is allocated before the first compressed message.
    pub fn new() -> Self {
        Self::default()
    }

    /// The last decompressed message.
    pub(crate) fn output(&self) -> &[u8] {
        &self.output
    }

    /// Frees the memory of an unusually large message. Cheap if there was none.
    pub(crate) fn release(&mut self) {
        if self.output.capacity() > MAX_KEPT_OUTPUT {
            self.output = Vec::new();
        }
    }

    /// Decompresses one independent message into [`Inflater::output`].
    pub(crate) fn inflate(&mut self, payload: &[u8], max: usize) -> Result<(), DecodeError> {
        self.output.clear();
        if payload.is_empty() {
            return Ok(());
        }
        let state = self.state.get_or_insert_with(|| Decompress::new(false));
        state.reset(false);
        let mut output = Output { bytes: &mut self.output, max };
        if output.feed(state, payload)? == FeedEnd::Ended
            || output.feed(state, &TAIL_AND_END)? == FeedEnd::Ended
        {
            return Ok(());
        }
        Err(DecodeError::Deflate)
    }

    /// Decompresses one message that may refer to earlier ones of its connection.
    pub(crate) fn inflate_retained(
        &mut self,
        context: &mut Decompress,
        payload: &[u8],
        max: usize,
    ) -> Result<(), DecodeError> {
        self.output.clear();
        if payload.is_empty() {
            return Ok(());
        }
        let mut output = Output { bytes: &mut self.output, max };
        match output.feed(context, payload)? {
            // The sender starts anew with its next message, too.
            FeedEnd::Ended => context.reset(false),
            FeedEnd::WantsMore => {
                output.feed(context, &TAIL)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Inflater {
    /// Omits the contents, which belong to users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflater").field("output", &self.output.len()).finish_non_exhaustive()
    }
}

#[derive(PartialEq)]
enum FeedEnd {
    /// All input is consumed, and a final block ended exactly with it.
    Ended,
    /// All input is consumed.
    WantsMore,
}

struct Output<'a> {
    bytes: &'a mut Vec<u8>,
    max: usize,
}

impl Output<'_> {
    fn feed(&mut self, state: &mut Decompress, mut input: &[u8]) -> Result<FeedEnd, DecodeError> {
        loop {
            self.make_room(input.len());
            let (read, written) = (state.total_in(), self.bytes.len());
            let status = state
                .decompress_vec(input, self.bytes, FlushDecompress::None)
                .map_err(|_| DecodeError::Deflate)?;
            let read = usize::try_from(state.total_in() - read).expect("no more is read than there is");
            input = &input[read..];
            if self.bytes.len() > self.max {
                return Err(DecodeError::TooBig);
            }
            match status {
                Status::StreamEnd if input.is_empty() => return Ok(FeedEnd::Ended),
                // A final block need not be the message's last (RFC 7692 §7.2.3.5); what follows does not refer
                // back beyond it.
                Status::StreamEnd => state.reset(false),
                Status::Ok | Status::BufError => {
                    let has_room = self.bytes.len() < self.bytes.capacity();
                    if input.is_empty() && has_room {
                        return Ok(FeedEnd::WantsMore);
                    }
                    if has_room && read == 0 && self.bytes.len() == written {
                        return Err(DecodeError::Deflate);
                    }
                }
            }
        }
    }

    /// Makes room for at least one byte; grows with the actual output, up to one byte over the limit.
    fn make_room(&mut self, input: usize) {
        let (len, capacity) = (self.bytes.len(), self.bytes.capacity());
        if len < capacity {
            return;
        }
        let wanted = (len * 2).max(input.saturating_mul(4)).max(FIRST_OUTPUT);
        let target = wanted.min(self.max.saturating_add(1)).max(len + 1);
        self.bytes.reserve_exact(target - len);
    }
}
