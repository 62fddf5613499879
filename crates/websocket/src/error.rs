//! Why a peer's bytes are refused.

/// A violation by the peer. The connection must be closed with [`DecodeError::close_code`]; nothing more can
/// be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// RSV1 without negotiated compression or not on the first frame of a data message, or RSV2 or RSV3 (RFC
    /// 6455 §5.2).
    #[error("a reserved bit is set")]
    ReservedBits,
    /// An undefined opcode (RFC 6455 §5.2).
    #[error("opcode {0:#x} is reserved")]
    ReservedOpcode(u8),
    /// A ping, pong or close in several frames (RFC 6455 §5.5).
    #[error("a control frame is fragmented")]
    FragmentedControl,
    /// A ping, pong or close with more than 125 bytes (RFC 6455 §5.5).
    #[error("a control frame is longer than 125 bytes")]
    ControlTooLong,
    /// A continuation frame with nothing to continue (RFC 6455 §5.4).
    #[error("a continuation frame without a message to continue")]
    NothingToContinue,
    /// A new text or binary frame before the last message ended (RFC 6455 §5.4).
    #[error("a new message inside an unfinished one")]
    UnfinishedMessage,
    /// A length not in its shortest form (RFC 6455 §5.2).
    #[error("a frame's length is not in its shortest form")]
    LengthNotMinimal,
    /// A 64-bit length with its top bit set (RFC 6455 §5.2).
    #[error("a frame's length has its top bit set")]
    LengthTopBit,
    /// A client's frame without a mask (RFC 6455 §5.1).
    #[error("a client's frame is not masked")]
    NotMasked,
    /// A server's frame with a mask (RFC 6455 §5.1).
    #[error("a server's frame is masked")]
    Masked,
    /// A close frame whose payload is a single byte (RFC 6455 §5.5.1).
    #[error("a close frame with half a code")]
    CloseTooShort,
    /// A close code that must not be sent (RFC 6455 §7.4).
    #[error("close code {0} must not be sent")]
    CloseCode(u16),
    /// Text, or the reason of a close, that is not UTF-8 (RFC 6455 §8.1).
    #[error("text is not UTF-8")]
    Utf8,
    /// A compressed message that is not DEFLATE data (RFC 7692 §7.2.2).
    #[error("compressed data is damaged")]
    Deflate,
    /// A message over the limit, on the wire or decompressed.
    #[error("the message is larger than allowed")]
    TooBig,
    /// A client's compressed message whose compression ratio is beyond any legitimate one (see
    /// [`MAX_RATIO`](crate::MAX_RATIO)).
    #[error("the message inflates to more than 200 times its size")]
    Ratio,
}

impl DecodeError {
    /// What to send in the close frame (RFC 6455 §7.4.1).
    pub fn close_code(self) -> u16 {
        match self {
            Self::Utf8 | Self::Deflate => 1007,
            Self::TooBig | Self::Ratio => 1009,
            Self::ReservedBits
            | Self::ReservedOpcode(_)
            | Self::FragmentedControl
            | Self::ControlTooLong
            | Self::NothingToContinue
            | Self::UnfinishedMessage
            | Self::LengthNotMinimal
            | Self::LengthTopBit
            | Self::NotMasked
            | Self::Masked
            | Self::CloseTooShort
            | Self::CloseCode(_) => 1002,
        }
    }
}
