//! The Rust client's machine: whatever a server sends, at whatever moment.
//!
//! A script plays the driver, the user and the server of one client. Before it begins, the client follows a session, has published
//! two events, and is connected.

mod model;
mod peer;
mod seeds;

use std::time::Duration;

use agentbench_client::machine::{Action, Codec, FollowKey, Machine, Now};
use agentbench_client::{Backoff, Config, Data, Event, Format, SessionId, StartAt};
use agentbench_protocol::Command;
use agentbench_protocol::msgpack::from_json;
use bytes::BytesMut;

use model::Model;
use peer::Peer;
pub(crate) use seeds::seeds;

/// Most steps of a script.
const MAX_STEPS: usize = 64;
/// Most turns of a driver between two waits, and most timeouts at one moment.
const MAX_TURNS: usize = 1_000;
/// Most bytes that a driver asks for at once.
const MOST: usize = 64 * 1024;
const FOLLOW: FollowKey = FollowKey(1);
const REPLAY: FollowKey = FollowKey(2);

/// A server's frames, in between a user's calls, the passing of time and lost connections.
///
/// Input: format of the messages, size of the pieces in which bytes arrive, the steps ([`Play::step`]). Holds if the client does not
/// panic, does the same whether bytes arrive whole or in pieces, sends only what a server can read, tells each publish and each
/// command one outcome, gives a follow its entries in order or says what is missing, counts its outbox right, never waits for a
/// moment that has passed, and has nothing left once it is closed.
pub fn client_machine(input: &[u8]) {
    let Some((&[how, size], script)) = input.split_first_chunk() else { return };
    let whole = Play::new(how, usize::MAX).run(script);
    let pieces = Play::new(how, usize::from(size).max(1)).run(script);
    assert_eq!(pieces, whole, "the same bytes whole and in pieces");
}

pub(super) const fn session() -> SessionId {
    SessionId::from_u128(7)
}

/// One run of a script.
struct Play {
    machine: Machine<u64>,
    codec: Codec,
    peer: Peer,
    model: Model,
    at: Duration,
    format: Format,
    /// Size of the pieces in which bytes arrive.
    size: usize,
    last_key: u64,
    is_paused: bool,
}

