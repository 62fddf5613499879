//! A scenario's figures in tables: the exact values of the plots, and figures without a plot.

use agentbench_load::latency::Percentiles;

use crate::escape::markup;
use crate::figure;
use crate::schema::{ConnectionFigures, LimitSearch, ProcessFigures, ReliabilityFigures, ScenarioResult};

/// Every table with data.
pub(super) fn all(result: &ScenarioResult) -> String {
    let mut out = latencies(result);
    out.push_str(&costs(result));
    if let Some(figures) = &result.connection {
        out.push_str(&connection(figures));
    }
    if let Some(figures) = &result.reliability {
        out.push_str(&reliability(figures));
    }
    if !result.faults.is_empty() {
        let rows = result.faults.iter().map(|fault| {
            vec![fault.kind.clone(), figure::count(fault.planned), figure::count(fault.happened)]
        });
        out.push_str(&table(
            "Faults, planned and happened",
            &["Kind", "Planned", "Happened"],
            rows.collect(),
        ));
    }
    if let Some(search) = &result.search {
        out.push_str(&limit(search));
    }
    out
}

/// A table whose first column names its rows and whose other columns are figures.
pub(super) fn table(caption: &str, head: &[&str], rows: Vec<Vec<String>>) -> String {
    let head: String = head
        .iter()
        .enumerate()
        .map(|(place, name)| {
            format!("<th scope=\"col\"{}>{}</th>", if place > 0 { " class=\"n\"" } else { "" }, markup(name))
        })
        .collect();
    let row = |cells: Vec<String>| -> String {
        let cells = cells.into_iter().enumerate().map(|(place, cell)| match place {
            0 => format!("<th scope=\"row\">{}</th>", markup(&cell)),
            _ => format!("<td class=\"n\">{}</td>", markup(&cell)),
        });
        format!("<tr>{}</tr>\n", cells.collect::<String>())
    };
    let rows: String = rows.into_iter().map(row).collect();
    let caption = markup(caption);
    format!(
        "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{caption}\"><table class=\"plain\"><caption>{caption}</caption>\
         <thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>\n"
    )
}

fn percentiles(name: &str, figures: &Percentiles) -> Option<Vec<String>> {
    (figures.count > 0).then(|| {
        let mut row = vec![name.to_owned(), figure::micros(figures.mean as u64)];
        row.extend([figures.p50, figures.p90, figures.p99, figures.p999, figures.max].map(figure::micros));
        row.push(figure::count(figures.count));
        row
    })
}

const LATENCY_HEAD: [&str; 8] = ["", "Mean", "p50", "p90", "p99", "p99.9", "Max", "Values"];

fn latencies(result: &ScenarioResult) -> String {
    let figures = &result.figures;
    let rows = [
        ("delivery", &figures.delivery.corrected),
        ("delivery, raw", &figures.delivery.raw),
        ("ack", &figures.ack.corrected),
        ("ack, raw", &figures.ack.raw),
        ("connecting", &figures.connect),
        ("generator's lag", &figures.schedule_lag),
    ];
    let rows: Vec<_> = rows.into_iter().filter_map(|(name, figures)| percentiles(name, figures)).collect();
    if rows.is_empty() {
        String::new()
    } else {
        table("Latency; raw counts from the actual send", &LATENCY_HEAD, rows)
    }
}

fn costs(result: &ScenarioResult) -> String {
    let figures = &result.figures;
    let row = |name: &str, process: &ProcessFigures| {
        vec![
            name.to_owned(),
            format!("{} s", figure::number(process.cpu_ms as f64 / 1e3)),
            figure::share(process.cpu_share),
            figure::bytes(process.peak_resident),
            process.threads.to_string(),
            process.files.to_string(),
            figure::bytes(process.disk_bytes),
        ]
    };
    let mut rows: Vec<_> = figures.server.iter().map(|server| row("server", server)).collect();
    rows.push(row("generator", &figures.generator));
    let caption = format!(
        "Processes; {} sent and {} received, {} acked and {} delivered per second, {} of the events failed",
        figure::bytes(figures.bytes_sent),
        figure::bytes(figures.bytes_received),
        figure::number(figures.acked_per_second),
        figure::number(figures.delivered_per_second),
        figure::share(figures.error_rate)
    );
    table(&caption, &["", "CPU", "Of a core", "Memory", "Threads", "Files", "Disk"], rows)
}

fn connection(figures: &ConnectionFigures) -> String {
    let cuts: u64 = figures.cuts.values().sum();
    let parts = [
        ("TCP".to_owned(), &figures.tcp),
        ("upgrade".to_owned(), &figures.upgrade),
        ("first message".to_owned(), &figures.first_message),
        ("one by one".to_owned(), &figures.one_by_one),
        ("all at once".to_owned(), &figures.all_at_once),
    ];
    let recovery = figures.recovery.iter().map(|(kind, figures)| (format!("recovery after {kind}"), figures));
    let rows =
        parts.into_iter().chain(recovery).filter_map(|(name, figures)| percentiles(&name, figures)).collect();
    let share = |part: u64, whole: u64| {
        if whole > 0 { figure::share(part as f64 / whole as f64) } else { "–".to_owned() }
    };
    let caption = format!(
        "Connecting and reconnecting; {} of {} established ({}), {} of {cuts} cut connections recovered ({})",
        figures.established,
        figures.attempted,
        share(figures.established, figures.attempted),
        figures.recovered,
        share(figures.recovered, cuts)
    );
    let attempts = figures
        .attempts_used
        .iter()
        .map(|(attempts, count)| vec![attempts.to_string(), figure::count(*count)])
        .collect();
    let allowed = format!("Attempts to recover; {} were allowed", figures.attempts_allowed);
    table(&caption, &LATENCY_HEAD, rows) + &table(&allowed, &["Attempts", "Connections"], attempts)
}

fn reliability(figures: &ReliabilityFigures) -> String {
    let shares = vec![
        vec!["message loss rate".to_owned(), figure::share(figures.loss_rate)],
        vec!["session success rate".to_owned(), figure::share(figures.session_success_rate)],
        vec!["error rate".to_owned(), figure::share(figures.error_rate)],
        vec!["events sent again".to_owned(), figure::count(figures.retries)],
        vec!["of those, already in the log".to_owned(), figure::count(figures.duplicates_suppressed)],
    ];
    let times =
        [("after a fault", &figures.recovery), ("after a kill of the server", &figures.server_recovery)];
    let times: Vec<_> = times.into_iter().filter_map(|(name, figures)| percentiles(name, figures)).collect();
    let recovery = if times.is_empty() { String::new() } else { table("Recovery", &LATENCY_HEAD, times) };
    table("Reliability", &["Figure", "Value"], shares) + &recovery
}

fn limit(search: &LimitSearch) -> String {
    let rows = search.steps.iter().map(|step| {
        vec![
            figure::number(step.planned_per_second),
            figure::number(step.delivered_per_second),
            figure::micros(step.p99_micros),
            figure::share(step.server_cpu_share),
            step.broke.clone().unwrap_or_else(|| "held".to_owned()),
        ]
    });
    let held = search.held.map_or_else(
        || "no load held".to_owned(),
        |held| format!("{} events per second held", figure::number(held)),
    );
    let caption = format!(
        "Search for the limit at a p99 of {}: {held}; ended because {}",
        figure::micros(search.goal_p99_micros),
        search.ended
    );
    table(&caption, &["Planned/s", "Delivered/s", "p99", "Server's CPU of a core", "Outcome"], rows.collect())
}
