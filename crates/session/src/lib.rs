//! One session as a state machine: what may happen to it, in which order, and what each reader is owed.
//!
//! No IO, no clock, no randomness: time, ids and seeds are arguments, and what should be done comes back as a value.
//!
//! - [`Session`]: takes events and commands, gives each its seq, collects them into frames for the log, and says what is to
//!   be answered when the log has told the outcome.
//! - [`DedupeWindow`]: which ids the session has seen.
//! - [`Lifecycle`]: the states and the steps between them.
//! - [`resolve`]: where a reader's position lies in this log.
//! - [`owed`]: which events of a frame a reader gets, and which have outlived their time.
//!
//! Left to others: writing to the log and to sockets, permissions, rates (`server`).

mod dedupe;
mod delivery;
mod lifecycle;
mod participants;
mod position;
mod session;
mod summary;

pub use dedupe::{DedupeWindow, EventKey, MAX_CAPACITY, Seen};
pub use delivery::{Owed, owed};
pub use lifecycle::{Lifecycle, Step};
pub use participants::{ConnectionKey, Member, Participants};
pub use position::{Resolution, resolve};
pub use session::{Advanced, Answer, Batch, Context, Observed, Publish, Published, Session, Settled, Waiter};
pub use summary::Summary;
