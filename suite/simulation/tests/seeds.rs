//! Worlds in which the undamaged code keeps every promise: those that once failed, and a few more; and what replaying rests on.

use agentbench_server::simulation::NodeStep;
use agentbench_simulation::step::Fault;
use agentbench_simulation::{Setup, Step, guard};

/// Fails with what a reader needs to see it again.
fn expect_no_finding(seed: u64, steps: usize) {
    let setup = Setup::of(seed);
    let outcome = guard::by_seed(setup, steps);
    if outcome.findings.is_empty() {
        return;
    }
    let findings: String = outcome.findings.iter().take(3).map(|finding| format!("  {finding}\n")).collect();
    panic!("{setup}\n{findings}agentbench simulate --seed {seed} --steps {}", outcome.steps.len());
}

#[test]
fn seeds_that_once_failed() {
    for (index, line) in include_str!("../seeds.txt").lines().enumerate() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        let Some(seed) = words.next() else { continue };
        let seed = seed.parse().ok().zip(words.next().and_then(|steps| steps.parse().ok()));
        let Some((seed, steps)) = seed else { panic!("seeds.txt, line {}: {line:?}", index + 1) };
        expect_no_finding(seed, steps);
    }
}

#[test]
fn no_promise_is_broken_in_some_worlds() {
    for seed in 1..=20 {
        expect_no_finding(seed, 3_000);
    }
}

#[test]
fn a_seed_always_means_the_same() {
    let (first, second) = (guard::by_seed(Setup::of(5), 2_000), guard::by_seed(Setup::of(5), 2_000));
    assert_eq!(first.steps, second.steps);
    assert_eq!(first.digest, second.digest);
    assert_eq!(guard::by_steps(Setup::of(5), &first.steps).digest, first.digest, "its steps mean the same");
    assert_ne!(guard::by_seed(Setup::of(6), 2_000).digest, first.digest);
}

#[test]
fn a_step_is_read_back_from_its_text() {
    let by_itself = [
        NodeStep::Letter(1),
        NodeStep::Commit(2),
        NodeStep::Submit,
        NodeStep::Outcome,
        NodeStep::Load,
        NodeStep::CatchUp,
        NodeStep::Read,
        NodeStep::Change,
    ];
    let faults = [Fault::Full, Fault::Unavailable, Fault::Lost, Fault::Unknown];
    let others = [
        Step::Up(1, usize::MAX >> 1),
        Step::Down(2, 17),
        Step::Create(0),
        Step::Publish(1, 3),
        Step::Repeat(0, 1, 2),
        Step::Follow(4, 1),
        Step::Unfollow(4, 1),
        Step::Control(2, 1, 3),
        Step::Cut(1),
        Step::Move(1, 2),
        Step::Revoke(3),
        Step::Permit(3),
        Step::Slow(1, 1_999),
        Step::Crash(2),
        Step::Tick(1, 1),
        Step::Miss(1, 2),
        Step::Pass(150_000),
        Step::Clock(1, -100_000),
        Step::Retain(2),
        Step::Delete(7),
    ];
    let by_itself = by_itself.map(|step| Step::Node(1, step));
    for step in by_itself.into_iter().chain(faults.map(Step::Fault)).chain(others) {
        assert_eq!(step.to_string().parse(), Ok(step), "{step}");
    }
    for text in ["", "publish", "publish 1", "publish 1 -2", "publish 1 2 3", "cut x", "dance 1"] {
        assert!(text.parse::<Step>().is_err(), "{text:?}");
    }
}
