//! Followers on one worker: join, fan-out, catch-up from the log, leave.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use agentbench_event_log::Frame;
use agentbench_protocol::{Priority, Seq, SessionId};

use crate::clock;
use crate::delivery::outbox::LogRead;
use crate::delivery::reader::Reader;
use crate::letters::{OwnerLetter, Request, Requester};
use crate::session::cursor::{RETRY, ReadOutcome, STEP, interpret};
use crate::session::entry::Entry;
use crate::worker::Worker;
use crate::worker::connection::Connection;

impl Worker {
    /// Forwards the owner's answer to a join, and starts delivery after `follow`.
    pub(super) fn joined(
        &self,
        connection: &Rc<Connection>,
        entry: &Arc<Entry>,
        json: &[u8],
        gap: Option<&[u8]>,
        follow: Option<Seq>,
        head: Seq,
    ) {
        let reader = &connection.reader;
        self.audiences.remove(reader, entry.id);
        self.delivery.send_json(reader, json);
        if let Some(gap) = gap {
            self.delivery.send_json(reader, gap);
        }
        reader.sessions.borrow_mut().push(entry.id);
        if let Some(after) = follow {
            self.audiences.add(entry, head, reader, after + 1, self.delivery.instant());
        }
        connection.requests.end();
        self.flush_queue.push(reader);
    }

    /// Leaves every session when the connection has ended, so that presence never shows a dead one.
    pub(super) fn leave_all(self: &Rc<Self>, connection: &Rc<Connection>) {
        let sessions = std::mem::take(&mut *connection.reader.sessions.borrow_mut());
        for session in sessions {
            self.audiences.remove(&connection.reader, session);
            self.send(connection, session, Request::Disconnect);
        }
    }

    /// Sends a request to the session's owner.
    pub(crate) fn send(self: &Rc<Self>, connection: &Rc<Connection>, session: SessionId, request: Request) {
        let requester = Requester {
            connection: connection.reader.key,
            who: Arc::clone(&connection.reader.who),
            grant: connection.grant(),
            address: connection.address,
        };
        let owner = self.shared.post.names.owner_of(session);
        self.post(owner, OwnerLetter::Request { session, requester, request }.into());
    }

    /// Delivers a committed frame to every follower on this worker whose socket is not blocked.
    pub(super) fn deliver_commit(
        self: &Rc<Self>,
        session: SessionId,
        frame: Frame,
        priority: Priority,
        opened: Instant,
    ) {
        let traced = self.shared.ops.tracer.as_ref().map(|tracer| (tracer, frame.clone(), clock::now_ns()));
        let flush = |reader: &Rc<Reader>| self.flush(reader);
        let Some(readers) = self.audiences.commit(session, frame, priority, opened, flush) else { return };
        self.delivery.meters().fan_out.add(readers as f64, 1);
        if let Some((tracer, frame, began)) = traced {
            tracer.delivered(session, &frame, began, self.index, readers);
        }
    }

    /// Reads the log for a follower that is behind the tail. Followers at the same position share one read.
    pub(super) fn read_for(self: &Rc<Self>, reader: &Rc<Reader>, read: LogRead) {
        let Some(catch_up) = self.audiences.request_read(reader, read) else { return };
        self.shared.metrics.catch_up_reads.inc();
        let (worker, shared, began) = (Rc::clone(self), Arc::clone(&self.shared), clock::instant());
        tokio::task::spawn_local(async move {
            if shared.storage.reader.budget.is_short() {
                worker.audiences.drop_histories();
            }
            let (session, from) = (catch_up.session, catch_up.from);
            let read = shared.storage.reader.step(session, from, STEP).await;
            worker.delivery.meters().catch_up.add(clock::since(began).as_secs_f64(), 1);
            let found = interpret(session, from, read);
            if let ReadOutcome::NotYet(error) = &found {
                tracing::warn!(%session, from, error, "a catch-up read failed; retrying");
                tokio::time::sleep(RETRY).await;
            }
            catch_up.finish(&worker.delivery, found, |reader| worker.flush(reader));
        });
    }
}
