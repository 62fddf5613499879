//! One situation each.

use std::time::Duration;

use agentbench_client::machine::{Action, Codec, FollowKey};
use agentbench_client::{
    Backoff, ConnectionEvent, Data, Ended, Epoch, Error, ErrorCode, Event, Format, Gap, GapCause, GaveUp,
    Item, NotRecovered, OutboxPolicy, Outcome, Position, SessionId, StartAt, SystemMessage, Usage, Violation,
};
use agentbench_protocol::{Command, Reconnect};

use super::pair::{Pair, settings};
use super::server::{HEARTBEAT_MS, warnings};

const MINUTE: Duration = Duration::from_secs(60);

fn stored(pair: &Pair, ticket: u64) -> (u64, bool) {
    match pair.outcome(ticket) {
        Outcome::Stored { seq, duplicate, .. } => (*seq, *duplicate),
        other => panic!("ticket {ticket}: {other:?}"),
    }
}

fn kinds(pair: &Pair) -> Vec<&'static str> {
    let kind = |event: &ConnectionEvent| match event {
        ConnectionEvent::Connected { .. } => "connected",
        ConnectionEvent::Disconnected(_) => "disconnected",
        ConnectionEvent::Reconnecting { .. } => "reconnecting",
        ConnectionEvent::Failed(_) => "failed",
        _ => "other",
    };
    pair.heard.connection.iter().map(kind).collect()
}

#[test]
fn an_ack_tells_all_that_it_vouches_for() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.publish(session, 1);
    pair.settle();
    let level = Some(agentbench_client::AckLevel::Logged);
    let epoch = Some(Epoch::from_u64(7));
    assert_eq!(
        *pair.outcome(1),
        Outcome::Stored { seq: 2, epoch, level, duplicate: false, warnings: vec![] }
    );
}

#[test]
fn an_acks_warnings_belong_to_its_event_alone_also_when_it_is_a_repeat() {
    for format in [Format::Json, Format::Msgpack] {
        let mut pair = Pair::new(settings(|config| config.format(format)));
        pair.settle();
        pair.server.faults.warned = Some("e2");
        let session = pair.create();
        let warned = |pair: &Pair| {
            [1, 2, 3].map(|ticket| match pair.outcome(ticket) {
                Outcome::Stored { warnings, duplicate, .. } => (warnings.clone(), *duplicate),
                other => panic!("ticket {ticket}: {other:?}"),
            })
        };
        let expected = |duplicate| [vec![], warnings(), vec![]].map(|warnings| (warnings, duplicate));
        for number in 1..=3 {
            pair.publish(session, number);
        }
        pair.carry_up(usize::MAX);
        pair.cut();
        pair.settle_within(MINUTE);
        assert_eq!(warned(&pair), expected(true));
        for ticket in 1..=3 {
            pair.heard.outcomes.remove(&ticket);
        }
        let session = pair.create();
        for number in 1..=3 {
            pair.publish(session, number);
        }
        pair.settle();
        assert_eq!(warned(&pair), expected(false));
    }
}

#[test]
fn strict_is_asked_for_on_each_connection() {
    for (strict, target) in [(false, "/?producerId=p"), (true, "/?strict=1&producerId=p")] {
        let mut pair = Pair::new(settings(|config| config.strict(strict)));
        pair.settle();
        pair.cut();
        pair.settle_within(MINUTE);
        assert_eq!(pair.server.targets, [target; 2]);
    }
}

#[test]
fn an_event_whose_ack_was_lost_is_stored_once() {
    let mut pair = Pair::plain();
    let session = pair.create();
    for number in 1..=3 {
        pair.publish(session, number);
    }
    pair.carry_up(usize::MAX);
    pair.cut();
    assert!(pair.heard.outcomes.is_empty());
    pair.settle_within(MINUTE);
    assert_eq!([1, 2, 3].map(|ticket| stored(&pair, ticket)), [(2, true), (3, true), (4, true)]);
    assert_eq!(pair.machine.stats().retried, 3);
    assert_eq!(pair.server.log(session).len(), 4);
}

