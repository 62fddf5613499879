//! Examples of owners: answers wait for the log, unused sessions expire, a refused frame also fails the frames behind it.

use agentbench_event_log::Appended;
use agentbench_protocol::StartAt;
use agentbench_session::Step;
use serde_json::json;

use super::client::kind;
use super::world::{Plan, TIMEOUT, World};

/// A world with a session that its creator follows.
fn with_session(plan: Plan) -> (World, usize, agentbench_protocol::SessionId) {
    let mut world = World::new(plan);
    let ada = world.connect(0, "ada", true);
    let session = world.create(ada, "s", true);
    world.settle();
    assert_eq!(world.clients[ada].take(&["session_created"]).len(), 1);
    (world, ada, session)
}

fn each_number_of_workers(test: impl Fn(Plan)) {
    for workers in [1, 3] {
        test(Plan { workers, ..Plan::default() });
    }
}

#[test]
fn nothing_is_answered_before_the_log_has_it() {
    each_number_of_workers(|plan| {
        let mut world = World::new(plan);
        let ada = world.connect(0, "ada", true);
        let session = world.create(ada, "s", true);
        let owner = world.owner_of(session);
        while world.read_letter(owner) {}
        assert!(world.commit(owner), "the session's first entry");
        world.clients[ada].receive();
        assert_eq!(world.clients[ada].received.len(), 0);
        world.settle();
        assert_eq!(world.clients[ada].take(&["session_created"]).len(), 1);
        world.publish(ada, session, "e1", &json!({"n": 1}), 0);
        while world.read_letter(owner) {}
        world.commit(owner);
        world.clients[ada].receive();
        assert_eq!(world.clients[ada].take(&["ack"]).len(), 0);
        world.settle();
        let ack = &world.clients[ada].take(&["ack"])[0]["data"];
        assert_eq!((&ack["originalMessageId"], &ack["seq"]), (&json!("e1"), &json!(2)));
        world.assert_nothing_is_held();
    });
}

#[test]
fn acks_of_one_frame_go_together_to_clients_of_version_1() {
    each_number_of_workers(|plan| {
        let (mut world, ada, session) = with_session(plan);
        let plain = world.connect(0, "bob", false);
        world.join(plain, session, StartAt::Live);
        world.settle();
        for client in [ada, plain] {
            for n in 0..16 {
                world.publish(client, session, &format!("e{n}"), &json!({"n": n}), 0);
            }
        }
        world.settle();
        let acks = world.clients[ada].take(&["ack"]);
        assert_eq!(acks.len(), 1, "{acks:?}");
        assert_eq!(acks[0]["data"]["acks"].as_array().map(Vec::len), Some(16));
        assert_eq!(world.clients[plain].take(&["ack"]).len(), 16);
    });
}

#[test]
fn a_frame_that_the_log_refuses_takes_all_behind_it_along_and_order_holds() {
    for refusal in [Appended::Full, Appended::Unavailable("closed".into())] {
        let (mut world, ada, session) = with_session(Plan::default());
        world.log.fail_next(refusal);
        world.publish(ada, session, "a", &json!({"n": 1}), 0);
        world.commit(0);
        // It waits behind the first one, and falls with it.
        world.publish(ada, session, "b", &json!({"n": 2}), 0);
        world.settle();
        let refused = world.clients[ada].take(&["error"]);
        let ids: Vec<_> =
            refused.iter().map(|it| it["data"]["originalMessageId"].as_str().unwrap()).collect();
        assert_eq!(ids, ["a", "b"]);
        world.assert_nothing_is_held();
        // The later one does not overtake the one that comes again.
        world.publish(ada, session, "b", &json!({"n": 2}), 0);
        world.publish(ada, session, "a", &json!({"n": 1}), 0);
        world.settle();
        assert_eq!(world.clients[ada].take(&["error"])[0]["data"]["originalMessageId"], "b");
        world.publish(ada, session, "b", &json!({"n": 2}), 0);
        world.settle();
        assert_eq!(world.clients[ada].seqs(), [1, 2, 3]);
        assert_eq!(world.head(session).seq, 3);
    }
}

