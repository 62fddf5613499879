//! Evidence over HTTP: uploads that can break off and go on, and downloads that no browser runs.
//!
//! The worker's thread never waits for the disk: bytes are collected up to a step and written by another thread, one step of
//! a request at a time, so a slow disk slows the client down and nobody else.

mod download;
pub(crate) mod piece;
mod range;
mod upload;

pub(crate) use download::download;
#[cfg(feature = "schema")]
pub(crate) use upload::{Received, StoredBody};
pub(crate) use upload::{progress, upload};
