//! Sessions in the server: who exists, who owns, who reads.

pub(crate) mod catalog;
mod follow;
pub(crate) mod owned;
pub(crate) mod owner;
pub(crate) mod pace;
pub(crate) mod playing;
pub(crate) mod progress;
pub(crate) mod reading;
pub(crate) mod replay;
