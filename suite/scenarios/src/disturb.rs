//! Kills, pauses and restarts the server during a scenario, at randomly drawn moments.

use std::sync::Arc;
use std::time::Duration;

use agentbench_report::schema::TimelineEvent;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::faults::Disturbance;
use crate::meters::Meters;
use crate::routes::Routes;
use crate::supervisor::Supervised;

/// A disturbance of the server that took place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DisturbanceRecord {
    pub(crate) what: Disturbance,
    /// When it started, since the start of the run.
    pub(crate) at: Duration,
    /// When the server was up again.
    pub(crate) back: Duration,
}

impl DisturbanceRecord {
    pub(crate) fn events(&self) -> [TimelineEvent; 2] {
        let event = |at: Duration, kind: &str, detail: String| TimelineEvent {
            at_ms: at.as_millis() as u64,
            kind: kind.to_owned(),
            detail,
        };
        let took = (self.back - self.at).as_millis();
        [
            event(self.at, self.what.name(), "the server's process".to_owned()),
            event(self.back, "server_up", format!("after {took} ms")),
        ]
    }
}

/// Carries out all planned disturbances, and returns a record of each.
///
/// # Errors
/// The server does not stop or start as it should; the records so far are returned, too.
pub(crate) async fn disturb(
    planned: &[(Duration, Disturbance)],
    supervised: &Supervised,
    routes: &Arc<Routes>,
    meters: &Meters,
    mut began: watch::Receiver<Option<Duration>>,
) -> (Vec<DisturbanceRecord>, Result<(), anyhow::Error>) {
    let mut done = Vec::new();
    let first = match began.wait_for(Option::is_some).await {
        Ok(first) => first.unwrap_or_default(),
        // The fleet has ended: there is nothing left to disturb.
        Err(_) => return (done, Ok(())),
    };
    for (moment, what) in planned {
        sleep_until(Instant::from_std(meters.begin()) + first + *moment).await;
        let mut supervisor = supervised.lock().await;
        let at = meters.now();
        if let Err(error) = supervisor.disturb(*what).await {
            return (done, Err(error));
        }
        if let Some(address) = supervisor.address() {
            routes.set_upstream(address);
        }
        done.push(DisturbanceRecord { what: *what, at, back: meters.now() });
    }
    (done, Ok(()))
}
