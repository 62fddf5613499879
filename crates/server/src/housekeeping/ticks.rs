//! Wakes each worker for its periodic work.
//!
//! A timer of the worker's own would have to be set and cancelled in the kernel each time that it waits for its sockets,
//! which at a low rate is twice for each event. Without one it waits without a time limit.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::MissedTickBehavior;

use crate::config::Config;
use crate::shared::Shared;

/// Time between ticks. All timeouts are at least this coarse, unless the heartbeat is set shorter.
const TICK: Duration = Duration::from_millis(500);

/// The time between a worker's ticks.
pub(crate) fn tick_period(config: &Config) -> Duration {
    TICK.min(config.heartbeat_interval / 2).max(Duration::from_millis(5))
}

/// Starts the thread. It ends when `stopped` is set, which has to be after the workers' end: closing connections and the last
/// commits need the ticks, too.
pub(crate) fn start(shared: &Arc<Shared>, mut stopped: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let (shared, period) = (Arc::clone(shared), tick_period(&shared.config));
    let ticking = async move {
        let mut interval = tokio::time::interval(period);
        interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            shared.post.ticks.iter().for_each(Notify::notify_one);
        }
    };
    let keep = async move {
        tokio::select! {
            () = ticking => {}
            _ = stopped.wait_for(|stopped| *stopped) => {}
        }
    };
    std::thread::Builder::new().name("ticks".to_owned()).spawn(move || runtime.block_on(keep))
}
