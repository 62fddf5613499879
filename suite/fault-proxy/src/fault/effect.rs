//! The effects, as written in plans and requests.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{CorruptPart, Ending};

/// What a fault does. Lasting effects accept `for_ms`; without it they last until the fault is removed or the link ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Lasting. Everything arrives `ms` later, plus or minus up to `jitter_ms`; order is kept.
    Latency {
        /// Milliseconds added.
        ms: u64,
        /// Maximum number of milliseconds added to or subtracted from `ms`.
        #[serde(default)]
        jitter_ms: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Lasting. Limits the bytes per second, in each direction that it covers.
    Bandwidth {
        /// Bytes per second, at least 1.
        bytes_per_second: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Lasting. Bytes are sent in small slices, each as a write of its own.
    Slice {
        /// Bytes per slice, at least 1.
        bytes: usize,
        /// Microseconds between slices; rounded up to the timer's milliseconds.
        #[serde(default)]
        delay_us: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Nothing passes for this time, then everything does.
    Stall {
        /// Milliseconds.
        ms: u64,
    },
    /// Lasting. Bytes are discarded in both directions, and so are the ends of the connections; sockets stay open. When it
    /// ends, a link that has lost anything is reset.
    BlackHole {
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// RST to both sides.
    Reset {
        /// Whether the struck message is forwarded first; otherwise it is lost.
        #[serde(default)]
        forward: bool,
    },
    /// The struck message is forwarded, then FIN in its direction. The other direction stays open.
    #[serde(deserialize_with = "no_fields")]
    HalfClose,
    /// One bit of the struck message is flipped.
    Corrupt {
        /// Which bit.
        part: CorruptPart,
    },
    /// Half of the struck message is forwarded, then the link ends.
    Truncate {
        /// How it ends.
        #[serde(default)]
        ending: Ending,
    },
    /// The message does not arrive. TCP never does that; a broken intermediary or client may.
    #[serde(deserialize_with = "no_fields")]
    Drop,
    /// The message arrives twice.
    #[serde(deserialize_with = "no_fields")]
    Duplicate,
    /// The message and the next one in its direction are swapped. If none comes within half a second, it passes
    /// alone, and no strike is recorded.
    #[serde(deserialize_with = "no_fields")]
    Swap,
    /// The message arrives later, and so does what follows it, since TCP keeps the order.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Lasting. The server's output is read slowly, or not at all, so that the server's socket fills up.
    SlowReader {
        /// Bytes read per second, at least 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
        /// Milliseconds without reading, from the start of the effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
        /// How long it lasts. A pause without `bytes_per_second` ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// A WebSocket close frame to both sides, then the link ends. The struck message is not forwarded.
    Close {
        /// Close code that may be sent (RFC 6455 §7.4).
        code: u16,
        /// At most 123 bytes.
        #[serde(default)]
        reason: String,
    },
}

impl Effect {
    /// Its name in plans, requests and records.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Latency { .. } => "latency",
            Self::Bandwidth { .. } => "bandwidth",
            Self::Slice { .. } => "slice",
            Self::Stall { .. } => "stall",
            Self::BlackHole { .. } => "black_hole",
            Self::Reset { .. } => "reset",
            Self::HalfClose => "half_close",
            Self::Corrupt { .. } => "corrupt",
            Self::Truncate { .. } => "truncate",
            Self::Drop => "drop",
            Self::Duplicate => "duplicate",
            Self::Swap => "swap",
            Self::Delay { .. } => "delay",
            Self::SlowReader { .. } => "slow_reader",
            Self::Close { .. } => "close",
        }
    }

    /// Whether it is a state of the link rather than a strike on one message.
    pub fn is_lasting(&self) -> bool {
        matches!(
            self,
            Self::Latency { .. }
                | Self::Bandwidth { .. }
                | Self::Slice { .. }
                | Self::BlackHole { .. }
                | Self::SlowReader { .. }
        )
    }

    /// Whether it applies to WebSocket messages only.
    pub fn needs_messages(&self) -> bool {
        matches!(self, Self::Drop | Self::Duplicate | Self::Swap | Self::Delay { .. } | Self::Close { .. })
    }

    /// How long a lasting effect lasts, if it is limited.
    pub(crate) fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Latency { for_ms, .. }
            | Self::Bandwidth { for_ms, .. }
            | Self::Slice { for_ms, .. }
            | Self::BlackHole { for_ms } => *for_ms,
            Self::SlowReader { bytes_per_second, pause_ms, for_ms } => match bytes_per_second {
                Some(_) => *for_ms,
                None => for_ms.or(*pause_ms),
            },
            _ => None,
        }
        .map(Duration::from_millis)
    }
}

/// Makes a kind without fields refuse fields, too.
fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(|NoFields {}| ())
}
