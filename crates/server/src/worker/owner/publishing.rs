//! Taking events, and acknowledging them.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_protocol::event::EventBody;
use agentbench_protocol::{Priority, Seq};
use agentbench_session::{ConnectionKey, Publish, Published};

use crate::figures::meters::Moment;
use crate::intake::Admitted;
use crate::letters::exchange::Answered;
use crate::letters::{Asker, Letter, OwnedEvent};
use crate::names;
use crate::session::catalog::Entry;
use crate::session::owned::Owned;
use crate::worker::Worker;

impl Worker {
    pub(super) fn publish_owned(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        asker: &Asker,
        event: OwnedEvent,
        now: u64,
    ) {
        let publish = Publish {
            connection: Some(asker.connection),
            user: &asker.who.user_id,
            producer: &event.producer,
            body: EventBody {
                id: &event.id,
                timestamp: &event.timestamp,
                data: &event.data,
                metadata: event.metadata.as_deref(),
                sender: &event.sender,
            },
            ttl_ms: event.ttl_ms,
            requires_ack: event.requires_ack,
            in_order: event.in_order,
        };
        let admitted = Admitted { outline: event.outline, permit: event.permit };
        self.publish(owned, &publish, event.priority, admitted, now);
    }

    /// Takes an event that was admitted. What is not queued gives its room in the backlog back.
    pub(crate) fn publish(
        self: &Rc<Self>,
        owned: &Rc<RefCell<Owned>>,
        event: &Publish<'_>,
        priority: Priority,
        admitted: Admitted,
        now: u64,
    ) {
        let Admitted { outline, permit } = admitted;
        let mut guard = owned.borrow_mut();
        let taken = if event.connection.is_some_and(names::is_exchange) {
            guard.session.publish_from_outside(event, now)
        } else {
            guard.session.publish(event, now)
        };
        match taken {
            Ok(Published::Queued(_)) => {
                guard.priority = guard.priority.max(priority);
                guard.permit.absorb(permit);
                if outline.progress.is_some() {
                    guard.session.set_progress(outline.progress);
                }
                guard.opened.get_or_insert_with(|| Moment::at(now));
                let id = guard.session.id();
                drop(guard);
                self.mark_dirty(id);
            }
            Ok(Published::Repeat(seq)) => {
                self.shared.metrics.events_duplicate.inc();
                let entry = Arc::clone(&guard.entry);
                drop(guard);
                if let (true, Some(connection)) = (event.requires_ack, event.connection) {
                    self.acknowledge(connection, &entry, &[(event.body.id, seq, true)]);
                }
            }
            Ok(Published::RepeatQueued(_)) => {
                self.shared.metrics.events_duplicate.inc();
            }
            Err(refusal) => {
                drop(guard);
                if let Some(connection) = event.connection {
                    self.answer_refusal(connection, refusal.of(event.body.id), false);
                }
            }
        }
    }

    pub(super) fn acknowledge(
        self: &Rc<Self>,
        connection: ConnectionKey,
        entry: &Arc<Entry>,
        acks: &[(&str, Seq, bool)],
    ) {
        if names::is_exchange(connection) {
            return self.acknowledge_exchange(connection, entry, acks);
        }
        let worker = names::worker_of(connection);
        if worker != self.index {
            let acks = acks.iter().map(|(id, seq, again)| ((*id).to_owned(), *seq, *again)).collect();
            return self.shared.send(worker, Letter::Acks { connection, entry: Arc::clone(entry), acks });
        }
        if let Some(connection) = self.connection(connection) {
            self.write_acks(&connection, entry, acks.iter().copied());
            self.flush_later(&connection.reader);
        }
    }

    fn acknowledge_exchange(&self, key: ConnectionKey, entry: &Entry, acks: &[(&str, Seq, bool)]) {
        self.shared.metrics.acks.inc_by(acks.len() as u64);
        for (id, seq, duplicate) in acks {
            let (id, epoch) = ((*id).to_owned(), entry.epoch);
            self.shared.exchanges.answer(key, Answered::Ack { id, seq: *seq, epoch, duplicate: *duplicate });
        }
    }
}
