//! Two sessions on one log, as two processes have them: whatever is published to either, whoever is first, whatever answers
//! get lost, the log is gapless, each event is in it once, and every waiter is told the truth once.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use agentbench_event_log::{Appended, Frame, Kind};
use agentbench_protocol::event::{EventBody, sender_json};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Epoch, ErrorCode, Head, Outcome, Seq, SessionId, Status};
use agentbench_session::{
    Advanced, Answer, Batch, ConnectionKey, Context, Observed, Publish, Published, Session, Settled, Step,
    Summary, Waiter,
};
use proptest::prelude::*;

const KEY: ConnectionKey = ConnectionKey(1);
const EPOCH: Epoch = Epoch::from_u64(3);
const ID: SessionId = SessionId::from_u128(9);

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

type Told = Vec<(String, Result<Seq, ErrorCode>)>;

/// One process.
struct Node {
    session: Session,
    /// What was given to the log and is not answered.
    submitted: Option<Batch>,
    /// Frames that this process is going to be told of.
    notices: VecDeque<Frame>,
    asked: HashMap<String, usize>,
    told: Told,
}

/// The log's word on a submitted frame.
#[derive(Debug, Clone, Copy)]
enum Word {
    True,
    Full,
    LostAndStored,
    LostAndNotStored,
}

struct World {
    log: Vec<Frame>,
    nodes: [Node; 2],
    commands: usize,
}

fn end_of(log: &[Frame]) -> Seq {
    log.last().map_or(0, Frame::last_seq)
}

impl Node {
    /// A process that finds the log as it is. Its seed is its own.
    fn new(index: usize, log: &[Frame]) -> Self {
        let context = Context { seed: index as u64, window: 1000 };
        let head = Head { epoch: EPOCH, seq: end_of(log) };
        let mut summary = summary();
        for (_, record) in log.iter().flat_map(Frame::records).filter(|(_, it)| it.kind == Kind::Lifecycle) {
            let body: serde_json::Value = serde_json::from_slice(record.body).unwrap();
            if let Ok(status) = serde_json::from_value(body["data"]["status"].clone()) {
                summary.status = status;
            }
        }
        let mut session = Session::recover(ID, head, context, summary, log, 1);
        session.join(KEY, Arc::new(sender()), true, 1);
        let (submitted, notices, asked, told) = Default::default();
        Self { session, submitted, notices, asked, told }
    }

    fn publish(&mut self, id: &str, data: &str) {
        *self.asked.entry(id.to_owned()).or_default() += 1;
        let event = Publish {
            connection: Some(KEY),
            user: "u",
            producer: "p",
            body: EventBody { id, timestamp: "1", data, metadata: None, sender: &sender_json(&sender()) },
            ttl_ms: 0,
            requires_ack: true,
            in_order: false,
        };
        let published = self.session.publish(&event, 5);
        self.tell_at_once(id, published.map_err(|refusal| refusal.code));
    }

    fn tell_at_once(&mut self, id: &str, published: Result<Published, ErrorCode>) {
        match published {
            Ok(Published::Repeat(seq)) => self.told.push((id.to_owned(), Ok(seq))),
            Err(code) => self.told.push((id.to_owned(), Err(code))),
            Ok(_) => {}
        }
    }

    fn tell(&mut self, answers: Vec<Answer>, code: ErrorCode) {
        self.told.extend(answers.into_iter().map(|answer| (answer.id, Err(code))));
    }

    fn settle(&mut self, appended: &Appended) {
        match self.session.settle(appended, 9) {
            Settled::Committed { frame, waiters, repeats, .. } => {
                for ((seq, record), waiter) in frame.records().zip(&waiters) {
                    if waiter.connection().is_some() {
                        self.told.push((record.id.to_owned(), Ok(seq)));
                    }
                }
                self.told.extend(repeats.into_iter().map(|answer| (answer.id, Ok(answer.seq))));
                self.advance_by_held();
            }
            Settled::Behind => self.advance_by_held(),
            Settled::InDoubt => assert!(self.session.is_in_doubt()),
            Settled::Refused { answers, refusal } => self.tell(answers, refusal.code),
            Settled::Lost { .. } => panic!("the log is there"),
        }
    }

