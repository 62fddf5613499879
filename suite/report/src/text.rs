//! The report for people: plain text, one block per scenario.

use std::fmt::{self, Write};
use std::time::Duration;

use agentbench_load::latency::{Latency, Percentiles};

use crate::escape::terminal;
use crate::figure;
use crate::promises::Broken;
use crate::recommend::recommendations;
use crate::schema::{
    ConnectionFigures, LimitSearch, ProcessFigures, ReliabilityFigures, Report, ScenarioResult, Status,
};
use crate::score::{FORMULA, score};

/// Number of findings shown with their evidence; the report's file has more.
const WITNESSES_SHOWN: usize = 5;
/// Number of recommendations shown; the other forms have all.
const ADVICE_SHOWN: usize = 3;

/// One scenario.
pub fn scenario(result: &ScenarioResult) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_scenario(&mut text, result);
    text
}

/// The outcome of the run in one line.
pub fn verdict_line(report: &Report) -> String {
    let failed = report.scenarios.iter().filter(|scenario| scenario.status == Status::Failed).count();
    let invalid = report.scenarios.iter().filter(|scenario| scenario.invalid.is_some()).count();
    let all = report.scenarios.len();
    let mut text = match (failed, all) {
        (_, 0) => "no scenario was run".to_owned(),
        (0, _) => format!("{all} of {all} scenarios passed"),
        _ => format!("{failed} of {all} scenarios failed"),
    };
    if invalid > 0 {
        // Writing to a string does not fail.
        let _ = write!(text, ", {invalid} with invalid speed figures");
    }
    if report.interrupted.is_some() {
        text.push_str(", and the run was interrupted");
    }
    if !report.machine.optimised {
        text.push_str("; this is not a release build, so its speed figures mean little");
    }
    text
}

/// The last lines: the outcome, the score with its formula, and the first recommendations.
pub fn ending(report: &Report) -> String {
    let mut text = verdict_line(report);
    // Writing to a string does not fail.
    let _ = write_ending(&mut text, report);
    text
}

fn write_ending(out: &mut String, report: &Report) -> fmt::Result {
    let score = score(report);
    if let Some(why) = &report.interrupted {
        write!(out, "\ninterrupted: {}", terminal(why))?;
    }
    write!(out, "\nscore {}: {}\n  {FORMULA}", score.text(), score.explanation())?;
    for one in recommendations(report).iter().take(ADVICE_SHOWN) {
        write!(
            out,
            "\n→ {}\n    {} [{}]",
            terminal(&one.figure),
            terminal(&one.advice),
            terminal(&one.setting)
        )?;
    }
    Ok(())
}

