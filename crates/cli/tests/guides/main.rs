//! What the README and the guides in docs/ print, run as printed: their commands in a shell, their messages on a WebSocket, their unit files
//! as systemd reads them. A guide that no longer works fails here.
//!
//! - `page` takes fenced blocks out of a page; `shell` runs them; `scratch` is a server that is started as a guide says.
//! - `tour`: the README; `conversation`: messages as it shows them, `→` and `←`.
//! - `systemd`: unit files, installation, backup and restore; `backup`: what a restored folder promises.
//! - `keys`: the rotation of keys, and the key log of TLS.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod backup;
mod conversation;
mod keys;
mod page;
mod scratch;
mod shell;
mod systemd;
mod tour;