    fn advance_by_held(&mut self) {
        let frames = self.session.take_held();
        if !frames.is_empty() {
            let advanced = self.session.advance(&frames, 9);
            self.take(advanced);
        }
    }

    fn take(&mut self, advanced: Advanced) {
        self.told.extend(advanced.repeats.into_iter().map(|(_, answer)| (answer.id, Ok(answer.seq))));
        for (answer, refusal) in advanced.refused {
            self.tell(vec![answer], refusal.code);
        }
        assert!(advanced.moved.is_sorted());
    }

    fn observe(&mut self) {
        let Some(frame) = self.notices.pop_front() else { return };
        if self.session.observe(&frame) == Observed::Next {
            let advanced = self.session.advance(std::slice::from_ref(&frame), 9);
            self.take(advanced);
            self.advance_by_held();
        }
    }

    fn catch_up(&mut self, log: &[Frame]) {
        // With a frame in flight the log's word on it comes first.
        if !self.session.is_behind() {
            return;
        }
        let head = self.session.head().seq;
        let missing: Vec<_> = log.iter().filter(|frame| frame.first_seq() > head).cloned().collect();
        let advanced = self.session.advance(&missing, 9);
        self.take(advanced);
        self.session.finish_reading();
    }
}

impl World {
    fn new() -> Self {
        let head = Head { epoch: EPOCH, seq: 0 };
        let context = Context { seed: 1, window: 1000 };
        let first = ("create", Waiter::Nobody);
        let mut session = Session::create(ID, head, context, summary(), first, &sender());
        let log = vec![session.take_batch().unwrap().frame];
        let nodes = [Node::new(0, &log), Node::new(1, &log)];
        Self { log, nodes, commands: 0 }
    }

    fn submit(&mut self, at: usize) {
        let node = &mut self.nodes[at];
        if node.submitted.is_none() {
            node.submitted = node.session.take_batch();
            assert!(node.session.take_batch().is_none(), "one frame is in flight");
        }
    }

    /// The log takes the frame that waits, or not, and answers.
    fn answer(&mut self, at: usize, word: Word) -> bool {
        let Some(batch) = self.nodes[at].submitted.take() else { return false };
        let is_told = matches!(word, Word::True);
        let stores = matches!(word, Word::True | Word::LostAndStored);
        let is_next = batch.expected.seq == end_of(&self.log);
        if stores && is_next {
            self.log.push(batch.frame.clone());
            self.nodes[1 - at].notices.push_back(batch.frame.clone());
            if !is_told {
                self.nodes[at].notices.push_back(batch.frame.clone());
            }
        }
        let head = Head { epoch: EPOCH, seq: end_of(&self.log) };
        let answer = match word {
            Word::True if self.log.contains(&batch.frame) => Appended::Committed(head),
            Word::True => Appended::Conflict(Some(head)),
            Word::Full => Appended::Full,
            Word::LostAndStored | Word::LostAndNotStored => Appended::Unknown("lost".into()),
        };
        self.nodes[at].settle(&answer);
        true
    }

    fn restart(&mut self, at: usize) {
        self.nodes[at] = Node::new(at, &self.log);
    }

    fn step(&mut self, at: usize, kind: u8) {
        self.commands += 1;
        let id = format!("s{}", self.commands);
        let step = match kind {
            0 => Step::Start,
            1 => Step::Pause,
            2 => Step::Resume,
            _ => Step::Stop { outcome: Outcome::Completed, reason: None },
        };
        let node = &mut self.nodes[at];
        *node.asked.entry(id.clone()).or_default() += 1;
        let taken = node.session.control(&step, &id, &sender(), Some(KEY), 6);
        node.tell_at_once(&id, taken.map_err(|refusal| refusal.code));
    }

