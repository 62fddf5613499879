//! `agentbench alerts selftest`: provokes every rule on scratch servers in this process, and verifies that it fires and clears.

mod causes;
mod raw;
mod scratch;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use serde::Serialize;

use scratch::Scratch;

/// The `alerts` commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Provoke every alert on scratch servers and verify that it fires and clears; exits with 1 if one does not
    Selftest(Selftest),
}

#[derive(Args)]
pub(crate) struct Selftest {
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The result for one rule.
#[derive(Debug, Serialize)]
pub(super) struct Outcome {
    name: String,
    cause: &'static str,
    fired: bool,
    cleared: bool,
    value: Option<f64>,
    threshold: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Outcome {
    /// Waits for the rule to fire.
    fn of_firing(scratch: &Scratch, name: &str, cause: &'static str) -> Self {
        let waited = scratch.wait_for_firing(name);
        let (value, threshold) = (waited.as_ref().ok().copied().flatten(), scratch.threshold(name));
        let error = waited.as_ref().err().map(ToString::to_string);
        Self { name: name.to_owned(), cause, fired: waited.is_ok(), cleared: false, value, threshold, error }
    }

    /// Waits for it to clear, if it has fired.
    fn clear(&mut self, scratch: &Scratch) {
        if !self.fired {
            return;
        }
        match scratch.wait_for_ok(&self.name) {
            Ok(()) => self.cleared = true,
            Err(error) => self.error = Some(error.to_string()),
        }
    }
}

/// Runs the self-test and prints the outcomes.
///
/// # Errors
/// If a scratch server cannot be started or used.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Selftest(selftest) = command;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut outcomes = causes::of_clients(&runtime)?;
    outcomes.extend(causes::of_time()?);
    outcomes.extend(causes::of_disk(&runtime)?);
    outcomes.extend(causes::of_worker()?);
    outcomes.extend(causes::of_storage(&runtime)?);
    outcomes.extend(causes::of_startup(&runtime)?);
    let is_whole = outcomes.iter().all(|outcome| outcome.fired && outcome.cleared);
    if selftest.json {
        outln!("{}", serde_json::json!({"passed": is_whole, "rules": outcomes}));
    } else {
        outcomes.iter().for_each(show);
        let passed = outcomes.iter().filter(|outcome| outcome.fired && outcome.cleared).count();
        outln!("{passed} of {} alerts fired and cleared", outcomes.len());
    }
    Ok(if is_whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(outcome: &Outcome) {
    let number = |number: Option<f64>| number.map_or_else(|| "?".to_owned(), |it| format!("{it:.4}"));
    let (fired, cleared) = match (outcome.fired, outcome.cleared) {
        (true, true) => ("fired", "cleared"),
        (true, false) => ("fired", "NOT CLEARED"),
        _ => ("NOT FIRED", ""),
    };
    let (value, threshold) = (number(outcome.value), number(outcome.threshold));
    outln!(
        "{:<20} {fired:<9} at {value:>12} (threshold {threshold:>12})  {cleared}  {}",
        outcome.name,
        outcome.cause
    );
    if let Some(error) = &outcome.error {
        outln!("    {error}");
    }
}
