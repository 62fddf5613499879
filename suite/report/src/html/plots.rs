//! Which figures of a scenario are drawn.

use std::collections::BTreeMap;
use std::fmt::Write;

use agentbench_load::latency::Percentiles;

use super::plot::scale::{self, Scale};
use super::plot::{AREA, Line, Plot};
use crate::escape::markup;
use crate::figure;
use crate::schema::{CurvePoint, LimitSearch, Sample, ScenarioResult, TimelineEvent};

/// Maximum number of points of a line over time: about one per four pixels.
const MOST_POINTS: usize = 120;
/// Resolution of the time line: marks of one kind within one slot are merged.
const PLACES: f64 = 200.0;
/// The last quantile that is drawn: the table shows the maximum beyond it.
const LAST_QUANTILE: f64 = 0.999_900_1;
/// Height of one kind's row of marks.
const ROW: f64 = 16.0;

/// All plots of a scenario that have something to show.
pub(super) fn all(id: &str, result: &ScenarioResult) -> String {
    let mut out = String::new();
    let plots = [
        throughput(id, result),
        percentiles(id, result),
        connecting(id, result),
        memory(id, &result.samples),
        processor(id, &result.samples),
        result.search.as_ref().and_then(|found| search(id, found)),
    ];
    out.extend(plots.into_iter().flatten());
    if out.is_empty() { out } else { format!("<div class=\"plots\">\n{out}</div>\n") }
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1e3
}

fn end_of(samples: &[Sample], events: &[TimelineEvent]) -> f64 {
    let last_sample = samples.last().map_or(0, |sample| sample.at_ms);
    let last_event = events.iter().map(|event| event.at_ms).max().unwrap_or(0);
    seconds(last_sample.max(last_event))
}

/// A counter's growth per second, between samples far enough apart.
fn rate(samples: &[Sample], counter: fn(&Sample) -> u64) -> Vec<(f64, f64)> {
    let stride = samples.len().div_ceil(MOST_POINTS).max(1);
    let kept: Vec<&Sample> = samples.iter().step_by(stride).collect();
    let between = kept.windows(2).filter(|pair| pair[1].at_ms > pair[0].at_ms);
    between
        .map(|pair| {
            let grown = counter(pair[1]).saturating_sub(counter(pair[0])) as f64;
            (seconds(pair[1].at_ms), grown / seconds(pair[1].at_ms - pair[0].at_ms))
        })
        .collect()
}

fn thinned(samples: &[Sample]) -> impl Iterator<Item = &Sample> {
    samples.iter().step_by(samples.len().div_ceil(MOST_POINTS).max(1))
}

fn throughput(id: &str, result: &ScenarioResult) -> Option<String> {
    let (samples, events) = (&result.samples, &result.events);
    let line =
        |name: &str, class, counter| Line { name: name.to_owned(), class, points: rate(samples, counter) };
    let lines = [
        line("sent", "c", |sample| sample.sent),
        line("acked", "b", |sample| sample.acked),
        line("delivered", "a", |sample| sample.delivered),
    ];
    if lines[0].points.is_empty() {
        return None;
    }
    let end = end_of(samples, events);
    let rates = || lines.iter().flat_map(|line| &line.points).map(|point| point.1);
    let mut plot = Plot::new(Scale::until(end), Scale::linear(rates()), "seconds", "events per second");
    for event in events.iter().filter(|event| event.kind.starts_with("server_")) {
        let class = if event.kind == "server_killed" { "killed" } else { "started" };
        plot.moment(
            seconds(event.at_ms),
            class,
            &format!("{:.1} s: {} ({})", seconds(event.at_ms), event.kind, event.detail),
        );
    }
    for line in &lines {
        plot.line(line);
    }
    let legend = marks(&mut plot, events);
    let figures = &result.figures;
    let description = format!(
        "Events sent, acked and delivered per second over {end:.0} s. Over the whole run {} acked and {} delivered per second, at most {} in one second. {} faults and other marks below.",
        figure::number(figures.acked_per_second),
        figure::number(figures.delivered_per_second),
        figure::number(rates().fold(0.0, f64::max)),
        events.len()
    );
    Some(
        plot.finish(&format!("{id}-throughput"), "Throughput over time", &description)
            .replace("</figure>", &format!("{legend}</figure>")),
    )
}

