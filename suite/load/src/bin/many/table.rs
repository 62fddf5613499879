//! The steps as Markdown tables, each with the line through them.

use std::fmt::Write;

use agentbench_load::fit::Line;

use super::ladder::Step;

/// Default of `--heartbeat-interval`, ms: for the share of a core at which a server runs.
const DEFAULT_HEARTBEAT: f64 = 30_000.0;

/// Memory and heartbeat CPU by connections. `beyond` is a number that could not be measured.
pub(crate) fn connections(steps: &[Step], heartbeat: u32, beyond: Option<usize>) -> String {
    let mut text = "| idle connections, joined | resident MB | bytes each | CPU µs per heartbeat | share of a core at the default interval |\n|---|---|---|---|---|\n".to_owned();
    let per_heartbeat = f64::from(heartbeat) / 1000.0;
    let mut row = |name: String, count: f64, resident: f64, cpu: f64| {
        let cpu = cpu * per_heartbeat / count;
        let share = cpu * count / (DEFAULT_HEARTBEAT * 1000.0) * 100.0;
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.0} | {cpu:.2} | {share:.2} % |",
            resident / 1e6,
            resident / count
        );
    };
    for step in steps {
        row(step.count.to_string(), step.count as f64, step.resident, step.cpu_per_second);
    }
    let (memory, cpu) = (line(steps, |step| step.resident), line(steps, |step| step.cpu_per_second));
    if let (Some(beyond), Some(memory), Some(cpu)) = (beyond, memory, cpu) {
        let at = beyond as f64;
        row(format!("{beyond}, extrapolated"), at, memory.at(at), cpu.at(at));
    }
    text.push('\n');
    if let Some(memory) = memory {
        text.push_str(&straight("memory", memory, 1e6, "MB", "bytes per connection"));
    }
    if let Some(Line { slope, intercept, residual }) = cpu {
        let each = slope * per_heartbeat;
        let _ = writeln!(
            text,
            "CPU: {each:.2} µs per heartbeat and connection + {intercept:.0} µs/s, residual {residual:.0} µs/s"
        );
    }
    text
}

/// Memory by open sessions.
pub(crate) fn sessions(steps: &[Step]) -> String {
    let mut text = "| open sessions | resident MB | bytes each |\n|---|---|---|\n".to_owned();
    for step in steps {
        let each = step.resident / step.count as f64;
        let _ = writeln!(text, "| {} | {:.1} | {each:.0} |", step.count, step.resident / 1e6);
    }
    text.push('\n');
    if let Some(memory) = line(steps, |step| step.resident) {
        text.push_str(&straight("memory", memory, 1e6, "MB", "bytes per session"));
    }
    text
}

fn line(steps: &[Step], figure: fn(&Step) -> f64) -> Option<Line> {
    let points: Vec<_> = steps.iter().map(|step| (step.count as f64, figure(step))).collect();
    Line::through(&points)
}

fn straight(what: &str, line: Line, unit: f64, name: &str, each: &str) -> String {
    let (intercept, residual) = (line.intercept / unit, line.residual / unit);
    format!("{what}: {:.0} {each} + {intercept:.1} {name}, residual {residual:.1} {name}\n", line.slope)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(count: usize) -> Step {
        Step { count, resident: 1e6 + 5000.0 * count as f64, cpu_per_second: 2.0 * count as f64 }
    }

    #[test]
    fn what_cannot_be_measured_is_extrapolated_and_named_so() {
        let text = connections(&[step(1000), step(2000)], 2000, Some(100_000));
        assert!(text.contains("| 1000 | 6.0 | 6000 | 4.00 | 0.01 % |"), "{text}");
        assert!(text.contains("| 100000, extrapolated | 501.0 | 5010 | 4.00 | 1.33 % |"), "{text}");
        assert!(text.contains("memory: 5000 bytes per connection + 1.0 MB, residual 0.0 MB"), "{text}");
        assert!(!connections(&[step(1000), step(2000)], 2000, None).contains("extrapolated"));
    }

    #[test]
    fn one_step_has_no_line() {
        let text = sessions(&[step(1000)]);
        assert!(text.contains("| 1000 | 6.0 | 6000 |") && !text.contains("residual"), "{text}");
    }
}
