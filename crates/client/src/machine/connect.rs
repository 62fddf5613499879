//! From one connection to the next: attempts, delays, tokens, deadlines, the end.

use std::time::Duration;

use agentbench_protocol::{Command, Seq};
use rand::Rng;

use super::commands::{Purpose, earlier};
use super::link::{Connection, Link, Phase, close_frame};
use super::participation::Join;
use super::verdict::{ConnectionLoss, Verdict};
use super::{Action, ConnectionEvent, Machine, Now, Output};
use crate::item::{Disconnected, Item};
use crate::outcome::{Ended, Error, GaveUp};

/// The token is renewed after this share of its remaining lifetime.
const RENEW_AFTER: f64 = 0.8;
/// Delay before a failed renewal is retried.
const RENEW_AGAIN: Duration = Duration::from_secs(10);
/// Number of the server's heartbeat intervals without a heartbeat after which a connection counts as dead.
const MISSED_HEARTBEATS: f64 = 2.5;

impl<T> Machine<T> {
    /// Starts the first attempt to connect.
    pub fn start(&mut self, now: Now) {
        if matches!(self.link, Link::Idle) {
            self.begin(now, false);
        }
    }

    fn begin(&mut self, now: Now, fetch_token: bool) {
        let deadline = now.since_start + self.settings.connect_timeout;
        self.wake_by(Some(deadline));
        if self.settings.has_token_provider && (fetch_token || self.token.is_none()) {
            self.link = Link::FetchingToken { deadline };
            self.actions.push_back(Action::FetchToken);
        } else {
            self.link = Link::Connecting { deadline };
            self.stats.attempts += 1;
            self.actions.push_back(Action::Connect);
        }
    }

    /// The socket is connected.
    pub fn connected(&mut self, now: Now) {
        let Link::Connecting { deadline } = self.link else { return };
        let mut key = [0; 16];
        self.rng.fill_bytes(&mut key);
        let token = self.token.as_deref();
        let connection = Connection::open(&self.settings, token, key, now.since_start, deadline);
        self.link = Link::Open(Box::new(connection));
        // What was queued for the last connection does not apply to this one.
        self.close_frame.clear();
    }

    /// The attempt to connect failed.
    pub fn unreachable(&mut self, now: Now, why: impl Into<String>) {
        if matches!(self.link, Link::Connecting { .. }) {
            self.lost(now, &ConnectionLoss::Unreachable(why.into()));
        }
    }

    /// The socket has ended or failed.
    pub fn disconnected(&mut self, now: Now, why: impl Into<String>) {
        let Some(connection) = self.connection() else { return };
        let lost = match &connection.close_notice {
            Some(_) => connection.closed(None, String::new()),
            None => connection.refusal().unwrap_or_else(|| ConnectionLoss::Io(why.into())),
        };
        self.lost(now, &lost);
    }

    /// The provider's answer.
    pub fn token(&mut self, now: Now, answer: Result<String, String>) {
        match (&self.link, answer) {
            (Link::FetchingToken { .. }, Ok(token)) => {
                self.token = Some(token);
                self.token_is_fresh = true;
                self.begin(now, false);
            }
            (Link::FetchingToken { .. }, Err(why)) => {
                let detail = format!("no new token: {why}");
                self.emit(ConnectionEvent::Disconnected(Disconnected { code: None, detail: detail.clone() }));
                self.wait(now, Duration::ZERO, true, detail);
            }
            (Link::Open(_), Ok(token)) => {
                let command = Command::RefreshToken { token: token.clone() };
                // Fails only on a client that has ended.
                let _ = self.send_command(now, Purpose::Refresh { key: None, token }, &command);
            }
            (Link::Open(_), Err(_)) => self.renew_at(now.since_start + RENEW_AGAIN),
            _ => {}
        }
    }

    pub(super) fn renew_at(&mut self, at: Duration) {
        self.refresh_at = Some(at);
        self.wake_by(Some(at));
    }

