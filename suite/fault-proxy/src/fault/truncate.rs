//! `truncate`: a message is cut in the middle.

use serde::{Deserialize, Serialize};

use super::impact::Impact;
use crate::pipe::{Continuation, End};

/// How a link ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// FIN to both sides, as when a process exits cleanly.
    #[default]
    Fin,
    /// RST to both sides.
    Reset,
}

pub(crate) fn strike(impact: &mut Impact, ending: Ending) {
    impact.bytes.truncate(impact.bytes.len() / 2);
    impact.then = Continuation::End(match ending {
        Ending::Fin => End::Fin,
        Ending::Reset => End::Reset,
    });
}
