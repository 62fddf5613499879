//! Random schedules: in any order of actions, acks are correct, readers miss nothing, and all resources are released.

use std::collections::BTreeMap;

use agentbench_event_log::{Appended, EventLog, Frame, ReadLimit};
use agentbench_protocol::{Position, SessionId, StartAt};
use proptest::prelude::*;
use serde_json::json;

use super::client::kind;
use super::world::{Plan, World};

/// A step of a schedule.
#[derive(Debug, Clone)]
enum Action {
    Connect {
        worker: usize,
    },
    Disconnect(usize),
    Create(usize),
    Join {
        client: usize,
        session: usize,
        from: u64,
    },
    Leave {
        client: usize,
        session: usize,
    },
    /// An event with one of few ids, so that repeats are frequent.
    Publish {
        client: usize,
        session: usize,
        id: u8,
        ttl: u64,
    },
    Letter(usize),
    Commit(usize),
    LogAnswers,
    LogRefuses(u8),
    Load,
    Read,
    Room {
        client: usize,
        bytes: usize,
    },
    MissCommits(usize),
    Pass(u64),
    SetClock(i64),
    Tick,
    Restart,
}

fn happening() -> impl Strategy<Value = Action> {
    use Action as H;
    let (client, session, worker) = (0..8_usize, 0..3_usize, 0..3_usize);
    prop_oneof![
        2 => worker.clone().prop_map(|worker| H::Connect { worker }),
        1 => client.clone().prop_map(H::Disconnect),
        2 => client.clone().prop_map(H::Create),
        6 => (client.clone(), session.clone(), 0..30_u64)
            .prop_map(|(client, session, from)| H::Join { client, session, from }),
        1 => (client.clone(), session.clone()).prop_map(|(client, session)| H::Leave { client, session }),
        20 => (client.clone(), session, any::<u8>(), prop_oneof![4 => Just(0), 1 => 1..2_000_u64])
            .prop_map(|(client, session, id, ttl)| H::Publish { client, session, id, ttl }),
        20 => worker.clone().prop_map(H::Letter),
        10 => worker.clone().prop_map(H::Commit),
        8 => Just(H::LogAnswers),
        1 => (0..4_u8).prop_map(H::LogRefuses),
        4 => Just(H::Load),
        6 => Just(H::Read),
        5 => (client, prop_oneof![Just(0), 1..400_usize, Just(usize::MAX)])
            .prop_map(|(client, bytes)| H::Room { client, bytes }),
        1 => worker.prop_map(H::MissCommits),
        2 => (1..40_000_u64).prop_map(H::Pass),
        1 => (-100_000_i64..100_000).prop_map(H::SetClock),
        2 => Just(H::Tick),
        1 => Just(H::Restart),
    ]
}

/// A world, and what its clients have sent.
struct Run {
    world: World,
    sessions: Vec<SessionId>,
    /// Answers that each connection waits for, by id of its events.
    sent: BTreeMap<(usize, String), usize>,
}

impl Run {
    fn client(&self, index: usize) -> Option<usize> {
        let connected: Vec<_> =
            (0..self.world.clients.len()).filter(|client| self.world.clients[*client].is_connected).collect();
        (!connected.is_empty()).then(|| connected[index % connected.len()])
    }

    fn session(&self, index: usize) -> Option<SessionId> {
        (!self.sessions.is_empty()).then(|| self.sessions[index % self.sessions.len()])
    }

