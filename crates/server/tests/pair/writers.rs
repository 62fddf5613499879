//! Two processes on one log: whoever writes, and whatever is observed late, each event has one place, every ack is true, and
//! the followers of both get everything.

use agentbench_event_log::memory::MemoryLog;
use agentbench_event_log::{Appended, EventLog};
use agentbench_protocol::{Outcome, Position, SessionId, StartAt, Status};
use agentbench_session::Step;
use serde_json::json;

use super::client::kind;
use super::world::{Plan, World};
use crate::simulation::{NodeStep, Time};

/// Two processes with one client each, which follow one session.
struct Two {
    ours: World,
    theirs: World,
    session: SessionId,
    ada: usize,
    bob: usize,
}

fn processes(workers: usize) -> [World; 2] {
    let (log, time) = (MemoryLog::new(), Time::default());
    let other = log.another_writer();
    let plan = |seed| Plan { seed, ..Plan::with_workers(workers) };
    [World::on(log, plan(1), time.clone()), World::on(other, plan(2), time.of_another())]
}

impl Two {
    fn new(workers: usize) -> Self {
        let [mut ours, mut theirs] = processes(workers);
        let (ada, bob) = (ours.connect(0, "ada", true), theirs.connect(workers - 1, "bob", true));
        let session = ours.create(ada, "create", true);
        ours.settle();
        theirs.settle();
        theirs.join(bob, session, StartAt::Start);
        let mut two = Self { ours, theirs, session, ada, bob };
        two.settle();
        two
    }

    fn settle(&mut self) {
        for _ in 0..6 {
            self.ours.settle();
            self.theirs.settle();
        }
        self.ours.assert_nothing_is_held();
        self.theirs.assert_nothing_is_held();
    }

    fn seqs(&self) -> [Vec<u64>; 2] {
        [self.ours.clients[self.ada].seqs(), self.theirs.clients[self.bob].seqs()]
    }
}

fn both_numbers_of_workers(test: impl Fn(Two)) {
    for workers in [1, 3] {
        test(Two::new(workers));
    }
}

#[test]
fn what_one_process_commits_is_delivered_by_the_other() {
    both_numbers_of_workers(|mut two| {
        for n in 0..10 {
            two.ours.publish(two.ada, two.session, &format!("a{n}"), &json!({ "n": n }), 0);
            two.settle();
            two.theirs.publish(two.bob, two.session, &format!("b{n}"), &json!({ "n": n }), 0);
            two.settle();
        }
        let all: Vec<u64> = (1..=21).collect();
        assert_eq!(two.seqs(), [all.clone(), all]);
        assert_eq!(two.theirs.clients[two.bob].take(&["ack"]).len(), 10);
        assert_eq!(two.theirs.metrics.log_behind.get(), 0, "nobody was in the way of anybody");
    });
}

#[test]
fn who_was_second_goes_on_behind_the_other_with_participants_and_followers() {
    both_numbers_of_workers(|mut two| {
        let (ours, theirs) = (two.ours.owner_of(two.session), two.theirs.owner_of(two.session));
        for n in 0..3 {
            two.ours.publish(two.ada, two.session, &format!("a{n}"), &json!({ "n": n }), 0);
            two.theirs.publish(two.bob, two.session, &format!("b{n}"), &json!({ "n": n }), 0);
        }
        for (world, owner) in [(&mut two.ours, ours), (&mut two.theirs, theirs)] {
            while world.read_letter(owner) {}
            world.commit(owner);
        }
        two.theirs.log_answers();
        two.ours.log_answers();
        // An event that comes while the session is behind stays behind those that wait.
        two.ours.publish(two.ada, two.session, "a3", &json!({ "n": 3 }), 0);
        two.settle();
        assert_eq!(two.ours.metrics.log_behind.get(), 1);
        let all: Vec<u64> = (1..=8).collect();
        assert_eq!(two.seqs(), [all.clone(), all]);
        let ids: Vec<_> = (2..=8).map(|seq| two.theirs.clients[two.bob].entry(seq)["id"].clone()).collect();
        assert_eq!(ids, ["b0", "b1", "b2", "a0", "a1", "a2", "a3"]);
        let acked: Vec<_> = two.ours.clients[two.ada].take(&["ack"]);
        let pairs = acked.iter().flat_map(|ack| match ack["data"]["acks"].as_array() {
            Some(pairs) => pairs.clone(),
            None => vec![json!([ack["data"]["originalMessageId"], ack["data"]["seq"]])],
        });
        assert_eq!(
            pairs.collect::<Vec<_>>(),
            [json!(["a0", 5]), json!(["a1", 6]), json!(["a2", 7]), json!(["a3", 8])]
        );
    });
}