    /// Everything goes on until nothing waits.
    fn finish(&mut self) {
        loop {
            let mut went_on = false;
            for at in 0..2 {
                while !self.nodes[at].notices.is_empty() {
                    self.nodes[at].observe();
                }
                self.nodes[at].catch_up(&self.log);
                self.submit(at);
                went_on |= self.answer(at, Word::True) | self.nodes[at].session.is_behind();
            }
            if !went_on {
                return;
            }
        }
    }

    fn check(&self) -> Result<(), TestCaseError> {
        let mut stored: HashMap<&str, Seq> = HashMap::new();
        let mut status = Status::Idle;
        for (next, (seq, record)) in (1..).zip(self.log.iter().flat_map(Frame::records)) {
            prop_assert_eq!(seq, next);
            let body: serde_json::Value = serde_json::from_slice(record.body).unwrap();
            prop_assert_eq!(body["seq"].as_u64(), Some(seq), "an entry knows its place");
            prop_assert_eq!(stored.insert(record.id, seq), None, "{} is stored twice", record.id);
            if record.kind == Kind::Event {
                prop_assert!(!status.has_ended(), "nothing comes after the end");
            } else if let Ok(from) = serde_json::from_value::<Status>(body["data"]["from"].clone()) {
                prop_assert_eq!(from, status, "steps follow each other");
                status = serde_json::from_value(body["data"]["status"].clone()).unwrap();
            }
        }
        for node in &self.nodes {
            for (id, told) in &node.told {
                if let Ok(seq) = told {
                    prop_assert_eq!(stored.get(&**id), Some(seq), "the ack of {} lies", id);
                }
            }
            for (id, count) in &node.asked {
                let told = node.told.iter().filter(|(known, _)| known == id).count();
                prop_assert_eq!(told, *count, "every publish of {} is answered once", id);
            }
            prop_assert_eq!((node.session.queued_bytes(), node.session.is_behind()), (0, false));
            prop_assert_eq!(node.session.head().seq, end_of(&self.log), "what others did is known");
        }
        Ok(())
    }
}

#[derive(Debug, Clone)]
enum Action {
    Publish { id: u8, data: u8 },
    Submit,
    Answer(Word),
    Observe,
    CatchUp,
    Step(u8),
    GiveUp,
    Restart,
}

fn actions() -> impl Strategy<Value = Vec<(usize, Action)>> {
    let word = prop_oneof![
        5 => Just(Word::True),
        1 => Just(Word::Full),
        1 => Just(Word::LostAndStored),
        1 => Just(Word::LostAndNotStored),
    ];
    let action = prop_oneof![
        12 => (0..30_u8, 0..8_u8).prop_map(|(id, data)| Action::Publish { id, data: data / 7 }),
        6 => Just(Action::Submit),
        6 => word.prop_map(Action::Answer),
        4 => Just(Action::Observe),
        4 => Just(Action::CatchUp),
        2 => (0..7_u8).prop_map(|kind| Action::Step(kind % 4)),
        1 => Just(Action::GiveUp),
        1 => Just(Action::Restart),
    ];
    prop::collection::vec((0..2_usize, action), 0..200)
}

proptest! {
    #[test]
    fn two_writers_make_one_gapless_log_and_nobody_is_lied_to(actions in actions()) {
        let mut world = World::new();
        for (at, action) in actions {
            match action {
                Action::Publish { id, data } => {
                    world.nodes[at].publish(&format!("e{id}"), &format!("{{\"n\":{data}}}"));
                }
                Action::Submit => world.submit(at),
                Action::Answer(word) => drop(world.answer(at, word)),
                Action::Observe => world.nodes[at].observe(),
                Action::CatchUp => {
                    let log = world.log.clone();
                    world.nodes[at].catch_up(&log);
                }
                Action::Step(kind) => world.step(at, kind),
                Action::GiveUp => {
                    let node = &mut world.nodes[at];
                    if node.session.is_in_doubt() {
                        let Settled::Refused { answers, refusal } = node.session.give_up(9) else { panic!() };
                        node.tell(answers, refusal.code);
                    }
                }
                Action::Restart => world.restart(at),
            }
        }
        world.finish();
        world.check()?;
    }
}

