//! `drop`: the message does not arrive.

use super::impact::Impact;

pub(crate) fn strike(impact: &mut Impact) {
    impact.copies = 0;
}
