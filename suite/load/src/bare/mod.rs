//! Connections on the codec alone. Each is a task; all of them share one thread, one scratch buffer and one clock.

mod connection;
mod fan_out;
mod idle;
mod paced;
mod publish;
mod storm;

pub use connection::{Connection, Inbound};
pub use fan_out::{FanOut, FanOutResult, fan_out};
pub use idle::{IdleResult, idle, open_sessions};
pub use paced::{Paced, PacedResult, paced};
pub use publish::{Publish, PublishResult, publish};
pub use storm::{Moment, Storm, StormResult, storm};
