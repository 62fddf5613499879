//! Cuts a connection repeatedly, and records how long it takes to recover.

use std::sync::Arc;
use std::time::Duration;

use agentbench_client::ConnectionEvent;
use agentbench_fault_proxy::{Effect, Proxy};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Instant, sleep, sleep_until};

use crate::definition::{Cut, Cuts};
use crate::faults::Side;
use crate::meters::Meters;
use crate::sdk::Client;

/// A cut of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CutRecord {
    /// The client.
    pub client: u32,
    /// Which of the client's connections.
    pub side: Side,
    /// How it was cut.
    pub way: Cut,
    /// When, since the start of the run.
    pub at: Duration,
    /// When the client was connected again; `None` if it never was.
    pub back: Option<Duration>,
    /// Connection attempts until then.
    pub attempts: u64,
}

/// The connection to cut.
pub(crate) struct Victim<'a> {
    pub(crate) index: u32,
    pub(crate) side: Side,
    pub(crate) client: &'a Client,
    pub(crate) proxy: Arc<Proxy>,
}

/// Time between two attempts to cut a connection that is down.
const RETRY: Duration = Duration::from_millis(5);
/// WebSocket close code "service restart" (RFC 6455, IANA registry).
const SERVICE_RESTART: u16 = 1012;

impl Cut {
    fn effect(self) -> Effect {
        match self {
            Self::Reset => Effect::Reset { forward: false },
            Self::Close => Effect::Close { code: SERVICE_RESTART, reason: "cut by the suite".to_owned() },
            Self::BlackHole => Effect::BlackHole { for_ms: None },
        }
    }
}

impl Victim<'_> {
    /// Cuts the connection the given number of times, each time an interval after it has recovered.
    pub(crate) async fn cut_again_and_again(
        &self,
        cuts: &Cuts,
        meters: &Meters,
        deadline: Instant,
    ) -> Vec<CutRecord> {
        let mut records = Vec::new();
        for round in 0..cuts.attempts {
            sleep(Duration::from_millis(cuts.interval_ms)).await;
            if Instant::now() >= deadline {
                break;
            }
            // Every connection goes through all ways, and at any time all ways are in use.
            let turn = self.index * 2 + u32::from(self.side == Side::Follower) + round;
            let way = cuts.ways[turn as usize % cuts.ways.len()];
            match self.cut(way, meters, deadline).await {
                Some(record) => records.push(record),
                None => break,
            }
        }
        records
    }

    /// Returns `None` if there was nothing to cut before the deadline.
    async fn cut(&self, way: Cut, meters: &Meters, deadline: Instant) -> Option<CutRecord> {
        let mut events = self.client.events();
        let before = self.client.counts().await.attempts;
        while self.proxy.strike_now(way.effect()) == 0 {
            if Instant::now() >= deadline {
                return None;
            }
            sleep(RETRY).await;
        }
        let at = meters.now();
        let mut record = CutRecord { client: self.index, side: self.side, way, at, back: None, attempts: 0 };
        loop {
            let event = tokio::select! {
                event = events.recv() => event,
                () = sleep_until(deadline) => return Some(record),
            };
            match event {
                Ok(ConnectionEvent::Connected { .. }) => {
                    record.back = Some(meters.now());
                    record.attempts = self.client.counts().await.attempts.saturating_sub(before);
                    return Some(record);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Some(record),
            }
        }
    }
}