#[test]
fn nothing_is_published_before_the_join_is_answered() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.cut();
    pair.publish(session, 1);
    pair.server.seen.clear();
    pair.pass(Duration::from_secs(2));
    pair.carry_up(usize::MAX);
    pair.carry_down(usize::MAX);
    pair.carry_up(usize::MAX);
    pair.publish(session, 2);
    pair.carry_up(usize::MAX);
    assert_eq!(pair.server.seen.len(), 1, "only the join: {:?}", pair.server.seen);
    pair.carry_down(usize::MAX);
    pair.carry_up(usize::MAX);
    assert!(pair.server.seen[1].starts_with("TestEvent e1"), "{:?}", pair.server.seen);
}

#[test]
fn a_create_whose_answer_was_lost_creates_one_session() {
    let mut pair = Pair::plain();
    let key = pair.begin_create();
    pair.carry_up(usize::MAX);
    pair.cut();
    pair.settle_within(MINUTE);
    let session = pair.created(key);
    assert_eq!(pair.server.sessions(), [session]);
    pair.publish(session, 1);
    pair.settle_within(MINUTE);
    assert_eq!(stored(&pair, 1), (2, false));
}

#[test]
fn a_lifecycle_command_is_carried_out_once() {
    let mut pair = Pair::plain();
    let session = pair.create();
    let key = pair.command(&Command::StartTest { session_id: session.to_string() });
    pair.carry_up(usize::MAX);
    pair.cut();
    pair.settle_within(MINUTE);
    assert!(matches!(&*pair.heard.replies[&key], [Ok(SystemMessage::SessionStarted(_))]));
    assert_eq!(pair.server.log(session).len(), 2);
    let key = pair.command(&Command::StartTest { session_id: session.to_string() });
    pair.settle_within(MINUTE);
    let refused = |code| matches!(&*pair.heard.replies[&key], [Err(Error::Refused(why))] if why.code == code);
    assert!(refused(ErrorCode::InvalidTransition));
}

#[test]
fn a_refusal_for_now_is_tried_again_and_one_for_good_is_not() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.server.faults.refuse_every = Some(1);
    pair.publish(session, 1);
    pair.settle();
    assert!(pair.heard.outcomes.is_empty());
    pair.server.faults.refuse_every = None;
    pair.settle_within(MINUTE);
    assert_eq!(stored(&pair, 1), (2, false));
    assert_eq!(pair.machine.stats().held_back, 1);

    pair.server.faults.refuse_every = Some(1);
    pair.server.faults.refuse_with = Some(ErrorCode::Forbidden);
    pair.publish(session, 2);
    pair.settle();
    assert!(matches!(pair.outcome(2), Outcome::Refused(why) if why.code == ErrorCode::Forbidden));
}

#[test]
fn a_participant_that_the_server_has_forgotten_joins_again() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.server.faults.refuse_every = Some(1);
    pair.server.faults.refuse_with = Some(ErrorCode::NotAParticipant);
    pair.server.seen.clear();
    pair.publish(session, 1);
    pair.settle();
    pair.server.faults.refuse_every = None;
    pair.settle_within(MINUTE);
    assert_eq!(stored(&pair, 1), (2, false));
    let kinds: Vec<_> = pair.server.seen.iter().map(|seen| seen.split(' ').next().unwrap()).collect();
    assert_eq!(kinds, ["TestEvent", "ControlCommand", "TestEvent"]);
}

#[test]
fn retries_end() {
    let mut pair = Pair::new(settings(|config| config.publish_retries(2)));
    let session = pair.create();
    pair.server.faults.refuse_every = Some(1);
    pair.publish(session, 1);
    pair.settle_within(MINUTE);
    assert!(matches!(pair.outcome(1), Outcome::Refused(why) if why.code == ErrorCode::Overloaded));
    assert_eq!(pair.machine.stats().sent, 3);
}

