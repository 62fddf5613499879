//! Records and status of a proxy.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Direction, Fault};

/// A fault's number in its proxy: 1, 2, 3 … in the order they were added. The draws depend on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fault, and its strikes so far.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultStatus {
    /// Its number.
    pub id: FaultId,
    /// The fault as it was added.
    pub fault: Fault,
    /// Number of strikes, over all links.
    pub strikes: u64,
}

/// One strike on one link.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    /// When.
    pub at: Instant,
    /// The link: 0, 1, 2 … in the order of their upstream connections.
    pub link: u64,
    /// Direction of the struck message; `Both` for lasting effects in both directions, and for effects on the whole link.
    pub direction: Direction,
    /// [`Effect::kind`](crate::Effect::kind).
    pub kind: &'static str,
    /// The fault; `None` for [`Proxy::strike_now`](crate::Proxy::strike_now).
    pub fault: Option<FaultId>,
    /// The fault's name, if it has one.
    pub name: Option<String>,
    /// The text that the message contained, if the fault required one.
    pub contains: Option<String>,
    /// The message's number in its direction, from 0; `None` if it was not a message.
    pub message: Option<u64>,
}

/// The state of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The HTTP heads have not both passed.
    Opening,
    /// Messages are read.
    #[serde(rename = "websocket")]
    WebSocket,
    /// Not a WebSocket: bytes pass.
    Bytes,
    /// Everything is discarded.
    BlackHole,
}

/// A live link.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkInfo {
    /// 0, 1, 2 … in the order of the upstream connections.
    pub id: u64,
    /// When its upstream connection was established.
    pub since: Instant,
    /// Address of the client.
    pub client: SocketAddr,
    /// Address of the upstream.
    pub upstream: SocketAddr,
    /// Bytes read from the client.
    pub bytes_up: u64,
    /// Bytes read from the server.
    pub bytes_down: u64,
    /// Messages read from the client.
    pub messages_up: u64,
    /// Messages read from the server.
    pub messages_down: u64,
    /// Its state.
    pub state: LinkState,
}
