//! Letters and effects of a process without a runtime, as `worker/post.rs` and `worker/effects.rs` carry them out.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

use agentbench_event_log::EventLog;
use agentbench_protocol::SessionId;
use agentbench_session::ConnectionKey;

use super::node::{Node, WorkerParts};
use crate::delivery::audiences::CatchUp;
use crate::delivery::reader::Reader;
use crate::letters::{Acks, Letter, OwnerLetter};
use crate::owner::{Effect, Owners};
use crate::session::catalog::archive_now;

impl WorkerParts {
    /// Flushes a reader, and queues the log reads that it needs.
    pub(super) fn flush(
        &self,
        worker: usize,
        reader: &Rc<Reader>,
        reads: &RefCell<VecDeque<(usize, CatchUp)>>,
    ) {
        loop {
            let flushed = reader.flush(&self.delivery);
            for read in flushed.reads {
                if let Some(catch_up) = self.audiences.request_read(reader, read) {
                    reads.borrow_mut().push_back((worker, catch_up));
                }
            }
            if !flushed.more {
                return;
            }
        }
    }
}

impl Node {
    /// Sends a letter, or processes it at once if it is for the sender.
    pub(super) fn post(&mut self, from: usize, to: usize, letter: Letter) {
        if from == to { self.act(to, letter) } else { self.work.letters[to].push_back(letter) }
    }

    pub(super) fn with_owners(&mut self, worker: usize, call: impl FnOnce(&mut Owners)) {
        let parts = Rc::clone(&self.workers[worker]);
        call(&mut parts.owners.borrow_mut());
        self.carry_out(worker);
    }

    /// Carries out the effects of a worker's owners.
    pub(super) fn carry_out(&mut self, worker: usize) {
        let effects = self.workers[worker].owners.borrow_mut().take_effects();
        for effect in effects {
            match effect {
                Effect::Post { worker: to, letter } => self.post(worker, to, letter),
                Effect::Answer { exchange, reply } => self.answers.push((exchange, reply)),
                Effect::Load { session, finds } => self.work.loads.push_back((worker, session, finds)),
                Effect::CatchUp { session, from } => self.work.missing.push_back((worker, session, from)),
                Effect::Archive(session) => archive_now(&*self.log, &self.catalog, session, self.now()),
                Effect::Audit(_) | Effect::Trace { .. } | Effect::Release { .. } => {}
            }
        }
    }

    /// Flushes a connection's output.
    pub(super) fn flush(&self, worker: usize, reader: &Rc<Reader>) {
        self.workers[worker].flush(worker, reader, &self.work.reads);
    }

    /// Processes one letter of a worker's mailbox. Tells whether there was one.
    pub(crate) fn read_letter(&mut self, worker: usize) -> bool {
        let letter = self.work.letters[worker].pop_front();
        letter.map(|letter| self.act(worker, letter)).is_some()
    }

    /// Drops the commits in a worker's mailbox, as when it is full: their sessions are read from the log.
    pub fn miss_commits(&mut self, worker: usize) {
        let mut missed: Vec<SessionId> = Vec::new();
        self.work.letters[worker].retain(|letter| match letter {
            Letter::Commit { session, .. } => {
                missed.push(*session);
                false
            }
            _ => true,
        });
        // As a worker does: the letters first, since a follower may be on its way.
        while self.read_letter(worker) {}
        for session in missed {
            self.resync(worker, session);
        }
    }

    fn resync(&self, worker: usize, session: SessionId) {
        let parts = &self.workers[worker];
        parts.audiences.resync(session, |reader| self.flush(worker, reader));
    }

    fn with_reader(&self, connection: ConnectionKey, send: impl FnOnce(&Rc<Reader>, &WorkerParts)) -> bool {
        let Some(reader) = self.peers.readers.get(&connection) else { return false };
        let worker = crate::names::worker_of(connection);
        send(reader, &self.workers[worker]);
        self.flush(worker, reader);
        true
    }

    pub(super) fn act(&mut self, worker: usize, letter: Letter) {
        let (parts, now) = (Rc::clone(&self.workers[worker]), self.moment());
        match letter {
            Letter::Owner(letter) => self.with_owners(worker, |owners| owners.read_letter(now, letter)),
            Letter::Commit { session, frame, priority, opened } => {
                let flush = |reader: &Rc<Reader>| self.flush(worker, reader);
                parts.audiences.commit(session, frame, priority, opened, flush);
            }
            Letter::Resync { session } => self.resync(worker, session),
            Letter::Reply { connection, json, .. } => {
                self.with_reader(connection, |reader, parts| parts.delivery.send_json(reader, &json));
            }
            Letter::Acks { connection, entry, acks } => {
                self.check_acks(entry.id, &acks);
                self.with_reader(connection, |reader, parts| {
                    parts.delivery.send_acks(reader, &entry, &acks);
                });
            }
            Letter::Joined { connection, entry, json, gap, follow, head } => {
                let session = entry.id;
                let is_there = self.with_reader(connection, |reader, parts| {
                    parts.audiences.remove(reader, session);
                    parts.delivery.send_json(reader, &json);
                    if let Some(gap) = gap {
                        parts.delivery.send_json(reader, &gap);
                    }
                    reader.sessions.borrow_mut().push(session);
                    if let Some(after) = follow {
                        parts.audiences.add(&entry, head, reader, after + 1, now.instant);
                    }
                });
                if !is_there {
                    let owner = self.owner_of(session);
                    self.work.letters[owner]
                        .push_back(OwnerLetter::Disconnect { session, connection }.into());
                }
            }
            Letter::Left { connection, session, json } => {
                self.with_reader(connection, |reader, parts| {
                    parts.audiences.remove(reader, session);
                    parts.delivery.send_json(reader, &json);
                });
            }
            Letter::Close { connection, .. } => self.peers.closing.push(connection),
            Letter::Survey(_) | Letter::Inspect { .. } | Letter::EndInspection { .. } => {
                unreachable!("only operators' requests send it")
            }
        }
    }

    /// Acks that are not true are counted at once, whoever reads them.
    fn check_acks(&mut self, session: SessionId, acks: &Acks) {
        let last = match acks {
            Acks::Run(run) => run.records().last().map_or(0, |(seq, _)| seq),
            Acks::Single(ack) => ack.seq,
        };
        if let Some(head) = self.log.head(session).filter(|head| last > head.seq) {
            self.early_acks.push((session, last, head.seq));
        }
    }
}