#[test]
fn a_session_whose_first_entry_is_refused_leaves_no_trace() {
    let plan = Plan { sessions: [1, 100], ..Plan::default() };
    let mut world = World::new(plan);
    let ada = world.connect(0, "ada", true);
    world.log.fail_next(Appended::Full);
    let session = world.create(ada, "s", true);
    world.settle();
    assert_eq!(world.clients[ada].take(&["error"]).len(), 1);
    assert!(!world.is_loaded(session) && world.catalog.get(session).is_none());
    world.assert_nothing_is_held();
    world.create(ada, "s", true);
    world.settle();
    assert_eq!(world.clients[ada].take(&["session_created"]).len(), 1, "its place is free again");
    world.create(ada, "t", true);
    world.settle();
    assert_eq!(world.clients[ada].take(&["error"])[0]["data"]["code"], "session_limit");
}

#[test]
fn a_session_expires_when_it_was_unused_for_its_time_and_not_before() {
    each_number_of_workers(|plan| {
        let (mut world, ada, session) = with_session(plan);
        let kept = world.create(ada, "kept", true);
        world.settle();
        world.leave(ada, session);
        world.settle();
        // It is unloaded meanwhile, and found in the catalog.
        for _ in 0..(TIMEOUT / 500 - 1) {
            world.pass(500);
            world.tick(true);
            world.settle();
        }
        assert_eq!(world.head(session).seq, 1, "one tick before its time");
        assert!(!world.is_loaded(session), "nobody uses it");
        for _ in 0..3 {
            world.pass(500);
            world.tick(true);
            world.settle();
        }
        assert_eq!(world.head(session).seq, 2);
        assert_eq!(
            world.catalog.get(session).unwrap().summary().status,
            agentbench_protocol::Status::Expired
        );
        assert_eq!(world.head(kept).seq, 1, "somebody takes part in that one");
        world.join(ada, session, StartAt::Start);
        world.settle();
        let expired = world.clients[ada].entry(2);
        assert_eq!((kind(expired), &expired["data"]["from"]), ("session_expired", &json!("idle")));
        world.assert_nothing_is_held();
    });
}

#[test]
fn a_session_of_an_earlier_life_expires_at_its_time() {
    let (mut world, _, session) = with_session(Plan::default());
    world.restart();
    world.pass(TIMEOUT);
    world.tick(true);
    world.settle();
    assert_eq!(world.head(session).seq, 1);
    world.pass(1);
    world.tick(true);
    world.settle();
    assert_eq!(world.head(session).seq, 2, "it expired");
}

#[test]
fn a_wall_clock_that_is_set_expires_nothing_and_keeps_nothing_alive() {
    for jump in [3_600_000, -3_600_000] {
        for is_left in [false, true] {
            let (mut world, ada, session) = with_session(Plan::default());
            if is_left {
                world.leave(ada, session);
            } else {
                world.disconnect(ada);
            }
            world.settle();
            world.pass(TIMEOUT - 10_000);
            world.set_clock(jump);
            world.tick(true);
            world.settle();
            assert_eq!(world.head(session).seq, 1, "it did not expire for {jump}");
            world.pass(10_001);
            world.tick(true);
            world.settle();
            assert_eq!(world.head(session).seq, 2, "it expired at its time after {jump}");
        }
    }
}

#[test]
fn what_was_published_before_a_restart_is_known_after_it() {
    each_number_of_workers(|plan| {
        let (mut world, ada, session) = with_session(plan);
        world.publish(ada, session, "e1", &json!({"n": 1}), 0);
        world.settle();
        world.restart();
        let again = world.connect(0, "ada", true);
        world.join(again, session, StartAt::Live);
        world.publish(again, session, "e1", &json!({"n": 1}), 0);
        world.publish(again, session, "e1", &json!({"n": 2}), 0);
        world.settle();
        let ack = &world.clients[again].take(&["ack"])[0]["data"];
        assert_eq!((&ack["seq"], &ack["duplicate"]), (&json!(2), &json!(true)));
        assert_eq!(world.clients[again].take(&["error"])[0]["data"]["code"], "id_conflict");
        assert_eq!(world.head(session).seq, 2);
    });
}

