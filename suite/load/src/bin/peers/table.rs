//! The samples as tables: a row per job, a column per contestant, with the median and its ratio to ours.

use std::fmt::Write;

use agentbench_load::generator::Verdict;
use agentbench_load::paired::{Ratio, TABLE_HEAD, load_average, median};

use super::contestant::Contestant;
use super::measure::{Sample, Work};

type Figure = fn(&Sample) -> Option<f64>;
/// Title, figure, and the rows that have it.
type Kind = (&'static str, Figure, fn(Work) -> bool);

const KINDS: [Kind; 4] = [
    ("CPU of the server, µs per message", |sample| sample.cpu_us, |work| work != Work::Memory),
    ("Messages per second", |sample| sample.per_second, |work| !work.has_rate() && work != Work::Memory),
    ("p99 of the latency, ms, at a rate that all sustain", |sample| sample.p99_ms, Work::has_rate),
    ("Resident memory, kB per connection", |sample| sample.memory_kb, |work| work == Work::Memory),
];

/// Ratios of two builds of ours by pairs: one table per kind of figure.
pub(crate) fn ratios(works: &[Work], samples: &[Sample]) -> String {
    let mut text = format!("Load average at the end: {}\n\n", load_average());
    for (title, figure, fits) in KINDS {
        let _ = writeln!(text, "{title}\n\n{TABLE_HEAD}");
        for &work in works.iter().filter(|&&work| fits(work)) {
            let of = |contestant| {
                let is_it = move |sample: &&Sample| {
                    sample.work == Some(work) && sample.contestant == Some(contestant)
                };
                samples.iter().filter(is_it).filter_map(figure)
            };
            // A round has one of each, so the same index gives a pair.
            let pairs: Vec<(f64, f64)> = of(Contestant::Before).zip(of(Contestant::Ours)).collect();
            match Ratio::of(&pairs) {
                Some(ratio) => drop(writeln!(text, "| {} | {ratio} | |", work.name())),
                None => drop(writeln!(text, "| {} | – | – | – | – | 0 | |", work.name())),
            }
        }
        text.push('\n');
    }
    text
}

/// One Markdown table per kind of figure.
pub(crate) fn tables(works: &[Work], contestants: &[Contestant], samples: &[Sample]) -> String {
    let mut text = String::new();
    for (title, figure, fits) in KINDS {
        let rows: Vec<Work> = works.iter().copied().filter(|&work| fits(work)).collect();
        if !rows.is_empty() {
            table(&mut text, title, &rows, contestants, samples, figure);
        }
    }
    text.push_str(
        "`*`: a round in which the generator was the bottleneck or late; the server can do at least this.\n",
    );
    text
}

fn table(
    text: &mut String,
    title: &str,
    rows: &[Work],
    contestants: &[Contestant],
    samples: &[Sample],
    figure: Figure,
) {
    let names: Vec<&str> = contestants.iter().map(|contestant| contestant.name()).collect();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "| {title} | {} |\n|---|{}", names.join(" | "), "---|".repeat(names.len()));
    for &work in rows {
        let of = |contestant| {
            let of_both =
                |sample: &&Sample| sample.work == Some(work) && sample.contestant == Some(contestant);
            median(samples.iter().filter(of_both).filter_map(figure).collect())
        };
        let ours = of(Contestant::Ours);
        let _ = write!(text, "| {} |", work.name());
        for &contestant in contestants {
            let doubtful = samples.iter().any(|sample| {
                sample.work == Some(work)
                    && sample.contestant == Some(contestant)
                    && sample.verdict != Verdict::Valid
            });
            let _ = write!(
                text,
                " {}{} |",
                cell(of(contestant), ours, contestant),
                if doubtful { " *" } else { "" }
            );
        }
        text.push('\n');
    }
    text.push('\n');
}

fn cell(figure: Option<f64>, ours: Option<f64>, contestant: Contestant) -> String {
    match (figure, ours) {
        (Some(figure), Some(ours)) if contestant != Contestant::Ours && ours > 0.0 => {
            format!("{} (×{:.2})", shown(figure), figure / ours)
        }
        (Some(figure), _) => shown(figure),
        (None, _) => "–".to_owned(),
    }
}

fn shown(figure: f64) -> String {
    if figure >= 1000.0 { format!("{figure:.0}") } else { format!("{figure:.2}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_stand_beside_the_figures() {
        assert_eq!(cell(Some(3.0), Some(2.0), Contestant::Bun), "3.00 (×1.50)");
        assert_eq!(cell(Some(2.0), Some(2.0), Contestant::Ours), "2.00");
        assert_eq!(cell(None, Some(2.0), Contestant::Bun), "–");
    }
}
