//! From bytes to messages: one connection's receiving side.
//!
//! A frame that lies completely in the read buffer is unmasked in place and lent out. Anything else (a frame
//! cut by the end of the buffer, the frames of a fragmented message) is copied into the decoder's own buffer,
//! which exists only while a message is incomplete. So the caller can share one read buffer among all
//! connections and never keeps a remainder.
//!
//! ```text
//! buffer:  [ data of the unfinished message │ payload of a cut control frame ]
//!                                           ▲ data_len
//! ```
//! Sizes are checked as soon as a head is read, before any payload; memory grows only with received data.

use std::fmt;
use std::ops::Range;

use flate2::Decompress;

use crate::frame::{FrameHeader, MAX_HEADER, Opcode};
use crate::inflate::{Inflater, retained_context};
use crate::mask::{apply_mask, rotated};
use crate::{DecodeError, Message, Negotiated, Role};

/// A larger buffer is freed before the connection's next incomplete message.
const MAX_KEPT_BUFFER: usize = 16 * 1024;

/// Limits on what a peer can make us store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of one message in bytes, both on the wire and decompressed.
    pub max_message: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_message: 16 * 1024 * 1024 }
    }
}

/// Bytes from one read of a socket that are not decoded yet. They are unmasked in place.
pub struct Input<'b> {
    bytes: &'b mut [u8],
    at: usize,
}

impl<'b> Input<'b> {
    /// Input of all of `bytes`.
    pub fn new(bytes: &'b mut [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes not yet decoded.
    pub fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes not yet decoded, as received.
    pub fn rest(&self) -> &[u8] {
        &self.bytes[self.at..]
    }

    /// Removes up to `most` bytes.
    fn take(&mut self, most: usize) -> Range<usize> {
        let start = self.at;
        self.at += most.min(self.remaining());
        start..self.at
    }
}

/// Decodes one connection's bytes into messages. Holds no heap memory between messages.
pub struct Decoder {
    state: State,
    /// A head that was cut by the end of the last read.
    header: [u8; MAX_HEADER],
    header_len: u8,
    /// The incomplete message.
    message: Option<PartialMessage>,
    /// Number of bytes at the end of an unfinished text that start a character.
    split_char: u8,
    role: Role,
    inflate: Inflate,
    max_message: usize,
    buffer: Vec<u8>,
    data_len: usize,
    /// What the peer's messages may refer to, if context takeover was negotiated; created with the first
    /// compressed message.
    context: Option<Box<Decompress>>,
}

#[derive(Clone, Copy)]
enum State {
    /// At the start of a frame, or inside its head.
    Header,
    /// Inside a payload.
    Payload(Frame),
    /// The peer has closed: later bytes are ignored (RFC 6455 §5.5.1).
    Closed,
    /// Frame boundaries are lost.
    Failed(DecodeError),
}

/// The frame whose payload is being read.
#[derive(Clone, Copy)]
struct Frame {
    opcode: Opcode,
    fin: bool,
    /// Rotated for the next byte; zeros if the frame is not masked.
    mask: [u8; 4],
    remaining: usize,
}

impl Frame {
    /// Whether it is a message by itself.
    fn is_whole_message(&self) -> bool {
        self.fin && self.opcode != Opcode::Continuation
    }
}

#[derive(Clone, Copy)]
struct PartialMessage {
    opcode: Opcode,
    compressed: bool,
}

/// How compressed messages are decompressed.
#[derive(Clone, Copy, PartialEq)]
enum Inflate {
    NotNegotiated,
    /// Every message is independent.
    Shared,
    /// Messages refer to earlier ones, with this window size in bits.
    Retained(u8),
}

/// A finished message and the place of its payload.
struct Ready {
    opcode: Opcode,
    place: Place,
}

enum Place {
    Input(Range<usize>),
    /// From this offset to the end of the decoder's buffer.
    Buffer(usize),
    Inflated,
}

impl Decoder {
    /// `deflate` is the result of the handshake.
    pub fn new(role: Role, limits: Limits, deflate: Option<&Negotiated>) -> Self {
        let inflate = match deflate {
            None => Inflate::NotNegotiated,
            Some(agreed) => agreed.peer_retained_window(role).map_or(Inflate::Shared, Inflate::Retained),
        };
        Self {
            state: State::Header,
            header: [0; MAX_HEADER],
            header_len: 0,
            message: None,
            split_char: 0,
            role,
            inflate,
            max_message: limits.max_message,
            buffer: Vec::new(),
            data_len: 0,
            context: None,
        }
    }

