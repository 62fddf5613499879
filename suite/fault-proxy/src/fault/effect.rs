//! The list of effects, as it is written in plans and requests.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize};

use super::{CorruptPart, Ending};

/// What a fault does. Lasting effects take `for_ms`; without it they last until the fault is removed or the link ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Effect {
    /// Lasting. Everything arrives later by `ms`, give or take up to `jitter_ms`; order is kept.
    Latency {
        /// Milliseconds added.
        ms: u64,
        /// Most milliseconds added to or taken from `ms`.
        #[serde(default)]
        jitter_ms: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Lasting. No more than so many bytes a second, in each direction that it works on.
    Bandwidth {
        /// Bytes a second, at least 1.
        bytes_per_second: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Lasting. Bytes are sent in small slices, each as a write of its own.
    Slice {
        /// Bytes of a slice, at least 1.
        bytes: usize,
        /// Microseconds between slices; rounded up to the timer's milliseconds.
        #[serde(default)]
        delay_us: u64,
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// Nothing passes for so long, then everything does.
    Stall {
        /// Milliseconds.
        ms: u64,
    },
    /// Lasting. Bytes vanish in both directions, and so do the ends of the connections; sockets stay open. When it
    /// ends, a link that has lost anything is reset.
    BlackHole {
        /// How long it lasts.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// RST to both sides.
    Reset {
        /// What was struck is forwarded first; else it is lost.
        #[serde(default)]
        forward: bool,
    },
    /// What was struck is forwarded, then FIN in its direction. The other direction stays.
    #[serde(deserialize_with = "no_fields")]
    HalfClose,
    /// One bit of what was struck arrives turned over.
    Corrupt {
        /// Which bit.
        part: CorruptPart,
    },
    /// Half of what was struck is forwarded, then the link ends.
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
    /// The message changes places with the next one of its direction. If none comes within half a second it passes
    /// alone, and nothing was struck.
    #[serde(deserialize_with = "no_fields")]
    Swap,
    /// The message arrives later; so does what follows it, since TCP keeps the order.
    Delay {
        /// Milliseconds.
        ms: u64,
    },
    /// Lasting. What the server sends is read slowly, or not at all, so that the server's socket fills up.
    SlowReader {
        /// Bytes a second that are read, at least 1.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bytes_per_second: Option<u64>,
        /// Milliseconds in which nothing is read, from the beginning of the effect.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pause_ms: Option<u64>,
        /// How long it lasts. A pause without `bytes_per_second` ends by itself.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        for_ms: Option<u64>,
    },
    /// A WebSocket close frame to both sides, then the link ends. The struck message is not forwarded.
    Close {
        /// Close code (RFC 6455 §7.4) that may be sent.
        code: u16,
        /// Most 123 bytes.
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

    /// Whether it is a state of the link rather than a blow to one message.
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

    /// Whether it can strike WebSocket messages only.
    pub fn needs_messages(&self) -> bool {
        matches!(self, Self::Drop | Self::Duplicate | Self::Swap | Self::Delay { .. } | Self::Close { .. })
    }

    /// How long a lasting effect lasts, if that is bounded.
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

/// A kind without fields refuses fields, too.
fn no_fields<'de, D: Deserializer<'de>>(deserializer: D) -> Result<(), D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct NoFields {}
    NoFields::deserialize(deserializer).map(|NoFields {}| ())
}
