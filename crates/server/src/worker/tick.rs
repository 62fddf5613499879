//! Periodic work: pings, dead and slow connections, expired tokens and sessions, unloading of sessions.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentbench_protocol::CloseCode;
use agentbench_websocket::{Opcode, encode_frame};

use super::Worker;
use super::heartbeat::Due;
use super::readers::slow_readers;
use crate::clock;
use crate::housekeeping::ticks::tick_period;
use crate::letters::OwnerLetter;
use crate::worker::connection::Connection;

/// Sessions that are not in memory are checked less often, since there may be very many.
const TICKS_BETWEEN_SWEEPS: u64 = 20;
/// Longest time between checks of the sessions in memory.
const LONGEST_CHECK_PERIOD: Duration = Duration::from_secs(5);
/// Drift between the wall clock and the steady clock, in one tick, above which the wall clock was set and not slewed.
const JUMP_MS: u64 = 1_000;
/// Grace period of an expired token on an open connection, so that a refresh in progress can arrive.
const TOKEN_GRACE_MS: u64 = 10_000;

impl Worker {
    pub(super) async fn tick(self: &Rc<Self>) {
        let period = tick_period(&self.shared.config);
        // The cost of a check grows with the number of sessions; a session may expire late by this time.
        let patience = (self.shared.config.session_timeout / 4).min(LONGEST_CHECK_PERIOD);
        let ticks_between_checks = (patience.as_millis() / period.as_millis()).max(1) as u64;
        // The wall clock's lead over the steady clock, ms; the revocations that connections were last checked against.
        let (mut wall_ahead, mut revocations_seen) = (0, 0);
        for count in 1_u64.. {
            self.shared.post.ticks[self.index].notified().await;
            self.shared.ops.liveness.record_turn(self.index);
            let (now, steady) = (self.now(), self.steady());
            let ahead = now as i64 - steady as i64;
            self.follow_wall_clock(now, ahead - std::mem::replace(&mut wall_ahead, ahead));
            if let Some(release) =
                self.shared.config.release_memory.filter(|_| self.shared.intake.memory.is_short())
            {
                release();
            }
            let connections = self.connections.all();
            let newest = self.shared.gate.revocations.generation();
            if std::mem::replace(&mut revocations_seen, newest) != newest {
                self.enforce_revocations(&connections);
            }
            for connection in &connections {
                self.check_connection(connection, now, steady);
            }
            let streams = self.shared.streams.of_worker(self.index);
            self.shared.ops.readers.report(self.index, slow_readers(&connections, &streams));
            let moment = clock::instant();
            streams.iter().for_each(|stream| stream.room.forget_old(moment));
            if self.index == 0 {
                self.shared.intake.memory.measure();
                self.shared.gate.users.drop_idle(now);
                self.shared.metrics.slowest_reader_lag.set(self.shared.ops.readers.furthest_behind() as i64);
                self.shared.metrics.sessions_active.set(self.shared.storage.catalog.active() as i64);
                self.shared.metrics.sessions_stored.set(self.shared.storage.catalog.len() as i64);
                self.shared.metrics.commit_backlog_bytes.set(self.shared.intake.backlog() as i64);
            }
            self.with_owners(|owners| {
                owners.announce_changes(now);
                owners.retry_unsettled(self.delivery.moment());
            });
            if count % ticks_between_checks == 0 {
                self.check_sessions(now);
            }
            if count % TICKS_BETWEEN_SWEEPS == 0 {
                self.sweep_catalog(now);
            }
        }
    }

    /// Closes connections whose token was revoked.
    fn enforce_revocations(self: &Rc<Self>, connections: &[Rc<Connection>]) {
        for connection in connections {
            if connection.is_open() && self.shared.gate.revocations.holds(&connection.grant()) {
                self.close(connection, CloseCode::TokenExpired, "the token was revoked", None);
                self.flush(&connection.reader);
            }
        }
    }

    /// If the wall clock was set, shifts all deadlines that depend on it: no session expires early or late because of a jump.
    fn follow_wall_clock(&self, now: u64, jump: i64) {
        if jump.unsigned_abs() < JUMP_MS {
            return;
        }
        self.owners.borrow_mut().clock_was_set(jump, now);
        self.shared.storage.catalog.each_live(|entry| {
            if self.shared.post.names.owner_of(entry.id) == self.index {
                entry.clock_was_set(jump, now);
            }
        });
    }

    fn check_connection(self: &Rc<Self>, connection: &Rc<Connection>, now: u64, steady: u64) {
        if !connection.is_open() {
            return connection.reader.wake();
        }
        if self.is_blocked_too_long(connection, steady) {
            self.close(connection, CloseCode::SlowConsumer, "the connection was not read for too long", None);
        } else if connection
            .grant
            .borrow()
            .expires_at
            .is_some_and(|end| now > end.saturating_add(TOKEN_GRACE_MS))
        {
            self.close(connection, CloseCode::TokenExpired, "the token has expired", None);
        } else if connection.input.has_stalled(steady) {
            self.shared.metrics.clients_slow_to_send.inc();
            self.close(connection, CloseCode::SlowConsumer, "a message did not go on for ten seconds", None);
        } else {
            match connection.heartbeat.due(steady, self.shared.config.heartbeat_interval.as_millis() as u64) {
                Due::Nothing => return,
                Due::Ping => {
                    encode_frame(
                        connection.reader.outbox.borrow_mut().control(),
                        Opcode::Ping,
                        false,
                        b"",
                        None,
                    );
                }
                Due::End => {
                    self.close(connection, CloseCode::SlowConsumer, "two pings were not answered", None);
                }
            }
        }
        self.flush(&connection.reader);
    }

    /// Whether its socket has been blocked for longer than allowed.
    fn is_blocked_too_long(&self, connection: &Connection, steady: u64) -> bool {
        let outbox = connection.reader.outbox.borrow();
        let Some(since) = outbox.blocked_since else { return false };
        let holds_memory =
            outbox.holds_history() || !self.replays.sessions_of(connection.reader.key).is_empty();
        let longest = self.shared.config.slow_consumer_timeout;
        let patience =
            if holds_memory { self.shared.storage.reader.budget.patience(longest) } else { longest };
        steady.saturating_sub(since) > patience.as_millis() as u64
    }

    /// Expires unused sessions, and unloads quiet ones.
    fn check_sessions(self: &Rc<Self>, now: u64) {
        if self.index == 0 {
            self.shared.metrics.sessions_loaded.set(self.owners.borrow().len() as i64);
        }
        self.with_owners(|owners| owners.check_sessions(now));
        for session in self.audiences.retain(|session| self.owners.borrow().has(session)) {
            let owner = self.shared.post.names.owner_of(session);
            self.shared.send(owner, OwnerLetter::FeedEnded { session, worker: self.index }.into());
        }
    }

    /// Expires sessions of this worker that are not in memory and have not been used for too long.
    fn sweep_catalog(self: &Rc<Self>, now: u64) {
        let timeout = self.shared.config.session_timeout.as_millis() as u64;
        let mut unused = Vec::new();
        self.shared.storage.catalog.each_live(|entry| {
            let is_unused = now.saturating_sub(entry.last_used.load(Ordering::Relaxed)) > timeout;
            if is_unused && self.shared.post.names.owner_of(entry.id) == self.index {
                unused.push(entry.id);
            }
        });
        self.with_owners(|owners| owners.expire_all(unused, now));
    }
}
