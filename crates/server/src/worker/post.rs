//! Reading the worker's mailbox.

use std::rc::Rc;

use super::Worker;
use crate::inspection::Target;
use crate::letters::Letter;
use crate::names;

impl Worker {
    /// Takes all letters and acts on them. Returns the emptied buffer.
    pub(super) fn read_post(self: &Rc<Self>, spare: Vec<Letter>) -> Vec<Letter> {
        let mut delivery = self.shared.mailboxes[self.index].take(spare);
        for letter in delivery.letters.drain(..) {
            self.read_letter(letter);
        }
        for session in delivery.missed {
            self.resync(session);
        }
        delivery.letters
    }

    fn read_letter(self: &Rc<Self>, letter: Letter) {
        match letter {
            Letter::Settled { outcomes, submitted } => self.settled(outcomes, submitted),
            Letter::Commit { session, frame, priority, opened } => {
                self.take_commit(session, frame, priority, opened);
            }
            Letter::Request { session, asker, request } => self.handle(session, asker, request),
            Letter::Loaded { session, tail } => self.loaded(session, tail),
            Letter::Reply { connection, json, settles } => {
                if let Some(connection) = self.connection(connection) {
                    self.deliver_reply(&connection, &json, settles);
                }
            }
            Letter::Acks { connection, entry, acks } => {
                if let Some(connection) = self.connection(connection) {
                    self.write_acks(
                        &connection,
                        &entry,
                        acks.iter().map(|(id, seq, again)| (&**id, *seq, *again)),
                    );
                    self.flush_later(&connection.reader);
                }
            }
            Letter::Joined { connection, entry, json, gap, follow, head } => {
                if let Some(connection) = self.connection(connection) {
                    self.joined(&connection, &entry, &json, gap.as_deref(), follow, head);
                } else {
                    // It has left all sessions that it knew of, and this was not one of them yet.
                    let session = entry.id;
                    self.shared
                        .send(self.shared.names.owner_of(session), Letter::Gone { session, connection });
                }
            }
            Letter::Gone { session, connection } => self.gone(session, connection),
            Letter::Left { connection, session, json } => {
                if let Some(connection) = self.connection(connection) {
                    self.unfollow(&connection, session);
                    self.deliver_reply(&connection, &json, true);
                }
            }
            Letter::Survey(survey) => self.answer_survey(survey),
            Letter::Inspect { tap, begun } => {
                // A look at a connection that is not there is over at once.
                let is_gone = matches!(tap.target, Target::Connection(key) if self.connection(key).is_none());
                if !is_gone {
                    self.delivery.inspection.begin(tap);
                }
                // Whoever asked may have gone.
                let _ = begun.send(());
            }
            Letter::EndInspection { number } => self.delivery.inspection.end(number),
            Letter::Close { connection, code, detail } => {
                if let Some(connection) = self.connection(connection) {
                    self.close(&connection, code, detail, None);
                    self.flush(&connection.reader);
                }
            }
        }
    }

    /// Sends a letter, or acts on it at once if it is to this worker.
    pub(crate) fn post(self: &Rc<Self>, worker: usize, letter: Letter) {
        if worker == self.index {
            self.read_letter(letter);
        } else {
            self.shared.send(worker, letter);
        }
    }

    /// Sends a letter to a connection's worker.
    pub(crate) fn post_to(self: &Rc<Self>, connection: agentbench_session::ConnectionKey, letter: Letter) {
        self.post(names::worker_of(connection), letter);
    }
}
