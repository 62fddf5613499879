//! The shortest list of steps that still breaks the same promise.

use agentbench_history::Shrinker;

use crate::guard;
use crate::run::Setup;
use crate::step::Step;

/// Runs that one shrinking may take.
const MOST_RUNS: usize = 20_000;

/// Shrinks steps that break the promise `name`. `progress` is told the number of steps that are left.
pub fn shrink(setup: Setup, steps: Vec<Step>, name: &str, mut progress: impl FnMut(usize)) -> Vec<Step> {
    let mut shrinker = Shrinker::new(steps);
    for _ in 0..MOST_RUNS {
        let Some(candidate) = shrinker.candidate() else { break };
        let outcome = guard::by_steps(setup, &candidate);
        let fails = outcome.findings.iter().any(|finding| finding.name == name);
        if fails {
            progress(candidate.len());
        }
        shrinker.report(fails);
    }
    shrinker.smallest().to_vec()
}