#[test]
fn no_ack_in_time_is_unknown_and_says_whether_it_was_sent() {
    let mut pair = Pair::new(settings(|config| config.ack_timeout(Duration::from_secs(5))));
    let session = pair.create();
    pair.publish(session, 1);
    pair.carry_up(0);
    pair.is_reachable = false;
    pair.cut();
    pair.publish(session, 2);
    for _ in 0..60 {
        pair.pass(Duration::from_millis(100));
    }
    assert_eq!(*pair.outcome(1), Outcome::Unknown { why: GaveUp::AckTimeout, sent: true });
    assert_eq!(*pair.outcome(2), Outcome::Unknown { why: GaveUp::AckTimeout, sent: false });
    assert_eq!(pair.machine.usage().messages, 0);
}

#[test]
fn an_event_over_the_servers_limit_is_not_sent() {
    let mut pair = Pair::plain();
    let session = pair.create();
    let data = Data::json(&serde_json::json!({"fill": "x".repeat(1_000_000)})).unwrap();
    pair.publish_event(session, Event::new(data), 1);
    pair.publish(session, 2);
    pair.settle();
    assert!(matches!(pair.outcome(1), Outcome::Refused(why) if why.code == ErrorCode::PayloadTooLarge));
    assert_eq!(stored(&pair, 2), (2, false));
}

#[test]
fn events_without_an_ack_leave_the_outbox_when_they_are_sent() {
    let mut pair = Pair::plain();
    let session = pair.create();
    let event = || Event::new(Data::raw("{}").unwrap());
    let now = pair.now();
    pair.machine.publish(now, session, event(), None).unwrap();
    assert_eq!(pair.machine.usage().messages, 1);
    pair.pump();
    assert_eq!(pair.machine.usage().messages, 0);
    pair.publish(session, 1);
    pair.machine.publish(now, session, event(), None).unwrap();
    pair.pump();
    assert_eq!(pair.machine.usage().messages, 2, "it keeps its place behind the one before it");
    pair.settle();
    assert_eq!(pair.machine.usage().messages, 0);
    assert_eq!(pair.server.log(session).len(), 4);
}

#[test]
fn a_full_outbox_makes_room_as_its_policy_says() {
    let mut pair =
        Pair::new(settings(|config| config.outbox(2, 1000).outbox_policy(OutboxPolicy::DropOldestUnsent)));
    let session = pair.create();
    pair.cut();
    pair.is_reachable = false;
    for number in 1..=4 {
        pair.publish(session, number);
    }
    let dropped = Outcome::Unknown { why: GaveUp::Dropped, sent: false };
    assert_eq!((pair.outcome(1), pair.outcome(2)), (&dropped, &dropped));
    pair.is_reachable = true;
    pair.settle_within(MINUTE);
    assert_eq!((stored(&pair, 3), stored(&pair, 4)), ((2, false), (3, false)));

    let mut pair = Pair::new(settings(|config| config.outbox(10, 100).outbox_policy(OutboxPolicy::Refuse)));
    let session = pair.create();
    assert!(pair.machine.make_room(session, 1000), "one that is too large goes alone");
    pair.publish(session, 49);
    assert!(!pair.machine.make_room(session, 50));
    pair.settle();
    assert!(pair.machine.make_room(session, 50));
}

#[test]
fn a_follow_resumes_where_it_stood() {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    let (key, follow) = pair.follow(session, StartAt::Start);
    pair.settle();
    assert!(
        matches!(&*pair.heard.replies[&key], [Ok(SystemMessage::SessionJoined(joined))] if joined.head_seq == 6)
    );
    pair.cut();
    for number in 0..3 {
        pair.server.publish(session, &format!("q{number}"), "{}", None);
    }
    pair.server.commit();
    pair.settle_within(MINUTE);
    let (seqs, rest) = pair.items(follow);
    assert_eq!(seqs, (1..=9).collect::<Vec<_>>());
    let Item::Resumed(resumed) = rest[1] else { panic!("{rest:?}") };
    assert_eq!(resumed.from, Position { epoch: Epoch::from_u64(7), seq: 6, last_id: Some("p4".into()) });
    assert_eq!(resumed.head_seq, 9);
}

