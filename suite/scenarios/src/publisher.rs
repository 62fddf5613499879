//! A publisher: sends its events when they are due, whatever the server does, and records the outcome of
//! each.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agentbench_client::{Error, Outcome, SessionId};
use agentbench_history::{ClientHistory, Operation};
use agentbench_load::arrival::Arrivals;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::definition::Scenario;
use crate::fleet::is_gone;
use crate::meters::{Counter, Meters};
use crate::payload;
use crate::recorder::Recorder;
use crate::sdk::{Client, Ticket};

/// The actual send times of one publisher's events, from which its follower measures.
#[derive(Debug)]
pub(crate) struct SentTimes {
    client: u32,
    prefix: String,
    micros: Vec<AtomicU64>,
}

/// A client's name in histories.
pub(crate) fn client_name(role: &str, client: u32) -> String {
    format!("{role}-{client:05}")
}

/// A message's id. All have the same length, so that none is a substring of another.
pub(crate) fn message_id(client: u32, message: u32) -> String {
    format!("{}.{message:07}", client_name("publisher", client))
}

impl SentTimes {
    pub(crate) fn new(client: u32, count: u32) -> Self {
        let micros = (0..count).map(|_| AtomicU64::new(0)).collect();
        Self { client, prefix: format!("{}.", client_name("publisher", client)), micros }
    }

    fn id(&self, index: u32) -> String {
        message_id(self.client, index)
    }

    fn set(&self, index: u32, sent: Duration) {
        if let Some(slot) = self.micros.get(index as usize) {
            slot.store(sent.as_micros() as u64, Ordering::Relaxed);
        }
    }

    /// The event's number and send time, if it is one of this publisher's.
    pub(crate) fn of(&self, id: &str) -> Option<(u32, Duration)> {
        let index: u32 = id.strip_prefix(&self.prefix)?.parse().ok()?;
        let micros = self.micros.get(index as usize)?.load(Ordering::Relaxed);
        Some((index, Duration::from_micros(micros)))
    }
}

/// A publisher of one session.
pub(crate) struct Publisher {
    pub(crate) client: Client,
    pub(crate) session: SessionId,
    pub(crate) recorder: Recorder,
    /// Since the start of the run.
    pub(crate) arrivals: Arrivals,
    pub(crate) sent: Arc<SentTimes>,
    pub(crate) scenario: Arc<Scenario>,
    pub(crate) seed: u64,
    pub(crate) meters: Arc<Meters>,
    /// Set when the server is down for good.
    pub(crate) gone: watch::Receiver<bool>,
}

/// Outstanding publishes, oldest first: the acks of one session arrive in this order.
type Outstanding = VecDeque<(u32, Ticket)>;

impl Publisher {
    /// Publishes everything, and waits for every outcome until the deadline. Outcomes missing by then are
    /// unknown.
    pub(crate) async fn run(mut self, deadline: Instant) -> ClientHistory {
        let mut waiting = Outstanding::new();
        // A failure to publish ends the publishing: the client has ended, and the outcomes give the reason.
        let _ = self.publish(deadline, &mut waiting).await;
        if !waiting.is_empty() {
            self.client.close().await;
        }
        while let Some((index, ticket)) = waiting.pop_front() {
            let outcome = ticket.await;
            self.settle(index, &outcome);
        }
        self.recorder.finish()
    }

    async fn publish(&mut self, deadline: Instant, waiting: &mut Outstanding) -> Result<(), Error> {
        let begin = Instant::from_std(self.meters.begin());
        let mut gone = self.gone.clone();
        let mut next = 0;
        while next < self.arrivals.count() || !waiting.is_empty() {
            let due = begin + self.arrivals.due(next);
            tokio::select! {
                biased;
                () = tokio::time::sleep_until(deadline) => return Ok(()),
                () = is_gone(&mut gone) => return Ok(()),
                (index, outcome) = oldest(waiting) => {
                    waiting.pop_front();
                    self.settle(index, &outcome);
                }
                () = tokio::time::sleep_until(due), if next < self.arrivals.count() => {
                    let ticket = self.send(next, due).await?;
                    waiting.push_back((next, ticket));
                    next += 1;
                }
            }
        }
        Ok(())
    }

    async fn send(&mut self, index: u32, due: Instant) -> Result<Ticket, Error> {
        let data = payload::data(self.seed, index, self.scenario.payload(index));
        let (id, digest) = (self.sent.id(index), crc32c::crc32c(data.as_bytes()));
        self.meters.histograms().lag.record(due.elapsed());
        self.sent.set(index, self.meters.now());
        self.meters.add(Counter::Sent, 1);
        self.recorder.note(Operation::Invoke { message: id.as_str().into(), digest });
        let ticket = self.client.publish(self.session, &id, data).await;
        if let Err(error) = &ticket {
            self.meters.add(Counter::NeverSent, 1);
            self.recorder.note(Operation::Fail { message: id.into(), why: error.to_string().into() });
        }
        ticket
    }

    fn settle(&mut self, index: u32, outcome: &Outcome) {
        let id = self.sent.id(index);
        self.recorder.outcome(&id, outcome);
        match outcome {
            Outcome::Stored { duplicate, .. } => {
                self.meters.add(Counter::Duplicates, u64::from(*duplicate));
                let sent = self.sent.of(&id).map_or(Duration::ZERO, |(_, sent)| sent);
                self.meters.acked(self.arrivals.due(index), sent);
            }
            Outcome::Unknown { sent: true, .. } => self.meters.add(Counter::Unknown, 1),
            Outcome::Unknown { sent: false, .. } => self.meters.add(Counter::NeverSent, 1),
            Outcome::Refused(_) => self.meters.add(Counter::Refused, 1),
        }
    }
}

/// The outcome of the oldest publish; pending forever if there is none.
async fn oldest(waiting: &mut Outstanding) -> (u32, Outcome) {
    match waiting.front_mut() {
        Some((index, ticket)) => (*index, ticket.await),
        None => std::future::pending().await,
    }
}
