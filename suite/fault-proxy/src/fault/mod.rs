//! The faults of a link and their conditions. Each effect has a file that describes and implements it.

pub(crate) mod bandwidth;
pub(crate) mod black_hole;
pub(crate) mod close;
pub(crate) mod corrupt;
pub(crate) mod delay;
pub(crate) mod drop;
pub(crate) mod duplicate;
mod effect;
pub(crate) mod half_close;
pub(crate) mod impact;
mod invalid;
pub(crate) mod latency;
pub(crate) mod reset;
pub(crate) mod slice;
pub(crate) mod slow_reader;
pub(crate) mod stall;
pub(crate) mod swap;
pub(crate) mod truncate;

use serde::{Deserialize, Serialize};

pub use corrupt::CorruptPart;
pub use effect::Effect;
pub use invalid::InvalidFault;
pub use truncate::Ending;

/// The direction of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Client → server.
    Up,
    /// Server → client.
    Down,
    /// Either.
    #[default]
    Both,
}

/// One of the two directions of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    Up,
    Down,
}

impl Way {
    pub(crate) const BOTH: [Self; 2] = [Self::Up, Self::Down];

    pub(crate) fn index(self) -> usize {
        match self {
            Self::Up => 0,
            Self::Down => 1,
        }
    }
}

impl From<Way> for Direction {
    fn from(way: Way) -> Self {
        match way {
            Way::Up => Self::Up,
            Way::Down => Self::Down,
        }
    }
}

impl Direction {
    pub(crate) fn covers(self, way: Way) -> bool {
        self == Self::Both || self == way.into()
    }
}

/// An effect, and when it strikes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// A label, repeated in [`Strike`](crate::Strike).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whose messages the conditions apply to, and the direction of lasting effects.
    #[serde(default)]
    pub direction: Direction,
    /// The conditions.
    #[serde(default)]
    pub when: When,
    /// The effect.
    pub effect: Effect,
}

impl Fault {
    /// An effect without conditions, for both directions.
    pub fn new(effect: Effect) -> Self {
        Self { name: None, direction: Direction::Both, when: When::default(), effect }
    }
}

/// The conditions of a fault; all that are given must hold.
///
/// Without any, a lasting effect strikes every link, live or new, once; any other strikes the first message (or, on a
/// link that is not a WebSocket, the first bytes) after the fault was added, once over all links.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct When {
    /// The message's content contains this text (compared as bytes, so MessagePack works, too). On a link that is not a
    /// WebSocket: the bytes of one read; text across two reads is not found there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// Probability, 0 to 1: drawn for each message; without messages, and for lasting effects without
    /// `contains`, for each link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probability: Option<f64>,
    /// Minimum age of the link in milliseconds. Checked when something passes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_ms: Option<u64>,
    /// Minimum number of earlier messages in this direction on this link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_messages: Option<u64>,
    /// Minimum number of earlier bytes in this direction on this link.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_bytes: Option<u64>,
    /// Maximum number of strikes over all links. If absent: 1 for effects that do not last and have either `contains` or no
    /// condition at all; one per link if there are only `after_…` conditions; otherwise unlimited.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

impl When {
    /// Whether it can only hold when something passes. If not, a lasting effect starts with the link.
    pub(crate) fn needs_traffic(&self) -> bool {
        self.contains.is_some() || self.has_threshold()
    }

    /// Whether it requires an age or an amount.
    pub(crate) fn has_threshold(&self) -> bool {
        self.after_ms.is_some() || self.after_messages.is_some() || self.after_bytes.is_some()
    }
}
