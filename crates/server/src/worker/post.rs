//! Processes the worker's mailbox.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_evidence::Store;
use agentbench_protocol::{Doubts, SessionId};
use agentbench_session::ConnectionKey;

use super::Worker;
use crate::delivery::reader::Reader;
use crate::inspection::Target;
use crate::letters::{Acks, Letter, OwnerLetter, SingleAck};
use crate::session::entry::Entry;
use crate::uploads;

impl Worker {
    /// Takes and processes all letters. Returns the emptied buffer.
    pub(super) fn read_post(self: &Rc<Self>, spare: Vec<Letter>) -> Vec<Letter> {
        let mut delivery = self.shared.post.mailboxes[self.index].take(spare);
        for letter in delivery.letters.drain(..) {
            self.read_letter(letter);
        }
        for session in delivery.missed {
            self.audiences.resync(session, |reader: &Rc<Reader>| self.flush(reader));
        }
        delivery.letters
    }

    /// Sends a letter, or processes it at once if it is for this worker.
    pub(crate) fn post(self: &Rc<Self>, worker: usize, letter: Letter) {
        if worker == self.index {
            self.read_letter(letter);
        } else {
            self.shared.send(worker, letter);
        }
    }

    fn read_letter(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Owner(letter) => {
                let now = self.delivery.moment();
                self.with_owners(|owners| owners.read_letter(now, letter));
            }
            Letter::Commit { session, frame, priority, opened } => {
                self.deliver_commit(session, frame, priority, opened);
            }
            Letter::Resync { session } => self.audiences.resync(session, |reader| self.flush(reader)),
            Letter::Reply { connection, json, settles } => {
                if let Some(connection) = self.connections.get(connection) {
                    self.reply(&connection, &json, settles);
                }
            }
            Letter::Acks { connection, entry, acks } => self.acknowledge(connection, entry, acks),
            Letter::Joined { connection, entry, json, gap, follow, head } => {
                if let Some(connection) = self.connections.get(connection) {
                    self.joined(&connection, &entry, &json, gap.as_deref(), follow, head);
                } else {
                    // Its disconnect left all sessions that it had joined, and this was not one of them yet.
                    let session = entry.id;
                    let owner = self.shared.post.names.owner_of(session);
                    self.shared.send(owner, OwnerLetter::Disconnect { session, connection }.into());
                }
            }
            Letter::Left { connection, session, json } => {
                if let Some(connection) = self.connections.get(connection) {
                    self.audiences.remove(&connection.reader, session);
                    self.reply(&connection, &json, true);
                }
            }
            Letter::Survey(survey) => self.answer_survey(survey),
            Letter::Inspect { tap, begun } => {
                // An inspection of a connection that does not exist ends at once.
                let is_gone =
                    matches!(tap.target, Target::Connection(key) if self.connections.get(key).is_none());
                if !is_gone {
                    self.delivery.inspection.begin(tap);
                }
                // The requester may have disconnected.
                let _ = begun.send(());
            }
            Letter::EndInspection { number } => self.delivery.inspection.end(number),
            Letter::Close { connection, code, detail } => {
                if let Some(connection) = self.connections.get(connection) {
                    self.close(&connection, code, detail, None);
                    self.flush(&connection.reader);
                }
            }
        }
    }

    /// Sends acks. The ack of an event that names evidence waits for the lookup of that evidence.
    fn acknowledge(self: &Rc<Self>, connection: ConnectionKey, entry: Arc<Entry>, acks: Acks) {
        if let Acks::Single(SingleAck { doubts: Doubts { evidence: Some(_), .. }, .. }) = acks {
            let worker = Rc::clone(self);
            tokio::task::spawn_local(async move {
                let acks = with_upload_checked(&worker.shared.storage.evidence, entry.id, acks).await;
                worker.acknowledge(connection, entry, acks);
            });
        } else if let Some(connection) = self.connections.get(connection) {
            self.delivery.send_acks(&connection.reader, &entry, &acks);
            self.flush_queue.push(&connection.reader);
        }
    }
}

async fn with_upload_checked(store: &Arc<Store>, session: SessionId, acks: Acks) -> Acks {
    match acks {
        Acks::Single(ack) => {
            let doubts = uploads::check(store, session, ack.doubts).await;
            Acks::Single(SingleAck { doubts, ..ack })
        }
        run @ Acks::Run(_) => run,
    }
}
