//! `half_close`: FIN one way, after what was struck. What comes later that way is read and lost; the other way stays.

use super::blow::Blow;
use crate::pipe::Then;

pub(crate) fn strike(blow: &mut Blow) {
    blow.then = Then::Fin;
}
