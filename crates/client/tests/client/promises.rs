//! Whatever happens to the connection: every publish is acked once, the log has it once and in order, and a follow gets
//! every entry once and in order.

use std::time::Duration;

use agentbench_client::{Format, Item, Outcome, SessionId, StartAt};
use proptest::prelude::*;

use super::pair::{Pair, settings};

/// Something that happens.
#[derive(Debug, Clone)]
enum Step {
    Publish { session: usize, count: u64 },
    Up(usize),
    Down(usize),
    Cut,
    Restart,
    Vanish,
    Appear,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..2_usize, 1..20_u64).prop_map(|(session, count)| Step::Publish { session, count }),
        6 => (1..3000_usize).prop_map(Step::Up),
        6 => (1..3000_usize).prop_map(Step::Down),
        2 => Just(Step::Cut),
        1 => Just(Step::Restart),
        1 => Just(Step::Vanish),
        1 => Just(Step::Appear),
        4 => (1..3000_u64).prop_map(Step::Pass),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Manner {
    format: Format,
    compression: bool,
    in_flight: usize,
    refuse_every: Option<u64>,
    deliver_twice: bool,
}

fn manner() -> impl Strategy<Value = Manner> {
    let format = prop_oneof![Just(Format::Json), Just(Format::Msgpack)];
    let in_flight = prop_oneof![Just(1_usize), Just(5), Just(1024)];
    (format, any::<bool>(), in_flight, proptest::option::of(2..9_u64), any::<bool>()).prop_map(
        |(format, compression, in_flight, refuse_every, deliver_twice)| Manner {
            format,
            compression,
            in_flight,
            refuse_every,
            deliver_twice,
        },
    )
}

fn run(steps: &[Step], manner: Manner) -> (Pair, [SessionId; 2], u64) {
    let settings = settings(|config| {
        config.format(manner.format).compression(manner.compression).in_flight(manner.in_flight)
    });
    let mut pair = Pair::new(settings);
    let sessions = [pair.create(), pair.create()];
    pair.server.faults.refuse_every = manner.refuse_every;
    pair.server.faults.deliver_twice = manner.deliver_twice;
    // The second session is followed by its own publisher.
    let (_, follow) = pair.follow(sessions[1], StartAt::Start);
    let mut published = 0;
    for step in steps {
        match *step {
            Step::Publish { session, count } => {
                for _ in 0..count {
                    published += 1;
                    pair.publish(sessions[session], published);
                }
            }
            Step::Up(bytes) => pair.carry_up(bytes),
            Step::Down(bytes) => pair.carry_down(bytes),
            Step::Cut => pair.cut(),
            Step::Restart => {
                pair.server.restart();
                pair.cut();
            }
            Step::Vanish => pair.is_reachable = false,
            Step::Appear => pair.is_reachable = true,
            Step::Pass(ms) => pair.pass(Duration::from_millis(ms)),
        }
    }
    pair.is_reachable = true;
    pair.settle_within(Duration::from_secs(3600));
    pair.settle();
    assert_eq!(follow.0, 4, "the only follow");
    (pair, sessions, published)
}

