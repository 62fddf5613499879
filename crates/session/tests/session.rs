//! The session's state machine against a model: whatever is published, repeated, controlled and refused, in whatever order
//! the log answers, the log's content is gapless, each event is in it once, and every waiter is told the truth once.

use std::collections::HashMap;
use std::sync::Arc;

use agentbench_event_log::{Appended, Frame, Kind};
use agentbench_protocol::event::EventBody;
use agentbench_protocol::json::{Spelling, respell};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Epoch, ErrorCode, Head, Outcome, Seq, SessionId, Status, msgpack};
use agentbench_session::{
    ConnectionKey, Context, Publish, Published, Session, Settled, Step, Summary, Waiter,
};
use bytes::BytesMut;
use proptest::prelude::*;
use serde_json::{Value, json};

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
        match self.session.settle(&answer, 30) {
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
            other => panic!("there is one writer: {other:?}"),
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

/// Where the first event stands when its repeat comes.
#[derive(Debug, Clone, Copy)]
enum Stage {
    Queued,
    InFlight,
    Committed,
    Recovered,
}

fn value() -> impl Strategy<Value = Value> {
    let text = || prop_oneof!["[a-z ,:{}/é😀\"\\\\\u{1}\n]{0,6}", "\\PC{0,4}"];
    let leaf = prop_oneof![
        any::<i8>().prop_map(Value::from),
        (-9..9_i8).prop_map(|number| Value::from(f64::from(number) / 4.0)),
        any::<bool>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(text(), inner, 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// Values of which two are often nearly alike.
fn small() -> impl Strategy<Value = Value> {
    let leaf = prop::sample::select(vec![
        json!(0),
        json!(0.0),
        json!("0"),
        json!(" 0"),
        json!("\\u0030"),
        json!([]),
        json!({}),
    ]);
    prop_oneof![leaf.clone(), prop::collection::vec(leaf, 0..3).prop_map(Value::from)]
}

/// The value with these blanks around each token, and all characters of its strings as escapes or none that need not be.
fn spell(value: &Value, blanks: &str, escapes: bool) -> String {
    let text = |text: &str| match escapes {
        true => {
            text.encode_utf16().fold(String::from("\""), |dst, unit| dst + &format!("\\u{unit:04X}")) + "\""
        }
        false => Value::from(text).to_string(),
    };
    let token = match value {
        Value::String(string) => text(string),
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(|item| spell(item, blanks, escapes)).collect();
            format!("[{blanks}{}]", items.join(","))
        }
        Value::Object(members) => {
            let member = |(key, value): (&String, &Value)| {
                format!("{blanks}{}{blanks}:{}", text(key), spell(value, blanks, escapes))
            };
            format!("{{{blanks}{}}}", members.iter().map(member).collect::<Vec<_>>().join(","))
        }
        plain => plain.to_string(),
    };
    format!("{blanks}{token}{blanks}")
}

fn usual(value: &Value, spelling: Spelling) -> String {
    let mut text = String::new();
    respell(&value.to_string(), spelling, &mut text);
    text
}

proptest! {
    #[test]
    fn a_repeat_is_known_in_any_spelling(
        value in value(),
        first in prop::sample::select(&Spelling::USUAL[..]),
        blanks in prop::sample::select(&["", " ", "\n  ", "\t"][..]),
        escapes: bool,
        stage in prop::sample::select(&[Stage::Queued, Stage::InFlight, Stage::Committed, Stage::Recovered][..]),
    ) {
        let mut world = World::new();
        world.log(true);
        let value = json!({ "v": value });
        prop_assert_eq!(world.publish("a", &usual(&value, first)), Ok(Published::Queued(2)));
        match stage {
            Stage::Queued => {}
            Stage::InFlight => drop(world.session.take_batch()),
            Stage::Committed => drop(world.log(true)),
            Stage::Recovered => {
                world.log(true);
                world.session = world.recovered();
                world.session.join(KEY, Arc::new(sender()), true, 7);
            }
        }
        let is_stored = matches!(stage, Stage::Committed | Stage::Recovered);
        let expected = if is_stored { Published::Repeat(2) } else { Published::RepeatQueued(2) };
        prop_assert_eq!(world.publish("a", &spell(&value, blanks, escapes)), Ok(expected));
        prop_assert_eq!(world.publish("b", &usual(&value, first)), Ok(Published::Queued(3)));
    }

    #[test]
    fn another_value_is_a_conflict_in_any_spelling(
        one in small(),
        other in small(),
        first in prop::sample::select(&Spelling::USUAL[..]),
        blanks in prop::sample::select(&["", " "][..]),
        escapes: bool,
    ) {
        let mut world = World::new();
        world.log(true);
        world.publish("a", &usual(&one, first)).unwrap();
        let again = world.publish("a", &spell(&other, blanks, escapes));
        prop_assert_eq!(again == Ok(Published::RepeatQueued(2)), one == other);
        prop_assert_eq!(again == Err(ErrorCode::IdConflict), one != other);
    }
}

#[test]
fn what_a_repeat_may_not_change() {
    let first = r#"{"a":1,"b":1.0}"#;
    let unusual = "{ \"a\":1}";
    for (first, again, is_known) in [
        (first, r#"{ "a": 1, "b": 1.0 }"#, true),
        (first, r#"{"b":1.0,"a":1}"#, false),
        (first, r#"{"a":1,"b":1}"#, false),
        (first, r#"{"a":1,"b":1.00}"#, false),
        (first, r#"{"a":1,"b":1.0,"b":1.0}"#, false),
        (unusual, unusual, true),
        // Only a digest is left of the first one, and nobody can tell how it was spelt.
        (unusual, r#"{"a":1}"#, false),
    ] {
        let mut world = World::new();
        world.log(true);
        world.publish("a", first).unwrap();
        let expected = if is_known { Ok(Published::RepeatQueued(2)) } else { Err(ErrorCode::IdConflict) };
        assert_eq!(world.publish("a", again), expected, "{first} {again}");
    }
}

#[test]
fn what_comes_as_messagepack_and_then_as_json_is_stored_once() {
    let mut world = World::new();
    world.log(true);
    let json = "{ \"name\": \"\\u00fc/\\ud83d\\ude00\", \"list\": [1, -2, 0.5, null] }";
    let (mut packed, mut text) = (BytesMut::new(), BytesMut::new());
    msgpack::from_json(json.as_bytes(), &mut packed).unwrap();
    msgpack::to_json(&packed, &mut text).unwrap();
    world.publish("a", std::str::from_utf8(&text).unwrap()).unwrap();
    assert_eq!(world.publish("a", json), Ok(Published::RepeatQueued(2)));
}

#[test]
fn a_session_is_created_once_however_its_metadata_is_spelt() {
    let with = |metadata: &str| {
        let metadata = serde_json::value::RawValue::from_string(metadata.to_owned()).unwrap();
        Summary { metadata: Some(metadata), ..summary() }
    };
    let create = |summary: Summary| {
        let head = Head { epoch: EPOCH, seq: 0 };
        Session::create(SessionId::from_u128(9), head, CONTEXT, summary, ("c", Waiter::Nobody), &sender())
    };
    let session = create(with(r#"{"a":["é"]}"#));
    assert!(session.was_created_as(&with("{ \"a\" :\n[\"\\u00e9\"]}")));
    assert!(!session.was_created_as(&with(r#"{"a":["e"]}"#)) && !session.was_created_as(&summary()));
    for other in [
        Summary { test_id: "t2".into(), ..summary() },
        Summary { project_id: "p2".into(), ..summary() },
        Summary { agent_name: "a2".into(), ..summary() },
        Summary { created_by: "u2".into(), ..summary() },
    ] {
        assert!(!create(summary()).was_created_as(&other));
    }
    assert!(create(summary()).was_created_as(&Summary { created_at: 2, ..summary() }));
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
    match world.session.settle(&Appended::Full, 30) {
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
    // The end is not in the log yet.
    assert_eq!(world.publish("b", "{}"), Err(ErrorCode::Overloaded));
    while world.log(true) {}
    assert_eq!(world.publish("b", "{}"), Err(ErrorCode::SessionClosed));
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

/// An event of a publisher that sends what was refused again before later ones.
fn in_order(id: &'static str, connection: ConnectionKey) -> Publish<'static> {
    Publish {
        connection: Some(connection),
        user: "u",
        producer: "p",
        body: EventBody { id, timestamp: "1", data: "{}", metadata: None, sender: "{}" },
        ttl_ms: 0,
        requires_ack: true,
        in_order: true,
    }
}

#[test]
fn later_events_wait_for_one_that_was_refused_for_now() {
    let mut world = World::new();
    world.log(true);
    let event = |id| in_order(id, KEY);
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

/// A log that answers late leaves as much time as one that answers at once.
#[test]
fn later_events_wait_from_when_the_refusal_is_told() {
    let mut world = World::new();
    world.log(true);
    let event = |id| in_order(id, KEY);
    for (refused, now) in [(Appended::Full, 20_000), (Appended::Unknown("lost".into()), 60_000)] {
        world.session.publish(&event("a"), 10).unwrap();
        world.session.take_batch().unwrap();
        if matches!(world.session.settle(&refused, now), Settled::InDoubt) {
            world.session.give_up(now);
            world.session.finish_reading();
        }
        let code = world.session.publish(&event("b"), now + 900).map_err(|refusal| refusal.code);
        assert_eq!(code, Err(ErrorCode::Overloaded), "{refused:?}");
        world.session.publish(&event("a"), now + 950).unwrap();
        world.session.take_batch().unwrap();
        world.session.settle(&Appended::Full, 0);
    }
}

/// An event that somebody else sent again meanwhile is a repeat when it comes, and the next refusal is waited for as the first.
#[test]
fn a_wait_ends_when_the_event_comes_as_a_repeat() {
    let mut world = World::new();
    world.log(true);
    let event = in_order;
    let other = ConnectionKey(2);
    world.session.join(other, Arc::new(sender()), false, 1);
    world.session.publish(&event("a", KEY), 10).unwrap();
    world.log(false);
    world.session.publish(&event("a", other), 40).unwrap();
    assert_eq!(world.session.publish(&event("a", KEY), 50), Ok(Published::RepeatQueued(2)));
    assert_eq!(world.session.publish(&event("b", KEY), 60), Ok(Published::Queued(3)));
    world.session.take_batch().unwrap();
    world.session.settle(&Appended::Full, 5_000);
    let code = world.session.publish(&event("c", KEY), 5_900).map_err(|refusal| refusal.code);
    assert_eq!(code, Err(ErrorCode::Overloaded));
}

/// An event was refused while one before it was on its way, and then that one is refused, too.
#[test]
fn the_first_of_several_refused_events_is_waited_for() {
    let mut world = World::new();
    world.log(true);
    let event = |id| in_order(id, KEY);
    world.session.publish(&event("a"), 10).unwrap();
    let stop = Step::Stop { outcome: Outcome::Error, reason: None };
    world.session.control(&stop, "stop", &sender(), None, 10).unwrap();
    let mut code = |id, now| world.session.publish(&event(id), now).map_err(|refusal| refusal.code);
    assert_eq!(code("b", 20), Err(ErrorCode::Overloaded), "the end is on its way");
    world.log(false);
    let mut code = |id, now| world.session.publish(&event(id), now).map_err(|refusal| refusal.code);
    assert_eq!(code("b", 40), Err(ErrorCode::Overloaded), "before it came another one");
    assert_eq!(code("a", 50), Ok(Published::Queued(2)));
    assert_eq!(code("b", 60), Ok(Published::Queued(3)));
}
