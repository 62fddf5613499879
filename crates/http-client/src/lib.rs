//! HTTP requests, each over a connection of its own, plain or TLS.
//!
//! - [`HttpClient`] is where requests go: a server's address, and whom to trust there.
//! - [`Response`] is what comes back: its body in pieces ([`Response::next`]), or whole up to a bound ([`Response::whole`]).
//!
//! There is no pool, no task and no time limit: the caller's future is all there is of a request, so a limit around it ends
//! the connection as well. Redirections are answers like others: a request goes where it was sent. `docs/adr/0018` has the
//! reasons.

mod client;
mod response;

pub use client::HttpClient;
pub use hyper::http::request::Builder as RequestBuilder;
pub use hyper::{HeaderMap, Request, StatusCode, header};
pub use response::Response;

/// Why there is no answer, or not all of one.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server cannot be reached, or is not whom it should be.
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    /// The other end speaks no HTTP, or the connection broke off.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// A header or target that cannot be sent.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    /// The body is longer than the caller reads.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}