    fn apply(&mut self, happening: &Action) {
        let workers = 3;
        match *happening {
            Action::Connect { worker } => {
                self.world.connect(worker, if worker == 0 { "ann" } else { "ben" }, worker != 1);
            }
            Action::Disconnect(client) => {
                if let Some(client) = self.client(client) {
                    self.world.disconnect(client);
                }
            }
            Action::Create(client) => {
                if let Some(client) = self.client(client)
                    && self.sessions.len() < 3
                {
                    let name = format!("s{}", self.sessions.len());
                    let session = self.world.create(client, &name, true);
                    self.sessions.push(session);
                }
            }
            Action::Join { client, session, from } => {
                if let (Some(client), Some(session)) = (self.client(client), self.session(session)) {
                    let head = self.world.catalog.get(session).map(|entry| entry.head());
                    let from = match (from, head) {
                        (0..10, _) | (_, None) => StartAt::Start,
                        (10..20, _) => StartAt::Live,
                        (seq, Some(head)) => {
                            let seq = (seq - 20).min(head.seq);
                            StartAt::After(Position { epoch: head.epoch, seq, last_id: None })
                        }
                    };
                    self.world.join(client, session, from);
                }
            }
            Action::Leave { client, session } => {
                if let (Some(client), Some(session)) = (self.client(client), self.session(session)) {
                    self.world.leave(client, session);
                }
            }
            Action::Publish { client, session, id, ttl } => {
                if let (Some(client), Some(session)) = (self.client(client), self.session(session)) {
                    let id = format!("e{}", id % 40);
                    self.world.publish(client, session, &id, &json!({"id": id, "pad": "x".repeat(40)}), ttl);
                    *self.sent.entry((client, id)).or_default() += 1;
                }
            }
            Action::Letter(worker) => {
                self.world.read_letter(worker % workers);
            }
            Action::Commit(worker) => {
                self.world.commit(worker % workers);
            }
            Action::LogAnswers => {
                self.world.log_answers();
            }
            Action::LogRefuses(which) => match which {
                0 => self.world.log.fail_next(Appended::Full),
                1 => self.world.log.fail_next(Appended::Unavailable("busy".into())),
                2 => self.world.log.fail_next(Appended::Unknown("torn".into())),
                _ => self.world.log.write_but_answer(Appended::Unknown("lost".into())),
            },
            Action::Load => {
                self.world.load();
            }
            Action::Read => {
                self.world.read();
            }
            Action::Room { client, bytes } => {
                if let Some(client) = self.client(client) {
                    self.world.make_room(client, bytes);
                }
            }
            Action::MissCommits(worker) => self.world.miss_commits(worker % workers),
            Action::Pass(ms) => self.world.pass(ms),
            Action::SetClock(by_ms) => self.world.set_clock(by_ms),
            Action::Tick => self.world.tick(true),
            Action::Restart => self.world.restart(),
        }
        self.world.clients.iter_mut().for_each(super::client::Client::receive);
    }

    /// Completes everything in progress, and checks the result.
    fn finish(mut self) {
        for client in 0..self.world.clients.len() {
            if self.world.clients[client].is_connected {
                self.world.make_room(client, usize::MAX);
            }
        }
        self.world.log.clear_faults();
        self.world.settle();
        // What is in doubt is tried again with a tick.
        self.world.tick(false);
        self.world.settle();
        self.world.assert_nothing_is_held();
        self.check_answers();
        self.check_readers();
    }

    /// Checks that each publish was answered once, and that each ack matches the log.
    fn check_answers(&mut self) {
        let mut answered: BTreeMap<(usize, String), usize> = BTreeMap::new();
        for (index, client) in self.world.clients.iter_mut().enumerate() {
            let mut count = |id: &serde_json::Value| {
                let id = id.as_str().expect("an id").to_owned();
                if id.starts_with('e') {
                    *answered.entry((index, id)).or_default() += 1;
                }
            };
            for message in client.take(&["ack", "error"]) {
                let data = &message["data"];
                match data["acks"].as_array() {
                    Some(acks) => acks.iter().for_each(|pair| count(&pair[0])),
                    None => count(&data["originalMessageId"]),
                }
            }
        }
        let connected = |(client, _): &(usize, String)| self.world.clients[*client].is_connected;
        let expected: BTreeMap<_, _> = self.sent.iter().filter(|(key, _)| connected(key)).collect();
        let answered: BTreeMap<_, _> = answered.iter().filter(|(key, _)| connected(key)).collect();
        assert_eq!(answered, expected, "each publish is answered once");
    }

    /// Checks that the log has each id once for each producer, and that each follower has reached its end.
    fn check_readers(&self) {
        for session in &self.sessions {
            let Some(head) = self.world.log.head(*session) else { continue };
            let limit = ReadLimit { bytes: usize::MAX, events: usize::MAX };
            let reading = self.world.log.read(*session, 1, limit).expect("a sound log");
            let mut seen = std::collections::BTreeSet::new();
            for (seq, record) in reading.frames.iter().flat_map(Frame::records) {
                let is_new =
                    seen.insert((record.user.to_owned(), record.producer.to_owned(), record.id.to_owned()));
                assert!(is_new, "seq {seq} repeats {}", record.id);
            }
            for client in self.world.clients.iter().filter(|client| client.is_connected) {
                let joined = client.reader.sessions.borrow().contains(session);
                let Some(next) = client.expected.get(session).filter(|_| joined) else { continue };
                assert_eq!(
                    *next,
                    head.seq + 1,
                    "a follower has everything: {:?}",
                    client.received.last().map(kind)
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn acks_are_true_and_readers_miss_nothing_in_any_schedule(
        schedule in prop::collection::vec(happening(), 1..200),
        tail in prop_oneof![Just(1), Just(400), Just(1 << 20)],
    ) {
        let tails = [tail, 1 << 24];
        let world = World::new(Plan { workers: 3, tails, ..Plan::default() });
        let mut run = Run { world, sessions: Vec::new(), sent: BTreeMap::new() };
        for happening in &schedule {
            run.apply(happening);
        }
        run.finish();
    }
}