    /// The next message, borrowed until the next call. `None`: all input is consumed; call again with more.
    /// After a close, input is consumed and ignored.
    ///
    /// # Errors
    /// A violation by the peer, as early as the bytes show it. Every later call returns it again.
    pub fn next<'a>(
        &'a mut self,
        input: &'a mut Input<'_>,
        inflater: &'a mut Inflater,
    ) -> Result<Option<Message<'a>>, DecodeError> {
        inflater.release();
        let ready = match self.advance(input, inflater) {
            Ok(Some(ready)) => ready,
            Ok(None) => return Ok(None),
            Err(error) => return Err(self.fail(error)),
        };
        let Self { state, buffer, .. } = self;
        let payload = match ready.place {
            Place::Input(range) => &input.bytes[range],
            Place::Buffer(start) => &buffer[start..],
            Place::Inflated => inflater.output(),
        };
        match Message::read(ready.opcode, payload) {
            Ok(message) => Ok(Some(message)),
            Err(error) => {
                *state = State::Failed(error);
                Err(error)
            }
        }
    }

    /// Bytes of memory held for an incomplete message, not counting the history of a peer with context takeover (up to 47
    /// KB).
    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    fn fail(&mut self, error: DecodeError) -> DecodeError {
        self.state = State::Failed(error);
        self.buffer = Vec::new();
        self.data_len = 0;
        self.context = None;
        error
    }

    /// Advances the input to the end of the next message.
    fn advance(
        &mut self,
        input: &mut Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Option<Ready>, DecodeError> {
        loop {
            let (mut frame, is_new) = match self.state {
                State::Header => {
                    self.drop_delivered();
                    let Some(header) = self.read_header(input)? else {
                        self.release_if_idle();
                        return Ok(None);
                    };
                    (self.begin(&header)?, true)
                }
                State::Payload(frame) => (frame, false),
                State::Closed => {
                    input.take(usize::MAX);
                    self.data_len = 0;
                    self.release_if_idle();
                    return Ok(None);
                }
                State::Failed(error) => return Err(error),
            };

            let range = input.take(frame.remaining);
            let piece = &mut input.bytes[range.clone()];
            if frame.mask != [0; 4] {
                apply_mask(piece, frame.mask);
                frame.mask = rotated(frame.mask, piece.len());
            }
            frame.remaining -= piece.len();

            if is_new && frame.remaining == 0 && frame.is_whole_message() {
                return self.finish_in_input(frame.opcode, range, input, inflater).map(Some);
            }
            self.absorb(frame, piece)?;
            if frame.remaining > 0 {
                self.state = State::Payload(frame);
                return Ok(None);
            }
            self.state = State::Header;
            if frame.fin {
                return self.finish_in_buffer(frame.opcode, inflater).map(Some);
            }
        }
    }

    /// The next head, once it is complete.
    fn read_header(&mut self, input: &mut Input<'_>) -> Result<Option<FrameHeader>, DecodeError> {
        if self.header_len == 0
            && let Some((header, size)) = FrameHeader::parse(input.rest())?
        {
            input.take(size);
            return Ok(Some(header));
        }
        // Cut by the end of this or the last input: byte by byte, so that no payload is consumed.
        while input.remaining() > 0 {
            let range = input.take(1);
            self.header[usize::from(self.header_len)] = input.bytes[range.start];
            self.header_len += 1;
            if let Some((header, _)) = FrameHeader::parse(&self.header[..usize::from(self.header_len)])? {
                self.header_len = 0;
                return Ok(Some(header));
            }
        }
        Ok(None)
    }

    /// Validates a head in the current state of the connection.
    fn begin(&mut self, header: &FrameHeader) -> Result<Frame, DecodeError> {
        let starts_message = matches!(header.opcode, Opcode::Text | Opcode::Binary);
        if header.compressed && (!starts_message || self.inflate == Inflate::NotNegotiated) {
            return Err(DecodeError::ReservedBits);
        }
        match (self.role, header.mask) {
            (Role::Server, None) => return Err(DecodeError::NotMasked),
            (Role::Client, Some(_)) => return Err(DecodeError::Masked),
            (Role::Server, Some(_)) | (Role::Client, None) => {}
        }
        if starts_message {
            if self.message.is_some() {
                return Err(DecodeError::UnfinishedMessage);
            }
            self.message = Some(PartialMessage { opcode: header.opcode, compressed: header.compressed });
        } else if header.opcode == Opcode::Continuation && self.message.is_none() {
            return Err(DecodeError::NothingToContinue);
        }
        let room = if header.opcode.is_control() { usize::MAX } else { self.max_message - self.data_len };
        let remaining = usize::try_from(header.payload)
            .ok()
            .filter(|&payload| payload <= room)
            .ok_or(DecodeError::TooBig)?;
        Ok(Frame { opcode: header.opcode, fin: header.fin, mask: header.mask.unwrap_or_default(), remaining })
    }

    /// Copies a piece of a frame that cannot be lent out in place.
    fn absorb(&mut self, frame: Frame, piece: &[u8]) -> Result<(), DecodeError> {
        self.grow(piece.len(), frame.remaining);
        self.buffer.extend_from_slice(piece);
        if frame.opcode.is_control() {
            return Ok(());
        }
        let unchecked = self.data_len - usize::from(self.split_char);
        self.data_len = self.buffer.len();
        if let Some(PartialMessage { opcode: Opcode::Text, compressed: false }) = self.message {
            self.split_char = check_text_so_far(&self.buffer[unchecked..])?;
        }
        Ok(())
    }

    /// Makes room for a piece: at least doubles, up to what remains of the frame.
    fn grow(&mut self, piece: usize, still_to_come: usize) {
        let len = self.buffer.len();
        if self.buffer.capacity() - len < piece {
            let doubled = len.min(piece + still_to_come);
            self.buffer.reserve_exact(piece.max(doubled));
        }
    }

    fn finish_in_input(
        &mut self,
        opcode: Opcode,
        range: Range<usize>,
        input: &Input<'_>,
        inflater: &mut Inflater,
    ) -> Result<Ready, DecodeError> {
        if opcode.is_control() {
            self.note_close(opcode);
            return Ok(Ready { opcode, place: Place::Input(range) });
        }
        let started = self.message.take().expect("begin has recorded the message");
        if !started.compressed {
            return Ok(Ready { opcode, place: Place::Input(range) });
        }
        let max = inflated_limit(self.role, input.bytes[range.clone()].len(), self.max_message);
        inflate(self.inflate, &mut self.context, &input.bytes[range], max, inflater)
            .map_err(|error| self.why(error, max))?;
        Ok(Ready { opcode, place: Place::Inflated })
    }

    fn finish_in_buffer(&mut self, opcode: Opcode, inflater: &mut Inflater) -> Result<Ready, DecodeError> {
        if opcode.is_control() {
            self.note_close(opcode);
            return Ok(Ready { opcode, place: Place::Buffer(self.data_len) });
        }
        let started = self.message.take().expect("only a message's frames are absorbed");
        self.data_len = 0;
        self.split_char = 0;
        if !started.compressed {
            return Ok(Ready { opcode: started.opcode, place: Place::Buffer(0) });
        }
        let max = inflated_limit(self.role, self.buffer.len(), self.max_message);
        inflate(self.inflate, &mut self.context, &self.buffer, max, inflater)
            .map_err(|error| self.why(error, max))?;
        Ok(Ready { opcode: started.opcode, place: Place::Inflated })
    }

    fn why(&self, error: DecodeError, max: usize) -> DecodeError {
        if error == DecodeError::TooBig && max < self.max_message { DecodeError::Ratio } else { error }
    }

    fn note_close(&mut self, opcode: Opcode) {
        if opcode == Opcode::Close {
            self.state = State::Closed;
        }
    }

    /// The caller is done with the message or control frame from the last call.
    fn drop_delivered(&mut self) {
        self.buffer.truncate(self.data_len);
        if self.data_len == 0 && self.buffer.capacity() > MAX_KEPT_BUFFER {
            self.buffer = Vec::new();
        }
    }

    fn release_if_idle(&mut self) {
        if self.data_len == 0 && self.buffer.capacity() > 0 {
            self.buffer = Vec::new();
        }
    }
}

