//! Evidence of sessions: screenshots, videos and other files, stored once by the BLAKE3 hash of their bytes.
//!
//! - [`Store`] is a folder: `SESSION/HASH.EXTENSION` for complete files, `SESSION/HASH.part` for incomplete ones. A file
//!   gets its final name only when its bytes match the hash in it and are on the disk, so a partial file never looks complete.
//! - [`Upload`] is one file being written. An interrupted one is kept and can be continued for [`PARTIAL_LIFE`].
//! - [`Reader`] returns only bytes that match the file's name: the inner hashes of larger files are in
//!   `SESSION/HASH.tree`, so that a part can be verified alone. [`Store::scrub`] reads files that nobody requests.
//! - [`struct@Hash`] and [`MediaType`] are validated names: no text of a client is ever part of a path.
//!
//! All operations wait for the disk. Callers on threads that must not block call from another thread.

mod error;
mod files;
mod hash;
mod media_type;
mod reader;
mod scrub;
mod store;
mod tree;
mod upload;

pub use error::EvidenceError;
pub use hash::{Hash, NoHash};
pub use media_type::MediaType;
pub use reader::Reader;
pub use scrub::ScrubReport;
pub use store::{Begun, Found, Limits, PARTIAL_LIFE, Part, Store, Stored};
pub use upload::{Ended, Upload};
