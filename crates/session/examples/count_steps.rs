//! One session's work for so many events, sixteen in a frame: for counting instructions (`cargo xtask bench --instructions`).

use std::sync::Arc;

use agentbench_event_log::Appended;
use agentbench_protocol::event::EventBody;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Epoch, Head, SessionId, Status};
use agentbench_session::{ConnectionKey, Context, Publish, Session, Summary, Waiter};

const KEY: ConnectionKey = ConnectionKey(1);
const TOGETHER: u32 = 16;

fn session() -> Session {
    let sender =
        Sender { client_id: "c".into(), user_id: "u".into(), username: "U".into(), role: "evaluator".into() };
    let summary = Summary {
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
    };
    let head = Head { epoch: Epoch::from_u64(1), seq: 0 };
    let context = Context { seed: 1, window: 65_536 };
    let create = ("c", Waiter::Nobody);
    let mut session = Session::create(SessionId::from_u128(1), head, context, summary, create, &sender);
    session.join(KEY, Arc::new(sender), false, 1);
    settle(&mut session);
    session
}

/// [`Session::settle`] of today, and of revisions in which it was not told the time: this program is built in both.
trait Settle<Arguments> {
    fn settle(self, session: &mut Session, appended: &Appended);
}

impl<F: Fn(&mut Session, &Appended, u64) -> R, R> Settle<(Appended, u64)> for F {
    fn settle(self, session: &mut Session, appended: &Appended) {
        self(session, appended, 1);
    }
}

impl<F: Fn(&mut Session, &Appended) -> R, R> Settle<Appended> for F {
    fn settle(self, session: &mut Session, appended: &Appended) {
        self(session, appended);
    }
}

fn settle(session: &mut Session) {
    if let Some(batch) = session.take_batch() {
        let head = Head { epoch: batch.expected.epoch, seq: batch.frame.last_seq() };
        Settle::settle(Session::settle, session, &Appended::Committed(head));
    }
}

fn main() {
    let count = std::env::args().nth(1).and_then(|count| count.parse::<u32>().ok()).unwrap_or(1);
    let data = format!("{{\"eventType\":\"console_log\",\"text\":\"{}\"}}", "x".repeat(980));
    let mut session = session();
    for number in 0..count {
        let id = format!("{number:012}");
        let body = EventBody { id: &id, timestamp: "1", data: &data, metadata: None, sender: "{}" };
        let event = Publish {
            connection: Some(KEY),
            user: "u",
            producer: "p",
            body,
            ttl_ms: 0,
            requires_ack: true,
            in_order: true,
        };
        assert!(session.publish(&event, 1).is_ok(), "the session takes it");
        if (number + 1) % TOGETHER == 0 {
            settle(&mut session);
        }
    }
}