#[test]
fn a_connection_that_goes_before_its_answer_comes_has_not_stayed() {
    each_number_of_workers(|plan| {
        let (mut world, ada, session) = with_session(plan);
        for worker in 0..plan.workers {
            for steps in 0..4 {
                let bob = world.connect(worker, "bob", true);
                world.join(bob, session, StartAt::Start);
                for _ in 0..steps {
                    let at = (worker + steps) % plan.workers;
                    world.read_letter(at);
                }
                world.disconnect(bob);
                world.settle();
            }
        }
        world.clients[ada].received.clear();
        let cyd = world.connect(0, "cyd", true);
        world.join(cyd, session, StartAt::Live);
        world.settle();
        let joined = &world.clients[ada].take(&["user_joined"])[0]["data"];
        assert_eq!(joined["count"], 2, "{joined}");
    });
}

#[test]
fn presence_of_a_large_session_is_announced_once_a_tick() {
    each_number_of_workers(|plan| {
        let (mut world, ada, session) = with_session(plan);
        let crowd: Vec<_> =
            (0..70).map(|n| world.connect(n % plan.workers, &format!("u{n}"), true)).collect();
        for client in &crowd {
            world.join(*client, session, StartAt::Live);
            world.settle();
        }
        assert_eq!(world.clients[ada].take(&["user_joined"]).len(), 19, "at once up to twenty participants");
        world.tick(false);
        world.settle();
        let announced = world.clients[ada].take(&["user_joined"]);
        assert_eq!(announced.len(), 1);
        assert_eq!(announced[0]["data"]["count"], 71);
        assert_eq!(announced[0]["data"]["participants"].as_array().map(Vec::len), Some(50));
        world.tick(false);
        world.settle();
        assert_eq!(world.clients[ada].take(&["user_joined"]).len(), 0, "nothing new");
        for client in crowd {
            world.disconnect(client);
        }
        world.settle();
        world.tick(false);
        world.settle();
        let left = world.clients[ada].take(&["user_left"]);
        assert_eq!(left.last().unwrap()["data"]["count"], 1, "the last ones go one by one");
        assert_eq!(left.len(), 20);
    });
}

#[test]
fn a_step_is_answered_to_its_sender_and_announced_to_participants_that_do_not_follow() {
    let (mut world, ada, session) = with_session(Plan::default());
    world.step_session(ada, session, "start", Step::Start);
    world.step_session(ada, session, "start", Step::Start);
    world.settle();
    let started = world.clients[ada].take(&["session_started"]);
    assert_eq!(started.len(), 2, "the reply, and the reply to the repeat: {started:?}");
    assert_eq!(world.head(session).seq, 2, "once in the log");
    world.step_session(ada, session, "start", Step::Start);
    world.settle();
    let again = world.clients[ada].take(&["session_started"]);
    assert_eq!((again.len(), &again[0]["data"]["duplicate"]), (1, &json!(true)));
    assert!(world.clients[ada].received.iter().all(|it| kind(it) != "error"));
}

#[test]
fn a_session_whose_log_cannot_be_read_refuses_what_waits_for_it() {
    let (mut world, ada, session) = with_session(Plan::default());
    world.publish(ada, session, "e1", &json!({}), 0);
    world.settle();
    world.restart();
    let bob = world.connect(0, "bob", true);
    world.join(bob, session, StartAt::Start);
    world.catalog.remove(session);
    world.settle();
    assert_eq!(world.clients[bob].take(&["error"])[0]["data"]["code"], "session_not_found");
    assert!(!world.is_loaded(session));
}