/// A row of marks for each kind of event, labelled with a letter, and the legend of the letters.
fn marks(plot: &mut Plot, events: &[TimelineEvent]) -> String {
    let mut kinds: BTreeMap<&str, Vec<&TimelineEvent>> = BTreeMap::new();
    for event in events {
        kinds.entry(&event.kind).or_default().push(event);
    }
    if kinds.is_empty() {
        return String::new();
    }
    let top = plot.extend(ROW * kinds.len() as f64 + 6.0);
    let mut legend = String::new();
    for (number, (kind, events)) in kinds.iter().enumerate() {
        let letter = letter(number);
        row(plot, top + ROW * number as f64, &letter, kind, events);
        // Writing to a string does not fail.
        let _ = write!(legend, "<li><b>{letter}</b> {} × {}</li>", markup(kind), events.len());
    }
    format!("<ul class=\"legend\" aria-label=\"Marks on the time line\">{legend}</ul>")
}

/// A to Z, then AA.
fn letter(number: usize) -> String {
    let last = char::from(b'A' + (number % 26) as u8);
    if number < 26 { last.to_string() } else { format!("{}{last}", letter(number / 26 - 1)) }
}

fn row(plot: &mut Plot, y: f64, letter: &str, kind: &str, events: &[&TimelineEvent]) {
    let [left, _, right, _] = AREA;
    let mut places: BTreeMap<i64, Vec<&TimelineEvent>> = BTreeMap::new();
    for event in events {
        let place = (plot.x(seconds(event.at_ms)) - left) / (right - left) * PLACES;
        places.entry(place as i64).or_default().push(event);
    }
    let mut svg = format!(
        "<text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{letter}</text><path class=\"grid\" d=\"M{left} {:.1}H{right}\"/>",
        left - 7.0,
        y + 10.0,
        y + 6.0
    );
    for there in places.values() {
        let first = there[0];
        let title = match there.len() {
            1 => format!("{:.1} s: {kind} ({})", seconds(first.at_ms), first.detail),
            count => format!("from {:.1} s: {count} × {kind}", seconds(first.at_ms)),
        };
        let _ = write!(
            svg,
            "<path class=\"mark\" d=\"M{:.1} {:.1}v10\"><title>{}</title></path>",
            plot.x(seconds(first.at_ms)),
            y + 1.0,
            markup(&title)
        );
    }
    plot.raw(&svg);
}

fn percentiles(id: &str, result: &ScenarioResult) -> Option<String> {
    let (curves, figures) = (&result.figures.curves, &result.figures);
    if curves.ack.is_empty() && curves.delivery.is_empty() {
        return None;
    }
    let description = format!(
        "Latency by percentile, both axes logarithmic. Delivery: median {}, 99 % {}, longest {}. Ack: median {}, 99 % {}, longest {}.",
        figure::micros(figures.delivery.corrected.p50),
        figure::micros(figures.delivery.corrected.p99),
        figure::micros(figures.delivery.corrected.max),
        figure::micros(figures.ack.corrected.p50),
        figure::micros(figures.ack.corrected.p99),
        figure::micros(figures.ack.corrected.max)
    );
    let lines = [("delivery", "a", &curves.delivery), ("ack", "b", &curves.ack)];
    Some(curve_plot(&lines).finish(&format!("{id}-latency"), "Latency by percentile", &description))
}

