//! A TCP proxy that injects faults into connections: late, slow, cut, silent, damaged; and, because it parses WebSocket
//! frames, exactly at the message that a test names.
//!
//! - [`Proxy`]: one listener in front of one upstream. Each connection through it is a *link*.
//! - [`Fault`]: an [`Effect`], its [`Direction`], and [`When`] it strikes.
//! - [`Plan`], [`ProxySet`] and [`control`]: the same from a file and over HTTP, for programs in other languages.
//! - [`Strike`]: the record of an actual strike: the link, the effect and the cause.
//!
//! ```text
//!              ┌ reader ─► splitter ─► faults ─► pipe ─► writer ┐   up: client → server
//!   client ────┤                                                ├──── server
//!              └ writer ◄─ pipe ◄─ faults ◄─ splitter ◄─ reader ┘   down: server → client
//! ```
//!
//! Chance is a hash of the seed, the fault, the link's number and the message's number (`decide.rs`): the same traffic
//! gets the same faults, whatever the load of the machine.
//!
//! Out of scope: what the faults should reveal (`suite/scenarios`), and TLS; a proxy in front of TLS sees bytes only.
//!
//! ```
//! use agentbench_fault_proxy::{Direction, Effect, Fault, Proxy, When};
//!
//! # async fn example(server: std::net::SocketAddr) -> Result<(), Box<dyn std::error::Error>> {
//! let proxy = Proxy::start("127.0.0.1:0".parse()?, server, 7).await?;
//! // The server receives the event, and the connection is reset before its ack can pass.
//! proxy.add(Fault {
//!     name: Some("ack lost".to_owned()),
//!     direction: Direction::Up,
//!     when: When { contains: Some("\"evt-17\"".to_owned()), ..When::default() },
//!     effect: Effect::Reset { forward: true },
//! })?;
//! // … connect clients to proxy.address() …
//! proxy.heal();
//! for strike in proxy.strikes() {
//!     println!("{} struck link {}", strike.kind, strike.link);
//! }
//! # Ok(())
//! # }
//! ```

mod content;
pub mod control;
mod decide;
mod fault;
mod link;
mod opening;
mod pipe;
mod plan;
mod proxy;
mod record;
mod set;
mod split;
mod table;

pub use fault::{CorruptPart, Direction, Effect, Ending, Fault, InvalidFault, When};
pub use plan::{Plan, PlanError, ProxyPlan};
pub use proxy::Proxy;
pub use record::{FaultId, FaultStatus, LinkInfo, LinkState, Strike};
pub use set::{ProxySet, StartError};

/// Largest message in bytes that is inspected and struck as a whole. Larger ones pass in pieces, without inspection.
pub const MAX_MESSAGE: usize = 16 * 1024 * 1024;
