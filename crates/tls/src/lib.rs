//! A socket that is plain or TLS, for both ends.
//!
//! - [`Stream`] is the socket. It can be read and written without waiting ([`Stream::try_read`], [`Stream::try_write`]), as
//!   fan-out does, and as Tokio's `AsyncRead` and `AsyncWrite`. The plain one costs a branch.
//! - [`Acceptor`] is the server's side: certificate and key, exchanged while it runs; in development, a log of the sessions' secrets.
//! - [`Connector`] is the client's side: whom it trusts.
//! - [`Certificate`] is what one says of itself; [`TrustFault`] is why a client does not believe it.
//!
//! rustls is used as the pure machine that it is: no task and no copy of the socket for each session. What it has encrypted
//! and the kernel does not take yet is at most [`UNSENT_BYTES`]; [`Stream::push`] hands it on.

mod acceptor;
mod certificate;
mod connector;
mod key_log;
mod session;
mod stream;
mod trust;
mod validity;

use std::path::PathBuf;

pub use acceptor::{Acceptor, Refreshed};
pub use certificate::Certificate;
pub use connector::Connector;
pub use stream::Stream;
pub use trust::TrustFault;

/// Bytes that a TLS session takes from its writer before the socket has to take some: one large record and a half, so that a
/// reader that does not read is noticed nearly as early as without TLS.
pub const UNSENT_BYTES: usize = 24 * 1024;

/// Why certificates or keys are not taken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// The file for the sessions' secrets cannot be written.
    #[error("cannot write {path}: {error}")]
    KeyLog {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: std::io::Error,
    },
    /// A file is not PEM, or holds nothing of what is needed.
    #[error("{path} holds no {what} in PEM (-----BEGIN …)")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// Certificate and key do not fit, or cannot be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
    /// No authority that could be trusted.
    #[error("no authority to trust was found: {0}")]
    NoAuthority(String),
}
