//! One scenario's section.

use std::fmt::Write;

use super::{plots, summary, tables};
use crate::escape::markup;
use crate::figure;
use crate::promises::Broken;
use crate::schema::{ScenarioResult, Setup};

/// Number of findings shown with their evidence; the report's file has more.
const FINDINGS_SHOWN: usize = 20;

pub(super) fn section(number: usize, result: &ScenarioResult) -> String {
    let id = format!("s{number}");
    let setup = &result.scenario;
    format!(
        "<section class=\"scenario\" id=\"{id}\" aria-labelledby=\"{id}-h\">\n<h2 id=\"{id}-h\">{} {}</h2>\n\
         <p class=\"promise\">{}</p>\n<p class=\"setup\">{}</p>\n{}{}{}\n{}{}\
         <div class=\"replay\"><p>Run this scenario again with the same seed:</p><pre tabindex=\"0\"><code>{}</code></pre></div>\n\
         <p class=\"up\"><a href=\"#scenarios\">↑ all scenarios</a></p>\n</section>\n",
        markup(&setup.name),
        summary::badge(result),
        markup(&setup.promise),
        sizes(setup),
        why(result),
        findings(result),
        counts(result),
        plots::all(&id, result),
        tables::all(result),
        markup(&result.replay)
    )
}

fn sizes(setup: &Setup) -> String {
    let faults = if setup.failure_rate > 0.0 {
        format!(", a fault on {} of the messages", figure::share(setup.failure_rate))
    } else {
        String::new()
    };
    format!(
        "{} clients × {} events of {} over {} s, at most {} s{faults}",
        figure::count(setup.clients.into()),
        figure::count(setup.messages.into()),
        payload(setup.payload_bytes),
        figure::number(setup.spread_ms as f64 / 1e3),
        figure::number(setup.limit_ms as f64 / 1e3)
    )
}

/// Payloads are planned in powers of two.
fn payload(bytes: usize) -> String {
    if bytes >= 1024 && bytes.is_multiple_of(1024) {
        format!("{} KiB", bytes / 1024)
    } else {
        format!("{bytes} B")
    }
}

fn why(result: &ScenarioResult) -> String {
    let mut list: String = result.reasons.iter().map(|why| format!("<li>{}</li>", markup(why))).collect();
    if let Some(invalid) = &result.invalid {
        // Writing to a string does not fail.
        let _ = write!(
            list,
            "<li><strong>Invalid:</strong> {}; the speed figures do not count</li>",
            markup(invalid)
        );
    }
    if list.is_empty() { list } else { format!("<ul class=\"warning\">{list}</ul>\n") }
}

fn findings(result: &ScenarioResult) -> String {
    let verdict = &result.verdict;
    if verdict.is_clean() {
        return String::new();
    }
    let shown = verdict.findings.iter().take(FINDINGS_SHOWN);
    let witnesses: String =
        shown.map(|finding| format!("<li>{}</li>", markup(&finding.to_string()))).collect();
    let all: u64 = verdict.counts.values().sum();
    let more = all.saturating_sub(verdict.findings.len().min(FINDINGS_SHOWN) as u64);
    let more = if more > 0 {
        format!("<p>{more} more are counted; report.json has up to a hundred of each kind.</p>")
    } else {
        String::new()
    };
    format!(
        "<h3>Broken promises</h3><details open><summary>{all} broken, with their witnesses</summary><ol class=\"witness\">{witnesses}</ol>{more}</details>\n"
    )
}

fn counts(result: &ScenarioResult) -> String {
    let (counts, broken) = (&result.counts, Broken::of(&result.verdict));
    let cells = [
        ("planned", counts.planned),
        ("stored", counts.stored),
        ("delivered", counts.delivered),
        ("refused", counts.refused),
        ("unknown", counts.unknown),
        ("unsent", counts.unsent),
        ("sent again", counts.retried),
        ("suppressed", counts.duplicates_suppressed),
        ("reconnects", counts.reconnects),
        ("at most in a second", counts.peak_reconnects_per_second),
        ("lost", broken.lost),
        ("twice", broken.duplicated),
        ("reordered", broken.reordered),
        ("holes", broken.holes),
        ("other breaks", broken.others),
    ];
    let cells: String = cells
        .iter()
        .map(|(name, count)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", figure::count(*count)))
        .collect();
    format!("<h3>Events</h3><dl class=\"counts\">{cells}</dl>\n")
}
