//! The report for people: plain text, one block for each scenario.

use std::fmt::{self, Write};
use std::time::Duration;

use agentbench_load::latency::{Latency, Percentiles};

use crate::schema::{ProcessFigures, Report, ScenarioResult, Status};

/// Findings that are shown with their witness; the report's file has more.
const WITNESSES_SHOWN: usize = 5;

/// One scenario.
pub fn scenario(result: &ScenarioResult) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_scenario(&mut text, result);
    text
}

/// The last lines: how everything ended.
pub fn ending(report: &Report) -> String {
    let failed = report.scenarios.iter().filter(|scenario| scenario.status == Status::Failed).count();
    let all = report.scenarios.len();
    let mut text = if failed == 0 {
        format!("{all} of {all} scenarios passed")
    } else {
        format!("{failed} of {all} scenarios failed")
    };
    if !report.machine.optimised {
        text.push_str("; this is not a release build, its figures of speed say little");
    }
    text
}

fn write_scenario(out: &mut String, result: &ScenarioResult) -> fmt::Result {
    let (setup, counts, figures) = (&result.scenario, &result.counts, &result.figures);
    let verdict = if result.status == Status::Passed { "passed" } else { "FAILED" };
    writeln!(out, "{}: {verdict}", setup.name)?;
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
            "  connections {failed} failed, {again} made again, {} events sent again",
            counts.retried
        )?;
    }
    write_check(out, result)
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
    use agentbench_history::Kind;
    let count = |kind| result.verdict.count(kind);
    let lost = count(Kind::Lost) + count(Kind::Unseen);
    let doubled = count(Kind::DeliveredTwice) + count(Kind::StoredTwice);
    let reordered = count(Kind::OutOfOrder) + count(Kind::OrdersDiffer) + count(Kind::ProducerOrder);
    let named = lost + doubled + reordered + count(Kind::Hole);
    let other = result.verdict.counts.values().sum::<u64>() - named;
    writeln!(
        out,
        "  delivery    {lost} lost, {doubled} duplicated, {reordered} reordered, {} unexplained holes, {other} others",
        count(Kind::Hole)
    )?;
    if let Some(invalid) = &result.invalid {
        writeln!(out, "  INVALID     {invalid}; the figures of speed do not count")?;
    }
    for reason in &result.reasons {
        writeln!(out, "  because     {reason}")?;
    }
    for finding in result.verdict.findings.iter().take(WITNESSES_SHOWN) {
        writeln!(out, "  witness     {finding}")?;
    }
    Ok(())
}
