//! The samples as tables: a row for each job, a column for each contestant, the median and its ratio to ours.

use std::fmt::Write;

use agentbench_load::generator::Verdict;

use super::contestant::Contestant;
use super::measure::{Sample, Work};

type Figure = fn(&Sample) -> Option<f64>;
/// Title, figure, and the rows that have it.
type Kind = (&'static str, Figure, fn(Work) -> bool);

/// One table of Markdown for each kind of figure.
pub(crate) fn tables(works: &[Work], contestants: &[Contestant], samples: &[Sample]) -> String {
    let mut text = String::new();
    let kinds: [Kind; 4] = [
        ("CPU of the server, µs for each message", |sample| sample.cpu_us, |work| work != Work::Memory),
        ("Messages a second", |sample| sample.per_second, |work| !work.has_rate() && work != Work::Memory),
        ("p99 of the latency, ms, at a rate that all hold", |sample| sample.p99_ms, Work::has_rate),
        ("Resident memory, kB for each connection", |sample| sample.memory_kb, |work| work == Work::Memory),
    ];
    for (title, figure, fits) in kinds {
        let rows: Vec<Work> = works.iter().copied().filter(|&work| fits(work)).collect();
        if !rows.is_empty() {
            table(&mut text, title, &rows, contestants, samples, figure);
        }
    }
    text.push_str("`*`: a round in which the generator was the bottleneck, or late itself; the server can do at least this.\n");
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

fn median(mut figures: Vec<f64>) -> Option<f64> {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len() / 2;
    if figures.len() % 2 == 1 {
        return figures.get(middle).copied();
    }
    Some(figures.get(middle)?.midpoint(*figures.get(middle.checked_sub(1)?)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_ratios() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0]), Some(2.5));
        assert_eq!(cell(Some(3.0), Some(2.0), Contestant::Bun), "3.00 (×1.50)");
        assert_eq!(cell(Some(2.0), Some(2.0), Contestant::Ours), "2.00");
        assert_eq!(cell(None, Some(2.0), Contestant::Bun), "–");
    }
}