impl fmt::Debug for Input<'_> {
    /// Omits the contents, which belong to users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input").field("remaining", &self.remaining()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Decoder {
    /// Omits the contents, which belong to users.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("role", &self.role)
            .field("max_message", &self.max_message)
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

/// Maximum compression ratio of a client's message. DEFLATE reaches 1,032 for bytes that
/// are all the same; logs and pages reach 5 to 50.
pub const MAX_RATIO: usize = 200;
/// Decompressed size up to which the ratio is not checked.
const RATIO_FREE: usize = 1024 * 1024;

/// Maximum decompressed size of a message with `size` bytes on the wire. Servers forward what others wrote, so theirs is not limited
/// by the ratio.
fn inflated_limit(role: Role, size: usize, max: usize) -> usize {
    match role {
        Role::Server => max.min(size.saturating_mul(MAX_RATIO).max(RATIO_FREE)),
        Role::Client => max,
    }
}

fn inflate(
    how: Inflate,
    context: &mut Option<Box<Decompress>>,
    payload: &[u8],
    max: usize,
    inflater: &mut Inflater,
) -> Result<(), DecodeError> {
    match how {
        Inflate::Shared => inflater.inflate(payload, max),
        Inflate::Retained(bits) => {
            let context = context.get_or_insert_with(|| Box::new(retained_context(bits)));
            inflater.inflate_retained(context, payload, max)
        }
        Inflate::NotNegotiated => unreachable!("begin refuses compressed frames"),
    }
}

/// Fails on the first byte that no continuation could make valid; returns how many bytes at the end start a
/// character.
fn check_text_so_far(bytes: &[u8]) -> Result<u8, DecodeError> {
    match simdutf8::compat::from_utf8(bytes) {
        Ok(_) => Ok(0),
        Err(error) if error.error_len().is_none() => Ok((bytes.len() - error.valid_up_to()) as u8),
        Err(_) => Err(DecodeError::Utf8),
    }
}
