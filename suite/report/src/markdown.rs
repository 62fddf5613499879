//! The report for a pull request: the verdict and a short table first, everything else collapsed.

use std::fmt::{self, Write};

use crate::escape::{markdown as plain, markup};
use crate::figure;
use crate::metric::{METRICS, Metric};
use crate::promises::Broken;
use crate::recommend::recommendations;
use crate::schema::{Report, ScenarioResult, Status};
use crate::score::{FORMULA, score};
use crate::text::verdict_line;
use crate::{Comparison, fail_on};

/// Number of findings shown with their evidence.
const WITNESSES_SHOWN: usize = 5;

/// Renders the whole text.
pub fn render(report: &Report, comparison: Option<&Comparison>) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write(&mut text, report, comparison);
    text
}

fn write(out: &mut String, report: &Report, comparison: Option<&Comparison>) -> fmt::Result {
    let score = score(report);
    let sign = if report.has_passed() { "✅" } else { "❌" };
    writeln!(out, "## {sign} AgentBench: {}\n", plain(&verdict_line(report)))?;
    writeln!(out, "**{}** ({}). Seed {}.\n", score.text(), plain(&score.explanation()), report.seed)?;
    if let Some(why) = &report.interrupted {
        writeln!(out, "**Interrupted:** {}\n", plain(why))?;
    }
    writeln!(out, "| | scenario | lost | twice | reordered | holes | events/s | p50 | p99 |")?;
    writeln!(out, "|---|---|--:|--:|--:|--:|--:|--:|--:|")?;
    for result in &report.scenarios {
        write_row(out, result)?;
    }
    if let Some(comparison) = comparison {
        write_comparison(out, comparison)?;
    }
    write_advice(out, report)?;
    for result in &report.scenarios {
        write_details(out, result)?;
    }
    writeln!(
        out,
        "\n<details><summary>Run and score</summary>\n\n{}, {} cores, {}, {}; server: {}; started {}; {} s; {}\n\n{}\n\n</details>",
        plain(&report.suite),
        report.machine.cores,
        plain(&report.machine.platform),
        if report.machine.optimised {
            "release build"
        } else {
            "not a release build: speed figures mean little"
        },
        plain(&report.target),
        figure::moment(report.started_at),
        figure::number(report.took_ms as f64 / 1e3),
        if report.quick { "a tenth of the work" } else { "all of the work" },
        plain(FORMULA)
    )
}

fn sign(result: &ScenarioResult) -> &'static str {
    match (result.status, result.invalid.is_some()) {
        (Status::Failed, _) => "❌ failed",
        (Status::Passed, true) => "✅ passed, ⚠️ speed invalid",
        (Status::Passed, false) => "✅ passed",
    }
}

fn write_row(out: &mut String, result: &ScenarioResult) -> fmt::Result {
    let (broken, latency) = (Broken::of(&result.verdict), &result.figures.delivery.corrected);
    let time = |micros| if latency.count > 0 { figure::micros(micros) } else { "–".to_owned() };
    writeln!(
        out,
        "| {} | {} | {} | {} | {} | {} | {} | {} | {} |",
        sign(result),
        plain(&result.scenario.name),
        broken.lost,
        broken.duplicated,
        broken.reordered,
        broken.holes,
        figure::number(result.figures.delivered_per_second),
        time(latency.p50),
        time(latency.p99)
    )
}

fn write_comparison(out: &mut String, comparison: &Comparison) -> fmt::Result {
    writeln!(out, "\n### Against the baseline\n\n{}\n", plain(&comparison.summary()))?;
    for broken in &comparison.broken {
        writeln!(out, "- **worse**: {}: {}", plain(&broken.scenario), plain(&broken.what))?;
    }
    writeln!(
        out,
        "\n<details><summary>Figures</summary>\n\n| scenario | figure | ratio | 95 % | p | |\n|---|---|--:|--:|--:|---|"
    )?;
    for row in &comparison.rows {
        writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} |",
            plain(&row.scenario),
            plain(&row.metric),
            row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}")),
            row.interval.map_or_else(|| "–".to_owned(), |i| format!("{:.3} to {:.3}", i.low, i.high)),
            row.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.4}")),
            row.verdict.text()
        )?;
    }
    writeln!(out)?;
    for note in &comparison.notes {
        writeln!(out, "- {}", plain(note))?;
    }
    writeln!(out, "\n</details>")
}

fn write_advice(out: &mut String, report: &Report) -> fmt::Result {
    let all = recommendations(report);
    if all.is_empty() {
        return Ok(());
    }
    writeln!(out, "\n### Recommendations\n")?;
    for one in all {
        writeln!(
            out,
            "1. **{}** {} <code>{}</code>",
            plain(&one.figure),
            plain(&one.advice),
            one_line(&one.setting)
        )?;
    }
    Ok(())
}

fn write_details(out: &mut String, result: &ScenarioResult) -> fmt::Result {
    writeln!(out, "\n<details><summary>{}: {}</summary>\n", one_line(&result.scenario.name), sign(result))?;
    writeln!(out, "{}\n", plain(&result.scenario.promise))?;
    for reason in result.reasons.iter().chain(&result.invalid) {
        writeln!(out, "- {}", plain(reason))?;
    }
    for finding in result.verdict.findings.iter().take(WITNESSES_SHOWN) {
        writeln!(out, "- witness: {}", plain(&finding.to_string()))?;
    }
    writeln!(out, "\n| figure | value |\n|---|--:|")?;
    let value = |metric: &Metric| metric.value(result).map(|value| fail_on::with_unit(value, metric.unit));
    for (metric, value) in METRICS.iter().filter_map(|metric| Some((metric, value(metric)?))) {
        writeln!(out, "| {} | {value} |", metric.name.replace('_', "\\_"))?;
    }
    writeln!(out, "\nTo repeat with the same seed: <code>{}</code>\n\n</details>", one_line(&result.replay))
}

/// Escapes text for an HTML element on one line of Markdown: Markdown's characters become entities.
fn one_line(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in markup(text).chars() {
        match c {
            '\n' | '\r' => out.push(' '),
            '@' | '|' | '`' | '*' | '_' | '[' | ']' | '\\' | '~' => {
                // Writing to a string does not fail.
                let _ = write!(out, "&#{};", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::baseline::compare;
    use crate::sample::sample;

    #[test]
    fn the_table_comes_first_and_details_are_folded() {
        let text = render(&sample(), None);
        let (table, details) = (text.find("| scenario |").unwrap(), text.find("<details>").unwrap());
        assert!(table < details && table < 900, "{text}");
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        for part in [
            "❌ failed | High Failure Rate Test | 2 | 1 |",
            "✅ passed, ⚠️ speed invalid | Stress Test",
            "of 100** (",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn names_do_not_break_out_of_cells_and_folds() {
        let mut report = sample();
        report.scenarios[0].scenario.name = "a|b\n</details>@everyone [x](http://y)".to_owned();
        report.scenarios[0].replay = "x `y` </code>\n| z".to_owned();
        let comparison = compare(std::slice::from_ref(&report), std::slice::from_ref(&report));
        let text = render(&report, Some(&comparison));
        assert_eq!(text.matches("<details>").count(), text.matches("</details>").count());
        assert!(!text.contains("@everyone") && !text.contains("[x]"), "{text}");
        let cells = |line: &str| line.replace("\\|", "").matches('|').count();
        assert!(text.lines().filter(|line| line.starts_with("| ✅")).all(|line| cells(line) == 10));
    }
}