#[test]
fn a_live_follow_misses_nothing_after_its_join() {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    let (_, follow) = pair.follow(session, StartAt::Live);
    pair.settle();
    pair.cut();
    pair.server.publish(session, "q", "{}", None);
    pair.server.commit();
    pair.settle_within(MINUTE);
    assert_eq!(pair.items(follow).0, [7]);
}

/// What a follow at seq 6 is told when the server comes back with `keep` entries and this epoch.
fn after_loss(keep: usize, epoch: u64, again: u64) -> (Vec<u64>, Vec<Item>) {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    let (_, follow) = pair.follow(session, StartAt::Start);
    pair.settle();
    pair.server.lose_tail(session, keep, epoch);
    pair.cut();
    for number in 0..again {
        pair.server.publish(session, &format!("n{number}"), "{}", None);
        pair.server.commit();
    }
    pair.settle_within(MINUTE);
    let (seqs, rest) = pair.items(follow);
    (seqs, rest.into_iter().cloned().collect())
}

#[test]
fn another_history_is_said_and_followed() {
    let gap = |from, to, cause| Gap { from, to, cause, history: false };
    let cases = [
        // The log has lost its tail.
        (4, 7, 0, NotRecovered::AheadOfLog, 4, gap(5, 6, GapCause::Diverged), vec![]),
        // It has lost its tail and written another one.
        (4, 7, 4, NotRecovered::Diverged, 0, gap(1, 6, GapCause::Diverged), (1..=8).collect()),
        // It is another log.
        (1, 8, 2, NotRecovered::UnknownEpoch, 0, gap(1, 6, GapCause::Epoch), vec![1, 2, 3]),
    ];
    for (keep, epoch, again, why, place, expected, after) in cases {
        let (seqs, rest) = after_loss(keep, epoch, again);
        assert_eq!(seqs, [(1..=6).collect(), after].concat(), "{why:?}");
        let [Item::Disconnected(_), Item::NotRecovered { reason, was, from }, Item::Gap(gap)] = &*rest else {
            panic!("{rest:?}");
        };
        assert_eq!((*reason, was.seq, from.seq, from.epoch), (Some(why), 6, place, Epoch::from_u64(epoch)));
        assert_eq!(*gap, expected);
    }
}

#[test]
fn a_hole_that_nothing_explains_is_a_violation() {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    pair.server.faults.leave_out = Some(3);
    let (_, follow) = pair.follow(session, StartAt::Start);
    pair.settle();
    let (seqs, rest) = pair.items(follow);
    assert_eq!(seqs, [1, 2, 4, 5, 6]);
    assert!(matches!(rest[..], [Item::Violation(Violation { expected: 3, got: 4 })]), "{rest:?}");
    assert_eq!(pair.machine.stats().violations, 1);
}

#[test]
fn what_a_follow_has_is_not_given_again() {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    pair.server.faults.deliver_twice = true;
    let (_, follow) = pair.follow(session, StartAt::Start);
    pair.settle();
    assert_eq!(pair.items(follow).0, [1, 2, 3, 4, 5, 6]);
    assert_eq!(pair.machine.stats().repeats, 6);
}

#[test]
fn gaps_are_passed_on_and_move_the_place() {
    let mut pair = Pair::plain();
    let session = pair.server.prepare(5);
    let (_, follow) = pair.follow(session, StartAt::Live);
    pair.settle();
    let (from_seq, to_seq, cause) = (7, 9, GapCause::Expired);
    pair.server
        .say(None, &SystemMessage::Gap { session_id: session, from_seq, to_seq, cause, history: true });
    pair.settle();
    let (_, rest) = pair.items(follow);
    assert!(matches!(rest[..], [Item::Gap(Gap { from: 7, to: 9, cause: GapCause::Expired, history: true })]));
    pair.cut();
    pair.settle_within(MINUTE);
    // The server knows nothing of it, so the position is ahead of its log.
    assert!(matches!(
        pair.items(follow).1[2],
        Item::NotRecovered { reason: Some(NotRecovered::AheadOfLog), .. }
    ));
}

