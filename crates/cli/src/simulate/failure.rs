//! What is printed and kept of a world that failed.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;

use agentbench_simulation::{Outcome, Setup, guard, shrink};
use anyhow::Context;

use crate::progress::Line;

/// Findings that are printed; one mistake often breaks the same promise many times.
const SHOWN: usize = 3;

/// Prints what was broken, and how to see it again.
pub(super) fn print(setup: Setup, outcome: &Outcome) {
    outln!("FAILED: {setup}");
    print_findings(outcome);
    let Setup { seed, .. } = setup;
    outln!("Repeat it: agentbench simulate --seed {seed} --steps {}{}", outcome.steps.len(), defect(setup));
}

fn defect(setup: Setup) -> String {
    setup.sabotage.map(|name| format!(" --defect {name}")).unwrap_or_default()
}

pub(super) fn print_findings(outcome: &Outcome) {
    for finding in outcome.findings.iter().take(SHOWN) {
        outln!("  {finding}");
    }
    if let more @ 1.. = outcome.findings.len().saturating_sub(SHOWN) {
        outln!("  and {more} more");
    }
}

/// Prints the shortest schedule that breaks the first promise that was broken.
pub(super) fn print_shortest(setup: Setup, outcome: Outcome, line: &mut Line) {
    let Some(name) = outcome.findings.first().map(|finding| finding.name.clone()) else { return };
    let fails = |found: &Outcome| found.findings.iter().any(|finding| finding.name == name);
    if !fails(&guard::by_steps(setup, &outcome.steps)) {
        outln!("Only the seed repeats it: its steps alone do not.");
        return;
    }
    let all = outcome.steps.len();
    let steps = shrink::shrink(setup, outcome.steps, &name, |left| {
        line.show(&format!("shrinking {all} steps: {left} left"));
    });
    line.clear();
    let Setup { seed, .. } = setup;
    outln!("{} of {all} steps are enough (--seed {seed} --schedule FILE{}):", steps.len(), defect(setup));
    steps.iter().for_each(|step| outln!("{step}"));
    outln!("They break:");
    print_findings(&guard::by_steps(setup, &steps));
}

/// Appends the seed to a file of seeds.
pub(super) fn keep(path: &Path, setup: Setup, outcome: &Outcome) -> anyhow::Result<()> {
    let found = outcome.findings.first().map(|finding| &*finding.name).unwrap_or_default();
    let defect = setup.sabotage.map(|name| format!(", with {name}")).unwrap_or_default();
    let line = format!("{} {} # {found}{defect}\n", setup.seed, outcome.steps.len());
    let mut file = OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot open {}", path.display()))?;
    file.write_all(line.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
}
