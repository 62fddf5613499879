//! Why evidence is refused or cannot be read.

use std::io;

use crate::hash::Hash;

/// Why evidence is refused or cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file exceeds the limit.
    #[error("a piece of evidence may have at most {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The session's evidence has reached its limit.
    #[error("the session's evidence may take at most {limit} bytes in total, and {used} are used")]
    SessionFull {
        /// The limit in bytes.
        limit: u64,
        /// Bytes used, counting each file as at least one block of the disk.
        used: u64,
    },
    /// The part does not start at the end of the received bytes.
    #[error("{received} bytes have been received: continue from there")]
    OutOfPlace {
        /// Number of bytes received.
        received: u64,
    },
    /// Another request is uploading the same file.
    #[error("the same file is being uploaded by another request; {received} bytes of it have been received")]
    Busy {
        /// Number of bytes received.
        received: u64,
    },
    /// The number of bytes differs from the announced one.
    #[error("{announced} bytes were announced, but {found} received")]
    WrongSize {
        /// Number of bytes announced.
        announced: u64,
        /// Number of bytes received.
        found: u64,
    },
    /// The bytes do not match the hash in their name.
    #[error("the bytes have another hash: {found}")]
    WrongHash {
        /// Their actual hash.
        found: Hash,
    },
    /// The stored bytes do not match their name.
    #[error("the stored evidence is damaged: {what}; upload the same bytes again")]
    Damaged {
        /// The damage.
        what: &'static str,
    },
    /// The session was removed during the upload.
    #[error("the session was removed")]
    Gone,
    /// The disk is full.
    #[error("the disk has no room for it")]
    Full,
    /// The disk failed.
    #[error("the disk: {0}")]
    Disk(io::Error),
}

impl From<io::Error> for EvidenceError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::Full,
            io::ErrorKind::NotFound => Self::Gone,
            _ => Self::Disk(error),
        }
    }
}
