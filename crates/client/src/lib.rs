//! Rust SDK of AgentBench realtime: publish the events of agents under test, follow sessions live, and come back
//! after any interruption without losing, repeating or reordering anything.
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
//!     Outcome::Unknown { why, .. } => println!("perhaps stored: {why}"),
//! }
//! client.stop_test(session, TestOutcome::Completed, None).await?; // the last entry: the follow ends behind it
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
//! # What it promises
//! - Events of one session reach the log in the order in which they were published, each once, over any number of
//!   reconnects, as far as their [`Outcome`] is `Stored`. (If a server refuses an event for now and takes the one behind
//!   it all the same, the refused one comes later; [`Config::in_flight`] of 1 rules that out.)
//! - A [`Follow`] gets every entry of the log once and in order, or a [`Gap`] that says why not. If the server breaks
//!   that, it is told ([`Item::Violation`]) and never hidden.
//! - Memory is bounded: the outbox by messages and bytes, a follow by its buffer. A follow that nobody reads stops the
//!   whole connection, so that acks and other sessions wait for it, too. So read it in a task of its own, never in one that
//!   waits for acks, and give a slow reader a client of its own.
//! - What cannot be known is said: an [`Outcome::Unknown`] event may be in the log.
//!
//! # Map
//! - [`Client`], [`Publisher`], [`Follow`], [`Replay`], [`Ticket`]: the API, over one Tokio task for each client.
//! - [`Config`]: every setting with its default. [`Event`], [`Data`]: what is published.
//!   [`Item`] and its parts: what is followed. [`Outcome`], [`Error`], [`Ended`]: how things end.
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
    SessionId, SessionInfo, StartAt, Status, SystemMessage,
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
