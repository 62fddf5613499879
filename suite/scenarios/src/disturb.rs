//! Kills, stops and restarts the server while a scenario runs, at the moments that were drawn.

use std::sync::Arc;
use std::time::Duration;

use agentbench_report::schema::TimelineEvent;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::faults::Disturbance;
use crate::meters::Meters;
use crate::routes::Routes;
use crate::supervisor::Supervised;

/// Something that was done to the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Disturbed {
    pub(crate) what: Disturbance,
    /// When it began, since the run began.
    pub(crate) at: Duration,
    /// When the server was there again.
    pub(crate) back: Duration,
}

impl Disturbed {
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

/// Does everything that was drawn, and gives what was done.
///
/// # Errors
/// If the server does not stop or start as it should, with what was done before.
pub(crate) async fn disturb(
    planned: &[(Duration, Disturbance)],
    supervised: &Supervised,
    routes: &Arc<Routes>,
    meters: &Meters,
    mut began: watch::Receiver<Option<Duration>>,
) -> (Vec<Disturbed>, Result<(), anyhow::Error>) {
    let mut done = Vec::new();
    let first = match began.wait_for(Option::is_some).await {
        Ok(first) => first.unwrap_or_default(),
        // The fleet is gone: there is nothing left to disturb.
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
        done.push(Disturbed { what: *what, at, back: meters.now() });
    }
    (done, Ok(()))
}
