//! Evidence of sessions: screenshots, videos and other files, stored once by the BLAKE3 hash of their bytes.
//!
//! - [`Store`] is a folder: `SESSION/HASH.EXTENSION` for what is whole, `SESSION/HASH.part` for what is on its way. A file
//!   gets its final name only when its bytes have the hash that names it and are on the disk, so there is never half a file.
//! - [`Upload`] is one file being written. One that breaks off stays as it is, to be gone on with for [`PARTIAL_LIFE`].
//! - [`Reader`] gives only bytes that the file's name holds for: the inner hashes of larger files are in
//!   `SESSION/HASH.tree`, so that a part can be checked alone. [`Store::scrub`] reads what nobody asks for.
//! - [`Hash`] and [`MediaType`] are names that were checked: no text of a client is ever part of a path.
//!
//! Everything here waits for the disk. Callers on threads that must not wait call from another thread.

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
pub use scrub::Scrubbed;
pub use store::{Begun, Found, Limits, PARTIAL_LIFE, Part, Store, Stored};
pub use upload::{Ended, Upload};
