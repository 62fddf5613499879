//! A socket that is plain or TLS, for both ends.
//!
//! - [`Stream`] is the socket. It supports nonblocking reads and writes ([`Stream::try_read`], [`Stream::try_write`]), as
//!   used by fan-out, and Tokio's `AsyncRead` and `AsyncWrite`. The plain one costs a branch.
//! - [`Acceptor`] is the server's side: certificate and key, replaceable at run time; in development, a log of the sessions' secrets.
//! - [`Connector`] is the client's side: the trusted CAs.
//! - [`Certificate`] is a parsed certificate; [`TrustFault`] is why a client refuses one.
//!
//! rustls is used as a pure state machine: no task and no copy of the socket per session. At most [`UNSENT_BYTES`] can be
//! encrypted but not yet accepted by the kernel; [`Stream::push`] sends them.

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

/// Bytes that a TLS session accepts from its writer before the socket must accept some: one and a half large records, so that a
/// slow reader is noticed nearly as early as without TLS.
pub const UNSENT_BYTES: usize = 24 * 1024;

/// Why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// The file for the sessions' secrets cannot be written.
    #[error("cannot write {path}: {error}")]
    KeyLog {
        /// The file.
        path: PathBuf,
        /// The system's error.
        error: std::io::Error,
    },
    /// A file is not PEM, or does not contain what is needed.
    #[error("{path} contains no {what} in PEM (-----BEGIN …)")]
    Pem {
        /// The file.
        path: PathBuf,
        /// What it should contain.
        what: &'static str,
    },
    /// Certificate and key do not match, or cannot be used.
    #[error("certificate and key cannot be used: {0}")]
    Unusable(rustls::Error),
    /// There is no CA to trust.
    #[error("no authority to trust was found: {0}")]
    NoAuthority(String),
}