    /// The server's first message: the connection is ready.
    pub(super) fn established(
        &mut self,
        now: Now,
        client_id: String,
        node: String,
        heartbeat_ms: u64,
        max_payload: u64,
        token_expires_at: Option<u64>,
    ) {
        let silence = self
            .settings
            .silence_timeout
            .unwrap_or_else(|| Duration::from_millis(heartbeat_ms).mul_f64(MISSED_HEARTBEATS));
        let next_heartbeat = self.settings.heartbeat_interval.map(|interval| now.since_start + interval);
        let Some(connection) = self.connection() else { return };
        if connection.is_live() {
            return;
        }
        connection.phase = Phase::Live { since: now.since_start };
        connection.max_payload = max_payload;
        connection.silence = (!silence.is_zero()).then_some(silence);
        connection.next_heartbeat = next_heartbeat;
        self.wake_by(earlier(next_heartbeat, Some(now.since_start.saturating_add(silence))));
        self.token_is_fresh = false;
        self.expect_expiry(now, token_expires_at);
        self.stats.reconnects += u64::from(self.has_connected);
        self.has_connected = true;
        let attempt = self.attempt + 1;
        self.emit(ConnectionEvent::Connected { client_id, node, attempt });
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            self.update_session(session);
        }
        self.resume_replays(now);
    }

    /// The token expires at `expires_at`, ms since 1970 by the server's clock, which the same message contains; the
    /// user's clock may be hours off. A new token is fetched before, if there is a provider.
    pub(super) fn expect_expiry(&mut self, now: Now, expires_at: Option<u64>) {
        self.refresh_at = None;
        if let Some(at) = expires_at.filter(|_| self.settings.has_token_provider) {
            let server_time = self.connection().map_or(0, |connection| connection.server_time);
            let left = Duration::from_millis(at.saturating_sub(server_time));
            let renew_in = left.mul_f64(RENEW_AFTER).max(Duration::from_secs(1));
            self.renew_at(now.since_start.saturating_add(renew_in));
        }
    }

    /// Resets the count of attempts. Called only for what a server that fails repeatedly does not do: settling an event or
    /// a command, answering a join's waiter, or delivering the next entry of a log.
    pub(super) fn progress(&mut self) {
        self.attempt = 0;
    }

    /// The connection was lost, or failed to open.
    pub(super) fn lost(&mut self, now: Now, why: &ConnectionLoss) {
        let mut verdict = why.verdict();
        // An end that the server announced is not a break.
        let mut is_break = verdict == Verdict::Retry(Duration::ZERO);
        if let Link::Open(connection) = &self.link
            && let Phase::Live { since } = connection.phase
        {
            // It lasted for a while, so the next attempt counts as the first.
            if since + self.settings.backoff.max <= now.since_start {
                self.attempt = 0;
                is_break = false;
            }
            // The token was accepted.
            if let Verdict::BadToken(ended) = verdict {
                verdict = Verdict::End(ended);
            }
        }
        self.actions.push_back(Action::Disconnect);
        let about = why.describe();
        self.forget_connection(&about, is_break);
        self.emit(ConnectionEvent::Disconnected(about.clone()));
        match verdict {
            Verdict::Retry(not_before) => self.wait(now, not_before, false, about.detail),
            Verdict::NewToken if self.settings.has_token_provider => {
                self.wait(now, Duration::ZERO, true, about.detail);
            }
            Verdict::NewToken => self.end(Ended::Token(about.detail)),
            Verdict::BadToken(_) if self.settings.has_token_provider && !self.token_is_fresh => {
                self.wait(now, Duration::ZERO, true, about.detail);
            }
            Verdict::BadToken(ended) | Verdict::End(ended) => self.end(ended),
        }
    }

    /// Marks everything in progress on the connection to be repeated on the next one.
    fn forget_connection(&mut self, about: &Disconnected, is_break: bool) {
        self.stops_cut();
        self.commands.connection_lost();
        self.replays_cut();
        self.ready.clear();
        self.joins.clear();
        self.refresh_at = None;
        self.outboxes_cut(is_break.then_some(&*about.detail));
        for participation in self.sessions.values_mut() {
            participation.join = Join::No;
            participation.is_listed = false;
            let Some(follow) = &mut participation.follow else { continue };
            if std::mem::take(&mut follow.is_live) {
                let item = Item::Disconnected(about.clone());
                self.told.push_back(Output::Item { follow: follow.key, item });
            }
        }
    }

    /// Marks all events to be sent again; `break_detail` as in [`Outbox::connection_lost`](super::outbox::Outbox::connection_lost).
    fn outboxes_cut(&mut self, break_detail: Option<&str>) {
        let Self { sessions, holdings, .. } = self;
        let mut given_up = Vec::new();
        for participation in sessions.values_mut() {
            let cut = participation.outbox.connection_lost(break_detail);
            holdings.suspects += cut.suspected;
            given_up.extend(cut.given_up);
        }
        for left in given_up {
            self.settle(left);
        }
    }

    fn wait(&mut self, now: Now, not_before: Duration, fetch_token: bool, last: String) {
        let attempts = self.attempt + 1;
        if self.settings.backoff.attempts.is_some_and(|most| attempts >= most) {
            return self.end(Ended::Attempts { attempts, last });
        }
        let jitter = self.settings.backoff.delay(self.attempt, self.rng.next_u32());
        self.attempt = attempts;
        let after = not_before.saturating_add(jitter);
        let until = now.since_start.saturating_add(after);
        self.link = Link::Waiting { until, fetch_token };
        self.wake_by(Some(until));
        self.emit(ConnectionEvent::Reconnecting { after });
    }

    /// Ends the client on the user's request. Everything outstanding is given up.
    pub fn close(&mut self) {
        if self.ended.is_some() {
            return;
        }
        if matches!(&self.link, Link::Open(connection) if connection.decoder.is_some()) {
            let mask = self.rng.next_u32().to_ne_bytes();
            self.close_frame = close_frame(1000, "", mask);
        }
        self.actions.push_back(Action::Disconnect);
        self.end(Ended::Closed);
    }

    pub(super) fn end(&mut self, why: Ended) {
        self.link = Link::Ended;
        self.wake_at = None;
        self.ready.clear();
        self.joins.clear();
        let error = Error::Ended(why.clone());
        for (_, mut participation) in std::mem::take(&mut self.sessions) {
            for left in participation.outbox.give_up_all(&GaveUp::Ended(why.clone())) {
                self.settle(left);
            }
            self.dissolve(participation, &error);
        }
        let pending: Vec<_> = self.commands.take_all().collect();
        for command in pending {
            self.answer(&command.purpose, Err(error.clone()));
        }
        let replays: Vec<_> = self.replays.keys().copied().collect();
        for session in replays {
            self.replay_failed(session, None, error.clone());
        }
        self.ended = Some(why.clone());
        self.emit(ConnectionEvent::Failed(why));
    }

    /// Passes the reply to the waiting user.
    pub(super) fn answer(
        &mut self,
        purpose: &Purpose,
        reply: Result<Box<agentbench_protocol::SystemMessage>, Error>,
    ) {
        if let (Purpose::Replay { session, .. }, Err(why)) = (purpose, &reply) {
            self.replay_failed(*session, None, why.clone());
        }
        let key = match *purpose {
            Purpose::User(key)
            | Purpose::StopReplay { key, .. }
            | Purpose::Replay { key: Some(key), .. }
            | Purpose::Create(key)
            | Purpose::Refresh { key: Some(key), .. } => key,
            Purpose::Join(_)
            | Purpose::Refresh { key: None, .. }
            | Purpose::Replay { key: None, .. }
            | Purpose::Nobody => return,
        };
        self.told.push_back(Output::Reply { key, reply });
    }

    /// Whether the driver has paused reading because a user does not read: the server's silence is meaningless
    /// then.
    pub fn set_paused(&mut self, now: Now, is_paused: bool) {
        if self.is_paused && !is_paused {
            if let Some(connection) = self.connection() {
                connection.last_received = now.since_start;
            }
            self.wake_by(Some(now.since_start));
        }
        self.is_paused = is_paused;
    }

    /// Handles expired deadlines. Must be called at [`Machine::next_timeout`]; extra calls are harmless.
    pub fn timeout(&mut self, now: Now) {
        if self.wake_at.is_none_or(|at| at > now.since_start) {
            return;
        }
        self.wake_at = None;
        self.link_timeout(now);
        if self.ended.is_some() {
            return;
        }
        self.session_timeouts(now);
        for pending in self.commands.take_expired(now.since_start) {
            let error = match pending.last_refusal {
                Some(refusal) => Error::Refused(refusal),
                None => Error::TimedOut(self.settings.command_timeout),
            };
            self.answer(&pending.purpose, Err(error));
        }
        let next = self.commands.release(now.since_start);
        self.wake_by(next);
    }

    fn link_timeout(&mut self, now: Now) {
        let at = now.since_start;
        match &self.link {
            Link::Waiting { until, fetch_token } if *until <= at => self.begin(now, *fetch_token),
            Link::FetchingToken { deadline } if *deadline <= at => {
                self.token(now, Err("the token provider took too long".into()));
            }
            Link::Connecting { deadline } if *deadline <= at => self.lost(now, &ConnectionLoss::TooSlow),
            Link::Open(connection) if !connection.is_live() && connection.deadline <= at => {
                let lost = self.connection().and_then(Connection::refusal).unwrap_or(ConnectionLoss::TooSlow);
                self.lost(now, &lost);
            }
            Link::Open(_) => self.connection_timeout(now),
            Link::Waiting { until: next, .. }
            | Link::FetchingToken { deadline: next }
            | Link::Connecting { deadline: next } => {
                let next = *next;
                self.wake_by(Some(next));
            }
            Link::Idle | Link::Ended => {}
        }
    }

    fn connection_timeout(&mut self, now: Now) {
        let at = now.since_start;
        let (is_paused, interval) = (self.is_paused, self.settings.heartbeat_interval);
        let Some(connection) = self.connection() else { return };
        let mut next = (!connection.is_live()).then_some(connection.deadline);
        if let Some(silence) = connection.silence.filter(|_| !is_paused) {
            let dead_at = connection.last_received.saturating_add(silence);
            if dead_at <= at {
                return self.lost(now, &ConnectionLoss::Silent);
            }
            next = earlier(next, Some(dead_at));
        }
        if let (Some(due), Some(interval)) = (connection.next_heartbeat, interval) {
            if due <= at {
                connection.heartbeat_due = true;
                connection.next_heartbeat = Some(at + interval);
            }
            next = earlier(next, connection.next_heartbeat);
        }
        self.wake_by(next);
        match self.refresh_at {
            Some(due) if due <= at => {
                self.refresh_at = None;
                self.actions.push_back(Action::FetchToken);
            }
            later => self.wake_by(later),
        }
    }

    fn session_timeouts(&mut self, now: Now) {
        let at = now.since_start;
        let sessions: Vec<_> = self.sessions.keys().copied().collect();
        for session in sessions {
            while let Some(left) =
                self.sessions.get_mut(&session).and_then(|found| found.outbox.pop_expired(at))
            {
                self.settle(left);
            }
            self.release_unacked(session);
            let Some(participation) = self.sessions.get_mut(&session) else { continue };
            let mut next = participation.outbox.next_deadline();
            match participation.outbox.hold_until {
                Some(until) if until <= at => participation.outbox.hold_until = None,
                until => next = earlier(next, until),
            }
            if let Join::Held(until) = participation.join {
                if until <= at {
                    participation.join = Join::No;
                } else {
                    next = earlier(next, Some(until));
                }
            }
            let late: Vec<_> = participation.waiters.extract_if(.., |waiter| waiter.deadline <= at).collect();
            next =
                participation.waiters.iter().fold(next, |next, waiter| earlier(next, Some(waiter.deadline)));
            for waiter in late {
                let error = Error::TimedOut(self.settings.command_timeout);
                self.told.push_back(Output::Reply { key: waiter.key, reply: Err(error) });
            }
            self.wake_by(next);
            self.update_session(session);
        }
    }

    /// When the heartbeat was sent, if the number is the last one's.
    pub(super) fn heartbeat_answered(&mut self, now: Now, number: Seq) {
        let Some(connection) = self.connection() else { return };
        if let Some((sent, at)) = connection.heartbeat.take_if(|(sent, _)| *sent == number) {
            debug_assert_eq!(sent, number, "removed only if equal");
            self.latency = Some(now.since_start.saturating_sub(at));
        }
    }
}
