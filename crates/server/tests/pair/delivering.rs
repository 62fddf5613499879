//! Examples of delivery to followers: at the tail, behind it, across damage, and with slow sockets.

use agentbench_event_log::EventLog;
use agentbench_protocol::{Position, StartAt};
use serde_json::json;

use super::world::{Plan, World};

/// Tails of length zero: a follower that misses a frame reads it from the log.
fn short_tails(workers: usize) -> Plan {
    Plan { workers, tails: [1, 1], ..Plan::default() }
}

fn with_events(plan: Plan, count: u64) -> (World, usize, agentbench_protocol::SessionId) {
    let mut world = World::new(plan);
    let ada = world.connect(0, "ada", true);
    let session = world.create(ada, "s", true);
    world.settle();
    for n in 1..=count {
        world.publish(ada, session, &format!("e{n}"), &json!({"n": n}), 0);
        world.settle();
    }
    (world, ada, session)
}

#[test]
fn a_reader_joins_anywhere_and_gets_the_rest_once() {
    for plan in [Plan::default(), short_tails(1), short_tails(3)] {
        let (mut world, ada, session) = with_events(plan, 20);
        let epoch = world.head(session).epoch;
        for after in 0..=21 {
            let reader = world.connect(after as usize % plan.workers, "bob", true);
            world.join(reader, session, StartAt::After(Position { epoch, seq: after, last_id: None }));
            world.settle();
            assert_eq!(world.clients[reader].seqs(), (after + 1..=21).collect::<Vec<_>>());
        }
        world.publish(ada, session, "last", &json!({}), 0);
        world.settle();
        assert!(world.clients.iter().all(|client| client.seqs().last() == Some(&22)));
    }
}

#[test]
fn a_socket_that_takes_little_delays_its_reader_alone() {
    for step in [1, 7, 100] {
        let (mut world, ada, session) = with_events(short_tails(1), 0);
        let (slow, quick) = (world.connect(0, "bob", true), world.connect(0, "cyd", true));
        for reader in [slow, quick] {
            world.join(reader, session, StartAt::Start);
        }
        world.settle();
        world.make_room(slow, 0);
        for n in 1..=10 {
            world.publish(ada, session, &format!("e{n}"), &json!({"n": n, "text": "x".repeat(50)}), 0);
            world.settle();
        }
        assert_eq!(world.clients[quick].seqs(), (1..=11).collect::<Vec<_>>());
        assert_eq!(world.clients[slow].seqs(), [1]);
        while world.clients[slow].seqs().len() < 11 {
            world.make_room(slow, step);
            world.settle();
        }
        assert_eq!(world.clients[slow].seqs(), (1..=11).collect::<Vec<_>>());
    }
}

#[test]
fn events_that_outlive_their_time_are_a_gap() {
    for plan in [Plan::default(), short_tails(1)] {
        let (mut world, ada, session) = with_events(plan, 0);
        for (n, ttl) in [(1, 0), (2, 50), (3, 50), (4, 0), (5, 50), (6, 80_000_000)] {
            world.publish(ada, session, &format!("e{n}"), &json!({"n": n}), ttl);
        }
        world.settle();
        assert_eq!(world.clients[ada].seqs(), (1..=7).collect::<Vec<_>>(), "in time");
        world.pass(50);
        let early = world.connect(0, "bob", true);
        world.join(early, session, StartAt::Start);
        world.settle();
        world.pass(1);
        let late = world.connect(0, "bob", true);
        world.join(late, session, StartAt::Start);
        world.settle();
        assert_eq!(world.clients[early].seqs().len(), 7, "at the last moment");
        assert_eq!(world.clients[late].seqs(), [1, 2, 5, 7]);
        let gaps = world.clients[late].take(&["gap"]);
        let bounds =
            |gap: &serde_json::Value| (gap["data"]["fromSeq"].as_u64(), gap["data"]["toSeq"].as_u64());
        assert_eq!(gaps.iter().map(bounds).collect::<Vec<_>>(), [(Some(3), Some(4)), (Some(6), Some(6))]);
        assert!(gaps.iter().all(|gap| gap["data"]["cause"] == "expired" && gap["data"]["history"] == true));
    }
}

#[test]
fn damaged_and_removed_events_are_gaps() {
    let (mut world, _, session) = with_events(short_tails(1), 10);
    world.log.damage(session, 4, 6);
    let reader = world.connect(0, "bob", true);
    world.join(reader, session, StartAt::Start);
    world.settle();
    assert_eq!(world.clients[reader].seqs(), [1, 2, 3, 7, 8, 9, 10, 11]);
    assert_eq!(world.clients[reader].take(&["gap"])[0]["data"]["cause"], "damaged");
    let (mut world, _, session) = with_events(short_tails(1), 10);
    // What was read for others is not kept for long.
    world.tick(false);
    let reader = world.connect(0, "bob", true);
    world.join(reader, session, StartAt::Start);
    world.log.delete(session).unwrap();
    world.settle();
    let gap = &world.clients[reader].take(&["gap"])[0]["data"];
    assert_eq!((&gap["fromSeq"], &gap["toSeq"], &gap["cause"]), (&json!(1), &json!(11), &json!("retention")));
}

#[test]
fn commits_that_were_missed_are_read_from_the_log() {
    let (mut world, ada, session) = with_events(Plan { workers: 3, ..Plan::default() }, 3);
    let away = (world.owner_of(session) + 1) % 3;
    let reader = world.connect(away, "bob", true);
    world.join(reader, session, StartAt::Start);
    world.settle();
    let owner = world.owner_of(session);
    for n in 4..=6 {
        world.publish(ada, session, &format!("e{n}"), &json!({"n": n}), 0);
        while world.read_letter(owner) {}
        world.commit(owner);
        world.log_answers();
        while world.read_letter(owner) {}
        if n != 5 {
            world.miss_commits(away);
        }
    }
    world.settle();
    assert_eq!(world.clients[reader].seqs(), (1..=7).collect::<Vec<_>>());
}
