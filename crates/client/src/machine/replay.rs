//! Replays of sessions: the log again at its own pace, across reconnects.
//!
//! The server's entries of a replay name the session and not the replay, so a client has one replay of a session at a time, and
//! accepts exactly the next entry: remains of an earlier replay that was dropped are ignored.

use agentbench_protocol::{Command, GapCause, Seq, SessionId, SystemMessage};

use super::commands::Purpose;
use super::{FollowKey, Machine, Now, Output};
use crate::item::{Gap, Item};
use crate::outcome::Error;

/// One replay.
#[derive(Debug)]
pub(super) struct ActiveReplay {
    key: FollowKey,
    speed: f64,
    next: Seq,
    /// The command's number on this connection; `None` if it must be sent again.
    number: Option<u64>,
}

impl<T> Machine<T> {
    /// Replays a session from a seq on; the start is reported under `key`, the items under `replay`.
    ///
    /// # Errors
    /// [`Error::Ended`], [`Error::AlreadyFollowing`].
    pub fn replay(
        &mut self,
        now: Now,
        key: u64,
        replay: FollowKey,
        session: SessionId,
        speed: f64,
        from_seq: Seq,
    ) -> Result<(), Error> {
        self.check_open()?;
        if self.replays.contains_key(&session) {
            return Err(Error::AlreadyFollowing);
        }
        self.replays
            .insert(session, ActiveReplay { key: replay, speed, next: from_seq.max(1), number: None });
        self.ask_for_replay(now, session, Some(key))
    }

    /// Ends a replay: nothing more is reported about it, and the server is asked to stop it. Returns whether an answer
    /// will arrive under `key`; it will not if there is nothing to stop, since the replay is over or does not run on this
    /// connection. Without a key there is no waiter, and an older server's refusal is harmless.
    pub fn stop_replay(&mut self, now: Now, key: Option<u64>, session: SessionId, replay: FollowKey) -> bool {
        if self.replays.get(&session).is_none_or(|found| found.key != replay) {
            return false;
        }
        let Some(ActiveReplay { next, number: Some(began), .. }) = self.replays.remove(&session) else {
            return false;
        };
        if self.commands.is_unsent(began) {
            self.commands.take(began);
            return false;
        }
        if let Some(pending) = self.commands.get_mut(began) {
            // The command is in flight; it must not be repeated on another connection.
            pending.purpose = Purpose::Nobody;
        }
        let command = Command::StopReplay {
            session_id: session.to_string(),
            original_message_id: self.id_of('c', began),
        };
        let stop = |key| Purpose::StopReplay { session, seq: next - 1, key };
        let is_asked = self.send_command(now, key.map_or(Purpose::Nobody, stop), &command).is_ok();
        is_asked && key.is_some()
    }

    /// The connection is lost: a replay that was to be stopped has ended with it.
    pub(super) fn stops_cut(&mut self) {
        for pending in self.commands.take_stops() {
            if let Purpose::StopReplay { session, seq, .. } = pending.purpose {
                let original_message_id = String::new();
                let stopped = SystemMessage::ReplayStopped { original_message_id, session_id: session, seq };
                self.answer(&pending.purpose, Ok(Box::new(stopped)));
            }
        }
    }

    fn ask_for_replay(&mut self, now: Now, session: SessionId, key: Option<u64>) -> Result<(), Error> {
        let number = self.last_number + 1;
        let Some(found) = self.replays.get_mut(&session) else { return Ok(()) };
        found.number = Some(number);
        let command = Command::ReplaySession {
            session_id: session.to_string(),
            speed: found.speed,
            from_seq: found.next,
        };
        self.send_command(now, Purpose::Replay { session, key }, &command)
    }

    /// The connection is lost: replays that had started are requested again on the next one. The commands of the others are repeated.
    pub(super) fn replays_cut(&mut self) {
        let Self { replays, commands, .. } = self;
        for found in replays.values_mut() {
            if found.number.is_some_and(|number| commands.get_mut(number).is_none()) {
                found.number = None;
            }
        }
    }

    /// There is a connection again.
    pub(super) fn resume_replays(&mut self, now: Now) {
        let cut: Vec<_> =
            self.replays.iter().filter(|(_, found)| found.number.is_none()).map(|(id, _)| *id).collect();
        for session in cut {
            // Fails only on a client that has ended.
            let _ = self.ask_for_replay(now, session, None);
        }
    }

    /// Handles an entry of a replay.
    pub(super) fn replayed(&mut self, session: SessionId, seq: Seq, item: impl FnOnce() -> Item) {
        match self.replays.get_mut(&session) {
            Some(found) if found.next == seq => {
                found.next = seq + 1;
                self.told.push_back(Output::Item { follow: found.key, item: item() });
                self.progress();
            }
            // Of a replay that was dropped.
            _ => self.stats.unexpected += 1,
        }
    }

    /// Handles a gap, if a replay has reached it: these causes apply to every reader of the log. Returns whether it has.
    pub(super) fn replay_gap(&mut self, session: SessionId, gap: &Gap) -> bool {
        let Some(found) = self.replays.get_mut(&session) else { return false };
        let is_next = found.next == gap.from && matches!(gap.cause, GapCause::Damaged | GapCause::Retention);
        if is_next {
            found.next = gap.to + 1;
            self.told.push_back(Output::Item { follow: found.key, item: Item::Gap(*gap) });
        }
        is_next
    }

    /// The end of the replay that this command started.
    pub(super) fn replay_finished(&mut self, session: SessionId, number: u64) {
        if let Some(found) = self.replays.remove_if(session, Some(number)) {
            self.told.push_back(Output::ReplayFinished { replay: found.key });
        }
    }

    /// The command that started a replay failed, or a replay in progress.
    pub(super) fn replay_failed(&mut self, session: SessionId, number: Option<u64>, why: Error) {
        if let Some(found) = self.replays.remove_if(session, number) {
            self.told.push_back(Output::FollowEnded { follow: found.key, why });
        }
    }

    /// The session whose replay this command started.
    pub(super) fn replay_of(&self, number: u64) -> Option<SessionId> {
        self.replays.iter().find(|(_, found)| found.number == Some(number)).map(|(session, _)| *session)
    }
}

/// All replays of a client.
pub(super) type Replays = std::collections::BTreeMap<SessionId, ActiveReplay>;

/// Removes the replay that a command started; without a number, any replay.
trait RemoveIf {
    fn remove_if(&mut self, session: SessionId, number: Option<u64>) -> Option<ActiveReplay>;
}

impl RemoveIf for Replays {
    fn remove_if(&mut self, session: SessionId, number: Option<u64>) -> Option<ActiveReplay> {
        let is_it = self.get(&session).is_some_and(|found| number.is_none() || found.number == number);
        if is_it { self.remove(&session) } else { None }
    }
}
