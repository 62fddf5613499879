//! The session's state machine against a model: whatever is published, repeated, controlled and refused, in whatever order
//! the log answers, the log's content is gapless, each event is in it once, and every waiter is told the truth once.

use std::collections::HashMap;
use std::sync::Arc;

use agentbench_event_log::{Appended, Frame, Kind};
use agentbench_protocol::event::EventBody;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Epoch, ErrorCode, Head, Outcome, Seq, SessionId, Status};
use agentbench_session::{
    ConnectionKey, Context, Publish, Published, Session, Settled, Step, Summary, Waiter,
};
use proptest::prelude::*;

const CONTEXT: Context = Context { seed: 7, window: 1000 };
const KEY: ConnectionKey = ConnectionKey(1);
const EPOCH: Epoch = Epoch::from_u64(3);

fn sender() -> Sender {
    Sender { client_id: "c".into(), user_id: "u".into(), username: "U".into(), role: "evaluator".into() }
}

fn summary() -> Summary {
    Summary {
        project_id: "p".into(),
        test_id: "t".into(),
        agent_name: "a".into(),
        created_by: "u".into(),
        created_at: 1,
        metadata: None,
        status: Status::Idle,
        started_at: None,
        ended_at: None,
        reason: None,
        progress: None,
    }
}

/// A session, and the log beside it.
struct World {
    session: Session,
    log: Vec<Frame>,
    told: Vec<(String, Result<Seq, ErrorCode>)>,
    summary: Summary,
}

impl World {
    fn new() -> Self {
        let head = Head { epoch: EPOCH, seq: 0 };
        let waiter = Waiter::Command(KEY);
        let id = SessionId::from_u128(9);
        let mut session = Session::create(id, head, CONTEXT, summary(), ("create", waiter), &sender());
        session.join(KEY, Arc::new(sender()), true, 1);
        Self { session, log: Vec::new(), told: Vec::new(), summary: summary() }
    }

    fn publish(&mut self, id: &str, data: &str) -> Result<Published, ErrorCode> {
        let event = Publish {
            connection: Some(KEY),
            user: "u",
            producer: "p",
            body: EventBody { id, timestamp: "1", data, metadata: None, sender: "{}" },
            ttl_ms: 0,
            requires_ack: true,
            in_order: false,
        };
        let published = self.session.publish(&event, 5).map_err(|refusal| refusal.code);
        match published {
            Ok(Published::Repeat(seq)) => self.told.push((id.to_owned(), Ok(seq))),
            Err(code) => self.told.push((id.to_owned(), Err(code))),
            Ok(_) => {}
        }
        published
    }

    /// Gives the log the next frame and has it answer.
    fn log(&mut self, take: bool) -> bool {
        let Some(batch) = self.session.take_batch() else { return false };
        assert!(self.session.take_batch().is_none(), "one frame is in flight");
        assert_eq!(batch.expected.seq + 1, batch.frame.first_seq());
        assert_eq!(batch.expected.seq, self.log.last().map_or(0, Frame::last_seq));
        let head = Head { epoch: EPOCH, seq: batch.frame.last_seq() };
        let answer = if take { Appended::Committed(head) } else { Appended::Full };
        match self.session.settle(&answer) {
            Settled::Committed { frame, waiters, repeats, .. } => {
                if let Some(bytes) = &batch.summary {
                    self.summary = Summary::from_bytes(bytes).expect("a summary");
                }
                assert_eq!(waiters.len(), frame.count());
                for ((seq, record), waiter) in frame.records().zip(&waiters) {
                    if waiter.connection().is_some() {
                        self.told.push((record.id.to_owned(), Ok(seq)));
                    }
                }
                self.told.extend(repeats.into_iter().map(|answer| (answer.id, Ok(answer.seq))));
                self.log.push(frame);
            }
            Settled::Refused { answers, refusal } => {
                assert!(!take);
                self.told.extend(answers.into_iter().map(|answer| (answer.id, Err(refusal.code))));
            }
        }
        true
    }

    fn recovered(&self) -> Session {
        let head = Head { epoch: EPOCH, seq: self.log.last().map_or(0, Frame::last_seq) };
        Session::recover(self.session.id(), head, CONTEXT, self.summary.clone(), &self.log, 1)
    }
}

