//! What the HTTP API asks of the program that runs the server: only it knows where keys come from and how to end.

use tokio::sync::oneshot;

/// A request to the program around a [`Server`](crate::Server).
#[derive(Debug)]
pub enum Control {
    /// Call [`Server::stop`](crate::Server::stop) and end. `/readyz` fails already, and nobody new is let in.
    Drain,
    /// Read again what SIGHUP reads again, and say what was done, or why it was not.
    Reload(oneshot::Sender<Result<String, String>>),
}
