//! What a proxy tells about itself.

use std::fmt;
use std::net::SocketAddr;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use crate::{Direction, Fault};

/// A fault's number in its proxy: 1, 2, 3 … in the order they were added. The draws hang on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(pub u64);

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A fault, and what it has done so far.
#[derive(Debug, Clone, PartialEq)]
pub struct FaultStatus {
    /// Its number.
    pub id: FaultId,
    /// The fault as it was added.
    pub fault: Fault,
    /// How often it has struck, over all links.
    pub strikes: u64,
}

/// One thing that was done to one link.
#[derive(Debug, Clone, PartialEq)]
pub struct Strike {
    /// When.
    pub at: Instant,
    /// Which link: 0, 1, 2 … in the order their upstream connections stood.
    pub link: u64,
    /// Which way the struck message went; `Both` for lasting effects that work both ways, and for what concerns the link.
    pub direction: Direction,
    /// [`Effect::kind`](crate::Effect::kind).
    pub kind: &'static str,
    /// The fault; `None` for [`Proxy::strike_now`](crate::Proxy::strike_now).
    pub fault: Option<FaultId>,
    /// The fault's name, if it has one.
    pub name: Option<String>,
    /// The text that the message held, if the fault asked for one.
    pub contains: Option<String>,
    /// The message's number in its direction, from 0; `None` if it was no message.
    pub message: Option<u64>,
}

/// What a link is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// The HTTP heads have not both passed.
    Opening,
    /// Messages are read.
    #[serde(rename = "websocket")]
    WebSocket,
    /// No WebSocket: bytes pass.
    Bytes,
    /// What comes vanishes.
    BlackHole,
}

/// A live link.
#[derive(Debug, Clone, PartialEq)]
pub struct LinkInfo {
    /// 0, 1, 2 … in the order their upstream connections stood.
    pub id: u64,
    /// When its upstream connection stood.
    pub since: Instant,
    /// Who connected.
    pub client: SocketAddr,
    /// Whom it was connected to.
    pub upstream: SocketAddr,
    /// Bytes read from the client.
    pub bytes_up: u64,
    /// Bytes read from the server.
    pub bytes_down: u64,
    /// Messages read from the client.
    pub messages_up: u64,
    /// Messages read from the server.
    pub messages_down: u64,
    /// What it is doing.
    pub state: LinkState,
}
