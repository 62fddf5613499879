//! The rules, each with its threshold.

use super::{Advice, cores, p99};
use crate::figure;
use crate::promises::Broken;
use crate::schema::{Report, ScenarioResult};
use crate::score::GOAL_P99_MS;

pub(super) type Rule = fn(&ScenarioResult, &Report) -> Option<Advice>;

/// Every rule.
pub(super) const ALL: [Rule; 12] = [
    findings,
    generator,
    processor,
    refusals,
    connections,
    connecting,
    recovery,
    restart,
    retries,
    faults,
    memory,
    disk,
];

/// Share of the machine's cores above which a server counts as busy.
const BUSY: f64 = 0.9;
/// Time above which people notice slow connecting, µs.
const SLOW_CONNECT: u64 = 250_000;
/// Recovery time above which viewers notice a stall, µs.
const SLOW_RECOVERY: u64 = 5_000_000;
/// Memory per connection above which the sessions' tails are the cause, not the connections, bytes.
const MUCH_MEMORY: u64 = 64 * 1024;
/// Number of connections above which memory per connection is meaningful.
const ENOUGH_CONNECTIONS: u64 = 200;
/// Growth of the data folder per hour above which a limit is due, bytes.
const MUCH_DISK: f64 = 10e9;

fn advice(rule: &'static str, weight: u8, figure: String, advice: &str, setting: &str) -> Option<Advice> {
    Some(Advice { rule, weight, figure, advice: advice.to_owned(), setting: setting.to_owned() })
}

fn findings(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let broken = Broken::of(&result.verdict).all();
    if broken == 0 {
        return None;
    }
    advice(
        "findings",
        100,
        format!("{broken} broken promises"),
        "This is a bug, whatever the load: report it with the histories of this run and the command that replays it.",
        &result.replay,
    )
}

fn generator(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let invalid = result.invalid.as_ref()?;
    advice(
        "generator",
        90,
        format!("{invalid} (lag {})", p99(result.figures.schedule_lag.p99)),
        "The speed figures are those of the generator. Give server and suite cores of their own (taskset), close other programs, or lower the load.",
        "TEST_CLIENT_COUNT, taskset",
    )
}

fn processor(result: &ScenarioResult, report: &Report) -> Option<Advice> {
    let (used, delivery) = (cores(result), result.figures.delivery.corrected.p99);
    // Without a valid p99, no missing CPU can be shown to matter.
    if result.invalid.is_some()
        || used < BUSY * report.machine.cores as f64
        || delivery as f64 <= GOAL_P99_MS * 1e3
    {
        return None;
    }
    advice(
        "processor",
        80,
        format!(
            "the server used {} of a core on {} cores, delivery {}",
            figure::share(used),
            report.machine.cores,
            p99(delivery)
        ),
        "The server is out of CPU: use more cores with a worker on each, or spread sessions over several servers.",
        "WORKERS",
    )
}

fn refusals(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let refused = result.counts.refused;
    if refused == 0 {
        return None;
    }
    advice(
        "refusals",
        75,
        format!("{refused} of {} events refused", result.counts.planned),
        "The histories show why. overloaded: the log is slower than the load; a faster disk helps, a larger backlog only moves the limit. rate_limited: raise the rates.",
        "COMMIT_BACKLOG, CONNECTION_RATE, USER_RATE",
    )
}

fn connections(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let failed = result.counts.connections_failed;
    if failed == 0 {
        return None;
    }
    advice(
        "connections",
        70,
        format!("{failed} of {} connections failed", result.counts.connections),
        "Raise the limits of connections and open files; the server's log names each refusal.",
        "MAX_CONNECTIONS, ulimit -n",
    )
}

fn connecting(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let connect = &result.figures.connect;
    if connect.p99 < SLOW_CONNECT {
        return None;
    }
    advice(
        "connecting",
        50,
        format!("connecting {}, median {}", p99(connect.p99), figure::micros(connect.p50)),
        "Many clients connect at once: a worker on each core accepts more of them, and a longer spread keeps clients from reconnecting together.",
        "WORKERS, RECONNECT_SPREAD",
    )
}

fn recovery(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let of_cuts = result.connection.iter().flat_map(|figures| &figures.recovery);
    let of_cuts = of_cuts.map(|(kind, figures)| (kind.as_str(), figures.p99));
    let of_faults = result.reliability.iter().map(|figures| ("faults", figures.recovery.p99));
    let (kind, slowest) = of_cuts.chain(of_faults).max_by_key(|(_, p99)| *p99)?;
    if slowest < SLOW_RECOVERY {
        return None;
    }
    advice(
        "recovery",
        60,
        format!("recovery after {kind} {}", p99(slowest)),
        "A dead peer is detected after two unanswered pings: ping more often. In the SDK, Backoff bounds the delay between attempts.",
        "HEARTBEAT_INTERVAL",
    )
}

