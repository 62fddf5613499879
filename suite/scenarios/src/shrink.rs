//! Searches for a smaller plan that still fails: fewer faults, fewer kills. Each try is a whole run.

use agentbench_history::Shrinker;

use crate::definition::{Faults, Scenario};
use crate::faults::{Moment, PlannedFault, disturbances, moments, planned};
use crate::run::{Order, Run, run};
use crate::target::CannotRun;

/// A part of a plan that may be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Fault(PlannedFault),
    Moment(Moment),
}

/// The smallest plan found.
#[derive(Debug)]
pub struct ShrunkPlan {
    /// The scenario with exactly the remaining faults.
    pub scenario: Scenario,
    /// Number of faults and disturbances before.
    pub before: usize,
    /// Number of faults and disturbances now.
    pub after: usize,
    /// Number of runs.
    pub runs: u32,
}

/// Shrinks the plan of a run that broke promises. A try fails if it breaks one of the same promises again. A try that
/// depends on chance may pass, so the resulting plan did fail, but is not necessarily the smallest.
///
/// # Errors
/// [`CannotRun`] if the server is down for good.
pub async fn shrink(
    order: &Order<'_>,
    failed: &Run,
    most_runs: u32,
    mut progress: impl FnMut(u32, usize),
) -> Result<ShrunkPlan, CannotRun> {
    let parts = parts(order.scenario, order.seed);
    let before = parts.len();
    let (mut shrinker, mut runs) = (Shrinker::new(parts), 0);
    while runs < most_runs && !*order.stop.borrow() {
        let Some(candidate) = shrinker.candidate() else { break };
        let scenario = with_parts(order.scenario, &candidate);
        let order =
            Order { scenario: &scenario, stop: order.stop.clone(), replay: order.replay.clone(), ..*order };
        runs += 1;
        progress(runs, candidate.len());
        let again = run(&order, |_| {}).await?;
        shrinker.report(breaks_the_same(failed, &again));
    }
    let scenario = with_parts(order.scenario, shrinker.smallest());
    Ok(ShrunkPlan { scenario, before, after: shrinker.smallest().len(), runs })
}

fn parts(scenario: &Scenario, seed: u64) -> Vec<Part> {
    let disturbed = disturbances(&scenario.faults, scenario.spread(), seed);
    let moments = moments(&disturbed).into_iter().map(Part::Moment);
    moments.chain(planned(scenario, seed).into_iter().map(Part::Fault)).collect()
}

fn with_parts(scenario: &Scenario, parts: &[Part]) -> Scenario {
    let mut faults = Faults { pause_ms: scenario.faults.pause_ms, ..Faults::default() };
    let (mut planned, mut moments) = (Vec::new(), Vec::new());
    for part in parts {
        match part {
            Part::Fault(fault) => planned.push(*fault),
            Part::Moment(moment) => moments.push(*moment),
        }
    }
    (faults.planned, faults.moments) = (Some(planned), Some(moments));
    Scenario { faults, ..scenario.clone() }
}

fn breaks_the_same(failed: &Run, again: &Run) -> bool {
    let broken = &failed.result.verdict.counts;
    again.result.verdict.counts.keys().any(|kind| broken.contains_key(kind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in;

    #[test]
    fn all_parts_together_are_the_plan_as_it_was() {
        let scenario = built_in::named("Extreme Conditions Test").unwrap();
        let whole = with_parts(&scenario, &parts(&scenario, 7));
        assert_eq!(planned(&whole, 99), planned(&scenario, 7));
        let of =
            |scenario: &Scenario, seed| moments(&disturbances(&scenario.faults, scenario.spread(), seed));
        assert_eq!(of(&whole, 99), of(&scenario, 7));
        let read = Scenario::from_toml(&whole.to_toml().unwrap()).unwrap();
        assert_eq!(read, whole);
        let nothing = with_parts(&scenario, &[]);
        assert!(planned(&nothing, 7).is_empty() && nothing.needs_proxies());
    }
}
