//! The promises of the crate, checked from outside: what is let in, what is refused and why, and who may do what.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on should stop")]

mod forgeries;
mod key_files;
mod minting;
mod mutations;
mod published;
mod refusals;
mod roles;
