//! Connections on the codec alone, for what the loops of [`target`](crate::target) do not do: many that wait, many that come at once,
//! events that carry their own moments, and followers that do the least for a delivery. Each is a task; all of them share one thread
//! and one clock.

mod connection;
mod fan_out;
mod idle;
mod paced;
mod storm;

pub use connection::{Connection, Inbound};
pub use fan_out::{FanOut, FanOutResult, fan_out};
pub use idle::{IdleResult, idle, open_sessions};
pub use paced::{Paced, PacedResult, paced};
pub use storm::{Moment, Storm, StormResult, storm};