fn curve_plot(curves: &[(&str, &'static str, &Vec<CurvePoint>)]) -> Plot {
    let values = curves.iter().flat_map(|(_, _, points)| points.iter()).map(|point| point.micros as f64);
    let mut plot =
        Plot::new(Scale::Quantile, Scale::logarithmic(values, scale::micros), "percentile", "latency");
    for (name, class, points) in curves.iter().filter(|(_, _, points)| !points.is_empty()) {
        let drawn = points.iter().filter(|point| point.quantile <= LAST_QUANTILE);
        let points = drawn.map(|point| (point.quantile, point.micros as f64)).collect();
        plot.line(&Line { name: (*name).to_owned(), class, points });
    }
    plot
}

/// The connection times: the parts as ranges where the scenario has them, otherwise the curve.
fn connecting(id: &str, result: &ScenarioResult) -> Option<String> {
    let id = format!("{id}-connecting");
    if let Some(figures) = &result.connection {
        let mut rows: Vec<(String, &Percentiles)> = vec![
            ("TCP".to_owned(), &figures.tcp),
            ("upgrade".to_owned(), &figures.upgrade),
            ("1st message".to_owned(), &figures.first_message),
            ("one by one".to_owned(), &figures.one_by_one),
            ("all at once".to_owned(), &figures.all_at_once),
        ];
        rows.extend(figures.recovery.iter().map(|(kind, figures)| (format!("↻ {kind}"), figures)));
        rows.retain(|(_, figures)| figures.count > 0);
        return (!rows.is_empty()).then(|| ranges(&id, &rows));
    }
    let curve = &result.figures.curves.connect;
    let connect = &result.figures.connect;
    let description = format!(
        "Time to connect by percentile, both axes logarithmic: median {}, 99 % {}, longest {}.",
        figure::micros(connect.p50),
        figure::micros(connect.p99),
        figure::micros(connect.max)
    );
    let lines = [("connecting", "a", curve)];
    (!curve.is_empty()).then(|| curve_plot(&lines).finish(&id, "Connection time by percentile", &description))
}

fn ranges(id: &str, rows: &[(String, &Percentiles)]) -> String {
    let values = rows.iter().flat_map(|(_, figures)| [figures.p50, figures.max]).map(|micros| micros as f64);
    let scale = Scale::logarithmic(values, scale::micros);
    let (left, right, height) = (108.0, super::plot::WIDTH - 18.0, 26.0);
    let bottom = 10.0 + height * rows.len() as f64;
    let mut svg = String::new();
    // Writing to a string does not fail.
    for (value, label) in scale.ticks() {
        let x = scale.place(value, left, right);
        let _ = write!(
            svg,
            "<path class=\"grid\" d=\"M{x:.1} 6V{bottom}\"/><text class=\"tick\" x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
            bottom + 18.0
        );
    }
    for (number, (name, figures)) in rows.iter().enumerate() {
        let y = 20.0 + height * number as f64;
        let at = |micros: u64| scale.place(micros as f64, left, right);
        let title = format!(
            "{name}: median {}, 99 % {}, longest {}",
            figure::micros(figures.p50),
            figure::micros(figures.p99),
            figure::micros(figures.max)
        );
        let shown: String = name.chars().take(14).collect();
        let _ = write!(
            svg,
            "<g><title>{}</title><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <path class=\"range\" d=\"M{:.1} {y}H{:.1}M{:.1} {:.1}v10\"/>\
             <circle class=\"dot\" cx=\"{:.1}\" cy=\"{y}\" r=\"4.5\"/><circle class=\"ring\" cx=\"{:.1}\" cy=\"{y}\" r=\"4\"/></g>",
            markup(&title),
            left - 8.0,
            y + 4.0,
            markup(&shown),
            at(figures.p50),
            at(figures.max),
            at(figures.max),
            y - 5.0,
            at(figures.p50),
            at(figures.p99)
        );
    }
    let title = "Connection times";
    format!(
        "<figure class=\"plot\"><figcaption>{title}</figcaption><svg viewBox=\"0 0 {} {:.0}\" role=\"img\" aria-labelledby=\"{id}-t {id}-d\">\
         <title id=\"{id}-t\">{title}</title><desc id=\"{id}-d\">Median, 99 % and longest of each part of connecting and of reconnecting; the table below has the figures.</desc>{svg}</svg>\
         <ul class=\"legend\"><li>● median</li><li>○ 99 %</li><li>| longest</li><li>↻ recovery after a cut</li></ul></figure>\n",
        super::plot::WIDTH,
        bottom + 26.0
    )
}

fn memory(id: &str, samples: &[Sample]) -> Option<String> {
    let points: Vec<(f64, f64)> =
        thinned(samples).map(|sample| (seconds(sample.at_ms), sample.server_resident as f64 / 1e6)).collect();
    let most = points.iter().map(|point| point.1).fold(0.0, f64::max);
    if most == 0.0 {
        return None;
    }
    let end = end_of(samples, &[]);
    let mut plot =
        Plot::new(Scale::until(end), Scale::linear(points.iter().map(|point| point.1)), "seconds", "MB");
    plot.line(&Line { name: "resident memory of the server".to_owned(), class: "a", points });
    let description = format!("The server's resident memory over {end:.0} s, at most {most:.1} MB.");
    Some(plot.finish(&format!("{id}-memory"), "Server memory", &description))
}

fn processor(id: &str, samples: &[Sample]) -> Option<String> {
    let share =
        |counter| rate(samples, counter).into_iter().map(|(at, ms)| (at, ms / 10.0)).collect::<Vec<_>>();
    let (server, generator) = (share(|sample| sample.server_cpu_ms), share(|sample| sample.generator_cpu_ms));
    let values = || server.iter().chain(&generator).map(|point| point.1);
    if values().all(|value| value == 0.0) {
        return None;
    }
    let end = end_of(samples, &[]);
    let most = |points: &[(f64, f64)]| points.iter().map(|point| point.1).fold(0.0, f64::max);
    let description = format!(
        "CPU over {end:.0} s as a share of one core: the server at most {:.0} %, the generator at most {:.0} %.",
        most(&server),
        most(&generator)
    );
    let mut plot = Plot::new(Scale::until(end), Scale::linear(values()), "seconds", "% of a core");
    plot.line(&Line { name: "server".to_owned(), class: "a", points: server });
    plot.line(&Line { name: "generator".to_owned(), class: "c", points: generator });
    Some(plot.finish(&format!("{id}-cpu"), "CPU", &description))
}

fn search(id: &str, search: &LimitSearch) -> Option<String> {
    if search.steps.is_empty() {
        return None;
    }
    let loads = search.steps.iter().map(|step| step.planned_per_second);
    let goal = search.goal_p99_micros as f64;
    let latencies = search.steps.iter().map(|step| step.p99_micros as f64).chain([goal]);
    let mut plot = Plot::new(
        Scale::linear(loads),
        Scale::logarithmic(latencies, scale::micros),
        "planned events per second",
        "p99",
    );
    plot.level(goal, "goal");
    for (number, step) in search.steps.iter().enumerate() {
        let (x, y) = (plot.x(step.planned_per_second), plot.y(step.p99_micros as f64));
        let outcome = step.broke.as_deref().unwrap_or("held");
        let title = format!(
            "step {}: {}/s, p99 {}: {outcome}",
            number + 1,
            figure::number(step.planned_per_second),
            figure::micros(step.p99_micros)
        );
        let shape = match step.broke {
            None => format!("<circle class=\"dot\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"5\">"),
            Some(_) => format!("<path class=\"cross\" d=\"M{:.1} {:.1}l9 9m0 -9l-9 9\">", x - 4.5, y - 4.5),
        };
        let end = if step.broke.is_none() { "</circle>" } else { "</path>" };
        plot.raw(&format!("{shape}<title>{}</title>{end}", markup(&title)));
    }
    let held = search
        .held
        .map_or_else(|| "no load".to_owned(), |held| format!("{} events per second", figure::number(held)));
    let description = format!(
        "p99 at each load that was tried, against the goal of {}: {held} held.",
        figure::micros(search.goal_p99_micros)
    );
    let legend = "<ul class=\"legend\"><li>● held</li><li>✕ did not hold</li></ul></figure>";
    Some(
        plot.finish(&format!("{id}-search"), "Search for the limit", &description)
            .replace("</figure>", legend),
    )
}
