//! Taking events, and acknowledging them.

use std::sync::Arc;

use agentbench_protocol::event::EventBody;
use agentbench_protocol::{Doubts, Priority, SessionId};
use agentbench_session::{ConnectionKey, Publish, Published};

use super::Owners;
use super::context::OwnerContext;
use super::loaded::LoadedSession;
use crate::clock::Moment;
use crate::intake::AdmittedEvent;
use crate::letters::exchange::ExchangeReply;
use crate::letters::{Acks, Letter, OwnedEvent, Requester, SingleAck};
use crate::names;
use crate::session::entry::Entry;

impl Owners {
    /// Starts to load the memory that [`Owners::publish`] waits for, if the session is in memory here.
    pub(crate) fn prefetch(&self, session: SessionId, user: &str, producer: &str, id: &str) {
        if let Some(loaded) = self.sessions.get(&session) {
            loaded.session.prefetch(user, producer, id);
        }
    }

    /// Publishes an event to a session that is in memory, without a copy: this is the hot path.
    ///
    /// # Errors
    /// Returns `admitted` if the session is not in memory.
    pub(crate) fn publish(
        &mut self,
        now: Moment,
        session: SessionId,
        event: &Publish<'_>,
        priority: Priority,
        admitted: AdmittedEvent,
    ) -> Result<(), AdmittedEvent> {
        let Some(loaded) = self.sessions.get_mut(&session) else { return Err(admitted) };
        self.context.publish(now, loaded, event, priority, admitted);
        Ok(())
    }
}

impl OwnerContext {
    pub(super) fn publish_for(
        &mut self,
        now: Moment,
        loaded: &mut LoadedSession,
        requester: &Requester,
        event: OwnedEvent,
    ) {
        let publish = Publish {
            connection: Some(requester.connection),
            user: &requester.who.user_id,
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
        let admitted = AdmittedEvent { outline: event.outline, permit: event.permit };
        self.publish(now, loaded, &publish, event.priority, admitted);
    }

    /// Publishes an admitted event. If it is not queued, its space in the backlog is released.
    fn publish(
        &mut self,
        now: Moment,
        loaded: &mut LoadedSession,
        event: &Publish<'_>,
        priority: Priority,
        admitted: AdmittedEvent,
    ) {
        let AdmittedEvent { outline, permit } = admitted;
        let published = if event.connection.is_some_and(names::is_exchange) {
            loaded.session.publish_from_outside(event, now.millis)
        } else {
            loaded.session.publish(event, now.millis)
        };
        match published {
            Ok(Published::Queued(seq)) => {
                if !outline.doubts.is_none() {
                    loaded.doubtful.push((seq, outline.doubts));
                }
                loaded.priority = loaded.priority.max(priority);
                loaded.permit.absorb(permit);
                if outline.progress.is_some() {
                    loaded.session.set_progress(outline.progress);
                }
                loaded.opened.get_or_insert(now);
                self.dirty.mark(loaded.session.id());
            }
            Ok(Published::Repeat(seq)) => {
                self.parts.metrics.events_duplicate.inc();
                if let (true, Some(connection)) = (event.requires_ack, event.connection) {
                    let (id, doubts) = (event.body.id.to_owned(), outline.doubts);
                    let acks = Acks::Single(SingleAck { id, seq, duplicate: true, doubts });
                    self.acknowledge(connection, &loaded.entry, acks);
                }
            }
            Ok(Published::RepeatQueued(_)) => {
                self.parts.metrics.events_duplicate.inc();
            }
            Err(refusal) => {
                if let Some(connection) = event.connection {
                    self.refuse(connection, refusal.of(event.body.id), false, now.millis);
                }
            }
        }
    }

    pub(super) fn acknowledge(&mut self, connection: ConnectionKey, entry: &Arc<Entry>, acks: Acks) {
        if !names::is_exchange(connection) {
            let entry = Arc::clone(entry);
            return self.post_to(connection, Letter::Acks { connection, entry, acks });
        }
        self.parts.metrics.acks.inc_by(acks.count() as u64);
        let epoch = entry.epoch;
        match acks {
            Acks::Single(ack) => self.answer_exchange(connection, ExchangeReply::Ack { ack, epoch }),
            Acks::Run(run) => {
                for (seq, record) in run.records() {
                    let (id, doubts) = (record.id.to_owned(), Doubts::NONE);
                    let ack = SingleAck { id, seq, duplicate: false, doubts };
                    self.answer_exchange(connection, ExchangeReply::Ack { ack, epoch });
                }
            }
        }
    }
}
