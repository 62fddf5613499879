//! One request's place to be answered: owners answer connections, and an exchange has a connection's key without being one.
//!
//! A key with the exchange bit leads here instead of to a worker's table. Each exchange has a bounded channel; who publishes
//! opens one with room for all its answers, and a stream loses at most presence that it is too slow to take.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use agentbench_protocol::{Epoch, Refusal, Seq, SessionId};
use agentbench_session::ConnectionKey;
use bytes::Bytes;
use tokio::sync::mpsc;

use super::SingleAck;
use crate::names;

/// What an owner says to an exchange.
#[derive(Debug)]
pub(crate) enum Answered {
    /// An event is in the log.
    Ack { ack: SingleAck, epoch: Epoch },
    /// A request or an event is refused.
    Refused(Refusal),
    /// A message, as JSON.
    Message(Bytes),
    /// `create_session` is answered with this message; `again` if there was such a session already.
    Created { json: Bytes, again: bool },
    /// A stream's join is answered: the reply, and the seq after which it begins.
    Joined { session: SessionId, json: Bytes, gap: Option<Bytes>, after: Seq },
}

/// All exchanges that wait for something.
#[derive(Debug, Default)]
pub(crate) struct Exchanges {
    waiting: Mutex<HashMap<ConnectionKey, mpsc::Sender<Answered>>>,
    serial: AtomicU64,
}

impl Exchanges {
    /// Hands an answer over. Tells whether somebody is there to take it.
    pub(crate) fn answer(&self, key: ConnectionKey, answered: Answered) -> bool {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = waiting.get(&key) else { return false };
        !matches!(sender.try_send(answered), Err(mpsc::error::TrySendError::Closed(_)))
    }
}

/// One of them; it ends with its value.
pub(crate) struct Exchange {
    exchanges: Arc<Exchanges>,
    pub(crate) key: ConnectionKey,
    answers: mpsc::Receiver<Answered>,
}

impl Exchange {
    /// Opens one on a worker, with room for so many answers at once.
    pub(crate) fn open(exchanges: &Arc<Exchanges>, worker: usize, room: usize) -> Self {
        let serial = exchanges.serial.fetch_add(1, Ordering::Relaxed);
        let key = names::exchange_key(worker, serial);
        let (sender, answers) = mpsc::channel(room.max(1));
        exchanges.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(key, sender);
        Self { exchanges: Arc::clone(exchanges), key, answers }
    }

    /// The next answer; `None` never comes while the exchange is open.
    pub(crate) async fn next(&mut self) -> Option<Answered> {
        self.answers.recv().await
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.exchanges.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.key);
    }
}
