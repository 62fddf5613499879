//! The SDK of a fleet's clients: the Rust SDK in this process, or the TypeScript SDK in one Node process for all of them, behind
//! one interface.
//!
//! - `manner`: the clients' behaviour. `step`: the items of a follow, as far as a history needs them.
//! - `driver`: the Node process, and lines of JSON to and from it (docs/testing.md). `typescript`: a client in it.

mod driver;
mod manner;
mod step;
mod typescript;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use agentbench_client::{
    Client as RustClient, ConnectionEvent, Data, Error, Event, Follow as RustFollow, NewSession, Outcome,
    Position, SessionId, StartAt, State, Ticket as RustTicket,
};
use tokio::sync::broadcast;

use crate::target::Endpoint;
pub use driver::Driver;
pub(crate) use manner::Manner;
pub(crate) use step::Step;
use typescript::{TsClient, TsFollow, TsTicket};

/// Which SDK the clients of a fleet use.
#[derive(Debug, Clone, Default)]
pub enum Sdk {
    /// The Rust SDK.
    #[default]
    Rust,
    /// The TypeScript SDK.
    TypeScript(Arc<Driver>),
}

/// Counters of one client.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) attempts: u64,
    pub(crate) reconnects: u64,
    pub(crate) retried: u64,
    pub(crate) repeats: u64,
    pub(crate) bytes_in: u64,
    pub(crate) bytes_out: u64,
}

impl Sdk {
    pub(crate) async fn connect(&self, endpoint: &Endpoint, manner: &Manner) -> Result<Client, Error> {
        Ok(match self {
            Self::Rust => Client::Rust(RustClient::connect(manner.config(endpoint)).await?),
            Self::TypeScript(driver) => {
                Client::TypeScript(TsClient::connect(driver, manner.options(endpoint)?).await?)
            }
        })
    }
}

/// One client.
#[derive(Clone)]
pub(crate) enum Client {
    Rust(RustClient),
    TypeScript(TsClient),
}

impl Client {
    pub(crate) async fn create_session(&self, new: NewSession) -> Result<SessionId, Error> {
        match self {
            Self::Rust(client) => Ok(client.create_session(new).await?.session_id),
            Self::TypeScript(client) => client.create_session(&new).await,
        }
    }

    /// Follows a session from its first entry.
    pub(crate) async fn follow(&self, session: SessionId) -> Result<Follow, Error> {
        match self {
            Self::Rust(client) => client.follow_and_stay(session, StartAt::Start).await.map(Follow::Rust),
            Self::TypeScript(client) => client.follow(session).await.map(Follow::TypeScript),
        }
    }

    /// Adds an event to the outbox. `data` is JSON as an SDK would write it.
    pub(crate) async fn publish(&self, session: SessionId, id: &str, data: String) -> Result<Ticket, Error> {
        match self {
            Self::Rust(client) => {
                client.publish(session, Event::new(Data::raw(data)?).id(id)).await.map(Ticket::Rust)
            }
            Self::TypeScript(client) => Ok(Ticket::TypeScript(client.publish(session, id, &data))),
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        match self {
            Self::Rust(client) => client.state() == State::Connected,
            Self::TypeScript(client) => client.is_connected(),
        }
    }

    /// Events of its connection from now on.
    pub(crate) fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        match self {
            Self::Rust(client) => client.events(),
            Self::TypeScript(client) => client.events(),
        }
    }

    pub(crate) async fn counts(&self) -> Counts {
        match self {
            Self::Rust(client) => {
                let stats = client.stats();
                Counts {
                    attempts: stats.attempts,
                    reconnects: stats.reconnects,
                    retried: stats.retried,
                    repeats: stats.repeats,
                    bytes_in: stats.bytes_in,
                    bytes_out: stats.bytes_out,
                }
            }
            Self::TypeScript(client) => client.counts().await,
        }
    }

    pub(crate) async fn close(&self) {
        match self {
            Self::Rust(client) => client.close().await,
            Self::TypeScript(client) => client.close().await,
        }
    }
}

/// A follow of a session.
pub(crate) enum Follow {
    Rust(RustFollow),
    TypeScript(TsFollow),
}

impl Follow {
    /// The position where it started to read.
    pub(crate) fn began(&self) -> Option<Position> {
        match self {
            Self::Rust(follow) => {
                let joined = follow.joined()?;
                Some(Position { epoch: joined.epoch, seq: joined.from.seq, last_id: None })
            }
            Self::TypeScript(follow) => Some(follow.began.clone()),
        }
    }

    /// The next step; `None` at the end. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Step> {
        match self {
            Self::Rust(follow) => Some(Step::of(&follow.next().await?)),
            Self::TypeScript(follow) => follow.next().await,
        }
    }
}

/// The pending outcome of an event.
pub(crate) enum Ticket {
    Rust(RustTicket),
    TypeScript(TsTicket),
}

impl Future for Ticket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        match &mut *self {
            Self::Rust(ticket) => Pin::new(ticket).poll(context),
            Self::TypeScript(ticket) => Pin::new(ticket).poll(context),
        }
    }
}