#[derive(Debug, Clone)]
enum Action {
    Publish { id: u8, data: u8 },
    Log { take: bool },
    Step(u8),
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        6 => (0..30_u8, 0..2_u8).prop_map(|(id, data)| Action::Publish { id, data }),
        3 => prop::bool::weighted(0.8).prop_map(|take| Action::Log { take }),
        1 => (0..4_u8).prop_map(Action::Step),
        1 => Just(Action::Restart),
    ];
    prop::collection::vec(action, 0..150)
}

proptest! {
    #[test]
    fn the_log_is_gapless_and_everybody_is_told_the_truth(actions in actions()) {
        let mut world = World::new();
        prop_assert!(world.log(true));
        let (mut asked, mut steps) = (HashMap::<String, usize>::new(), 0);
        for action in actions {
            match action {
                Action::Publish { id, data } => {
                    let id = format!("e{id}");
                    let _ = world.publish(&id, &format!("{{\"n\":{data}}}"));
                    *asked.entry(id).or_default() += 1;
                }
                Action::Log { take } => {
                    world.log(take);
                }
                Action::Step(kind) => {
                    steps += 1;
                    let step = match kind {
                        0 => Step::Start,
                        1 => Step::Pause,
                        2 => Step::Resume,
                        _ => Step::Stop { outcome: Outcome::Completed, reason: None },
                    };
                    let _ = world.session.control(&step, &format!("s{steps}"), &sender(), None, 6);
                }
                Action::Restart => {
                    // What was not committed is forgotten; its senders will ask again.
                    for count in asked.values_mut() {
                        *count = 0;
                    }
                    world.told.clear();
                    world.session = world.recovered();
                    world.session.join(KEY, Arc::new(sender()), true, 7);
                }
            }
        }
        while world.log(true) {}
        check(&world, &asked)?;
    }
}

fn check(world: &World, asked: &HashMap<String, usize>) -> Result<(), TestCaseError> {
    let mut stored: HashMap<String, Seq> = HashMap::new();
    for (next, (seq, record)) in (1..).zip(world.log.iter().flat_map(Frame::records)) {
        prop_assert_eq!(seq, next);
        let body: serde_json::Value = serde_json::from_slice(record.body).expect("JSON");
        prop_assert_eq!(body["seq"].as_u64(), Some(seq));
        if record.kind == Kind::Event {
            prop_assert_eq!(stored.insert(record.id.to_owned(), seq), None, "{} is stored twice", record.id);
        }
    }
    for (id, told) in &world.told {
        if let Ok(seq) = told
            && id.starts_with('e')
        {
            prop_assert_eq!(stored.get(id), Some(seq), "the ack of {} lies", id);
        }
    }
    for (id, count) in asked {
        let told = world.told.iter().filter(|(known, _)| known == id).count();
        prop_assert_eq!(told, *count, "every publish of {} is answered once", id);
    }
    Ok(())
}

