//! `half_close`: FIN in one direction, after the struck message. Later bytes in that direction are read and discarded; the
//! other direction stays open.

use super::impact::Impact;
use crate::pipe::Continuation;

pub(crate) fn strike(impact: &mut Impact) {
    impact.then = Continuation::Fin;
}
