//! `reset`: RST to both sides. What was on its way in the other direction is lost, what came before
//! in this one is not. With `forward` the struck message is written to the socket
//! first; over loopback it is then in the peer's kernel, over a network the RST may overtake it.

use super::blow::Blow;
use crate::pipe::{End, Then};

pub(crate) fn strike(blow: &mut Blow, forward: bool) {
    if !forward {
        blow.copies = 0;
    }
    blow.then = Then::End(End::Reset);
}
