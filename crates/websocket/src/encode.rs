//! Encodes frames. Masks are arguments: `Some` with four unpredictable bytes for a client (RFC 6455 §10.3),
//! `None` for a server.

use std::num::NonZeroUsize;

use bytes::BytesMut;

use crate::frame::{EncodedHeader, FrameHeader, MAX_CONTROL_PAYLOAD, MAX_HEADER, Opcode};
use crate::mask::apply_mask;
use crate::{Deflater, Message};

/// The head of a whole, unfragmented frame with `payload` bytes. The body may be sent separately, masked
/// by the caller if there is a mask.
pub fn encode_header(
    opcode: Opcode,
    compressed: bool,
    payload: usize,
    mask: Option<[u8; 4]>,
) -> EncodedHeader {
    FrameHeader { fin: true, compressed, opcode, mask, payload: payload as u64 }.encode()
}

/// Appends a whole, unfragmented frame.
///
/// # Panics
/// If a control frame's payload exceeds [`MAX_CONTROL_PAYLOAD`]. Payloads from the decoder never do.
pub fn encode_frame(
    dst: &mut BytesMut,
    opcode: Opcode,
    compressed: bool,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    assert!(!opcode.is_control() || payload.len() <= MAX_CONTROL_PAYLOAD, "control frames are short");
    append(dst, true, compressed, opcode, payload, mask);
}

/// Appends a data message as frames of at most `most` bytes each. `mask` is called once per frame.
pub fn encode_fragments(
    dst: &mut BytesMut,
    opcode: Opcode,
    compressed: bool,
    payload: &[u8],
    most: NonZeroUsize,
    mut mask: impl FnMut() -> Option<[u8; 4]>,
) {
    let (mut opcode, mut compressed, mut rest) = (opcode, compressed, payload);
    while rest.len() > most.get() {
        let (piece, next) = rest.split_at(most.get());
        append(dst, false, compressed, opcode, piece, mask());
        // Only the first frame says what the message is (RFC 6455 §5.4, RFC 7692 §6.1).
        (opcode, compressed, rest) = (Opcode::Continuation, false, next);
    }
    append(dst, true, compressed, opcode, rest, mask());
}

/// Appends a message as one frame, uncompressed.
pub fn encode_message(dst: &mut BytesMut, message: &Message<'_>, mask: Option<[u8; 4]>) {
    match *message {
        Message::Text(text) => encode_frame(dst, Opcode::Text, false, text.as_bytes(), mask),
        Message::Binary(bytes) => encode_frame(dst, Opcode::Binary, false, bytes, mask),
        Message::Ping(bytes) => encode_frame(dst, Opcode::Ping, false, bytes, mask),
        Message::Pong(bytes) => encode_frame(dst, Opcode::Pong, false, bytes, mask),
        Message::Close(close) => encode_close(dst, close.map(|close| (close.code, close.reason)), mask),
    }
}

/// Appends a close frame. The reason is cut to the 123 bytes that fit, between characters.
pub fn encode_close(dst: &mut BytesMut, close: Option<(u16, &str)>, mask: Option<[u8; 4]>) {
    let Some((code, reason)) = close else { return append(dst, true, false, Opcode::Close, &[], mask) };
    let reason = &reason[..reason.floor_char_boundary(MAX_CONTROL_PAYLOAD - 2)];
    let mut payload = [0; MAX_CONTROL_PAYLOAD];
    payload[..2].copy_from_slice(&code.to_be_bytes());
    payload[2..2 + reason.len()].copy_from_slice(reason.as_bytes());
    append(dst, true, false, Opcode::Close, &payload[..2 + reason.len()], mask);
}

/// Appends a data message as one compressed frame, or uncompressed if that is not larger.
/// `window_bits` is [`Negotiated::send_window_bits`](crate::Negotiated::send_window_bits).
pub fn encode_deflated(
    dst: &mut BytesMut,
    opcode: Opcode,
    payload: &[u8],
    deflater: &mut Deflater,
    window_bits: u8,
    mask: Option<[u8; 4]>,
) {
    // The length of the head is known only after compression: leave room for the longest, then close the
    // gap.
    let start = dst.len();
    dst.resize(start + MAX_HEADER, 0);
    deflater.compress(window_bits, payload, dst);
    let size = dst.len() - start - MAX_HEADER;
    if size >= payload.len() {
        dst.truncate(start);
        return append(dst, true, false, opcode, payload, mask);
    }
    let head = encode_header(opcode, true, size, mask);
    dst.copy_within(start + MAX_HEADER.., start + head.len());
    dst[start..start + head.len()].copy_from_slice(&head);
    dst.truncate(start + head.len() + size);
    if let Some(mask) = mask {
        apply_mask(&mut dst[start + head.len()..], mask);
    }
}

fn append(
    dst: &mut BytesMut,
    fin: bool,
    compressed: bool,
    opcode: Opcode,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) {
    let head = FrameHeader { fin, compressed, opcode, mask, payload: payload.len() as u64 }.encode();
    dst.reserve(head.len() + payload.len());
    dst.extend_from_slice(&head);
    let start = dst.len();
    dst.extend_from_slice(payload);
    if let Some(mask) = mask {
        apply_mask(&mut dst[start..], mask);
    }
}
