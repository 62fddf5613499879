//! Writes audit records of connections, sessions' owners and operations.
//!
//! No worker waits for the audit log's disk. A request whose decision has to be recorded waits for room in the queue as a
//! task, before the decision ([`Auditor::wait_for_room`]); a command on a socket, which cannot wait without blocking the
//! commands behind it, is refused until there is room ([`Auditor::check_room`]). Probes and metrics are not recorded.
//!
//! Refusals have a rate limit, one for all strangers and one for each user: those beyond it are counted, and a later line
//! reports the count.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agentbench_audit::{Log, OpenError, Outcome, Record, Settings, Stuck};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{ErrorCode, Refusal, SessionId};

use crate::clock;
use crate::config::Audit;
use crate::figures::metrics::Metrics;
use crate::letters::Requester;
use crate::limits::Bucket;

/// Lines a second about refused clients. A flood of attempts must not fill the disk: the rest are counted.
const REFUSALS: u64 = 100;
/// Lines a second about the refusals of one user: more than manual use or a mistake would cause.
const USER_REFUSALS: u64 = 20;
/// Maximum number of users with a refusal count of their own; others share one.
const MAX_USERS: usize = 10_000;
/// Longest time that a request waits for room: longer than a pause of the disk, shorter than clients' timeouts.
const ROOM_PATIENCE: Duration = Duration::from_secs(5);
/// Time between two checks of a waiting request.
const ROOM_LOOK: Duration = Duration::from_millis(20);
/// Time without a written line after which readiness fails for the audit log.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// The audit log, if configured, and the rate limits of refusals.
pub(crate) struct Auditor {
    log: Option<Log>,
    wait_when_full: bool,
    file: String,
    refusals: Mutex<Refusals>,
    metrics: Arc<Metrics>,
}

/// Refusal counters of strangers and users.
struct Refusals {
    strangers: RefusalCounter,
    users: HashMap<String, RefusalCounter>,
    others: RefusalCounter,
}

/// A rate limit, and the number of refusals beyond it that have not been reported.
#[derive(Clone, Copy)]
struct RefusalCounter {
    bucket: Bucket,
    rate: u64,
    left_out: u64,
}

impl RefusalCounter {
    fn new(rate: u64, now: u64) -> Self {
        Self { bucket: Bucket::new(rate, now), rate, left_out: 0 }
    }

    /// `Some` with the number of unreported refusals, if a line may be written; otherwise counts the refusal.
    fn take(&mut self, has_room: bool, now: u64) -> Option<u64> {
        if has_room && self.bucket.take(self.rate, now).is_ok() {
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out += 1;
        None
    }

    /// The number of unreported refusals, if there are any and a line may be written now.
    fn take_unreported(&mut self, now: u64) -> Option<u64> {
        (self.left_out > 0 && self.bucket.take(self.rate, now).is_ok())
            .then(|| std::mem::take(&mut self.left_out))
    }
}

impl Refusals {
    fn of(&mut self, user: &str, now: u64) -> &mut RefusalCounter {
        if user.is_empty() {
            return &mut self.strangers;
        }
        if !self.users.contains_key(user) {
            if self.users.len() >= MAX_USERS {
                return &mut self.others;
            }
            self.users.insert(user.to_owned(), RefusalCounter::new(USER_REFUSALS, now));
        }
        self.users.get_mut(user).unwrap_or(&mut self.others)
    }
}

impl Auditor {
    pub(crate) fn open(settings: Option<&Audit>, metrics: Arc<Metrics>, now: u64) -> Result<Self, OpenError> {
        let open = |settings: &Audit| {
            let Audit { file, max_bytes, max_age, queue, faults, .. } = settings.clone();
            Log::open(Settings { file, max_bytes, max_age, queue, faults }, now)
        };
        let refusals = Refusals {
            strangers: RefusalCounter::new(REFUSALS, now),
            users: HashMap::new(),
            others: RefusalCounter::new(REFUSALS, now),
        };
        Ok(Self {
            log: settings.map(open).transpose()?,
            wait_when_full: settings.is_some_and(|settings| settings.wait_when_full),
            file: settings.map(|settings| settings.file.display().to_string()).unwrap_or_default(),
            refusals: Mutex::new(refusals),
            metrics,
        })
    }

    /// See [`Log::hurry`].
    pub(crate) fn hurry(&self) {
        if let Some(log) = &self.log {
            log.hurry();
        }
    }

