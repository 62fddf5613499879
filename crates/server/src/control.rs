//! Requests of the HTTP API to the host program, which alone can reload keys and end the process.

use tokio::sync::oneshot;

/// A request to the host program of a [`Server`](crate::Server).
#[derive(Debug)]
pub enum Control {
    /// Call [`Server::stop`](crate::Server::stop) and end. `/readyz` fails already, and new clients are refused.
    Drain,
    /// Reload the same files as on SIGHUP, and report what was reloaded, or why not.
    Reload(oneshot::Sender<Result<String, String>>),
}