#[test]
fn a_publisher_becomes_a_follower_and_back() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.publish(session, 1);
    let (_, first) = pair.follow(session, StartAt::Start);
    pair.publish(session, 2);
    pair.settle();
    assert_eq!(pair.items(first).0, [1, 2, 3]);
    let now = pair.now();
    assert_eq!(
        pair.machine.follow(now, 99, FollowKey(99), session, StartAt::Live),
        Err(Error::AlreadyFollowing)
    );
    pair.machine.unfollow(now, session, first);
    let (_, second) = pair.follow(session, StartAt::Live);
    pair.settle();
    pair.publish(session, 3);
    pair.settle();
    assert_eq!((pair.items(first).0, pair.items(second).0), (vec![1, 2, 3], vec![4]));
    pair.machine.unfollow(now, session, second);
    pair.publish(session, 4);
    pair.settle();
    assert_eq!(stored(&pair, 4), (5, false));
    assert_eq!(pair.machine.stats().unexpected, 0);
}

#[test]
fn an_unknown_session_is_refused_for_everybody() {
    let mut pair = Pair::plain();
    let session = SessionId::from_u128(99);
    let (key, follow) = pair.follow(session, StartAt::Start);
    let joins = pair.join(session);
    pair.publish(session, 1);
    pair.settle();
    let refused =
        |error: &Error| matches!(error, Error::Refused(why) if why.code == ErrorCode::SessionNotFound);
    for key in [key, joins] {
        assert!(matches!(&*pair.heard.replies[&key], [Err(error)] if refused(error)));
    }
    assert!(refused(&pair.heard.ended[&follow]));
    assert!(matches!(pair.outcome(1), Outcome::Refused(_)));
    assert!(pair.machine.is_idle());
}

#[test]
fn leaving_gives_up_what_waits() {
    let mut pair = Pair::plain();
    let session = pair.create();
    let (_, follow) = pair.follow(session, StartAt::Start);
    pair.settle();
    pair.publish(session, 1);
    let now = pair.now();
    pair.machine.leave(now, 50, session).unwrap();
    pair.settle();
    assert_eq!(*pair.outcome(1), Outcome::Unknown { why: GaveUp::Left, sent: true });
    assert!(matches!(&*pair.heard.replies[&50], [Ok(SystemMessage::SessionLeft { .. })]));
    assert!(pair.heard.ended.contains_key(&follow));
}

#[test]
fn a_server_that_dismisses_for_good_is_believed() {
    for (code, reconnect) in [(4403, None), (4409, None), (1008, None), (1001, Some(Reconnect::Never))] {
        let mut pair = Pair::plain();
        let session = pair.create();
        let (_, follow) = pair.follow(session, StartAt::Start);
        pair.settle();
        pair.publish(session, 1);
        match reconnect {
            Some(reconnect) => pair.server.disconnecting(code, reconnect, None),
            None => pair.server.close(code),
        }
        pair.carry_down(usize::MAX);
        let Some(Ended::Dismissed { code: Some(said), .. }) = pair.machine.ended() else { panic!("{code}") };
        assert_eq!(*said, code);
        assert!(matches!(pair.outcome(1), Outcome::Unknown { why: GaveUp::Ended(_), sent: true }));
        assert!(matches!(pair.heard.ended[&follow], Error::Ended(_)));
        assert_eq!(kinds(&pair), ["connected", "disconnected", "failed"]);
        assert!(pair.server.seen.contains(&format!("close {code}")), "{:?}", pair.server.seen);
        let now = pair.now();
        let event = Event::new(Data::raw("{}").unwrap());
        assert!(matches!(pair.machine.publish(now, session, event, None), Err(Error::Ended(_))));
    }
}

