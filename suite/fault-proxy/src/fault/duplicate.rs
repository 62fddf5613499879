//! `duplicate`: the message arrives twice, one right after the other.

use super::blow::Blow;

pub(crate) fn strike(blow: &mut Blow) {
    blow.copies *= 2;
}