    pub(crate) fn close(&self) {
        if let Some(log) = &self.log {
            log.close();
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn has_room(&self) -> bool {
        self.log.as_ref().is_none_or(Log::has_room)
    }

    /// Queued lines, and their bound.
    pub(crate) fn depth(&self) -> Option<(usize, usize)> {
        self.log.as_ref().map(Log::depth)
    }

    /// How long queued lines have waited for the disk; `None` without an audit log.
    pub(crate) fn stuck_for(&self) -> Option<Duration> {
        self.log.as_ref().map(|log| log.stuck().map_or(Duration::ZERO, |stuck| stuck.since))
    }

    /// Why the server is not ready because of the audit log, which would cause refusals.
    pub(crate) fn not_ready(&self) -> Option<String> {
        let log = self.log.as_ref().filter(|_| self.wait_when_full)?;
        let stuck = log.stuck();
        if log.has_room() && stuck.as_ref().is_none_or(|stuck| stuck.since < STUCK_AFTER) {
            return None;
        }
        let (waiting, bound) = log.depth();
        let Stuck { since, error } = stuck.unwrap_or(Stuck { since: Duration::ZERO, error: None });
        let why = error.unwrap_or_else(|| "the disk does not answer".to_owned());
        Some(format!(
            "audit_log_stuck: {} has taken no line for {} s ({why}); {waiting} of {bound} lines wait; make room or repair its disk, it goes \
             on by itself",
            self.file,
            since.as_secs()
        ))
    }
    /// Records a decision; never waits. `record` is called only if there is a log. Refusals beyond their rate are counted.
    pub(crate) fn record(&self, record: impl FnOnce() -> Record) {
        if self.log.is_none() {
            return;
        }
        let mut record = record();
        if record.outcome == Outcome::Refused {
            let has_room = self.has_room();
            let Some(before) = self.refusals().of(&record.user, record.at).take(has_room, record.at) else {
                return self.metrics.audit_left_out.inc();
            };
            if before > 0 {
                let count = format!("({before} refusals before it were not written down)");
                record.detail =
                    if record.detail.is_empty() { count } else { format!("{} {count}", record.detail) };
            }
        }
        self.write(record);
    }

    fn write(&self, record: Record) {
        let Some(log) = &self.log else { return };
        if log.record(record) {
            self.metrics.audit_lines.inc();
        } else {
            self.metrics.audit_lost.inc();
        }
    }

    /// Reports the numbers of unreported refusals, and drops the counters of idle users.
    pub(crate) fn report_suppressed(&self, now: u64) {
        if self.log.is_none() || !self.has_room() {
            return;
        }
        let mut refusals = self.refusals();
        let Refusals { strangers, users, others } = &mut *refusals;
        let mut said = Vec::new();
        for (user, counted) in [("", strangers), ("", others)] {
            said.extend(counted.take_unreported(now).map(|count| (user.to_owned(), count)));
        }
        users.retain(|user, counted| {
            said.extend(counted.take_unreported(now).map(|count| (user.clone(), count)));
            counted.left_out > 0 || !counted.bucket.is_full(USER_REFUSALS, now)
        });
        drop(refusals);
        for (user, count) in said {
            let detail = format!("{count} refusals were not written down");
            self.write(Record { user, ..Record::refused(now, "refusals", "left_out").detail(detail) });
        }
    }

    /// Checks whether a decision can be recorded.
    ///
    /// # Errors
    /// The refusal of a command while the audit log's queue is full.
    pub(crate) fn check_room(&self) -> Result<(), Refusal> {
        if !self.wait_when_full || self.has_room() {
            return Ok(());
        }
        let detail = "this has to be written down, and the audit log takes no lines now; see /readyz";
        Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000))
    }

    /// Waits a few seconds, as a task, until a decision can be recorded.
    ///
    /// # Errors
    /// As [`Auditor::check_room`], if there is no room by then.
    pub(crate) async fn wait_for_room(&self, is_draining: impl Fn() -> bool) -> Result<(), Refusal> {
        let until = clock::timer() + ROOM_PATIENCE;
        loop {
            let refused = match self.check_room() {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            if clock::timer() >= until || is_draining() {
                return Err(refused);
            }
            tokio::time::sleep(ROOM_LOOK).await;
        }
    }

    /// Records a refused client, within the rate limit: a later line reports how many were left out.
    pub(crate) fn record_stranger(&self, now: u64, code: &'static str, address: IpAddr, detail: &str) {
        self.record(|| Record {
            address: address.to_string(),
            ..Record::refused(now, "connect", code).detail(detail)
        });
    }
}

/// Adds the user and the address to a record.
pub(crate) fn by(who: &Sender, address: IpAddr, record: Record) -> Record {
    Record {
        user: who.user_id.clone(),
        role: who.role.clone(),
        client_id: who.client_id.clone(),
        address: address.to_string(),
        ..record
    }
}

impl Requester {
    /// Adds the requester and the session to a record.
    pub(crate) fn record(&self, session: SessionId, record: Record) -> Record {
        Record { session: session.to_string(), ..by(&self.who, self.address, record) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_beyond_the_rate_are_counted_and_said_later() {
        let mut counted = RefusalCounter::new(2, 0);
        let taken: Vec<_> = (0..7).map(|_| counted.take(true, 0)).collect();
        assert_eq!(taken, [Some(0), Some(0), Some(0), Some(0), None, None, None]);
        assert_eq!((counted.take_unreported(0), counted.take(false, 10_000)), (None, None));
        assert_eq!((counted.take_unreported(10_000), counted.take_unreported(10_000)), (Some(4), None));
        assert_eq!(counted.take(true, 10_000), Some(0));
    }

    #[test]
    fn users_beyond_the_bound_share_one_count() {
        let new = || RefusalCounter::new(1, 0);
        let mut refusals = Refusals { strangers: new(), users: HashMap::new(), others: new() };
        for user in 0..MAX_USERS + 5 {
            refusals.of(&user.to_string(), 0).take(false, 0);
        }
        refusals.of("", 0).take(false, 0);
        let Refusals { strangers, users, others } = refusals;
        assert_eq!((strangers.left_out, users.len(), others.left_out), (1, MAX_USERS, 5));
    }
}
