//! Carries out the owners' effects and submits their frames to the log.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_protocol::{Seq, SessionId};

use super::Worker;
use crate::clock;
use crate::letters::OwnerLetter;
use crate::letters::exchange::ExchangeReply;
use crate::owner::loading::{read_on, read_tail};
use crate::owner::{Effect, Owners};
use crate::session::catalog::archive_now;
use crate::shared::Shared;

impl Worker {
    /// Calls the owners, and carries out the resulting effects.
    pub(crate) fn with_owners<T>(self: &Rc<Self>, call: impl FnOnce(&mut Owners) -> T) -> T {
        let mut owners = self.owners.borrow_mut();
        let result = call(&mut owners);
        if owners.take_due() {
            self.commit_due.notify_one();
        }
        let mut effects = owners.take_effects();
        drop(owners);
        if !effects.is_empty() {
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.owners.borrow_mut().reuse(effects);
        }
        result
    }

    fn carry_out(self: &Rc<Self>, effect: Effect) {
        match effect {
            Effect::Post { worker, letter } => self.post(worker, letter),
            Effect::Answer { exchange, reply } => {
                let joins = match &reply {
                    ExchangeReply::Joined { session, .. } => Some(*session),
                    _ => None,
                };
                let is_taken = self.shared.post.exchanges.answer(exchange, reply);
                if let Some(session) = joins.filter(|_| !is_taken) {
                    self.shared
                        .send(self.index, OwnerLetter::Disconnect { session, connection: exchange }.into());
                }
            }
            Effect::Load { session, finds } => load(&self.shared, self.index, session, finds),
            Effect::CatchUp { session, from } => catch_up(&self.shared, self.index, session, from),
            Effect::Archive(session) => {
                let (shared, now) = (Arc::clone(&self.shared), self.now());
                tokio::task::spawn_blocking(move || {
                    archive_now(&*shared.storage.log, &shared.storage.catalog, session, now);
                });
            }
            Effect::Audit(record) => self.shared.audit(|| record),
            Effect::Trace { session, frame, took } => {
                if let Some(tracer) = &self.shared.ops.tracer {
                    tracer.logged(session, &frame, took, clock::now_ns());
                }
            }
            Effect::Release { .. } => {}
        }
    }

    /// Submits the next frame of every session that has one to the log, in one batch.
    pub(super) fn commit(&self) {
        let appends = self.owners.borrow_mut().take_batches(self.delivery.moment());
        if appends.is_empty() {
            return;
        }
        let events: usize = appends.iter().map(|append| append.frame.count()).sum();
        let bytes: usize = appends.iter().map(|append| append.frame.bytes().len()).sum();
        self.shared.metrics.commits.inc();
        self.delivery.meters().commit_events.add(events as f64, 1);
        self.delivery.meters().commit_bytes.add(bytes as f64, 1);
        let sessions: Vec<SessionId> = appends.iter().map(|append| append.session).collect();
        let (shared, worker, submitted) = (Arc::clone(&self.shared), self.index, clock::instant());
        let done = move |outcomes: Vec<_>| {
            let outcomes = sessions.into_iter().zip(outcomes).collect();
            shared.send(worker, OwnerLetter::Outcomes { outcomes, submitted }.into());
        };
        self.shared.storage.log.submit(appends, Box::new(done));
    }
}

fn load(shared: &Arc<Shared>, worker: usize, session: SessionId, finds: bool) {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || {
        let tail = read_tail(&*shared.storage.log, shared.config.dedupe_window, session, finds);
        shared.send(worker, OwnerLetter::Loaded { session, tail }.into());
    });
}

fn catch_up(shared: &Arc<Shared>, worker: usize, session: SessionId, from: Seq) {
    let shared = Arc::clone(shared);
    tokio::task::spawn_blocking(move || {
        let read = read_on(&*shared.storage.log, session, from);
        shared.send(worker, OwnerLetter::CaughtUp { session, read }.into());
    });
}
