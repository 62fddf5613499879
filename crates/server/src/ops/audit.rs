//! What the audit log is told: by connections, by sessions' owners, by operations.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use agentbench_audit::{Log, OpenError, Record, Settings};
use agentbench_protocol::SessionId;
use agentbench_protocol::message::Sender;

use super::limits::Bucket;
use crate::config::Audit;
use crate::shared::Shared;
use crate::worker::mailbox::Asker;

/// Lines that may wait for the disk.
const QUEUE: usize = 8192;
/// Lines a second about those who were not let in. Whoever knocks more often must not fill the disk: the rest are counted.
const REFUSALS: u64 = 100;

/// The log, if there is one, and how often strangers may write to it.
pub(crate) struct Auditor {
    log: Option<Log>,
    refusals: Mutex<Bucket>,
    unwritten: AtomicU64,
}

impl Auditor {
    pub(crate) fn open(settings: Option<&Audit>, now: u64) -> Result<Self, OpenError> {
        let open = |settings: &Audit| {
            let Audit { file, max_bytes, max_age, wait_when_full } = settings.clone();
            Log::open(Settings { file, max_bytes, max_age, queue: QUEUE, wait_when_full }, now)
        };
        let log = settings.map(open).transpose()?;
        Ok(Self { log, refusals: Mutex::new(Bucket::new(REFUSALS, now)), unwritten: AtomicU64::new(0) })
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
}

impl Shared {
    /// Writes a decision down. `record` is made only if there is a log.
    pub(crate) fn audit(&self, record: impl FnOnce() -> Record) {
        let Some(log) = &self.auditor.log else { return };
        if log.record(record()) {
            self.metrics.audit_lines.inc();
        } else {
            self.metrics.audit_lost.inc();
        }
    }

    /// Writes down that somebody was not let in, unless that happens too often: then the next such line says how many were
    /// left out.
    pub(crate) fn audit_stranger(&self, now: u64, code: &'static str, address: IpAddr, detail: &str) {
        if self.auditor.log.is_none() {
            return;
        }
        let mut bucket = self.auditor.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        if bucket.take(REFUSALS, now).is_err() {
            self.auditor.unwritten.fetch_add(1, Ordering::Relaxed);
            return;
        }
        drop(bucket);
        let unwritten = self.auditor.unwritten.swap(0, Ordering::Relaxed);
        let detail = match unwritten {
            0 => detail.to_owned(),
            count => format!("{detail} ({count} refusals before it were not written down)"),
        };
        self.audit(|| Record {
            address: address.to_string(),
            ..Record::refused(now, "connect", code).detail(detail)
        });
    }
}

/// The record with who did it, and from where.
pub(crate) fn by(who: &Sender, address: IpAddr, record: Record) -> Record {
    Record {
        user: who.user_id.clone(),
        role: who.role.clone(),
        client_id: who.client_id.clone(),
        address: address.to_string(),
        ..record
    }
}

impl Asker {
    /// The record of what this asker asked of a session.
    pub(crate) fn record(&self, session: SessionId, record: Record) -> Record {
        Record { session: session.to_string(), ..by(&self.who, self.address, record) }
    }
}
