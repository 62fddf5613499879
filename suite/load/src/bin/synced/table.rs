//! The samples as Markdown tables, with the medians of the rounds.

use std::fmt::Write;

use agentbench_load::generator::Verdict;
use agentbench_load::paired::median;
use agentbench_load::target::Pace;

use super::measure::{Level, Sample, Work};

/// Events per second and CPU at full speed: a row per load.
pub(crate) fn full(samples: &[Sample]) -> String {
    let mut text = "| full speed | logged, events/s | synced, events/s | logged, CPU µs per event | synced, CPU µs per event | fdatasync alone, p50 / p99 ms |\n|---|---|---|---|---|---|\n".to_owned();
    for work in works(samples, Level::Logged) {
        let of = |level| Cells::of(samples, level, work);
        let (logged, synced) = (of(Level::Logged), of(Level::Synced));
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {} | {:.0}{} | {:.0}{} | {:.2} | {:.2} | {} |",
            name(work),
            logged.per_second,
            logged.mark,
            synced.per_second,
            synced.mark,
            logged.cpu_us,
            synced.cpu_us,
            synced.disk
        );
    }
    text.push_str(
        "`*`: a round in which the generator was the bottleneck; the server can do at least this.\n",
    );
    text
}

/// Latencies in the open loop: a row per load and level.
pub(crate) fn open(samples: &[Sample]) -> String {
    let mut text = "| open loop | level | p50 ms | p99 ms | generator late, p99 ms | CPU µs per event | fdatasync alone, p50 / p99 ms |\n|---|---|---|---|---|---|---|\n".to_owned();
    for level in Level::ALL {
        for work in works(samples, level) {
            let cells = Cells::of(samples, level, work);
            let _ = writeln!(
                text,
                "| {} | {} | {:.2}{mark} | {:.2}{mark} | {:.2} | {:.2} | {} |",
                name(work),
                level.name(),
                cells.p50_ms,
                cells.p99_ms,
                cells.lag_p99_ms,
                cells.cpu_us,
                cells.disk,
                mark = cells.mark
            );
        }
    }
    text.push_str(
        "`*`: a round in which the generator itself was late; its latencies are the generator's too.\n",
    );
    text
}

/// The works of a level, each once, in the order of their first sample.
fn works(samples: &[Sample], level: Level) -> Vec<Work> {
    let mut works = Vec::new();
    for sample in samples.iter().filter(|sample| sample.level == level) {
        if !works.contains(&sample.work) {
            works.push(sample.work);
        }
    }
    works
}

fn name(work: Work) -> String {
    let Work { sessions, pace, size } = work;
    match pace {
        Pace::Window(window) => format!("{size} B, {sessions} connections × {window} in flight"),
        Pace::Rate(rate) => format!("{size} B, {sessions} sessions, {rate} events/s"),
    }
}

/// Medians over the rounds of one work at one level.
struct Cells {
    per_second: f64,
    cpu_us: f64,
    p50_ms: f64,
    p99_ms: f64,
    lag_p99_ms: f64,
    disk: String,
    mark: &'static str,
}

impl Cells {
    fn of(samples: &[Sample], level: Level, work: Work) -> Self {
        let own: Vec<&Sample> =
            samples.iter().filter(|sample| sample.level == level && sample.work == work).collect();
        let middle = |figure: fn(&Sample) -> f64| {
            median(own.iter().map(|sample| figure(sample)).collect()).unwrap_or_default()
        };
        let disk = |figure: fn(&Sample) -> [f64; 2]| {
            median(own.iter().flat_map(|sample| figure(sample)).collect()).unwrap_or_default()
        };
        let p50 = disk(|sample| [sample.disk_before.p50_ms, sample.disk_after.p50_ms]);
        let p99 = disk(|sample| [sample.disk_before.p99_ms, sample.disk_after.p99_ms]);
        Self {
            per_second: middle(|sample| sample.per_second),
            cpu_us: middle(|sample| sample.cpu_us),
            p50_ms: middle(|sample| sample.p50_ms),
            p99_ms: middle(|sample| sample.p99_ms),
            lag_p99_ms: middle(|sample| sample.lag_p99_ms.unwrap_or_default()),
            disk: format!("{p50:.2} / {p99:.2}"),
            mark: if own.iter().all(|sample| sample.verdict == Verdict::Valid) { "" } else { " *" },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::measure::tests::sample;
    use super::*;

    #[test]
    fn a_row_has_both_levels_and_marks_doubtful_rounds() {
        let work = Work::full(100, 16, 256);
        let mut late = sample(Level::Synced, work, 50.0);
        late.verdict = Verdict::Invalid("late".to_owned());
        let samples = [sample(Level::Logged, work, 200.0), late];
        let text = full(&samples);
        assert!(
            text.contains(
                "| 256 B, 100 connections × 16 in flight | 200 | 50 * | 1.00 | 1.00 | 1.00 / 1.00 |"
            ),
            "{text}"
        );
        assert_eq!(open(&samples).lines().filter(|line| line.starts_with("| 256 B")).count(), 2);
    }
}
