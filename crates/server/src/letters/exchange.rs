//! Exchanges: reply channels of HTTP requests and streams. Owners address them by key, like connections.
//!
//! A key with the exchange bit refers to an exchange instead of an entry in a worker's table. Each exchange has a bounded
//! channel; a publisher opens one with capacity for all its replies, and a slow stream loses at most presence messages.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agentbench_protocol::{Epoch, Refusal, Seq, SessionId};
use agentbench_session::ConnectionKey;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::SingleAck;
use crate::names;

/// An owner's reply to an exchange.
#[derive(Debug)]
pub(crate) enum ExchangeReply {
    /// An event was committed.
    Ack { ack: SingleAck, epoch: Epoch },
    /// A request or an event was refused.
    Refused(Refusal),
    /// A message, as JSON.
    Message(Bytes),
    /// The reply to `create_session`; `again` if the session existed already.
    Created { json: Bytes, again: bool },
    /// The reply to a stream's join, and the seq after which the stream begins.
    Joined { session: SessionId, json: Bytes, gap: Option<Bytes>, after: Seq },
}

/// All open exchanges.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    waiting: Mutex<HashMap<ConnectionKey, mpsc::Sender<ExchangeReply>>>,
    serial: AtomicU64,
}

impl Exchanges {
    /// Sends a reply to an exchange. Returns whether the exchange is open.
    pub(crate) fn answer(&self, key: ConnectionKey, reply: ExchangeReply) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = waiting.get(&key) else { return false };
        !matches!(sender.try_send(reply), Err(mpsc::error::TrySendError::Closed(_)))
    }
}

/// One exchange; dropping it closes it.
pub(crate) struct Exchange {
    exchanges: Arc<Exchanges>,
    pub(crate) key: ConnectionKey,
    answers: mpsc::Receiver<ExchangeReply>,
}

impl Exchange {
    /// Opens an exchange on a worker, with capacity for `room` replies.
    pub(crate) fn open(exchanges: &Arc<Exchanges>, worker: usize, room: usize) -> Self {
        let serial = exchanges.serial.fetch_add(1, Ordering::Relaxed);
        let key = names::exchange_key(worker, serial);
        let (sender, answers) = mpsc::channel(room.max(1));
        exchanges.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sender);
        Self { exchanges: Arc::clone(exchanges), key, answers }
    }

    /// The next reply. Never `None` while the exchange is open.
    pub(crate) async fn next(&mut self) -> Option<ExchangeReply> {
        self.answers.recv().await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.exchanges.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