fn write_scenario(out: &mut String, result: &ScenarioResult) -> fmt::Result {
    let (setup, counts, figures) = (&result.scenario, &result.counts, &result.figures);
    let verdict = if result.status == Status::Passed { "passed" } else { "FAILED" };
    writeln!(out, "{}: {verdict}", terminal(&setup.name))?;
    writeln!(
        out,
        "  {} clients × {} events of {} B over {:.1} s, each followed; took {:.1} s",
        setup.clients,
        setup.messages,
        setup.payload_bytes,
        setup.spread_ms as f64 / 1e3,
        figures.took_ms as f64 / 1e3
    )?;
    writeln!(
        out,
        "  events      {} planned, {} stored, {} refused, {} unknown, {} unsent; {} delivered",
        counts.planned, counts.stored, counts.refused, counts.unknown, counts.unsent, counts.delivered
    )?;
    writeln!(
        out,
        "  throughput  {:.0} acked/s, {:.0} delivered/s; {:.1} MB sent, {:.1} MB received; {:.2} % failed",
        figures.acked_per_second,
        figures.delivered_per_second,
        figures.bytes_sent as f64 / 1e6,
        figures.bytes_received as f64 / 1e6,
        figures.error_rate * 100.0
    )?;
    writeln!(
        out,
        "  latency ms  {:>14} {:>8} {:>8} {:>8} {:>8} {:>8}",
        "mean", "p50", "p90", "p99", "p99.9", "max"
    )?;
    write_latency(out, "to ack", &figures.ack)?;
    write_latency(out, "to delivery", &figures.delivery)?;
    write_percentiles(out, "connecting", &figures.connect)?;
    if let Some(server) = &figures.server {
        write_process(out, "server", server)?;
    }
    write_process(out, "generator", &figures.generator)?;
    if counts.reconnects > 0 || counts.connections_failed > 0 {
        let (again, failed) = (counts.reconnects, counts.connections_failed);
        writeln!(
            out,
            "  connections {failed} failed, {again} reconnects ({} per second at most), {} events sent again",
            counts.peak_reconnects_per_second, counts.retried
        )?;
    }
    if let Some(connection) = &result.connection {
        write_connection(out, connection)?;
    }
    if let Some(reliability) = &result.reliability {
        write_reliability(out, reliability)?;
    }
    if !result.faults.is_empty() {
        let faults: Vec<String> = result
            .faults
            .iter()
            .map(|fault| format!("{} {} of {}", terminal(&fault.kind), fault.happened, fault.planned))
            .collect();
        writeln!(out, "  faults      {}", faults.join(", "))?;
    }
    if let Some(search) = &result.search {
        write_search(out, search)?;
    }
    write_check(out, result)
}

fn write_connection(out: &mut String, figures: &ConnectionFigures) -> fmt::Result {
    let cuts: u64 = figures.cuts.values().sum();
    writeln!(
        out,
        "  connecting  {} of {} established; {} of {cuts} cut ones recovered, {} attempts allowed",
        figures.established, figures.attempted, figures.recovered, figures.attempts_allowed
    )?;
    let parts = [
        ("tcp", &figures.tcp),
        ("upgrade", &figures.upgrade),
        ("1st message", &figures.first_message),
        ("one by one", &figures.one_by_one),
        ("all at once", &figures.all_at_once),
    ];
    for (name, figures) in parts.into_iter().filter(|(_, figures)| figures.count > 0) {
        write_percentiles(out, name, figures)?;
    }
    for (kind, figures) in &figures.recovery {
        write_percentiles(out, &terminal(kind), figures)?;
    }
    let used: Vec<String> = figures.attempts_used.iter().map(|(n, count)| format!("{count} × {n}")).collect();
    if used.is_empty() { Ok(()) } else { writeln!(out, "  attempts    {}", used.join(", ")) }
}

fn write_reliability(out: &mut String, figures: &ReliabilityFigures) -> fmt::Result {
    writeln!(
        out,
        "  reliability {} of messages lost, {} of sessions complete, {} of events failed; {} sent again, {} of them already stored",
        figure::share(figures.loss_rate),
        figure::share(figures.session_success_rate),
        figure::share(figures.error_rate),
        figures.retries,
        figures.duplicates_suppressed
    )?;
    for (name, figures) in [("recovery", &figures.recovery), ("restart", &figures.server_recovery)] {
        if figures.count > 0 {
            write_percentiles(out, name, figures)?;
        }
    }
    Ok(())
}

fn write_search(out: &mut String, search: &LimitSearch) -> fmt::Result {
    let held =
        search.held.map_or_else(|| "no load held".to_owned(), |held| format!("{held:.0} events/s held"));
    writeln!(
        out,
        "  limit       {held} at a p99 of {}; {}",
        figure::micros(search.goal_p99_micros),
        terminal(&search.ended)
    )?;
    for step in &search.steps {
        writeln!(
            out,
            "    {:>10.0}/s planned, {:>8.0}/s delivered, p99 {:>9}, server {:>4.0} %  {}",
            step.planned_per_second,
            step.delivered_per_second,
            figure::micros(step.p99_micros),
            step.server_cpu_share * 100.0,
            terminal(step.broke.as_deref().unwrap_or("held"))
        )?;
    }
    Ok(())
}

