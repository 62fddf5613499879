//! `drop`: the message does not arrive.

use super::blow::Blow;

pub(crate) fn strike(blow: &mut Blow) {
    blow.copies = 0;
}
