//! Loads sessions from their logs, unloads quiet ones, and expires unused ones.

use std::sync::atomic::Ordering;

use agentbench_event_log::{EventLog, Frame, Kind, LogError, ReadLimit, Reading};
use agentbench_protocol::{ErrorCode, Refusal, Seq, SessionId};
use agentbench_session::{Session, Summary};

use super::Owners;
use super::context::OwnerContext;
use super::effect::Effect;
use super::loaded::{LoadedSession, PendingLoad};
use crate::clock::Moment;
use crate::letters::Tail;
use crate::session::cursor::{ReadOutcome, interpret};
use crate::session::entry::Entry;
use crate::session::progress::newest_progress;

/// Frames are read in steps of this many bytes when a session is loaded.
const LOAD_STEP: usize = 1024 * 1024;
/// Idle time after which a session is unloaded.
const UNLOAD_AFTER_MS: u64 = 60_000;

impl Owners {
    /// Requests the end of a session's log, from which its owner restores its state.
    pub(super) fn load(&mut self, id: SessionId, pending: PendingLoad) {
        self.loading.insert(id, pending);
        let finds = self.context.parts.catalog.get(id).is_none();
        self.context.effects.push(Effect::Load { session: id, finds });
    }

    /// Called when the end of a session's log was read: `tail` is the result of [`read_tail`].
    pub(super) fn finish_load(&mut self, now: Moment, id: SessionId, tail: Result<Tail, LogError>) {
        let Some(pending) = self.loading.remove(&id) else { return };
        let context = &mut self.context;
        let catalog = &context.parts.catalog;
        let entry = match tail.as_ref().ok().and_then(|tail| tail.found.as_ref()) {
            Some(found) => catalog.insert_listed(found, now.millis),
            None => catalog.get(id),
        };
        let (tail, entry) = match (tail, entry) {
            (Ok(tail), Some(entry)) if tail.head.epoch == entry.epoch => (tail, entry),
            (Ok(_), Some(_)) => {
                // The log was replaced between the two; the next read finds the one of now.
                catalog.remove(id);
                return self.load(id, pending);
            }
            (tail, entry) => {
                let refusal = refusal_of_load(id, tail.err().filter(|_| entry.is_some()));
                for (requester, request) in pending.waiting {
                    context.refuse_request(now.millis, id, &requester, &request, refusal.clone());
                }
                return;
            }
        };
        let session = context.recover(&entry, &tail);
        entry.set_loaded(true);
        let mut loaded = LoadedSession::new(session, entry, context.parts.permit.empty());
        if loaded.entry.head().seq > loaded.session.head().seq {
            // Another process has gone on since the read.
            loaded.session.suspect();
        }
        self.sessions.insert(id, Box::new(loaded));
        self.go_on(now, id);
        for (requester, request) in pending.waiting {
            self.handle(now, id, requester, request);
        }
        if pending.expire {
            self.expire(id, now.millis);
        }
    }

    /// Expires an unused session; one that is not in memory is loaded first.
    fn expire(&mut self, id: SessionId, now: u64) {
        let Some(loaded) = self.sessions.get_mut(&id) else {
            if let Some(pending) = self.loading.get_mut(&id) {
                pending.expire = true;
                return;
            }
            return self.load(id, PendingLoad { waiting: Vec::new(), expire: true });
        };
        let timeout = self.context.parts.limits.timeout_ms;
        if loaded.session.is_unused(now, timeout) && loaded.session.expire(now).is_ok() {
            self.context.dirty.mark(id);
        }
    }

    /// Expires sessions of `unused` that are still unused. They come from the catalog and need not be in memory.
    pub(crate) fn expire_all(&mut self, unused: Vec<SessionId>, now: u64) {
        for id in unused {
            self.expire(id, now);
        }
    }

    /// Expires unused sessions that are in memory, and unloads quiet ones.
    pub(crate) fn check_sessions(&mut self, now: u64) {
        let timeout = self.context.parts.limits.timeout_ms;
        let (mut quiet, mut expired) = (Vec::new(), Vec::new());
        for (id, loaded) in &self.sessions {
            let session = &loaded.session;
            let ended = session.status().has_ended();
            if !ended && session.is_unused(now, timeout) {
                expired.push(*id);
            } else if session.is_unused(now, UNLOAD_AFTER_MS) || (ended && session.is_quiet()) {
                quiet.push(*id);
            }
        }
        // In an order of their own, not that of a table with a random seed.
        expired.sort_unstable();
        quiet.sort_unstable();
        self.expire_all(expired, now);
        for id in quiet {
            self.unload(id);
        }
    }

