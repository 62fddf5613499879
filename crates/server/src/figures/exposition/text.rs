//! The two text forms. They differ in how a counter is called, in units, exemplars and the end.

use std::fmt::Write;

use crate::figures::histogram::Snapshot;
use crate::figures::registry::{Exemplar, Figure, Kind, Sample, Value};

/// Prometheus text, version 0.0.4.
pub(super) fn prometheus(figures: &[Figure]) -> String {
    let mut page = Page { text: String::new(), open_metrics: false };
    figures.iter().for_each(|figure| page.figure(figure));
    page.text
}

/// OpenMetrics text, version 1.0.0.
pub(super) fn open_metrics(figures: &[Figure]) -> String {
    let mut page = Page { text: String::new(), open_metrics: true };
    figures.iter().for_each(|figure| page.figure(figure));
    page.text.push_str("# EOF\n");
    page.text
}

struct Page {
    text: String,
    open_metrics: bool,
}

impl Page {
    /// Writing to a String cannot fail.
    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        let _ = self.text.write_fmt(line);
        self.text.push('\n');
    }

    fn figure(&mut self, figure: &Figure) {
        let kind = match figure.kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let sample_name = match figure.kind {
            Kind::Counter => format!("{}_total", figure.name),
            Kind::Gauge | Kind::Histogram => figure.name.clone(),
        };
        let name = if self.open_metrics { &figure.name } else { &sample_name };
        self.line(format_args!("# HELP {name} {}", escaped(figure.help, self.open_metrics)));
        self.line(format_args!("# TYPE {name} {kind}"));
        if let (true, Some(unit)) = (self.open_metrics, figure.unit) {
            self.line(format_args!("# UNIT {name} {unit}"));
        }
        for sample in &figure.samples {
            match &sample.value {
                Value::Number(value) => {
                    let labels = labels(&sample.labels, None);
                    self.line(format_args!("{sample_name}{labels} {value}"));
                }
                Value::Histogram(all, exemplars) => self.histogram(&figure.name, sample, all, exemplars),
            }
        }
    }

    fn histogram(&mut self, name: &str, sample: &Sample, all: &Snapshot, exemplars: &[Exemplar]) {
        let mut below = f64::NEG_INFINITY;
        let bounds = all.classic().into_iter().chain([(f64::INFINITY, all.count())]);
        for (bound, count) in bounds {
            let text = if bound.is_infinite() { "+Inf".to_owned() } else { bound.to_string() };
            let exemplar = exemplars.iter().find(|it| it.value > below && it.value <= bound);
            let exemplar = exemplar.filter(|_| self.open_metrics).map_or_else(String::new, |it| {
                let seconds = it.at as f64 / 1_000.0;
                format!(" # {{trace_id=\"{}\"}} {} {seconds}", it.trace, it.value)
            });
            let labels = labels(&sample.labels, Some(&text));
            self.line(format_args!("{name}_bucket{labels} {count}{exemplar}"));
            below = bound;
        }
        let labels = labels(&sample.labels, None);
        self.line(format_args!("{name}_sum{labels} {}", all.sum));
        self.line(format_args!("{name}_count{labels} {}", all.count()));
    }
}

fn labels(labels: &[(&'static str, String)], bound: Option<&str>) -> String {
    let le = bound.map(|bound| ("le", bound));
    let all = labels.iter().map(|(name, value)| (*name, value.as_str())).chain(le);
    let all: Vec<String> = all.map(|(name, value)| format!("{name}=\"{}\"", escaped(value, true))).collect();
    if all.is_empty() { String::new() } else { format!("{{{}}}", all.join(",")) }
}

/// Backslashes and line ends, and quotation marks where they would end the text.
fn escaped(text: &str, quotes: bool) -> String {
    let text = text.replace('\\', "\\\\").replace('\n', "\\n");
    if quotes { text.replace('"', "\\\"") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::histogram::{COUNT, Cells};

    fn figures() -> Vec<Figure> {
        let cells = Cells::new(&COUNT);
        cells.add(3.0, 2);
        let all = Snapshot::of(&COUNT, std::iter::once(&cells));
        let exemplar = Exemplar { trace: "4bf92f3577b34da6a3ce929d0e0e4736".into(), value: 3.0, at: 1_500 };
        let nasty = vec![("user", "a\"b\\c\nd".to_owned())];
        vec![
            Figure::counter("received", "Bytes\nread", Some("bytes"), 7.0),
            Figure::gauges("behind", "Events", None, [(nasty, 1.5)].into_iter()),
            Figure::histogram("width", "Readers", None, all, vec![exemplar]),
        ]
    }

    #[test]
    fn prometheus_text_is_as_its_description_says() {
        let text = prometheus(&figures());
        for line in [
            "# HELP agentbench_received_bytes_total Bytes\\nread",
            "# TYPE agentbench_received_bytes_total counter",
            "agentbench_received_bytes_total 7",
            "agentbench_behind{user=\"a\\\"b\\\\c\\nd\"} 1.5",
            "agentbench_width_bucket{le=\"2\"} 0",
            "agentbench_width_bucket{le=\"4\"} 2",
            "agentbench_width_bucket{le=\"+Inf\"} 2",
            "agentbench_width_sum 6",
            "agentbench_width_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(!text.contains("EOF") && !text.contains("trace_id"));
    }

    #[test]
    fn open_metrics_has_units_exemplars_and_an_end() {
        let text = open_metrics(&figures());
        for line in [
            "# TYPE agentbench_received_bytes counter",
            "# UNIT agentbench_received_bytes bytes",
            "agentbench_received_bytes_total 7",
            "agentbench_width_bucket{le=\"4\"} 2 # {trace_id=\"4bf92f3577b34da6a3ce929d0e0e4736\"} 3 1.5",
            "agentbench_width_bucket{le=\"8\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} in {text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }
}
