//! Rust SDK of AgentBench realtime: publish the events of agents under test, follow sessions live, and recover from
//! any interruption without losing, repeating or reordering anything.
//!
//! ```no_run
//! use agentbench_client::{Client, Config, Data, Event, Item, NewSession, Outcome, StartAt, TestOutcome};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::connect(Config::new("ws://127.0.0.1:3001").token("…")).await?;
//! let session = client.create_session(NewSession::new("project", "login-test", "my-agent")).await?.session_id;
//! client.start_test(session).await?;
//!
//! let mut follow = client.follow(session, StartAt::Start).await?;
//! let data = Data::json(&serde_json::json!({"eventType": "progress", "percent": 50}))?;
//! let ticket = client.publish(session, Event::new(data)).await?; // in the outbox
//! match ticket.await {
//!     Outcome::Stored { seq, .. } => println!("event {seq} is safe"),
//!     Outcome::Refused(why) => println!("not stored: {}", why.error),
//!     Outcome::Unknown { why, .. } => println!("possibly stored: {why}"),
//! }
//! client.stop_test(session, TestOutcome::Completed, None).await?; // the last entry: the follow ends after it
//! while let Some(item) = follow.next().await {
//!     if let Item::Event(event) = item {
//!         println!("{} {}", event.seq, event.data());
//!     }
//! }
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//! - Events of one session reach the log in the order in which they were published, each once, over any number of
//!   reconnects, as far as their [`Outcome`] is `Stored`. (If a server refuses an event temporarily and still accepts the
//!   next one, the refused one comes later; a [`Config::in_flight`] of 1 rules that out.)
//! - A [`Follow`] yields every entry of the log once and in order, or a [`Gap`] with the cause. If the server violates
//!   that, it is reported ([`Item::Violation`]) and never hidden.
//! - Memory is bounded: the outbox by messages and bytes, a follow by its buffer. A follow that is not read stops the
//!   whole connection, so that acks and other sessions wait, too. So read it in a task of its own, never in one that
//!   waits for acks, and use a separate client for a slow reader.
//! - Uncertainty is reported: an [`Outcome::Unknown`] event may be in the log.
//!
//! # Map
//! - [`Client`], [`Publisher`], [`Follow`], [`Replay`], [`Ticket`]: the API, over one Tokio task for each client.
//! - [`Config`]: every setting with its default. [`Event`], [`Data`]: what to publish.
//!   [`Item`] and its parts: what a follow yields. [`Outcome`], [`Error`], [`Ended`]: how operations end.
//! - [`machine`]: all decisions, without IO; for other drivers and for simulations.

mod address;
mod client;
mod config;
mod driver;
mod event;
mod follow;
mod item;
pub mod machine;
mod outcome;
mod queue;
mod replay;
mod shared;
mod stats;
mod ticket;

pub use agentbench_protocol::message::{ErrorData, Joined, Presence, Sender, Transition};
pub use agentbench_protocol::{
    AckLevel, Epoch, ErrorCode, GapCause, NotRecovered, Outcome as TestOutcome, Position, Priority, Seq,
    SessionId, SessionInfo, StartAt, Status, SystemMessage, Warning,
};
pub use client::{Client, Created, HistoryPage, NewSession, Publisher, SessionPage, State};
pub use config::{Backoff, Config, Format, OutboxPolicy, Settings, TokenFuture};
pub use event::{Data, Event};
pub use follow::Follow;
pub use item::{Delivered, Disconnected, Gap, Item, Lifecycle, Resumed, Violation};
pub use machine::{ConnectionEvent, Usage};
pub use outcome::{Ended, Error, GaveUp, Outcome};
pub use replay::Replay;
pub use stats::Stats;
pub use ticket::Ticket;
pub use tokio::sync::broadcast;
