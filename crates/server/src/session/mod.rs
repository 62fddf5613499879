//! Sessions in the server: who exists, who owns, who reads.

pub(crate) mod catalog;
pub(crate) mod feed;
mod follow;
pub(crate) mod owner;
pub(crate) mod pace;
pub(crate) mod progress;
pub(crate) mod reading;
pub(crate) mod render;
pub(crate) mod replay;
