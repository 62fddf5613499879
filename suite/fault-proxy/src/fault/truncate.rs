//! `truncate`: a message that was cut in the middle.

use serde::{Deserialize, Serialize};

use super::blow::Blow;
use crate::pipe::{End, Then};

/// How a link ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// FIN to both sides, as when a process ends in good order.
    #[default]
    Fin,
    /// RST to both sides.
    Reset,
}

pub(crate) fn strike(blow: &mut Blow, ending: Ending) {
    blow.bytes.truncate(blow.bytes.len() / 2);
    blow.then = Then::End(match ending {
        Ending::Fin => End::Fin,
        Ending::Reset => End::Reset,
    });
}
