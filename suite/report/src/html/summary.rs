//! The top of the page: the outcome, the score, the recommendations, and one line per scenario.

use std::fmt::Write;

use agentbench_load::latency::Percentiles;

use crate::escape::markup;
use crate::figure;
use crate::promises::Broken;
use crate::recommend::recommendations;
use crate::schema::{Report, ScenarioResult, Status};
use crate::score::{FORMULA, score};
use crate::text::verdict_line;

/// Columns of the scenarios' table.
const COLUMNS: usize = 10;

/// The title, the verdict and the score.
pub(super) fn header(report: &Report) -> String {
    let score = score(report);
    let (class, word) = if report.has_passed() { ("good", "✓ Passed") } else { ("bad", "✕ Failed") };
    let interrupted = report.interrupted.as_ref().map_or_else(String::new, |why| {
        format!("<p class=\"warning\"><strong>Interrupted:</strong> {}. The scenarios below had finished by then.</p>", markup(why))
    });
    let points = score.points.map_or_else(|| "–".to_owned(), |points| points.to_string());
    format!(
        "<header>\n<div><h1>AgentBench realtime</h1>\n<p class=\"when\">{} · {} s</p>\n\
         <p class=\"verdict\"><strong class=\"{class}\">{word}</strong> {}</p>{interrupted}</div>\n\
         <div class=\"score\"><p><span class=\"points\">{points}</span><span class=\"of\"> of 100</span></p><p>{}</p>\
         <details><summary>How the score is made</summary><p>{}</p></details></div>\n</header>",
        markup(&figure::moment(report.started_at)),
        figure::number(report.took_ms as f64 / 1e3),
        markup(&verdict_line(report)),
        markup(&score.explanation()),
        markup(FORMULA)
    )
}

/// The scenarios' table, the recommendations, the machine.
pub(super) fn overview(report: &Report) -> String {
    format!("{}{}{}", table(report), advice(report), machine(report))
}

/// The label of a scenario's outcome, with a sign that does not depend on colour.
pub(super) fn badge(result: &ScenarioResult) -> &'static str {
    match (result.status, result.invalid.is_some()) {
        (Status::Failed, _) => "<span class=\"badge bad\">✕ failed</span>",
        (Status::Passed, true) => "<span class=\"badge unsure\">✓ passed, △ speed invalid</span>",
        (Status::Passed, false) => "<span class=\"badge good\">✓ passed</span>",
    }
}

fn table(report: &Report) -> String {
    let rows: String =
        report.scenarios.iter().enumerate().map(|(number, result)| line(number, result)).collect();
    format!(
        "<section id=\"scenarios\" aria-labelledby=\"scenarios-h\"><h2 id=\"scenarios-h\">Scenarios</h2>\n\
         <div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Scenarios, table\"><table class=\"overview\"><caption>One line per scenario. Latency is from publish to delivery.</caption>\n\
         <thead><tr><th scope=\"col\">Scenario</th><th scope=\"col\">Result</th><th scope=\"col\">Category</th>\
         <th scope=\"col\" class=\"n\">Lost</th><th scope=\"col\" class=\"n\">Twice</th><th scope=\"col\" class=\"n\">Reordered</th><th scope=\"col\" class=\"n\">Holes</th>\
         <th scope=\"col\" class=\"n\">Events/s</th><th scope=\"col\" class=\"n\">p50</th><th scope=\"col\" class=\"n\">p99</th></tr></thead>\n\
         <tbody>{rows}</tbody></table></div></section>\n"
    )
}

fn line(number: usize, result: &ScenarioResult) -> String {
    let broken = Broken::of(&result.verdict);
    let latency = &result.figures.delivery.corrected;
    let time = |part: fn(&Percentiles) -> u64| {
        if latency.count > 0 { figure::micros(part(latency)) } else { "–".to_owned() }
    };
    let promise = |count: u64| {
        let class = if count > 0 { "n bad" } else { "n" };
        format!("<td class=\"{class}\">{}</td>", figure::count(count))
    };
    let why: Vec<String> = result.reasons.iter().chain(&result.invalid).map(|why| markup(why)).collect();
    let (class, reasons) = if why.is_empty() {
        ("", String::new())
    } else {
        // A row of its own: sentences do not fit beside the figures.
        let reasons =
            format!("<tr class=\"why\"><td colspan=\"{COLUMNS}\">Why: {}</td></tr>\n", why.join("; "));
        (" class=\"has-why\"", reasons)
    };
    format!(
        "<tr{class}><th scope=\"row\"><a href=\"#s{number}\">{}</a></th><td>{}</td><td>{}</td>{}{}{}{}\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n{reasons}",
        markup(&result.scenario.name),
        badge(result),
        result.scenario.category.text(),
        promise(broken.lost),
        promise(broken.duplicated),
        promise(broken.reordered),
        promise(broken.holes),
        figure::number(result.figures.delivered_per_second),
        time(|latency| latency.p50),
        time(|latency| latency.p99)
    )
}

fn advice(report: &Report) -> String {
    let mut list = String::new();
    for one in recommendations(report) {
        // Writing to a string does not fail.
        let _ = writeln!(
            list,
            "<li><p class=\"figure\">{}</p><p>{}</p><p><code>{}</code></p></li>",
            markup(&one.figure),
            markup(&one.advice),
            markup(&one.setting)
        );
    }
    let content = if list.is_empty() {
        "<p>No figure of this run calls for a change.</p>".to_owned()
    } else {
        format!("<ol class=\"advice\">{list}</ol>")
    };
    format!(
        "<section aria-labelledby=\"advice-h\"><h2 id=\"advice-h\">Recommendations</h2>{content}</section>\n"
    )
}

fn machine(report: &Report) -> String {
    let machine = &report.machine;
    let rows = [
        ("Machine", format!("{} cores, {}", machine.cores, machine.platform)),
        (
            "Build",
            if machine.optimised {
                "release".to_owned()
            } else {
                "not a release build: speed figures mean little".to_owned()
            },
        ),
        ("Server", report.target.clone()),
        ("Seed", report.seed.to_string()),
        ("Work", if report.quick { "quick: a tenth".to_owned() } else { "whole".to_owned() }),
        ("Software", report.suite.clone()),
    ];
    let rows: String = rows
        .iter()
        .map(|(name, value)| format!("<div><dt>{name}</dt><dd>{}</dd></div>", markup(value)))
        .collect();
    format!(
        "<section aria-labelledby=\"machine-h\"><h2 id=\"machine-h\">Run</h2><dl class=\"facts\">{rows}</dl></section>\n"
    )
}