#[test]
fn a_server_that_restarts_is_left_alone_for_the_time_that_it_asks_for() {
    let mut pair = Pair::plain();
    pair.server.disconnecting(1012, Reconnect::After, Some(5_000));
    pair.carry_down(usize::MAX);
    pair.pass(Duration::from_millis(4_999));
    assert_eq!(pair.machine.stats().attempts, 1);
    pair.pass(Duration::from_millis(101));
    pair.settle();
    assert!(pair.machine.is_connected());
    assert_eq!(pair.machine.stats().reconnects, 1);
}

#[test]
fn a_full_server_is_asked_again_after_the_time_that_it_names() {
    let mut pair = Pair::new(settings(|config| config));
    pair.server.faults.http = Some((503, Some(3)));
    pair.settle();
    pair.server.faults.http = None;
    pair.pass(Duration::from_millis(2_999));
    assert_eq!(pair.machine.stats().attempts, 1);
    pair.settle_within(Duration::from_secs(4));
    assert!(pair.machine.is_connected());

    let mut pair = Pair::new(settings(|config| config));
    pair.server.faults.http = Some((404, None));
    pair.settle();
    assert!(matches!(pair.machine.ended(), Some(Ended::Http { status: 404, .. })));
}

#[test]
fn a_refusal_counts_although_its_text_does_not_come_whole() {
    for ends in [true, false] {
        let mut pair = Pair::new(settings(|config| config));
        let now = pair.now();
        assert_eq!(pair.machine.poll_action(), Some(Action::Connect));
        pair.machine.connected(now);
        let mut codec = Codec::default();
        for piece in ["HTTP/1.1 404 Not Found\r\nContent-Le", "ngth: 100\r\n\r\nno", " such"] {
            pair.machine.received(now, &mut piece.as_bytes().to_vec(), &mut codec);
            assert!(pair.machine.ended().is_none(), "the rest of the text may come");
        }
        if ends {
            pair.machine.disconnected(now, "ended");
        } else {
            pair.at += MINUTE;
            let later = pair.now();
            pair.machine.timeout(later);
        }
        let ended = Ended::Http { status: 404, detail: "no such".to_owned() };
        assert_eq!(pair.machine.ended(), Some(&ended));
    }
}

#[test]
fn attempts_are_limited_spread_and_counted_from_the_last_success() {
    let backoff =
        Backoff { base: Duration::from_millis(100), max: Duration::from_secs(1), attempts: Some(3) };
    let mut pair = Pair::new(settings(|config| config.backoff(backoff)));
    pair.settle();
    pair.is_reachable = false;
    pair.pass(Duration::from_secs(5));
    pair.cut();
    pair.settle_within(MINUTE);
    assert!(matches!(pair.machine.ended(), Some(Ended::Attempts { attempts: 3, .. })));
    let waits: Vec<Duration> = pair
        .heard
        .connection
        .iter()
        .filter_map(|event| match event {
            ConnectionEvent::Reconnecting { after } => Some(*after),
            _ => None,
        })
        .collect();
    assert_eq!(waits.len(), 2);
    assert!(waits[0] <= Duration::from_millis(100) && waits[1] <= Duration::from_millis(200), "{waits:?}");
}

#[test]
fn a_token_is_fetched_when_it_is_needed() {
    // None to begin with; then the server turns away an old one, asks for a new one, and a renewal is due.
    let mut settings = settings(|config| config.token_provider(|| async { Ok(String::new()) }));
    settings.token = None;
    let mut pair = Pair::new(settings);
    pair.tokens = ["t1", "t2", "t3", "t4"].map(|token| Ok(token.to_owned())).to_vec();
    pair.settle();
    assert_eq!(pair.server.tokens, ["t1"]);

    pair.server.faults.token = Some("t2".into());
    pair.cut();
    pair.settle_within(MINUTE);
    pair.pass(Duration::from_secs(2));
    pair.settle();
    assert_eq!(pair.server.tokens, ["t1", "t1", "t2"]);
    assert!(pair.machine.is_connected());

    pair.server.faults.token = None;
    pair.server.disconnecting(4401, Reconnect::RefreshToken, None);
    pair.carry_down(usize::MAX);
    pair.pass(Duration::from_secs(2));
    pair.settle();
    assert_eq!(pair.server.tokens[3..], ["t3"]);

    // The token lives until second 1000.
    let at = pair.at;
    while pair.at < Duration::from_secs(990) {
        pair.pass(Duration::from_secs(10));
        pair.settle();
    }
    assert!(at < Duration::from_secs(100));
    assert_eq!(pair.server.tokens[4..], ["refreshed t4"]);
}

