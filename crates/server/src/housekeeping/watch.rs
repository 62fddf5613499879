//! The monitoring thread: twice a second it measures the machine and the sessions, samples the metrics, and evaluates the
//! alert rules; in between it sends alerts to the webhook.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::alerts::webhook;
use crate::clock;
use crate::overview::stats;
use crate::shared::Shared;

/// Time between measurements.
const PERIOD: Duration = Duration::from_millis(500);

/// Starts the thread. The first measurement is done when this returns, so that the metrics are right from the start.
pub(crate) fn start(shared: &Arc<Shared>, mut stopped: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let target = shared.config.watch.webhook.as_ref().map(webhook::target).transpose()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let shared = Arc::clone(shared);
    stats::measure(&shared, clock::now_ms());
    let keep = async move {
        let looking = async {
            let mut interval = tokio::time::interval(PERIOD);
            interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                interval.tick().await;
                let now = clock::now_ms();
                shared.clock.check_jump(&shared.metrics);
                shared.ops.folder.check();
                stats::measure(&shared, now);
                shared.ops.auditor.report_suppressed(now);
                shared.ops.alerts.evaluate(shared.clock.steady_ms(), &stats::readings(&shared, now));
            }
        };
        let sending = async {
            let webhook = (&shared.ops.alerts.outgoing, &shared.config.watch.webhook, &target);
            if let (Some(outgoing), Some(webhook), Some(target)) = webhook {
                webhook::send_all(outgoing, &shared.metrics, webhook, target).await;
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            () = looking => {}
            () = sending => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    std::thread::Builder::new().name("watch".to_owned()).spawn(move || runtime.block_on(keep))
}