fn restart(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let recovery = result.reliability.as_ref()?.server_recovery;
    if recovery.p99 < SLOW_RECOVERY {
        return None;
    }
    advice(
        "restart",
        55,
        format!("first ack after a kill of the server: {}", p99(recovery.p99)),
        "A start after a crash reads the live sessions' log: a smaller one is read faster, at the price of more copying.",
        "HOT_LOG_BYTES",
    )
}

fn retries(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let counts = &result.counts;
    let share = counts.retried as f64 / counts.planned.max(1) as f64;
    // Each fault may cost its connection's events in flight once; far more than that has another cause. Cuts and restarts
    // on purpose are the cause themselves.
    let is_cut = result.connection.is_some() || result.faults.iter().any(|it| it.kind.starts_with("server_"));
    if is_cut || share < 0.05 + 5.0 * result.scenario.failure_rate {
        return None;
    }
    advice(
        "retries",
        45,
        format!("{} of {} events sent again ({})", counts.retried, counts.planned, figure::share(share)),
        "Far more than the faults explain: look for connections closed as slow or unanswered, and for refusals.",
        "SLOW_CONSUMER_TIMEOUT, HEARTBEAT_INTERVAL",
    )
}

fn faults(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let planned: u64 = result.faults.iter().map(|fault| fault.planned).sum();
    let happened: u64 = result.faults.iter().map(|fault| fault.happened).sum();
    if happened >= planned.div_ceil(2) {
        return None;
    }
    advice(
        "faults",
        65,
        format!("{happened} of {planned} planned faults happened"),
        "The run proves less than planned: give it more time.",
        &result.replay,
    )
}

fn memory(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let connections = result.counts.connections;
    let first = result.samples.first()?.server_resident;
    let grown = result.figures.server?.peak_resident.saturating_sub(first);
    if connections < ENOUGH_CONNECTIONS || grown / connections < MUCH_MEMORY {
        return None;
    }
    advice(
        "memory",
        40,
        format!(
            "the server grew by {} for each of {connections} connections",
            figure::bytes(grown / connections)
        ),
        "Most of it holds the sessions' newest events and remembered ids: keep fewer if memory is short.",
        "TAIL_BYTES, TAIL_BUDGET, DEDUPE_WINDOW",
    )
}

fn disk(result: &ScenarioResult, _: &Report) -> Option<Advice> {
    let grown = result.figures.server?.disk_bytes;
    let hourly = grown as f64 * 3.6e6 / result.figures.took_ms.max(1) as f64;
    if hourly < MUCH_DISK {
        return None;
    }
    advice(
        "disk",
        30,
        format!(
            "the data folder grew by {}, {} per hour at this rate",
            figure::bytes(grown),
            figure::bytes(hourly as u64)
        ),
        "Bound the archive if this load is permanent.",
        "RETENTION_BYTES, RETENTION_AGE",
    )
}

#[cfg(test)]
pub(super) mod tests {
    use agentbench_history::Kind;

    use super::*;
    use crate::sample::perfect;
    use crate::schema::FaultCount;

    pub(in super::super) fn make_everything_bad(result: &mut ScenarioResult) {
        result.verdict.counts = [(Kind::Lost, 1)].into();
        result.invalid = Some("late".to_owned());
        let counts = &mut result.counts;
        (counts.refused, counts.connections_failed, counts.connections, counts.retried) =
            (1, 1, 1_000, counts.planned * 3);
        let server = result.figures.server.as_mut().unwrap();
        (server.cpu_share, server.peak_resident, server.disk_bytes) = (2.0, 1 << 40, 1 << 40);
        result.figures.delivery.corrected.p99 = 1_000_000;
        result.figures.connect.p99 = 1_000_000;
        result.faults = vec![FaultCount { kind: "reset".to_owned(), planned: 10, happened: 1 }];
        let figures = result.reliability.get_or_insert_default();
        (figures.recovery.p99, figures.server_recovery.p99) = (10_000_000, 10_000_000);
    }

    #[test]
    fn each_rule_speaks_of_what_is_bad_and_keeps_silent_otherwise() {
        let report = perfect();
        for (place, rule) in ALL.iter().enumerate() {
            let mut result = report.scenarios[0].clone();
            assert!(rule(&result, &report).is_none(), "rule {place} speaks without need");
            make_everything_bad(&mut result);
            let invalid = result.clone();
            result.invalid = None;
            let speaks = [&result, &invalid].into_iter().any(|result| rule(result, &report).is_some());
            assert!(speaks, "rule {place} is silent");
        }
    }
}