/// A second writer was first with the same events, in another order, and has ended the session.
#[test]
fn what_waits_is_answered_by_what_another_writer_did() {
    let mut world = World::new();
    for id in ["a", "b", "c"] {
        world.nodes[0].publish(id, "{\"n\": 1}");
    }
    world.submit(0);
    world.nodes[0].publish("a", "{\"n\":1}");
    world.nodes[0].publish("d", "{}");
    world.nodes[1].publish("b", "{\"n\":1}");
    world.nodes[1].publish("a", "{\"n\":2}");
    world.step(1, 0);
    world.step(1, 3);
    world.submit(1);
    world.answer(1, Word::True);
    world.answer(0, Word::True);
    assert!(world.nodes[0].session.is_behind() && !world.nodes[0].session.has_batch());
    let log = world.log.clone();
    world.nodes[0].catch_up(&log);
    let told: Vec<_> = world.nodes[0].told.iter().map(|(id, told)| (id.as_str(), *told)).collect();
    let closed = Err(ErrorCode::SessionClosed);
    // The repeat of "a" in another spelling was a repeat of this process's own, and is refused with it.
    let conflict = Err(ErrorCode::IdConflict);
    assert_eq!(told, [("b", Ok(2)), ("a", conflict), ("a", conflict), ("c", closed), ("d", closed)]);
    assert_eq!(world.nodes[0].session.status(), Status::Completed);
    world.finish();
    world.check().unwrap();
}

#[test]
fn a_frame_in_doubt_is_sent_again_to_the_byte_and_commits_once() {
    for word in [Word::LostAndStored, Word::LostAndNotStored] {
        let mut world = World::new();
        world.nodes[0].publish("a", "{}");
        world.submit(0);
        let first = world.nodes[0].submitted.clone().unwrap();
        world.nodes[0].publish("b", "{}");
        world.answer(0, word);
        assert!(world.nodes[0].told.is_empty(), "nobody knows yet");
        world.nodes[0].observe();
        world.submit(0);
        assert_eq!(world.nodes[0].submitted.as_ref().unwrap().frame, first.frame);
        world.answer(0, Word::True);
        assert_eq!(world.nodes[0].told, [("a".to_owned(), Ok(2))]);
        world.finish();
        world.check().unwrap();
    }
}

#[test]
fn a_log_that_was_replaced_ends_the_session() {
    for head in [None, Some(Head { epoch: Epoch::from_u64(4), seq: 9 }), Some(Head { epoch: EPOCH, seq: 0 })]
    {
        let mut world = World::new();
        world.nodes[0].publish("a", "{}");
        world.submit(0);
        world.nodes[0].publish("b", "{}");
        match world.nodes[0].session.settle(&Appended::Conflict(head), 9) {
            Settled::Lost { answers, refusal, head: found } => {
                assert_eq!(answers.iter().map(|answer| &*answer.id).collect::<Vec<_>>(), ["a", "b"]);
                assert_eq!((refusal.code, found), (ErrorCode::LogUnavailable, head));
            }
            other => panic!("{other:?}"),
        }
    }
}

/// Damaged events between what the session has and what it needs: their places are taken.
#[test]
fn a_session_goes_on_after_events_that_the_log_has_lost() {
    let mut world = World::new();
    world.nodes[1].publish("a", "{}");
    world.submit(1);
    world.answer(1, Word::True);
    world.nodes[0].publish("b", "{}");
    world.submit(0);
    world.answer(0, Word::True);
    let advanced = world.nodes[0].session.skip(2, 9);
    assert_eq!(advanced.moved, [(2, 3)]);
    world.nodes[0].take(advanced);
    world.submit(0);
    world.answer(0, Word::True);
    assert_eq!(world.nodes[0].told, [("b".to_owned(), Ok(3))]);
}
