//! HTTP requests, each over its own connection, plain or TLS.
//!
//! - [`HttpClient`] is the target of requests: a server's address, and the CAs to trust.
//! - [`Response`] is an answer: its body in chunks ([`Response::next`]), or whole up to a limit ([`Response::whole`]).
//!
//! There is no pool, no task and no time limit: a request consists of the caller's future only, so a timeout around it ends
//! the connection as well. Redirects are ordinary answers: they are not followed. `docs/adr/0018` has the
//! reasons.

mod client;
mod response;

pub use client::HttpClient;
pub use hyper::http::request::Builder as RequestBuilder;
pub use hyper::{HeaderMap, Request, StatusCode, header};
pub use response::Response;

/// Why there is no answer, or only a part of one.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// The server cannot be reached, or its identity cannot be verified.
    #[error(transparent)]
    Connect(#[from] std::io::Error),
    /// The other end does not use HTTP, or the connection was lost.
    #[error(transparent)]
    Exchange(#[from] hyper::Error),
    /// A header or target that cannot be sent.
    #[error(transparent)]
    Request(#[from] hyper::http::Error),
    /// The body exceeds the caller's limit.
    #[error("the answer has more than {0} bytes")]
    TooLong(usize),
}