fn write_latency(out: &mut String, name: &str, latency: &Latency) -> fmt::Result {
    write_percentiles(out, name, &latency.corrected)?;
    write_percentiles(out, "  raw", &latency.raw)
}

fn write_percentiles(out: &mut String, name: &str, figures: &Percentiles) -> fmt::Result {
    let ms = |micros: u64| micros as f64 / 1e3;
    writeln!(
        out,
        "    {name:<12}{:>12.3} {:>8.3} {:>8.3} {:>8.3} {:>8.3} {:>8.3}",
        figures.mean / 1e3,
        ms(figures.p50),
        ms(figures.p90),
        ms(figures.p99),
        ms(figures.p999),
        ms(figures.max)
    )
}

fn write_process(out: &mut String, name: &str, figures: &ProcessFigures) -> fmt::Result {
    writeln!(
        out,
        "  {name:<11} CPU {:.2} s ({:.0} % of a core), memory {:.1} MB at most, {} threads, {} files",
        Duration::from_millis(figures.cpu_ms).as_secs_f64(),
        figures.cpu_share * 100.0,
        figures.peak_resident as f64 / 1e6,
        figures.threads,
        figures.files
    )
}

fn write_check(out: &mut String, result: &ScenarioResult) -> fmt::Result {
    let broken = Broken::of(&result.verdict);
    writeln!(
        out,
        "  delivery    {} lost, {} duplicated, {} reordered, {} unexplained holes, {} others",
        broken.lost, broken.duplicated, broken.reordered, broken.holes, broken.others
    )?;
    if let Some(invalid) = &result.invalid {
        writeln!(out, "  INVALID     {}; the speed figures do not count", terminal(invalid))?;
    }
    for reason in &result.reasons {
        writeln!(out, "  because     {}", terminal(reason))?;
    }
    for finding in result.verdict.findings.iter().take(WITNESSES_SHOWN) {
        writeln!(out, "  witness     {}", terminal(&finding.to_string()))?;
    }
    if result.status == Status::Failed {
        writeln!(out, "  replay      {}", terminal(&result.replay))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::{perfect, sample};

    #[test]
    fn blocks_have_what_the_scenario_measured() {
        let text: String = sample().scenarios.iter().map(scenario).collect();
        for part in [
            "High Failure Rate Test: FAILED",
            "because     2 × acked but lost",
            "witness     acked but lost: session",
            "replay      agentbench suite reliability --only 'High Failure Rate Test' --seed 3371083403",
            "limit       50000 events/s held at a p99 of 2 ms",
            "30 of 30 cut ones recovered",
            "attempts    26 × 1, 3 × 2, 1 × 3",
            "INVALID     the generator",
            "faults      reset_before_ack",
        ] {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn the_ending_has_score_formula_and_the_first_recommendations() {
        let text = ending(&sample());
        assert!(
            text.starts_with(
                "1 of 7 scenarios failed, 1 with invalid speed figures, and the run was interrupted"
            ),
            "{text}"
        );
        assert!(
            text.contains("\nscore ")
                && text.contains(FORMULA)
                && text.contains("broken promises cap it at 40"),
            "{text}"
        );
        assert_eq!(text.matches("\n→ ").count(), ADVICE_SHOWN);
        assert!(ending(&perfect()).contains("score 100 of 100"));
    }

    #[test]
    fn names_do_not_reach_the_terminal_as_commands() {
        let mut report = sample();
        for result in &mut report.scenarios {
            result.scenario.name = "\u{1b}[2Jx".to_owned();
            result.reasons = vec!["\u{1b}]0;t\u{7}".to_owned()];
        }
        let text: String = report.scenarios.iter().map(scenario).collect::<String>() + &ending(&report);
        assert!(!text.contains('\u{1b}') && !text.contains('\u{7}'));
    }
}
