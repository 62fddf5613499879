//! Runs in which the product may panic: an invariant of its own that breaks is a finding like any other.
//!
//! The panic is not printed, since shrinking repeats it thousands of times; its message and place are the finding's sentence.

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

use agentbench_server::simulation::NodeStep;
use xxhash_rust::xxh3::xxh3_64;

use crate::judge::Finding;
use crate::run::{Outcome, Run, Setup};
use crate::step::Step;

/// The name of the finding.
pub const PANIC: &str = "panic";

/// [`Run::by_seed`]. After a panic, the steps of the outcome are those that lead to it.
pub fn by_seed(setup: Setup, steps: usize) -> Outcome {
    run_or_explain(setup, steps, &|steps| Run::by_seed(setup, steps), &|steps| Run::by_steps(setup, steps))
}

/// [`Run::by_steps`].
pub fn by_steps(setup: Setup, steps: &[Step]) -> Outcome {
    guarded(|| Run::by_steps(setup, steps)).unwrap_or_else(|sentence| panicked(steps.to_vec(), sentence))
}

fn panicked(steps: Vec<Step>, sentence: String) -> Outcome {
    let digest = xxh3_64(format!("{steps:?} {sentence}").as_bytes());
    let findings = vec![Finding { name: PANIC.to_owned(), sentence }];
    Outcome { steps, findings, digest, entries: 0 }
}

/// The steps of a run that panicked are lost with it. Those before the last come from a run that is one step shorter and does
/// not panic; the last one is that after which it does.
fn run_or_explain(
    setup: Setup,
    steps: usize,
    by_seed: &dyn Fn(usize) -> Outcome,
    by_steps: &dyn Fn(&[Step]) -> Outcome,
) -> Outcome {
    let mut sentence = match guarded(|| by_seed(steps)) {
        Ok(outcome) => return outcome,
        Err(sentence) => sentence,
    };
    let Ok(mut before) = guarded(|| by_seed(0)) else { return panicked(Vec::new(), sentence) };
    let (mut calm, mut end) = (0, steps);
    while end - calm > 1 {
        let middle = calm.midpoint(end);
        match guarded(|| by_seed(middle)) {
            Ok(outcome) => (calm, before) = (middle, outcome),
            Err(earlier) => (end, sentence) = (middle, earlier),
        }
    }
    let last = candidates(setup).into_iter().find(|step| {
        let steps = [&before.steps[..], &[*step]].concat();
        guarded(|| by_steps(&steps)).is_err_and(|found| found == sentence)
    });
    // Without its last step the run is as long all the same, since its length repeats it by the seed.
    before.steps.push(last.unwrap_or(NOTHING));
    panicked(before.steps, sentence)
}

/// A step that does nothing.
const NOTHING: Step = Step::Pass(0);

/// What the last step may have been, the likely ones first.
fn candidates(setup: Setup) -> Vec<Step> {
    use NodeStep::{CatchUp, Change, Commit, Letter, Load, Outcome, Read, Submit};
    const ALL: usize = usize::MAX >> 1;
    /// More sessions than a world creates.
    const SESSIONS: usize = 40;
    let mut steps = Vec::new();
    for node in 0..setup.nodes {
        let by_itself = [Submit, Outcome, Load, CatchUp, Read, Change].into_iter();
        let of_workers = (0..setup.workers).flat_map(|worker| [Letter(worker), Commit(worker)]);
        steps.extend(of_workers.chain(by_itself).map(|step| Step::Node(node, step)));
    }
    for client in 0..setup.clients {
        steps.extend([ALL, 200, 100, 50, 20, 5].map(|bytes| Step::Up(client, bytes)));
        steps.extend([ALL, 200, 100, 50, 20, 5].map(|bytes| Step::Down(client, bytes)));
        steps.extend([Step::Cut(client), Step::Revoke(client), Step::Create(client)]);
        steps.extend((0..setup.nodes * 3).map(|form| Step::Repeat(client, form / 3, form % 3)));
    }
    for node in 0..setup.nodes {
        steps.extend([Step::Tick(node, 0), Step::Tick(node, 1), Step::Crash(node), Step::Retain(node)]);
        steps.extend((0..setup.workers).map(|worker| Step::Miss(node, worker)));
        steps.extend([Step::Clock(node, 100_000), Step::Clock(node, -100_000)]);
    }
    steps.extend([1, 30, 120, 60_000, 150_000].map(Step::Pass));
    for session in (0..SESSIONS).rev() {
        steps.push(Step::Delete(session));
        for client in 0..setup.clients {
            steps.extend([Step::Publish(client, session), Step::Follow(client, session)]);
            steps.push(Step::Unfollow(client, session));
            steps.extend((0..4).map(|kind| Step::Control(client, session, kind)));
        }
    }
    steps
}

thread_local! {
    /// Whether this thread's panics are caught here.
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
    static SEEN: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Runs it. A panic is its message and its place.
fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(
            move |info| {
                if IS_GUARDED.get() { SEEN.set(sentence(info)) } else { others(info) }
            },
        ));
    });
    IS_GUARDED.set(true);
    // A run has no part that is used after it.
    let done = panic::catch_unwind(AssertUnwindSafe(act));
    IS_GUARDED.set(false);
    done.map_err(|_| SEEN.take())
}

fn sentence(info: &PanicHookInfo<'_>) -> String {
    let message = info.payload_as_str().unwrap_or("no message");
    info.location().map_or_else(|| message.to_owned(), |place| format!("{message}, at {place}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_its_message_and_its_place() {
        let caught = guarded(|| -> () { panic!("two acks for {}", "e1") });
        let sentence = caught.unwrap_err();
        assert!(sentence.starts_with("two acks for e1, at "), "{sentence}");
        assert!(sentence.contains("guard.rs:"), "{sentence}");
        assert_eq!(guarded(|| 7), Ok(7));
    }

    #[test]
    fn a_world_that_cannot_begin_fails_without_steps() {
        // No server for the clients: the world's own arithmetic panics.
        let setup = Setup { nodes: 0, ..Setup::of(1) };
        let outcome = by_seed(setup, 10);
        assert_eq!((outcome.steps.len(), &*outcome.findings[0].name), (0, PANIC));
        assert_eq!(by_steps(setup, &[]).findings, outcome.findings);
    }

    #[test]
    fn the_steps_that_lead_to_a_panic_are_found() {
        let setup = Setup::of(3);
        let is_publish = |step: &&Step| matches!(step, Step::Publish(..));
        // As if the second publish broke an invariant.
        let checked = |outcome: Outcome| {
            assert!(outcome.steps.iter().filter(is_publish).count() < 2, "two publishes");
            outcome
        };
        let outcome = run_or_explain(setup, 300, &|steps| checked(Run::by_seed(setup, steps)), &|steps| {
            checked(Run::by_steps(setup, steps))
        });
        assert!(outcome.findings[0].to_string().starts_with("panic: two publishes, at "));
        let publishes = outcome.steps.iter().filter(is_publish).count();
        assert_eq!((publishes, outcome.steps.last().as_ref().is_some_and(is_publish)), (2, true));
        assert_eq!(outcome.steps.len(), Run::by_seed(setup, outcome.steps.len()).steps.len());
    }
}
