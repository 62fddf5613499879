//! Searches for the highest load that a server sustains: steps of growing load on one server, each judged like a
//! scenario of its own, until one misses the goal.

use std::time::Duration;

use agentbench_history::Verdict;
use agentbench_report::schema::{LimitSearch, LoadStep, ScenarioResult, Setup, Status};

use crate::definition::{Scenario, Search};
use crate::meters::Meters;
use crate::run::{Order, Run, Running};
use crate::target::{CannotRun, PreparedTarget};

/// A step ends after this many times its length in any case.
const STEP_LIMIT: u32 = 4;
/// Time that a step needs in addition: connecting, and final reads.
const STEP_OVERHEAD: Duration = Duration::from_secs(15);
/// Maximum number of tries of a step in which the generator was late.
const TRIES: u32 = 3;
/// A generator that used this share of its core may itself be the limit of the step.
const GENERATOR_BUSY: f64 = 0.95;

/// Runs the steps.
///
/// # Errors
/// [`CannotRun`] if the server cannot be used.
pub(crate) async fn run(
    order: &Order<'_>,
    prepared: PreparedTarget,
    mut progress: impl FnMut(&Meters),
) -> Result<Run, CannotRun> {
    let search = order.scenario.search.ok_or_else(|| anyhow::anyhow!("the scenario has no search"))?;
    let PreparedTarget { endpoint, supervisor } = prepared;
    let watched = supervisor.as_ref().and_then(|it| Some((it.pid()?, it.data_dir().to_owned())));
    let mut state = SearchProgress::default();
    let mut rate = search.start_per_second;
    for _ in 0..search.steps {
        let scenario = step(order.scenario, &search, rate);
        let order =
            Order { scenario: &scenario, stop: order.stop.clone(), replay: order.replay.clone(), ..*order };
        let mut tries = 0;
        let run = loop {
            tries += 1;
            let prepared = PreparedTarget { endpoint: endpoint.clone(), supervisor: None };
            let mut running = Running::new(&order, prepared, watched.clone()).await?;
            let ended = running.fleet(&mut progress).await;
            let run = running.finish(ended).await;
            // A step that failed because of a late generator is inconclusive: try again.
            let is_doubtful = run.result.invalid.is_some() && why_broken(&run.result, &search).is_some();
            if !is_doubtful || tries == TRIES || *order.stop.borrow() {
                break run;
            }
        };
        let broke = state.record(run, &search, rate);
        if broke || *order.stop.borrow() {
            break;
        }
        rate *= search.factor;
    }
    let stopped = match supervisor {
        Some(supervisor) => supervisor.stop().await.err(),
        None => None,
    };
    let stopped = stopped.map(|error| format!("the server did not stop as it should: {error:#}"));
    state.conclude(order.scenario, &search, stopped)
}

/// One step as a scenario.
fn step(whole: &Scenario, search: &Search, rate: f64) -> Scenario {
    let length = Duration::from_millis(search.step_ms);
    let messages = (rate * length.as_secs_f64() / f64::from(whole.clients)).round().max(1.0);
    Scenario {
        messages: messages as u32,
        spread_ms: Some(search.step_ms),
        limit_ms: (length * STEP_LIMIT + STEP_OVERHEAD).as_millis() as u64,
        search: None,
        ..whole.clone()
    }
}

/// The results of the steps so far.
#[derive(Default)]
struct SearchProgress {
    steps: Vec<LoadStep>,
    /// The last step that met the goal.
    held: Option<Run>,
    /// The step that missed it.
    broke: Option<Run>,
}

impl SearchProgress {
    /// Records a step, and returns whether it missed the goal.
    fn record(&mut self, run: Run, search: &Search, rate: f64) -> bool {
        let broke = why_broken(&run.result, search);
        let figures = &run.result.figures;
        self.steps.push(LoadStep {
            planned_per_second: rate,
            delivered_per_second: figures.delivered_per_second,
            p99_micros: figures.delivery.corrected.p99,
            server_cpu_share: figures.server.map_or(0.0, |server| server.cpu_share),
            broke: broke.clone(),
        });
        *(if broke.is_some() { &mut self.broke } else { &mut self.held }) = Some(run);
        broke.is_some()
    }

    fn conclude(self, whole: &Scenario, search: &Search, problem: Option<String>) -> Result<Run, CannotRun> {
        let ended = match self.steps.last() {
            Some(LoadStep { broke: Some(why), planned_per_second, .. }) => {
                format!("{planned_per_second:.0} events/s did not hold: {why}")
            }
            _ => "every step held: the limit is beyond the last one".to_owned(),
        };
        let held = self.steps.iter().rfind(|step| step.broke.is_none()).map(|step| step.planned_per_second);
        // A broken promise fails the scenario; being slow at some load is what the search is for.
        let broken = self.broke.as_ref().map(|run| &run.result.verdict).filter(|verdict| !verdict.is_clean());
        let broken = broken.map(|verdict| format!("promises were broken under load: {}", kinds(verdict)));
        let is_generator = self.broke.as_ref().and_then(|run| generator_was_busy(&run.result));
        let Some(mut run) = self.held.or(self.broke) else {
            return Err(CannotRun::Server("no step of the search could be run".to_owned()));
        };
        // A late generator proves nothing about the server.
        let none = (held.is_none() && is_generator.is_none())
            .then(|| format!("not even the first step held: {ended}"));
        run.result.reasons = [broken, none, problem].into_iter().flatten().collect();
        run.result.status = if run.result.reasons.is_empty() { Status::Passed } else { Status::Failed };
        run.result.invalid = is_generator.or(run.result.invalid);
        run.result.scenario = Setup { messages: run.result.scenario.messages, ..Setup::from(whole) };
        run.result.search = Some(LimitSearch {
            goal_p99_micros: (search.goal_p99_ms * 1000.0) as u64,
            steps: self.steps,
            held,
            ended,
        });
        Ok(run)
    }
}

fn kinds(verdict: &Verdict) -> String {
    let text = |(kind, count): (&agentbench_history::Kind, &u64)| format!("{count} × {}", kind.text());
    verdict.counts.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Why a step misses the goal, if it does.
fn why_broken(result: &ScenarioResult, search: &Search) -> Option<String> {
    if let Some(reason) = result.reasons.first() {
        return Some(reason.clone());
    }
    let p99 = result.figures.delivery.corrected.p99 as f64 / 1e3;
    (p99 > search.goal_p99_ms).then(|| format!("p99 {p99:.1} ms, the goal is {:.1} ms", search.goal_p99_ms))
}

fn generator_was_busy(result: &ScenarioResult) -> Option<String> {
    if let Some(invalid) = &result.invalid {
        return Some(format!("in the step that did not hold, {invalid}: the limit may be its own"));
    }
    let share = result.figures.generator.cpu_share;
    (share > GENERATOR_BUSY).then(|| {
        format!(
            "the generator used {:.0} % of a core in the step that did not hold: the limit may be its own",
            share * 100.0
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::built_in;

    #[test]
    fn a_step_has_the_rate_that_it_is_asked_for() {
        let whole = built_in::named("Find the Limit").unwrap();
        let search = whole.search.unwrap();
        let step = step(&whole, &search, 10_000.0);
        let rate = f64::from(step.messages) * f64::from(step.clients) / step.spread().as_secs_f64();
        assert!((rate / 10_000.0 - 1.0).abs() < 0.01, "{rate}");
        assert!(step.search.is_none() && step.check().is_ok());
    }
}
