//! Two sets of runs side by side.

use super::tables::table;
use crate::escape::markup;
use crate::figure;
use crate::{Comparison, statistics};

/// The section of a comparison.
pub(super) fn section(comparison: &Comparison) -> String {
    let breaks: String = comparison
        .broken
        .iter()
        .map(|broken| {
            format!("<li><strong>{}</strong>: {}</li>", markup(&broken.scenario), markup(&broken.what))
        })
        .collect();
    let breaks = if breaks.is_empty() { breaks } else { format!("<ul class=\"warning\">{breaks}</ul>") };
    let notes: String = comparison.notes.iter().map(|note| format!("<li>{}</li>", markup(note))).collect();
    let median =
        |values: &[f64]| statistics::interval::median(values).map_or_else(|| "–".to_owned(), figure::number);
    let rows = comparison.rows.iter().map(|row| {
        vec![
            format!("{}: {}", row.scenario, row.metric),
            median(&row.a),
            median(&row.b),
            row.ratio.map_or_else(|| "–".to_owned(), |ratio| format!("{ratio:.3}")),
            row.interval.map_or_else(
                || "–".to_owned(),
                |interval| format!("{:.3} to {:.3}", interval.low, interval.high),
            ),
            row.p.map_or_else(|| "–".to_owned(), |p| format!("{p:.4}")),
            row.verdict.text().to_owned(),
        ]
    });
    let caption =
        "Medians of both sets, their ratio with its 95 % interval, and p after correction for all rows";
    let head = ["Figure", "Baseline", "Now", "Ratio", "Interval", "p", "Verdict"];
    format!(
        "<section aria-labelledby=\"comparison-h\"><h2 id=\"comparison-h\">Against the baseline</h2><p>{}</p>{breaks}{}<ul class=\"notes\">{notes}</ul></section>\n",
        markup(&comparison.summary()),
        table(caption, &head, rows.collect())
    )
}