#[test]
fn the_same_event_sent_to_both_is_stored_once_and_acked_by_both() {
    both_numbers_of_workers(|mut two| {
        let again = two.theirs.connect(0, "ada", true);
        two.theirs.join(again, two.session, StartAt::Live);
        two.settle();
        two.ours.publish(two.ada, two.session, "e", &json!({ "n": 1 }), 0);
        two.theirs.publish(again, two.session, "e", &json!({ "n": 1 }), 0);
        two.settle();
        assert_eq!(two.ours.head(two.session).seq, 2);
        for (world, client) in [(&mut two.ours, two.ada), (&mut two.theirs, again)] {
            let acks = world.clients[client].take(&["ack"]);
            assert_eq!(acks.len(), 1);
            assert_eq!(acks[0]["data"]["seq"], 2, "{acks:?}");
        }
    });
}

#[test]
fn a_session_that_was_not_observed_yet_is_found_in_the_log() {
    for workers in [1, 3] {
        let [mut ours, mut theirs] = processes(workers);
        let (ada, bob) = (ours.connect(0, "ada", true), theirs.connect(0, "bob", true));
        let session = ours.create(ada, "create", true);
        ours.settle();
        theirs.join(bob, session, StartAt::Start);
        // The observer of the other process has not come that far.
        while theirs.possible_steps().iter().any(|step| *step != NodeStep::Change) {
            for step in theirs.possible_steps().into_iter().filter(|step| *step != NodeStep::Change) {
                theirs.step(step);
            }
        }
        theirs.clients[bob].receive();
        assert_eq!(theirs.clients[bob].take(&["session_joined"]).len(), 1);
        assert_eq!(theirs.clients[bob].seqs(), [1]);
        theirs.settle();
        assert_eq!(theirs.catalog.len(), 1, "it is listed once");
        theirs.join(bob, SessionId::from_u128(5), StartAt::Live);
        theirs.settle();
        assert_eq!(theirs.clients[bob].take(&["error"])[0]["data"]["code"], "session_not_found");
    }
}

#[test]
fn a_session_created_at_both_by_one_command_is_one_session() {
    for workers in [1, 3] {
        let [mut ours, mut theirs] = processes(workers);
        let (ada, again) = (ours.connect(0, "ada", true), theirs.connect(0, "ada", true));
        let session = ours.create(ada, "create", true);
        theirs.create(again, "create", true);
        theirs.publish(again, session, "early", &json!({}), 0);
        for world in [&mut ours, &mut theirs] {
            let owner = world.owner_of(session);
            while world.read_letter(owner) {}
            world.commit(owner);
            world.log_answers();
        }
        for _ in 0..3 {
            ours.settle();
            theirs.settle();
        }
        for (world, client) in [(&mut ours, ada), (&mut theirs, again)] {
            let created = world.clients[client].take(&["session_created"]);
            assert_eq!(created.len(), 1, "{:?}", world.clients[client].received);
            assert_eq!(created[0]["data"]["sessionId"], session.to_string());
            assert_eq!(world.clients[client].seqs(), [1], "each follows from the beginning");
            world.assert_nothing_is_held();
        }
        let refused = theirs.clients[again].take(&["error"]);
        assert_eq!(refused[0]["data"]["originalMessageId"], "early");
        assert_eq!(refused[0]["data"]["retryable"], true);
        theirs.publish(again, session, "early", &json!({}), 0);
        theirs.settle();
        assert_eq!(theirs.head(session).seq, 2);
    }
}

/// A client that comes from the other process knows more of the log than this one.
#[test]
fn a_position_that_is_not_known_here_yet_is_looked_up_in_the_log() {
    both_numbers_of_workers(|mut two| {
        for n in 0..5 {
            two.ours.publish(two.ada, two.session, &format!("a{n}"), &json!({ "n": n }), 0);
        }
        two.ours.settle();
        let head = two.ours.head(two.session);
        let cyd = two.theirs.connect(0, "cyd", true);
        let at = |seq| StartAt::After(Position { epoch: head.epoch, seq, last_id: None });
        two.theirs.join(cyd, two.session, at(5));
        two.settle();
        let joined = two.theirs.clients[cyd].take(&["session_joined"]);
        assert_eq!(
            (&joined[0]["data"]["recovered"], &joined[0]["data"]["headSeq"]),
            (&json!(true), &json!(6))
        );
        assert_eq!(two.theirs.clients[cyd].seqs(), [6]);
        // Beyond the end of the log nothing is vouched for.
        let dan = two.theirs.connect(0, "dan", true);
        two.theirs.join(dan, two.session, at(9));
        two.settle();
        let joined = two.theirs.clients[dan].take(&["session_joined"]);
        assert_eq!(joined[0]["data"]["reason"], "ahead_of_log");
        assert_eq!(two.theirs.clients[dan].take(&["gap"])[0]["data"]["cause"], "diverged");
    });
}