#[test]
fn a_token_that_is_refused_twice_ends_the_client() {
    let mut pair = Pair::new(settings(|config| config.token_provider(|| async { Ok(String::new()) })));
    pair.server.faults.token = Some("good".into());
    pair.tokens = vec![Ok("bad".into()), Ok("good".into())];
    pair.settle();
    pair.pass(Duration::from_secs(2));
    pair.settle();
    assert!(matches!(pair.machine.ended(), Some(Ended::Dismissed { code: Some(1008), .. })));
    assert_eq!(pair.server.tokens, ["t0", "bad"]);
    let mut pair = Pair::new(settings(|config| config));
    pair.server.faults.token = Some("good".into());
    pair.settle();
    assert!(matches!(pair.machine.ended(), Some(Ended::Dismissed { code: Some(1008), .. })));
}

#[test]
fn a_silent_server_is_given_up() {
    let mut pair = Pair::new(settings(|config| config.heartbeat_interval(None)));
    pair.settle();
    pair.pass(Duration::from_millis(HEARTBEAT_MS * 5 / 2 - 1));
    assert!(pair.machine.is_connected());
    pair.pass(Duration::from_millis(1));
    assert!(!pair.machine.is_connected());
    assert_eq!(kinds(&pair), ["connected", "disconnected", "reconnecting"]);

    let mut pair = Pair::new(settings(|config| config.connect_timeout(Duration::from_secs(3))));
    pair.server.faults.is_silent = true;
    pair.settle();
    pair.pass(Duration::from_secs(3));
    assert_eq!(kinds(&pair), ["disconnected", "reconnecting"]);
}

#[test]
fn silence_means_nothing_while_nobody_listens() {
    let mut pair = Pair::new(settings(|config| config.heartbeat_interval(None)));
    pair.settle();
    let now = pair.now();
    pair.machine.set_paused(now, true);
    pair.pass(Duration::from_millis(HEARTBEAT_MS * 10));
    assert!(pair.machine.is_connected());
    let now = pair.now();
    pair.machine.set_paused(now, false);
    pair.pass(Duration::from_millis(HEARTBEAT_MS));
    assert!(pair.machine.is_connected());
    pair.pass(Duration::from_millis(HEARTBEAT_MS * 2));
    assert!(!pair.machine.is_connected());
}

#[test]
fn pings_are_answered_and_heartbeats_measure_the_way() {
    let mut pair = Pair::plain();
    pair.server.ping();
    pair.settle();
    assert!(pair.server.seen.contains(&"pong are you there".to_owned()));
    assert_eq!(pair.machine.latency(), None);
    pair.pass(Duration::from_secs(15));
    pair.carry_up(usize::MAX);
    pair.at += Duration::from_millis(40);
    pair.carry_down(usize::MAX);
    assert_eq!(pair.machine.latency(), Some(Duration::from_millis(40)));
}

#[test]
fn a_command_without_an_answer_times_out() {
    let mut pair = Pair::new(settings(|config| config.command_timeout(Duration::from_secs(4))));
    pair.is_reachable = false;
    let key = pair.begin_create();
    let session = SessionId::from_u128(5);
    let (joins, _) = pair.follow(session, StartAt::Live);
    pair.settle_within(MINUTE);
    for key in [key, joins] {
        assert!(
            matches!(&*pair.heard.replies[&key], [Err(Error::TimedOut(_))]),
            "{:?}",
            pair.heard.replies[&key]
        );
    }
}

