//! The items of a follow, as far as a history needs them.

use agentbench_client::{Epoch, GapCause, Item, Seq};
use serde::Deserialize;

/// One step of a follow.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "item", rename_all = "camelCase")]
pub(crate) enum Step {
    /// An event; `digest` is the CRC-32C of its content.
    Event { seq: Seq, id: String, digest: u32 },
    /// A late entry.
    Late { seq: Seq, id: String, digest: u32 },
    /// A change of the session.
    Lifecycle { seq: Seq, id: String },
    /// Entries that will not arrive.
    Gap { from: Seq, to: Seq, cause: GapCause },
    /// Reading continues after this position, on a new connection.
    Read { epoch: Epoch, after: Seq },
    /// Presence, a lost connection, a hole: not in a history, or implied by the steps around it.
    Other,
}

impl Step {
    /// The step for an item of the Rust SDK.
    pub(crate) fn of(item: &Item) -> Self {
        let digest = |data: &str| crc32c::crc32c(data.as_bytes());
        match item {
            Item::Event(event) => {
                Self::Event { seq: event.seq, id: event.id().into_owned(), digest: digest(event.data()) }
            }
            Item::Late(entry) => {
                Self::Late { seq: entry.seq, id: entry.id().into_owned(), digest: digest(entry.data()) }
            }
            Item::Lifecycle(lifecycle) => {
                Self::Lifecycle { seq: lifecycle.entry.seq, id: lifecycle.entry.id().into_owned() }
            }
            Item::Gap(gap) => Self::Gap { from: gap.from, to: gap.to, cause: gap.cause },
            Item::Resumed(resumed) => Self::Read { epoch: resumed.from.epoch, after: resumed.from.seq },
            Item::NotRecovered { from, .. } => Self::Read { epoch: from.epoch, after: from.seq },
            Item::Presence { .. } | Item::Disconnected(_) | Item::Violation(_) => Self::Other,
        }
    }

    /// The new cursor of a reader that was at `cursor`.
    pub(crate) fn moves(&self, cursor: Seq) -> Seq {
        match self {
            Self::Event { seq, .. } | Self::Lifecycle { seq, .. } => cursor.max(*seq),
            Self::Gap { to, .. } => cursor.max(*to),
            Self::Late { .. } | Self::Read { .. } | Self::Other => cursor,
        }
    }
}
