//! The head of a frame (RFC 6455 §5.2): parsing and encoding.
//!
//! ```text
//! byte 0   fin · rsv1 · rsv2 · rsv3 · opcode (4 bits)
//! byte 1   masked · length (7 bits; 126: in the next 2 bytes, 127: in the next 8, big-endian)
//! then     mask (4 bytes), if masked
//! ```
//! Checked here is what is wrong with a head by itself. What depends on the connection (masks, compression,
//! the order of fragments, sizes) is checked by the decoder.

use crate::DecodeError;

/// Longest head: 2 bytes, a length of 8, a mask of 4.
pub const MAX_HEADER: usize = 14;
/// Maximum payload of a ping, pong or close in bytes (RFC 6455 §5.5).
pub const MAX_CONTROL_PAYLOAD: usize = 125;

const FIN: u8 = 0x80;
const RSV1: u8 = 0x40;
const RSV2_AND_3: u8 = 0x30;
const MASKED: u8 = 0x80;
const LENGTH_IN_2_BYTES: u8 = 126;
const LENGTH_IN_8_BYTES: u8 = 127;

/// The type of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Opcode {
    /// Continues a message.
    Continuation = 0x0,
    /// Starts a text message.
    Text = 0x1,
    /// Starts a binary message.
    Binary = 0x2,
    /// The sender sends nothing after it.
    Close = 0x8,
    /// Requests a pong.
    Ping = 0x9,
    /// Answers a ping.
    Pong = 0xa,
}

impl Opcode {
    /// Close, ping and pong: short, unfragmented, and allowed between the frames of a message.
    pub fn is_control(self) -> bool {
        matches!(self, Self::Close | Self::Ping | Self::Pong)
    }

    fn from_bits(bits: u8) -> Result<Self, DecodeError> {
        Ok(match bits {
            0x0 => Self::Continuation,
            0x1 => Self::Text,
            0x2 => Self::Binary,
            0x8 => Self::Close,
            0x9 => Self::Ping,
            0xa => Self::Pong,
            _ => return Err(DecodeError::ReservedOpcode(bits)),
        })
    }
}

/// The head of one frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Whether it is the last frame of its message.
    pub fin: bool,
    /// RSV1: the message is compressed (RFC 7692 §6); on its first frame only.
    pub compressed: bool,
    /// The type of the frame.
    pub opcode: Opcode,
    /// The mask to XOR the payload with.
    pub mask: Option<[u8; 4]>,
    /// Size of the payload in bytes.
    pub payload: u64,
}

impl FrameHeader {
    /// Parses the head at the start of `bytes` and returns its length. `None` if it is incomplete.
    ///
    /// # Errors
    /// The head is invalid by itself; reported as soon as the invalid byte is available.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, DecodeError> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        if first & RSV2_AND_3 != 0 {
            return Err(DecodeError::ReservedBits);
        }
        let opcode = Opcode::from_bits(first & 0x0f)?;
        let fin = first & FIN != 0;
        if opcode.is_control() && !fin {
            return Err(DecodeError::FragmentedControl);
        }
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        let short_length = second & !MASKED;
        if opcode.is_control() && usize::from(short_length) > MAX_CONTROL_PAYLOAD {
            return Err(DecodeError::ControlTooLong);
        }
        let Some((payload, length_end)) = parse_length(bytes, short_length)? else { return Ok(None) };
        let (mask, end) = if second & MASKED == 0 {
            (None, length_end)
        } else {
            let Some(mask) = bytes[length_end..].first_chunk() else { return Ok(None) };
            (Some(*mask), length_end + 4)
        };
        Ok(Some((Self { fin, compressed: first & RSV1 != 0, opcode, mask, payload }, end)))
    }

    /// Encodes the head.
    pub fn encode(&self) -> EncodedHeader {
        let mut head = EncodedHeader { bytes: [0; MAX_HEADER], len: 0 };
        let mut first = self.opcode as u8;
        if self.fin {
            first |= FIN;
        }
        if self.compressed {
            first |= RSV1;
        }
        head.push(&[first]);
        let masked = if self.mask.is_some() { MASKED } else { 0 };
        // Only the shortest form is allowed; both casts are of values that the range has bounded.
        match self.payload {
            0..=125 => head.push(&[masked | self.payload as u8]),
            126..=0xffff => {
                head.push(&[masked | LENGTH_IN_2_BYTES]);
                head.push(&(self.payload as u16).to_be_bytes());
            }
            _ => {
                head.push(&[masked | LENGTH_IN_8_BYTES]);
                head.push(&self.payload.to_be_bytes());
            }
        }
        if let Some(mask) = self.mask {
            head.push(&mask);
        }
        head
    }
}

/// The payload's length and the offset of its end in the head.
fn parse_length(bytes: &[u8], short: u8) -> Result<Option<(u64, usize)>, DecodeError> {
    match short {
        LENGTH_IN_2_BYTES => {
            let Some(length) = bytes[2..].first_chunk() else { return Ok(None) };
            let length = u64::from(u16::from_be_bytes(*length));
            if length < 126 { Err(DecodeError::LengthNotMinimal) } else { Ok(Some((length, 4))) }
        }
        LENGTH_IN_8_BYTES => {
            if bytes.get(2).is_some_and(|&top| top & 0x80 != 0) {
                return Err(DecodeError::LengthTopBit);
            }
            let Some(length) = bytes[2..].first_chunk() else { return Ok(None) };
            let length = u64::from_be_bytes(*length);
            if length <= 0xffff { Err(DecodeError::LengthNotMinimal) } else { Ok(Some((length, 10))) }
        }
        _ => Ok(Some((u64::from(short), 2))),
    }
}

/// The bytes of a head; dereferences to them.
#[derive(Debug, Clone, Copy)]
pub struct EncodedHeader {
    bytes: [u8; MAX_HEADER],
    len: u8,
}

impl EncodedHeader {
    fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len() as u8;
    }
}

impl std::ops::Deref for EncodedHeader {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}