#[test]
fn closing_says_goodbye_and_settles_everything() {
    let mut pair = Pair::plain();
    let session = pair.create();
    pair.publish(session, 1);
    let key = pair.command(&Command::StartTest { session_id: session.to_string() });
    pair.machine.close();
    pair.pump();
    assert!(pair.server.seen.contains(&"close 1000".to_owned()), "{:?}", pair.server.seen);
    assert_eq!(*pair.outcome(1), Outcome::Unknown { why: GaveUp::Ended(Ended::Closed), sent: true });
    assert!(matches!(&*pair.heard.replies[&key], [Err(Error::Ended(Ended::Closed))]));
    assert_eq!(pair.machine.next_timeout(), None);
}

#[test]
fn a_run_repeats_itself_to_the_byte() {
    let run = || {
        let mut pair = Pair::plain();
        let session = pair.create();
        for number in 0..20 {
            pair.publish(session, number);
            pair.carry_up(37);
            if number % 7 == 0 {
                pair.cut();
                pair.pass(Duration::from_millis(90));
            }
        }
        pair.settle_within(MINUTE);
        (pair.server.seen.clone(), pair.at, pair.machine.stats())
    };
    assert_eq!(run(), run());
}

/// Three sessions with five events each, of which one is `e8`, and one without an ack at the end of each.
fn three_sessions(pair: &mut Pair) -> Vec<SessionId> {
    let sessions: Vec<_> = (0..3).map(|_| pair.create()).collect();
    for (index, session) in sessions.iter().enumerate() {
        for number in 1..=5 {
            pair.publish(*session, index as u64 * 5 + number);
        }
        let now = pair.now();
        pair.machine.publish(now, *session, Event::new(Data::raw("{}").unwrap()), None).unwrap();
    }
    pair.settle_within(10 * MINUTE);
    sessions
}

fn id_of(entry: &str) -> String {
    let entry: serde_json::Value = serde_json::from_str(entry).unwrap();
    entry["id"].as_str().unwrap().to_owned()
}

/// All events but `e8` are stored once and in their order, those without an ack behind them.
fn check_all_but_the_eighth(pair: &Pair, sessions: &[SessionId]) {
    for number in (1..=15).filter(|number| *number != 8) {
        stored(pair, number);
    }
    for (index, session) in sessions.iter().enumerate() {
        let log: Vec<_> = pair.server.log(*session).iter().skip(1).map(|body| id_of(body)).collect();
        let first = index as u64 * 5 + 1;
        let wanted = (first..first + 5).filter(|number| *number != 8).map(|number| format!("e{number}"));
        // Ids that the client has made are longer.
        let (named, rest): (Vec<_>, Vec<_>) = log.iter().cloned().partition(|id| id.len() <= 3);
        assert_eq!(named, wanted.collect::<Vec<_>>());
        assert_eq!(rest.len(), 1, "the one without an ack: {log:?}");
        assert_eq!(log.last(), rest.first());
    }
    assert_eq!(pair.machine.usage(), Usage::default());
}

#[test]
fn an_event_that_the_server_cannot_read_is_refused_and_all_others_of_all_sessions_are_stored() {
    for format in [Format::Json, Format::Msgpack] {
        let mut pair = Pair::new(settings(|config| config.format(format)));
        pair.settle();
        pair.server.faults.unreadable = Some("e8");
        let sessions = three_sessions(&mut pair);
        assert!(matches!(pair.outcome(8), Outcome::Refused(why) if why.code == ErrorCode::MalformedJson));
        check_all_but_the_eighth(&pair, &sessions);
        assert_eq!(pair.machine.stats().reconnects, 1, "one new connection shows which it is");
    }
}

#[test]
fn an_event_at_which_each_connection_breaks_is_given_up_and_all_others_are_stored() {
    let mut pair = Pair::plain();
    pair.server.faults.breaks_at = Some("e8");
    let sessions = three_sessions(&mut pair);
    let why = GaveUp::Breaks { detail: "cut".into() };
    assert_eq!(*pair.outcome(8), Outcome::Unknown { why, sent: true });
    check_all_but_the_eighth(&pair, &sessions);
}
