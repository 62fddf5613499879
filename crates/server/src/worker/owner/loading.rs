//! Sessions come into memory from their logs and leave it again; those that nobody uses expire, those that have ended go
//! into the archive.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use agentbench_event_log::{Frame, Kind, LogError, ReadLimit};
use agentbench_protocol::{ErrorCode, Refusal, SessionId};
use agentbench_session::{Session, Summary};

use crate::letters::Letter;
use crate::session::catalog::{Entry, archive_now};
use crate::session::cursor::{Found, interpret};
use crate::session::owned::{Loading, Owned};
use crate::session::progress::newest_progress;
use crate::shared::Shared;
use crate::worker::Worker;

/// Frames are read in steps of this many bytes when a session is loaded.
const LOAD_STEP: usize = 1024 * 1024;

impl Worker {
    /// Reads the part of a session's log that its owner has to know.
    pub(super) fn load(self: &Rc<Self>, id: SessionId, loading: Loading) {
        self.loading.borrow_mut().insert(id, loading);
        let (shared, worker) = (Arc::clone(&self.shared), self.index);
        tokio::task::spawn_blocking(move || {
            let tail = read_tail(&shared, id);
            shared.send(worker, Letter::Loaded { session: id, tail });
        });
    }

    /// A session's log was read.
    pub(crate) fn loaded(self: &Rc<Self>, id: SessionId, tail: Result<Vec<Frame>, LogError>) {
        let Some(loading) = self.loading.borrow_mut().remove(&id) else { return };
        let entry = self.shared.catalog.get(id);
        let refusal = match (&tail, &entry) {
            (Ok(_), Some(_)) => None,
            (Ok(_), None) | (Err(LogError::NotFound(_)), _) => {
                Some(Refusal::new(ErrorCode::SessionNotFound, "there is no such session"))
            }
            (Err(error), _) => {
                tracing::error!(session = %id, %error, "cannot read a session's log");
                Some(
                    Refusal::new(ErrorCode::LogUnavailable, "the session's log cannot be read now")
                        .retry_after(1_000),
                )
            }
        };
        if let Some(refusal) = refusal {
            for (asker, request) in loading.waiting {
                self.refuse_request(id, &asker, &request, refusal.clone());
            }
            return;
        }
        if let (Ok(tail), Some(entry)) = (tail, entry) {
            let now = self.now();
            let summary = Summary::clone(&entry.summary());
            remember_pace(&entry, &tail);
            let last_used = entry.last_used.load(Ordering::Relaxed);
            let tail = self.shared.sabotage.dedupe_tail(&tail);
            let mut session =
                Session::recover(id, entry.head(), self.shared.context(), summary, tail, last_used);
            session.set_full(self.shared.is_full(entry.add_bytes(0)));
            if let Some(percent) = newest_progress(tail) {
                session.set_progress(Some(percent));
                entry.set_progress(Some(percent));
            }
            let owned = Owned::new(session, entry, self.shared.intake.empty_permit());
            self.sessions.borrow_mut().insert(id, Rc::new(RefCell::new(owned)));
            for (asker, request) in loading.waiting {
                self.handle(id, asker, request);
            }
            if loading.expire {
                self.expire(id, now);
            }
        }
    }

    /// Ends a session that nobody has used for too long.
    pub(crate) fn expire(self: &Rc<Self>, id: SessionId, now: u64) {
        let owned = self.sessions.borrow().get(&id).cloned();
        let Some(owned) = owned else {
            if let Some(loading) = self.loading.borrow_mut().get_mut(&id) {
                loading.expire = true;
                return;
            }
            return self.load(id, Loading { waiting: Vec::new(), expire: true });
        };
        let timeout = self.shared.config.session_timeout.as_millis() as u64;
        let mut guard = owned.borrow_mut();
        if guard.session.is_unused(now, timeout) && guard.session.expire(now).is_ok() {
            drop(guard);
            self.mark_dirty(id);
        }
    }

    /// Lets a quiet session leave memory.
    pub(crate) fn unload(self: &Rc<Self>, id: SessionId) {
        let owned = self.sessions.borrow().get(&id).cloned();
        if let Some(owned) = owned.filter(|owned| owned.borrow().session.is_quiet()) {
            debug_assert_eq!(owned.borrow().permit.bytes(), 0, "a quiet session holds no backlog");
            let guard = owned.borrow();
            // Requests use a session without taking part in it.
            guard.entry.last_used.fetch_max(guard.session.last_used(), Ordering::Relaxed);
            drop(guard);
            self.sessions.borrow_mut().remove(&id);
        }
    }

    pub(super) fn archive(self: &Rc<Self>, id: SessionId) {
        let shared = Arc::clone(&self.shared);
        tokio::task::spawn_blocking(move || archive_now(&*shared.log, &shared.catalog, id));
    }
}

/// What a session's log tells of its pace, if this process has not seen any event of it.
fn remember_pace(entry: &Entry, tail: &[Frame]) {
    let events = tail.iter().flat_map(Frame::records).filter(|(_, record)| record.kind == Kind::Event);
    if !entry.pace.is_known() {
        events.for_each(|(_, record)| entry.pace.remember(record.received_at));
    }
}

fn read_tail(shared: &Shared, id: SessionId) -> Result<Vec<Frame>, LogError> {
    let head = shared.log.head(id).ok_or(LogError::NotFound(id))?;
    let window = shared.config.dedupe_window as u64;
    let mut from = head.seq.saturating_sub(window - 1).max(1);
    let mut frames: Vec<Frame> = Vec::new();
    while from <= head.seq {
        let read = shared.log.read(id, from, ReadLimit { bytes: LOAD_STEP, events: usize::MAX });
        match interpret(id, from, read) {
            Found::Frames(reading) => {
                from = reading.frames.last().map_or(from, Frame::last_seq) + 1;
                frames.extend(reading.frames);
            }
            // What is damaged is not served and not remembered: the rest of the window still is.
            Found::Gap { to, .. } => from = to + 1,
            Found::NotYet(why) => return Err(LogError::Unavailable(why)),
            Found::Gone => return Err(LogError::NotFound(id)),
        }
    }
    Ok(frames)
}
