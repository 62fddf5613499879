//! Publishers and followers: each client publishes to its own session, which is followed from a second connection, and
//! possibly from further ones that join later.

use std::sync::Arc;
use std::time::Duration;

use agentbench_client::{Error, SessionId};
use agentbench_history::ClientHistory;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::cuts::CutRecord;
use crate::definition::Scenario;
use crate::meters::Meters;
use crate::pair::{Pair, PairOutcome};
use crate::routes::Routes;
use crate::sdk::Sdk;

/// The result of a fleet's run.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The history of each client.
    pub histories: Vec<ClientHistory>,
    /// Why clients could not start.
    pub failures: Vec<String>,
    /// The cuts that were made.
    pub cuts: Vec<CutRecord>,
    /// The sessions.
    pub sessions: Vec<SessionId>,
}

/// What the clients of a fleet share.
#[derive(Debug, Clone)]
pub struct Fleet {
    /// The scenario.
    pub scenario: Arc<Scenario>,
    /// The SDK of its clients.
    pub sdk: Sdk,
    /// Determines the contents and each client's first moment.
    pub seed: u64,
    /// How each connection reaches the server.
    pub routes: Arc<Routes>,
    /// The counters.
    pub meters: Arc<Meters>,
    /// Set when the server is down for good.
    pub gone: watch::Receiver<bool>,
}

/// Number of connections opened concurrently.
const CONNECT_AT_ONCE: usize = 16;
/// From the last connection to the first event, so that every client has joined.
const START_DELAY: Duration = Duration::from_millis(50);

impl Fleet {
    /// Runs the fleet. It ends within the scenario's limit, whatever the server does, and earlier if the server is down for
    /// good. `began` receives the time of the first event since the start of the run.
    pub async fn run(&self, began: &watch::Sender<Option<Duration>>) -> Outcome {
        let end = Instant::from_std(self.meters.begin()) + self.scenario.limit();
        let mut outcome = Outcome::default();
        let pairs = self.connect(end, &mut outcome).await;
        outcome.sessions = pairs.iter().map(Pair::session).collect();
        let first = self.meters.now() + START_DELAY;
        began.send_replace(Some(first));
        let mut runs = JoinSet::new();
        for pair in pairs {
            runs.spawn(pair.run(first, end));
        }
        while let Some(run) = runs.join_next().await {
            match run {
                Ok(PairOutcome { histories, cuts }) => {
                    outcome.histories.extend(histories);
                    outcome.cuts.extend(cuts);
                }
                Err(error) => outcome.failures.push(format!("a client of the suite failed: {error}")),
            }
        }
        outcome.histories.sort_by(|a, b| a.client.cmp(&b.client));
        outcome.cuts.sort_by_key(|cut| cut.at);
        outcome
    }

    /// The end of the run is reserved for followers to catch up and for final reads.
    pub(crate) fn reserve(&self) -> Duration {
        (self.scenario.limit() / 5).min(Duration::from_secs(10))
    }

    async fn connect(&self, end: Instant, outcome: &mut Outcome) -> Vec<Pair> {
        let limit = self.scenario.limit();
        let at_once = Arc::new(Semaphore::new(CONNECT_AT_ONCE));
        let mut opening = JoinSet::new();
        for index in 0..self.scenario.clients {
            let (fleet, at_once) = (self.clone(), Arc::clone(&at_once));
            opening.spawn(async move {
                let _turn = at_once.acquire_owned().await;
                let opened = Pair::open(&fleet, index);
                let opened = tokio::time::timeout_at(end - limit / 2, opened).await;
                opened.unwrap_or(Err(Error::TimedOut(limit / 2)))
            });
        }
        let mut pairs = Vec::new();
        while let Some(opened) = opening.join_next().await {
            match opened {
                Ok(Ok(pair)) => pairs.push(pair),
                Ok(Err(error)) => outcome.failures.push(error.to_string()),
                Err(error) => outcome.failures.push(format!("a client of the suite failed: {error}")),
            }
        }
        pairs
    }
}

/// Waits until the server is down for good; forever if the sender has been dropped.
pub(crate) async fn is_gone(gone: &mut watch::Receiver<bool>) {
    if gone.wait_for(|gone| *gone).await.is_err() {
        std::future::pending::<()>().await;
    }
}