impl Play {
    fn new(how: u8, size: usize) -> Self {
        let format = if how & 1 == 0 { Format::Json } else { Format::Msgpack };
        let backoff =
            Backoff { base: Duration::from_millis(100), max: Duration::from_secs(2), attempts: None };
        let config = Config::new("ws://model").producer_id("p").token("t").backoff(backoff).format(format);
        let config = config.compression(how & 2 != 0).in_flight(if how & 4 == 0 { 1024 } else { 1 });
        let mut settings = config.into_settings();
        settings.host = "model".into();
        settings.target = "/ws".into();
        settings.max_message = 16 * 1024;
        let mut play = Self {
            machine: Machine::new(settings, [7; 32]),
            codec: Codec::default(),
            peer: Peer::new(format),
            model: Model::default(),
            at: Duration::ZERO,
            format,
            size,
            last_key: 10,
            is_paused: false,
        };
        play.machine.start(play.now());
        play.pump();
        play.follow();
        play.publish(b"{}");
        play.publish(br#"{"n":2}"#);
        play
    }

    /// Plays the script, closes the client, and returns what its user was told, in words.
    fn run(mut self, mut script: &[u8]) -> Vec<String> {
        for _ in 0..MAX_STEPS {
            let Some(rest) = self.step(script) else { break };
            script = rest;
        }
        self.machine.close();
        self.pump();
        assert!(self.machine.ended().is_some() && self.machine.is_idle(), "closed, and not done");
        assert_eq!(self.machine.next_timeout(), None, "closed, and waits");
        self.model.check_end();
        self.model.told
    }

    /// One step; `None` if there is none any more. The first byte says which, as the branches below do.
    fn step<'s>(&mut self, script: &'s [u8]) -> Option<&'s [u8]> {
        let (&kind, rest) = script.split_first()?;
        let (&argument, rest) = rest.split_first()?;
        match kind % 16 {
            // A message of the server, with its length in two bytes.
            0..=5 => {
                let (&low, rest) = rest.split_first()?;
                let length = usize::from(u16::from_be_bytes([argument, low])).min(rest.len());
                let (message, rest) = rest.split_at(length);
                self.message(message);
                return Some(rest);
            }
            // Bytes that need not be frames.
            6 => {
                let (bytes, rest) = rest.split_at(usize::from(argument).min(rest.len()));
                self.arrive(bytes);
                return Some(rest);
            }
            7 => self.pass(Duration::from_millis(u64::from(argument) * 100)),
            8 => {
                let next = self.machine.next_timeout().unwrap_or(self.at);
                self.pass(next.saturating_sub(self.at).min(Duration::from_secs(3600)));
            }
            9 => {
                let (data, rest) = rest.split_at(usize::from(argument).min(rest.len()));
                self.publish(data);
                return Some(rest);
            }
            10 => self.cut(argument),
            11 => self.command(argument),
            12 => self.follow(),
            13 => self.leave(argument),
            14 => {
                self.is_paused = argument & 1 == 1;
                self.machine.set_paused(self.now(), self.is_paused);
                self.pump();
            }
            _ => self.replay(argument),
        }
        Some(rest)
    }

    fn now(&self) -> Now {
        Now { since_start: self.at, unix_ms: 1_760_000_000_000 + self.at.as_millis() as u64 }
    }

    fn message(&mut self, text: &[u8]) {
        let mut packed = BytesMut::new();
        let payload = match self.format {
            Format::Msgpack if from_json(text, &mut packed).is_ok() => &packed[..],
            _ => text,
        };
        let frame = self.peer.frame(payload);
        self.arrive(&frame);
    }

    fn arrive(&mut self, bytes: &[u8]) {
        let now = self.now();
        for piece in bytes.chunks(self.size) {
            self.machine.received(now, &mut piece.to_vec(), &mut self.codec);
        }
        self.pump();
    }

    /// Lets time pass. A client may wait for the same moment only so often.
    fn pass(&mut self, time: Duration) {
        self.at += time;
        for _ in 0..MAX_TURNS {
            self.machine.timeout(self.now());
            self.pump();
            if self.machine.next_timeout().is_none_or(|next| next > self.at) {
                return;
            }
        }
        panic!("it waits for a moment that has passed");
    }

    fn publish(&mut self, data: &[u8]) {
        let Ok(data) = Data::raw(data.to_vec()) else { return };
        if !self.machine.make_room(session(), data.bytes().len()) {
            return;
        }
        let ticket = self.key();
        if self.machine.publish(self.now(), session(), Event::new(data), Some(ticket)).is_ok() {
            self.model.published(ticket);
        }
        self.pump();
    }

    fn cut(&mut self, how: u8) {
        if self.peer.cut() {
            self.machine.disconnected(self.now(), "cut");
        }
        self.peer.is_reachable = how & 1 == 0;
        self.pump();
    }

    fn command(&mut self, which: u8) {
        let (key, session_id) = (self.key(), session().to_string());
        let command = match which % 4 {
            0 => Command::GetSessionInfo { session_id },
            1 => Command::StartTest { session_id },
            2 => Command::GetHistory { session_id, from_seq: 1, limit: 10 },
            _ => Command::RefreshToken { token: "t2".into() },
        };
        self.ask(key, |play, now| play.machine.command(now, key, &command));
    }

    fn follow(&mut self) {
        let key = self.key();
        let now = self.now();
        if self.machine.follow(now, key, FOLLOW, session(), StartAt::Start).is_ok() {
            self.model.follows(key);
        }
        self.pump();
    }

    fn leave(&mut self, how: u8) {
        let key = self.key();
        match how % 3 {
            0 => {
                self.machine.unfollow(self.now(), session(), FOLLOW);
                self.model.unfollowed();
                self.pump();
            }
            1 => self.ask(key, |play, now| play.machine.leave(now, key, session())),
            _ => self.ask(key, |play, now| play.machine.join(now, key, session())),
        }
    }

    fn replay(&mut self, from: u8) {
        let key = self.key();
        if from >= 128 {
            if self.machine.stop_replay(self.now(), Some(key), session(), REPLAY) {
                self.model.asked(key);
            }
            self.model.replay_stopped();
            return self.pump();
        }
        let now = self.now();
        if self.machine.replay(now, key, REPLAY, session(), 0.0, u64::from(from)).is_ok() {
            self.model.replays(key);
        }
        self.pump();
    }

    fn ask<E>(&mut self, key: u64, call: impl FnOnce(&mut Self, Now) -> Result<(), E>) {
        let now = self.now();
        if call(self, now).is_ok() {
            self.model.asked(key);
        }
        self.pump();
    }

    fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// What a driver does between two waits.
    fn pump(&mut self) {
        for _ in 0..MAX_TURNS {
            let (now, mut bytes) = (self.now(), BytesMut::new());
            self.machine.transmit(now, &mut self.codec, &mut bytes, MOST);
            let answer = self.peer.received(&bytes);
            while let Some(output) = self.machine.poll_event() {
                self.model.take(output);
            }
            assert_eq!(self.machine.usage().messages, self.model.unsettled(), "events in the outbox");
            if let Some(answer) = answer {
                self.machine.received(now, &mut answer.to_vec(), &mut self.codec);
                continue;
            }
            match self.machine.poll_action() {
                Some(action) => self.act(action),
                None if bytes.is_empty() => return,
                None => {}
            }
        }
        panic!("there is no end to it");
    }

    fn act(&mut self, action: Action) {
        let now = self.now();
        match action {
            Action::Connect if self.peer.is_reachable => {
                self.peer.accept();
                self.machine.connected(now);
            }
            Action::Connect => self.machine.unreachable(now, "refused"),
            Action::Disconnect => drop(self.peer.cut()),
            Action::FetchToken => self.machine.token(now, Ok("t1".into())),
        }
    }
}
