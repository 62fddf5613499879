//! The report as one HTML file: no network, no script, light and dark, on paper and on a phone.
//!
//! - [`plot`]: axes, lines and marks as SVG. `plots`: the figures to draw. `tables`: the figures to tabulate.
//! - `summary`: the top of the page. `scenario`: one scenario's section. `comparison`: two sets of runs.
//!
//! Every text of the report goes through `escape::markup`; the page's content security policy also forbids all
//! scripts and requests, should one ever slip through.

use crate::Comparison;
use crate::escape::markup;
use crate::figure;
use crate::schema::Report;

mod comparison;
pub mod plot;
mod plots;
mod scenario;
mod summary;
mod tables;

const STYLE: &str = include_str!("html/style.css");
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'";

/// Renders the page, with the comparison if there is one.
pub fn render(report: &Report, comparison: Option<&Comparison>) -> String {
    let sections: String = report
        .scenarios
        .iter()
        .enumerate()
        .map(|(number, result)| scenario::section(number, result))
        .collect();
    let comparison = comparison.map(comparison::section).unwrap_or_default();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{POLICY}\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>AgentBench: {title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n\
         <a class=\"skip\" href=\"#scenarios\">Skip to the scenarios</a>\n{header}\n<main>\n{overview}{comparison}{sections}</main>\n\
         <footer><p>{suite}, report version {version}. Times in UTC. Latencies count from the scheduled send unless marked raw.</p></footer>\n\
         </body>\n</html>\n",
        title = markup(&figure::moment(report.started_at)),
        header = summary::header(report),
        overview = summary::overview(report),
        suite = markup(&report.suite),
        version = report.version,
    )
}

#[cfg(test)]
mod tests;