#[test]
fn a_refused_frame_takes_what_queued_behind_it_along() {
    let mut world = World::new();
    world.log(true);
    world.publish("a", "{}").unwrap();
    let batch = world.session.take_batch().unwrap();
    assert_eq!(batch.frame.first_seq(), 2);
    world.publish("b", "{}").unwrap();
    world.session.control(&Step::Start, "go", &sender(), Some(KEY), 5).unwrap();
    match world.session.settle(&Appended::Full) {
        Settled::Refused { answers, refusal } => {
            assert_eq!(refusal.code, ErrorCode::LogUnavailable);
            let ids: Vec<_> = answers.iter().map(|answer| answer.id.as_str()).collect();
            assert_eq!(ids, ["a", "b", "go"]);
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(world.session.status(), Status::Idle);
    assert_eq!(world.publish("b", "{}"), Ok(Published::Queued(2)));
}

#[test]
fn a_repeated_command_has_its_effect_once_also_after_a_restart() {
    let mut world = World::new();
    world.log(true);
    let queued = world.session.control(&Step::Start, "go", &sender(), Some(KEY), 5).unwrap();
    assert_eq!(queued, Published::Queued(2));
    let again = world.session.control(&Step::Start, "go", &sender(), Some(KEY), 5).unwrap();
    assert_eq!(again, Published::RepeatQueued(2));
    world.log(true);
    assert_eq!(world.told.iter().filter(|(id, _)| id == "go").count(), 2);
    let mut recovered = world.recovered();
    let again = recovered.control(&Step::Start, "go", &sender(), Some(KEY), 9).unwrap();
    assert_eq!(again, Published::Repeat(2));
    let step = recovered.transition_at(2).unwrap();
    assert_eq!((step.from, step.status), (Status::Idle, Status::Running));
    let other = recovered.control(&Step::Pause, "go", &sender(), Some(KEY), 9).unwrap_err();
    assert_eq!(other.code, ErrorCode::IdConflict);
    assert!(other.detail.contains("seq 2"), "the sender can look at it: {}", other.detail);
}

#[test]
fn only_participants_publish_and_only_to_sessions_that_go_on() {
    let mut world = World::new();
    world.log(true);
    world.session.leave(KEY, 2);
    assert_eq!(world.publish("a", "{}"), Err(ErrorCode::NotAParticipant));
    world.session.join(KEY, Arc::new(sender()), false, 3);
    world.publish("a", "{}").unwrap();
    let stop = Step::Stop { outcome: Outcome::Error, reason: None };
    world.session.control(&stop, "stop", &sender(), Some(KEY), 5).unwrap();
    assert_eq!(world.publish("b", "{}"), Err(ErrorCode::SessionClosed));
    while world.log(true) {}
    // What is in the log is acked again, whatever came after it.
    assert_eq!(world.publish("a", "{}"), Ok(Published::Repeat(2)));
    assert_eq!(world.publish("a", "{\"other\":1}"), Err(ErrorCode::IdConflict));
}

/// Requests use a session without taking part in it, and that is remembered when it leaves memory.
#[test]
fn what_comes_from_outside_is_use() {
    let mut world = World::new();
    while world.log(true) {}
    world.session.leave(KEY, 100);
    let body = EventBody { id: "a", timestamp: "1", data: "{}", metadata: None, sender: "{}" };
    let event = Publish {
        connection: Some(ConnectionKey(2)),
        user: "u",
        producer: "",
        body,
        ttl_ms: 0,
        requires_ack: true,
        in_order: false,
    };
    world.session.publish_from_outside(&event, 140).unwrap();
    while world.log(true) {}
    assert_eq!(world.session.last_used(), 140);
    assert!(!world.session.is_unused(189, 50) && world.session.is_unused(190, 50));
    let step = world.session.control(&Step::Start, "go", &sender(), Some(ConnectionKey(2)), 180);
    assert_eq!(step.map_err(|refusal| refusal.code), Ok(Published::Queued(3)));
    assert_eq!(world.session.last_used(), 180);
}

#[test]
fn an_unused_session_expires_once() {
    let mut world = World::new();
    while world.log(true) {}
    assert!(!world.session.is_unused(100, 50), "somebody takes part");
    world.session.leave(KEY, 100);
    assert!(!world.session.is_unused(149, 50));
    assert!(world.session.is_unused(150, 50));
    world.session.expire(150).unwrap();
    assert!(world.session.expire(150).is_err());
    while world.log(true) {}
    assert_eq!(world.session.status(), Status::Expired);
    assert_eq!(world.summary.status, Status::Expired);
}

#[test]
fn later_events_wait_for_one_that_was_refused_for_now() {
    let mut world = World::new();
    world.log(true);
    let event = |id: &'static str| Publish {
        connection: Some(KEY),
        user: "u",
        producer: "p",
        body: EventBody { id, timestamp: "1", data: "{}", metadata: None, sender: "{}" },
        ttl_ms: 0,
        requires_ack: true,
        in_order: true,
    };
    world.session.publish(&event("a"), 10).unwrap();
    world.log(false);
    let code =
        |world: &mut World, id, now| world.session.publish(&event(id), now).map_err(|refusal| refusal.code);
    assert_eq!(code(&mut world, "b", 20), Err(ErrorCode::Overloaded), "it was on its way already");
    assert_eq!(code(&mut world, "a", 30), Ok(Published::Queued(2)));
    assert_eq!(code(&mut world, "b", 30), Ok(Published::Queued(3)));
    world.log(false);
    // The publisher was told to wait for a second, and has given the event up since.
    assert_eq!(code(&mut world, "c", 5_000), Ok(Published::Queued(2)));
}
