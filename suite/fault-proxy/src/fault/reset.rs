//! `reset`: RST to both sides. Data in flight in the other direction is lost, earlier data
//! in this one is not. With `forward`, the struck message is written to the socket
//! first; over loopback it is then in the peer's kernel, over a network the RST may overtake it.

use super::impact::Impact;
use crate::pipe::{Continuation, End};

pub(crate) fn strike(impact: &mut Impact, forward: bool) {
    if !forward {
        impact.copies = 0;
    }
    impact.then = Continuation::End(End::Reset);
}
