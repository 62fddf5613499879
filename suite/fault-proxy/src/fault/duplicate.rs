//! `duplicate`: the message arrives twice in a row.

use super::impact::Impact;

pub(crate) fn strike(impact: &mut Impact) {
    impact.copies *= 2;
}
