//! Resources of the machine: file descriptors, ports, the listen backlog, memory; and the clock.

use std::fs;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agentbench_server::config::Config;
use rustix::process::{Resource, getrlimit};

use super::{Check, Verdict, bytes};

/// File descriptors that a server needs beyond its connections: the log's files, timers, streams of the archive.
const OWN_FILES: u64 = 256;
/// The backlog that the server requests with `listen`.
const BACKLOG: u64 = 16_384;
/// The budget of one connection (docs/tuning.md).
const CONNECTION_BYTES: u64 = 4 * 1024;
/// Memory for an idle server.
const IDLE_BYTES: u64 = 64 * 1024 * 1024;
/// The earliest plausible clock, since this program is newer: 2026-01-01.
const OLDEST: u64 = 1_767_225_600;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let connections = config.max_connections as u64;
    let limit = getrlimit(Resource::Nofile);
    let mut checks = vec![files(limit.current, limit.maximum, connections, config.production)];
    let read = |path: &str| fs::read_to_string(path).ok();
    checks.extend(read("/proc/sys/net/ipv4/ip_local_port_range").and_then(|text| ports(&text, connections)));
    checks.extend(read("/proc/sys/net/core/somaxconn").and_then(|text| backlog(&text)));
    checks.extend(memory(config));
    checks.push(clock(SystemTime::now(), newest_in(&config.data_dir)));
    checks
}

fn files(current: Option<u64>, maximum: Option<u64>, connections: u64, production: bool) -> Check {
    let needed = connections + OWN_FILES;
    let Some(current) = current else { return Check::good("file_descriptors", "no limit") };
    let verdict = match (current >= needed, production) {
        (true, _) => Verdict::Good,
        (false, true) => Verdict::Bad,
        (false, false) => Verdict::Warn,
    };
    let shown = |limit: Option<u64>| limit.map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let figure =
        format!("{current} (hard limit {}), {needed} for MAX_CONNECTIONS={connections}", shown(maximum));
    let advice = format!(
        "beyond {} connections the server cannot accept: LimitNOFILE={needed} in the unit, or ulimit -n {needed}; or lower MAX_CONNECTIONS",
        current.saturating_sub(OWN_FILES)
    );
    Check::of("file_descriptors", verdict, figure, advice)
}

/// Ports for outgoing connections: a load balancer on this machine needs one for each client.
fn ports(text: &str, connections: u64) -> Option<Check> {
    let mut parts = text.split_whitespace().map(str::parse::<u64>);
    let (low, high) = (parts.next()?.ok()?, parts.next()?.ok()?);
    let count = (high + 1).saturating_sub(low);
    let verdict = if count >= connections { Verdict::Good } else { Verdict::Warn };
    let advice = "only if a load balancer or load generator runs on this machine: sysctl net.ipv4.ip_local_port_range=\"1024 65535\"";
    Some(Check::of("local_ports", verdict, format!("{count} ({low} to {high})"), advice))
}

fn backlog(text: &str) -> Option<Check> {
    let backlog: u64 = text.trim().parse().ok()?;
    let verdict = match backlog {
        4096.. => Verdict::Good,
        512.. => Verdict::Warn,
        _ => Verdict::Bad,
    };
    let advice = format!(
        "a storm of reconnects overflows it: sysctl net.core.somaxconn={BACKLOG}, as much as the server asks for"
    );
    Some(Check::of(
        "listen_backlog",
        verdict,
        format!("{} of {BACKLOG} asked for", backlog.min(BACKLOG)),
        advice,
    ))
}

fn memory(config: &Config) -> Option<Check> {
    let available = available_memory(&fs::read_to_string("/proc/meminfo").ok()?)?;
    let group = own_group().and_then(|group| fs::read_to_string(group.join("memory.max")).ok());
    let limit = group.and_then(|text| text.trim().parse().ok()).unwrap_or(u64::MAX);
    let budgets = config.receive_budget + config.commit_backlog + config.tail_budget;
    let needed = IDLE_BYTES + budgets as u64 + config.max_connections as u64 * CONNECTION_BYTES;
    Some(judge_memory(available.min(limit), limit < available, needed))
}

