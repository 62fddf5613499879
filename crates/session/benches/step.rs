//! One session's work for an event: dedupe, seq, writing it into the frame, taking the log's word; by events in a frame.

use std::sync::Arc;

use agentbench_event_log::Appended;
use agentbench_protocol::event::EventBody;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{Epoch, Head, SessionId, Status};
use agentbench_session::{ConnectionKey, Context, Publish, Session, Summary, Waiter};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const KEY: ConnectionKey = ConnectionKey(1);

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
    let mut session =
        Session::create(SessionId::from_u128(1), head, context, summary, ("c", Waiter::Nobody), &sender);
    session.join(KEY, Arc::new(sender), false, 1);
    settle(&mut session);
    session
}

fn settle(session: &mut Session) {
    if let Some(batch) = session.take_batch() {
        let head = Head { epoch: batch.expected.epoch, seq: batch.frame.last_seq() };
        session.settle(&Appended::Committed(head), 1);
    }
}

fn step(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("session step, 1 KiB");
    let data = format!("{{\"eventType\":\"console_log\",\"text\":\"{}\"}}", "x".repeat(980));
    for together in [1_u64, 16, 64] {
        group.throughput(Throughput::Elements(together));
        group.bench_with_input(
            BenchmarkId::new("events in a frame", together),
            &together,
            |bencher, together| {
                let (mut session, mut count) = (session(), 0_u64);
                bencher.iter(|| {
                    for _ in 0..*together {
                        count += 1;
                        let id = format!("{count:012}");
                        let body =
                            EventBody { id: &id, timestamp: "1", data: &data, metadata: None, sender: "{}" };
                        let event = Publish {
                            connection: Some(KEY),
                            user: "u",
                            producer: "p",
                            body,
                            ttl_ms: 0,
                            requires_ack: true,
                            in_order: true,
                        };
                        assert!(session.publish(&event, 1).is_ok());
                    }
                    settle(&mut session);
                });
            },
        );
    }
    group.finish();
}

criterion_group!(benches, step);
criterion_main!(benches);
