//! Why evidence is not taken or cannot be had.

use std::io;

use crate::hash::Hash;

/// See each.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// The file is larger than one may be.
    #[error("a piece of evidence may have at most {limit} bytes")]
    TooLarge {
        /// Bytes that one may have.
        limit: u64,
    },
    /// The session has as much as one may have.
    #[error("the session's evidence may take at most {limit} bytes in all, and {used} are taken")]
    SessionFull {
        /// Bytes that one may take.
        limit: u64,
        /// Bytes that it takes, each file at least a block of the disk.
        used: u64,
    },
    /// The part does not begin where what is there ends.
    #[error("{received} bytes have been received: go on from there")]
    OutOfPlace {
        /// Bytes that have been received.
        received: u64,
    },
    /// Somebody else is uploading the same file.
    #[error("the same file is being uploaded by another request; {received} bytes of it have been received")]
    Busy {
        /// Bytes that have been received.
        received: u64,
    },
    /// There were more or fewer bytes than were announced.
    #[error("{announced} bytes were announced, and {found} came")]
    WrongSize {
        /// Bytes that were announced.
        announced: u64,
        /// Bytes that came.
        found: u64,
    },
    /// The bytes are not what their name says.
    #[error("the bytes have another hash: {found}")]
    WrongHash {
        /// The hash that they have.
        found: Hash,
    },
    /// What is stored is not what its name says.
    #[error("the stored evidence is damaged: {what}; upload the same bytes again")]
    Damaged {
        /// What was found.
        what: &'static str,
    },
    /// The session was removed while the file was on its way.
    #[error("the session is gone")]
    Gone,
    /// The disk has no room.
    #[error("the disk has no room for it")]
    Full,
    /// The disk does not do what it should.
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