fn judge_memory(available: u64, is_limited: bool, needed: u64) -> Check {
    let verdict = match available {
        _ if available >= needed => Verdict::Good,
        _ if available >= needed / 4 => Verdict::Warn,
        _ => Verdict::Bad,
    };
    let of = if is_limited { "in this control group" } else { "available" };
    let figure = format!("{} {of}, {} needed if all budgets are used up", bytes(available), bytes(needed));
    let advice = "lower MAX_CONNECTIONS, RECEIVE_BUDGET, COMMIT_BACKLOG or TAIL_BUDGET, or add memory";
    Check::of("memory", verdict, figure, advice)
}

/// `MemAvailable` of `/proc/meminfo`, in bytes.
fn available_memory(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

/// The folder of this process's control group (version 2).
fn own_group() -> Option<std::path::PathBuf> {
    let text = fs::read_to_string("/proc/self/cgroup").ok()?;
    let path = text.lines().find_map(|line| line.strip_prefix("0::"))?;
    Some(Path::new("/sys/fs/cgroup").join(path.trim_start_matches('/')))
}

/// The time of the newest change in a folder.
fn newest_in(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    entries.filter_map(|entry| entry.metadata().ok()?.modified().ok()).max()
}

fn clock(now: SystemTime, newest: Option<SystemTime>) -> Check {
    let name = "clock";
    let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let set =
        "set the clock and keep it synchronized (systemd-timesyncd, chrony): tokens are checked against it";
    if seconds < OLDEST {
        return Check::of(
            name,
            Verdict::Bad,
            format!("{seconds} s since 1970: earlier than this program's release"),
            set,
        );
    }
    let ahead = newest.and_then(|newest| newest.duration_since(now).ok()).unwrap_or_default();
    if ahead > Duration::from_secs(5) {
        let figure = format!("the data folder has a file from {} s in the future", ahead.as_secs());
        return Check::of(name, Verdict::Bad, figure, set);
    }
    let is_kept = ["/run/systemd/timesync/synchronized", "/run/chrony/chronyd.pid"];
    let by = if is_kept.iter().any(|path| Path::new(path).exists()) {
        "synchronized by this system"
    } else {
        "no time service found; in a container, the host's counts"
    };
    Check::good(name, format!("{seconds} s since 1970, {by}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_judged_by_what_the_settings_need() {
        assert_eq!(files(None, None, 10_000, true).verdict, Verdict::Good);
        assert_eq!(files(Some(1024), Some(4096), 10_000, true).verdict, Verdict::Bad);
        let warned = files(Some(1024), None, 10_000, false);
        assert_eq!(warned.verdict, Verdict::Warn);
        assert!(warned.advice.unwrap().contains("768 connections"));
        assert_eq!(files(Some(10_256), None, 10_000, true).verdict, Verdict::Good);
        assert_eq!(ports("32768\t60999\n", 10_000).unwrap().verdict, Verdict::Good);
        assert_eq!(ports("60000 60999", 10_000).unwrap().verdict, Verdict::Warn);
        assert!(ports("many", 1).is_none());
        for (text, verdict) in [
            ("4096\n", Verdict::Good),
            ("512", Verdict::Warn),
            ("128", Verdict::Bad),
            ("65535", Verdict::Good),
        ] {
            assert_eq!(backlog(text).unwrap().verdict, verdict, "{text}");
        }
    }

    #[test]
    fn memory_is_judged_by_the_budgets() {
        assert_eq!(available_memory("MemTotal: 5 kB\nMemAvailable:   2048 kB\n"), Some(2 << 20));
        assert_eq!(available_memory("MemAvailable: lots"), None);
        for (available, verdict) in [(400, Verdict::Good), (399, Verdict::Warn), (99, Verdict::Bad)] {
            assert_eq!(judge_memory(available, false, 400).verdict, verdict);
        }
    }

    #[test]
    fn a_clock_that_went_back_is_found() {
        let now = UNIX_EPOCH + Duration::from_secs(OLDEST + 100);
        assert_eq!(clock(now, Some(now)).verdict, Verdict::Good);
        assert_eq!(clock(now, Some(now + Duration::from_secs(60))).verdict, Verdict::Bad);
        assert_eq!(clock(UNIX_EPOCH, None).verdict, Verdict::Bad);
    }
}