#[test]
fn a_session_ended_by_one_process_is_ended_at_the_other() {
    both_numbers_of_workers(|mut two| {
        two.ours.step_session(two.ada, two.session, "start", Step::Start);
        two.settle();
        assert_eq!(two.theirs.catalog.get(two.session).unwrap().summary().status, Status::Running);
        let stop = Step::Stop { outcome: Outcome::Completed, reason: Some("done".into()) };
        two.ours.step_session(two.ada, two.session, "stop", stop);
        two.theirs.publish(two.bob, two.session, "late", &json!({}), 0);
        two.ours.settle();
        two.settle();
        let refused = two.theirs.clients[two.bob].take(&["error"]);
        assert_eq!(refused[0]["data"]["code"], "session_closed");
        let entry = two.theirs.catalog.get(two.session).unwrap();
        let summary = entry.summary();
        assert_eq!((summary.status, summary.reason.as_deref()), (Status::Completed, Some("done")));
        assert_eq!(two.theirs.catalog.active(), 0, "it is no live session here either");
        assert_eq!(two.seqs(), [vec![1, 2, 3], vec![1, 2, 3]]);
    });
}

/// Its followers are sent away, so that they come back with their positions and hear what became of it.
#[test]
fn a_log_removed_by_one_process_ends_the_session_at_the_other() {
    both_numbers_of_workers(|mut two| {
        let head = two.ours.head(two.session);
        two.theirs.publish(two.bob, two.session, "b", &json!({}), 0);
        two.ours.log.delete(two.session).unwrap();
        two.ours.catalog.remove(two.session);
        two.theirs.settle();
        assert_eq!(two.theirs.close(), 1);
        two.theirs.settle();
        two.theirs.assert_nothing_is_held();
        assert_eq!(two.theirs.log.head(two.session), None, "it does not come back");
        assert!(two.theirs.catalog.get(two.session).is_none() && !two.theirs.is_loaded(two.session));
        let bob = two.theirs.connect(0, "bob", true);
        two.theirs.join(
            bob,
            two.session,
            StartAt::After(Position { epoch: head.epoch, seq: 1, last_id: None }),
        );
        two.theirs.settle();
        assert_eq!(two.theirs.clients[bob].take(&["error"])[0]["data"]["code"], "session_not_found");
    });
}

/// Neither a lost outcome nor a process that observes nothing may leave a follower behind unsaid.
#[test]
fn followers_get_everything_though_outcomes_and_changes_are_late() {
    both_numbers_of_workers(|mut two| {
        for n in 0..12 {
            let fault = Appended::Unknown("no answer".into());
            match n % 4 {
                0 => two.ours.log.write_but_answer(fault),
                1 => two.ours.log.fail_next(fault),
                _ => {}
            }
            two.ours.publish(two.ada, two.session, &format!("a{n}"), &json!({ "n": n }), 0);
            two.theirs.publish(two.bob, two.session, &format!("b{n}"), &json!({ "n": n }), 0);
            two.ours.settle();
            if n % 3 == 0 {
                two.theirs.settle();
            }
        }
        for world in [&mut two.ours, &mut two.theirs] {
            world.log.clear_faults();
            world.tick(false);
        }
        two.settle();
        let all: Vec<u64> = (1..=25).collect();
        assert_eq!(two.seqs(), [all.clone(), all]);
        let acks = two.ours.clients[two.ada].received.iter().filter(|it| kind(it) == "error").count();
        assert_eq!(acks, 0, "nobody is refused");
    });
}

/// A worker gives a feed up when nobody follows; a follower that comes later gets what others commit.
#[test]
fn feeds_that_were_given_up_are_sent_commits_again() {
    both_numbers_of_workers(|mut two| {
        two.theirs.leave(two.bob, two.session);
        two.settle();
        two.theirs.pass(70_000);
        two.theirs.tick(false);
        two.settle();
        let entry = two.theirs.catalog.get(two.session).unwrap();
        assert_eq!(entry.feeds().count(), 0);
        assert!(!two.theirs.is_loaded(two.session));
        two.ours.publish(two.ada, two.session, "a", &json!({}), 0);
        two.settle();
        two.theirs.join(two.bob, two.session, StartAt::Live);
        two.settle();
        two.ours.publish(two.ada, two.session, "b", &json!({}), 0);
        two.settle();
        assert_eq!(two.seqs()[1], [1, 3]);
    });
}