/// Numbers of a session's events as the log has them.
fn numbers(log: &[String]) -> Vec<u64> {
    let number = |body: &String| {
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        body["data"]["number"].as_u64()
    };
    log.iter().filter_map(number).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn nothing_is_lost_doubled_or_reordered(steps in proptest::collection::vec(step(), 1..60), manner in manner()) {
        let (pair, sessions, published) = run(&steps, manner);
        let mut stored: Vec<u64> = Vec::new();
        for session in sessions {
            let numbers = numbers(&pair.server.log(session));
            // A server that refuses one event and takes the next has changed their order itself.
            if manner.refuse_every.is_none() || manner.in_flight == 1 {
                prop_assert!(numbers.is_sorted(), "{:?}", numbers);
            }
            stored.extend(numbers);
        }
        stored.sort_unstable();
        prop_assert_eq!(&stored, &(1..=published).collect::<Vec<u64>>());
        for ticket in 1..=published {
            prop_assert!(matches!(pair.outcome(ticket), Outcome::Stored { .. }), "{:?}", pair.outcome(ticket));
        }
        prop_assert_eq!(pair.machine.usage().messages, 0);

        let (follow, items) = pair.heard.items.first_key_value().unwrap();
        let (seqs, rest) = pair.items(*follow);
        prop_assert_eq!(seqs, (1..=pair.server.head(sessions[1]).seq).collect::<Vec<u64>>());
        let is_quiet = |item: &&Item| matches!(item, Item::Disconnected(_) | Item::Resumed(_));
        prop_assert!(rest.iter().all(is_quiet), "{:?}", rest);
        let texts: Vec<&str> = items.iter().filter_map(|item| match item {
            Item::Event(event) => Some(event.json()),
            Item::Lifecycle(lifecycle) => Some(lifecycle.entry.json()),
            _ => None,
        }).collect();
        // MessagePack passes the content on, not the bytes.
        if manner.format == Format::Json {
            prop_assert_eq!(texts, pair.server.log(sessions[1]));
        }
    }

    #[test]
    fn any_bytes_from_a_server_are_survived(
        chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..100), 1..10),
        is_open in any::<bool>(),
    ) {
        let mut pair = if is_open { Pair::plain() } else { Pair::new(settings(|config| config)) };
        pair.pump();
        for chunk in chunks {
            let now = pair.now();
            pair.machine.received(now, &mut chunk.clone(), &mut agentbench_client::machine::Codec::default());
            pair.pump();
        }
    }

    #[test]
    fn any_messages_from_a_server_are_survived(texts in proptest::collection::vec(message(), 1..20)) {
        let mut pair = Pair::plain();
        let session = pair.create();
        pair.follow(session, StartAt::Start);
        pair.publish(session, 1);
        for text in texts {
            let text = text.replace("SESSION", &session.to_string());
            pair.server.send(|dst| dst.extend_from_slice(text.as_bytes()));
            pair.carry_down(usize::MAX);
        }
        pair.pass(Duration::from_secs(1));
    }
}

/// Messages that are nearly what a server says.
fn message() -> impl Strategy<Value = String> {
    let kind = prop_oneof![
        Just("test_event"),
        Just("system_message"),
        Just("heartbeat"),
        Just("error"),
        Just("control_command"),
        Just("new")
    ];
    let data = prop_oneof![
        Just(r#"{}"#.to_owned()),
        Just(r#"[]"#.to_owned()),
        Just(r#"{"type":"ack","sessionId":"SESSION","originalMessageId":"e1","seq":0}"#.to_owned()),
        Just(r#"{"type":"ack","acks":[["e1",18446744073709551615],["e1"]]}"#.to_owned()),
        (any::<u64>(), any::<u64>()).prop_map(|(from, to)| format!(
            r#"{{"type":"gap","sessionId":"SESSION","fromSeq":{from},"toSeq":{to},"cause":"expired","history":true}}"#
        )),
        Just(r#"{"type":"from_tomorrow"}"#.to_owned()),
        Just(r#"{"error":"x","code":"overloaded","retryable":true,"originalMessageId":"e1"}"#.to_owned()),
        Just(r#"{"error":"x","code":"overloaded","retryable":true,"retryAfterMs":18446744073709551615,"originalMessageId":"e1"}"#.to_owned()),
        Just(r#"{"error":"x","code":"malformed_json","retryable":false}"#.to_owned()),
        Just(r#"{"error":"x","code":"malformed_json","retryable":false,"originalMessageId":"e1"}"#.to_owned()),
        Just(r#"{"type":"disconnecting","code":1,"cause":"","detail":"","reconnect":"after","afterMs":18446744073709551615}"#.to_owned()),
        Just(r#"{"type":"connection_established","clientId":"","server":"","node":"","protocolVersion":1,"heartbeatInterval":18446744073709551615,"maxPayload":0,"tokenExpiresAt":18446744073709551615,"ackLevel":"logged"}"#.to_owned()),
    ];
    (kind, data, proptest::option::of(any::<u64>())).prop_map(|(kind, data, seq)| {
        let seq = seq.map(|seq| format!(r#","seq":{seq}"#)).unwrap_or_default();
        format!(r#"{{"id":"x","type":"{kind}","timestamp":1,"sessionId":"SESSION","data":{data}{seq}}}"#)
    })
}
