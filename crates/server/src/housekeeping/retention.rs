//! A thread for slow disk work: archiving ended sessions, retention, the scrub of evidence.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::Duration;

use agentbench_event_log::Retention;
use agentbench_protocol::Status;
use tokio::sync::watch;

use super::evidence;
use crate::clock;
use crate::clock::Clock;
use crate::opening::LogCondition;
use crate::session::catalog::archive_now;
use crate::shared::Shared;

/// Time between rounds of retention.
const RETENTION_PERIOD: Duration = Duration::from_secs(30);
/// Maximum number of sessions removed in one round. Thirty a second keep up with any load of this server, and a mistake (a
/// setting, a clock) is noticed before the whole archive is removed.
const RETENTION_ROUND: usize = 1_000;
/// Bytes of stored evidence verified in one round: 2 MB a second, so that a terabyte takes six days and the disk stays
/// responsive.
const SCRUB_BYTES: u64 = 64 << 20;

/// Starts the thread. If the log is read-only, there is nothing to do.
pub(crate) fn start(shared: &Arc<Shared>, stopped: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let keep = move || {
        if matches!(shared.storage.condition, LogCondition::ArchiveOnly(_)) {
            return;
        }
        archive_ended(&shared, &stopped);
        let mut held = false;
        while !*stopped.borrow() {
            enforce_retention(&shared, &mut held);
            shared.metrics.retention_rounds.inc();
            scrub_evidence(&shared, &stopped);
            let until = clock::instant() + RETENTION_PERIOD;
            while clock::instant() < until && !*stopped.borrow() {
                std::thread::sleep(Duration::from_millis(100));
            }
        }
    };
    std::thread::Builder::new().name("housekeeping".to_owned()).spawn(keep)
}

/// Verifies stored evidence, one round.
fn scrub_evidence(shared: &Shared, stopped: &watch::Receiver<bool>) {
    match shared.storage.evidence.scrub(SCRUB_BYTES, || *stopped.borrow()) {
        Ok(done) if done.is_over && done.files > 0 => {
            tracing::debug!(files = done.files, "the scrub has verified all stored evidence");
        }
        Ok(_) => {}
        Err(error) => tracing::warn!(%error, "cannot verify stored evidence"),
    }
}

/// Archives ended sessions left by a previous run of the server.
fn archive_ended(shared: &Arc<Shared>, stopped: &watch::Receiver<bool>) {
    let mut ended = Vec::new();
    for status in Status::ALL.into_iter().filter(|status| status.has_ended()) {
        shared.storage.catalog.each(status, |entry| {
            if !entry.archived.load(Ordering::Relaxed) {
                ended.push(entry.id);
            }
        });
    }
    for id in ended.into_iter().take_while(|_| !*stopped.borrow()) {
        archive_now(&*shared.storage.log, &shared.storage.catalog, id, shared.clock.wall_ms());
    }
}

/// Enforces retention, one round. Removal by age depends on the wall clock and is suspended after the clock was set; the
/// bound on bytes stays in force, since the disk would fill up otherwise.
fn enforce_retention(shared: &Shared, held: &mut bool) {
    // Checked here, too: the clock may have been set since the last check.
    shared.clock.check_jump(&shared.metrics);
    let age = shared.config.retention_age;
    let rest = shared.clock.held_for(shared.config.retention_hold);
    if age.is_some() && rest.is_some() != *held {
        *held = rest.is_some();
        match rest {
            Some(rest) => tracing::warn!(
                seconds = rest.as_secs(),
                "the wall clock was set: removal by age is suspended (RETENTION_HOLD)"
            ),
            None => tracing::info!("removal of sessions by age has resumed"),
        }
    }
    let max_age = age.filter(|_| rest.is_none());
    let retention = Retention { max_age, max_bytes: shared.config.retention_bytes, at_most: RETENTION_ROUND };
    if retention.max_age.is_none() && retention.max_bytes.is_none() {
        return;
    }
    match shared.storage.log.retain(shared.clock.wall_ms(), retention) {
        Ok(removed) => {
            if removed.len() == RETENTION_ROUND {
                tracing::info!(RETENTION_ROUND, "retention continues in the next round");
            }
            for (session, epoch) in removed {
                shared.storage.catalog.remove_life(session, epoch);
                evidence::remove(shared, session);
            }
        }
        Err(error) => tracing::warn!(%error, "cannot enforce retention"),
    }
}

/// Treats the start as a jump if the clock differs much from the end of the previous run.
pub(crate) fn check_start_time(clock: &Clock, witnessed_at: Option<u64>) {
    let Some(before) = witnessed_at else { return };
    let now = clock::now_ms();
    if clock.check_start_time(before) {
        tracing::warn!(
            days = (now as i64 - before as i64) / 86_400_000,
            "the clock differs much from the end of the previous run: removal by age is suspended (RETENTION_HOLD)"
        );
    }
}
