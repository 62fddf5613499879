//! Messages, and the validation of a finished one.

use crate::{DecodeError, Opcode};

/// One whole message, borrowed from the read buffer, the decoder or the inflater.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Message<'a> {
    /// UTF-8 text.
    Text(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// Must be answered with a pong of the same bytes, at most 125.
    Ping(&'a [u8]),
    /// The answer to a ping, or unsolicited.
    Pong(&'a [u8]),
    /// The peer sends nothing more. Must be answered with a close of the same code, unless we have sent one.
    Close(Option<CloseFrame<'a>>),
}

/// The contents of a close frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CloseFrame<'a> {
    /// The reason (RFC 6455 §7.4), as a code that may be sent.
    pub code: u16,
    /// For people and logs; at most 123 bytes.
    pub reason: &'a str,
}

/// Whether a code may be sent in a close frame: assigned by RFC 6455 §7.4.1 and the IANA registry
/// (1012–1014), or in the ranges of libraries (3000–3999) and applications (4000–4999).
pub fn is_sendable_close_code(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

impl<'a> Message<'a> {
    /// Size of its payload in bytes, decompressed.
    pub fn size(&self) -> usize {
        match self {
            Self::Text(text) => text.len(),
            Self::Binary(bytes) | Self::Ping(bytes) | Self::Pong(bytes) => bytes.len(),
            Self::Close(close) => close.map_or(0, |close| close.reason.len() + 2),
        }
    }

    /// Validates a finished payload.
    pub(crate) fn read(opcode: Opcode, payload: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match opcode {
            Opcode::Text => Self::Text(text(payload)?),
            Opcode::Binary => Self::Binary(payload),
            Opcode::Ping => Self::Ping(payload),
            Opcode::Pong => Self::Pong(payload),
            Opcode::Close => Self::Close(close(payload)?),
            Opcode::Continuation => unreachable!("a finished message has its first frame's opcode"),
        })
    }
}

fn close(payload: &[u8]) -> Result<Option<CloseFrame<'_>>, DecodeError> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() { Ok(None) } else { Err(DecodeError::CloseTooShort) };
    };
    let code = u16::from_be_bytes(*code);
    if !is_sendable_close_code(code) {
        return Err(DecodeError::CloseCode(code));
    }
    Ok(Some(CloseFrame { code, reason: text(reason)? }))
}

fn text(payload: &[u8]) -> Result<&str, DecodeError> {
    simdutf8::basic::from_utf8(payload).map_err(|_| DecodeError::Utf8)
}