    fn unload(&mut self, id: SessionId) {
        if let Some(loaded) = self.forget(id) {
            debug_assert!(loaded.session.is_quiet() && loaded.permit.bytes() == 0, "it holds no backlog");
            // Requests use a session without participating in it.
            loaded.entry.last_used.fetch_max(loaded.session.last_used(), Ordering::Relaxed);
        }
    }
}

impl OwnerContext {
    /// The session as the end of its log has it.
    fn recover(&self, entry: &Entry, tail: &Tail) -> Session {
        restore_pace(entry, &tail.frames);
        entry.move_head(tail.head.seq);
        let (summary, last_used) =
            (Summary::clone(&entry.summary()), entry.last_used.load(Ordering::Relaxed));
        let frames = self.parts.sabotage.dedupe_tail(&tail.frames);
        let mut session =
            Session::recover(entry.id, tail.head, self.parts.sessions, summary, frames, last_used);
        session.set_full(self.parts.limits.is_full(entry.add_bytes(0)));
        if let Some(percent) = newest_progress(frames) {
            session.set_progress(Some(percent));
            entry.set_progress(Some(percent));
        }
        session
    }
}

/// The refusal of requests that wait for a session: its log cannot be read (`error`), or it was removed.
fn refusal_of_load(id: SessionId, error: Option<LogError>) -> Refusal {
    match error {
        None | Some(LogError::NotFound(_)) => {
            Refusal::new(ErrorCode::SessionNotFound, "there is no such session")
        }
        Some(error) => {
            tracing::error!(session = %id, %error, "cannot read a session's log");
            Refusal::new(ErrorCode::LogUnavailable, "the session's log cannot be read now").retry_after(1_000)
        }
    }
}

/// Restores a session's pace from its log, if this process has not seen any of its events.
fn restore_pace(entry: &Entry, tail: &[Frame]) {
    let events = tail.iter().flat_map(Frame::records).filter(|(_, record)| record.kind == Kind::Event);
    if !entry.pace.is_known() {
        events.for_each(|(_, record)| entry.pace.record_past_event(record.received_at));
    }
}

/// Reads the newest `window` events of a session. `finds` if this process does not know the session: then the log has to
/// list it. Blocks on the disk.
///
/// # Errors
/// The log cannot be read. Damaged parts are skipped.
pub(crate) fn read_tail(
    log: &dyn EventLog,
    window: usize,
    id: SessionId,
    finds: bool,
) -> Result<Tail, LogError> {
    // Before the frames: they may end later than the list says, never earlier.
    let found = if finds { Some(log.find(id)?) } else { None };
    let mut head = log.head(id).ok_or(LogError::NotFound(id))?;
    let mut from = head.seq.saturating_sub((window as u64).saturating_sub(1)).max(1);
    let mut frames: Vec<Frame> = Vec::new();
    while from <= head.seq {
        let read = log.read(id, from, ReadLimit { bytes: LOAD_STEP, events: usize::MAX });
        match interpret(id, from, read) {
            ReadOutcome::Frames(reading) if reading.head.epoch != head.epoch => {
                return Err(LogError::Unavailable("the log was replaced meanwhile".to_owned()));
            }
            ReadOutcome::Frames(reading) => {
                from = reading.frames.last().map_or(from, Frame::last_seq) + 1;
                frames.extend(reading.frames);
                // The frames are the truth about the head, whatever was said of it before.
                head.seq = head.seq.max(from - 1);
            }
            // Damaged events are neither served nor remembered; the rest of the window is.
            ReadOutcome::Gap { to, .. } => from = to + 1,
            ReadOutcome::NotYet(why) => return Err(LogError::Unavailable(why)),
            ReadOutcome::Removed => return Err(LogError::NotFound(id)),
        }
    }
    Ok(Tail { head, frames, found })
}

/// Reads a step of a session's log for an owner that is behind. Blocks on the disk.
///
/// # Errors
/// As [`EventLog::read`].
pub(crate) fn read_on(log: &dyn EventLog, id: SessionId, from: Seq) -> Result<Reading, LogError> {
    log.read(id, from, ReadLimit { bytes: LOAD_STEP, events: usize::MAX })
}
