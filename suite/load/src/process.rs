//! What a process uses, as `/proc` has it (proc(5)).

use std::fs;
use std::time::Duration;

/// One look at a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU of all its threads so far, user and system.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident: u64,
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub files: usize,
}

/// Looks at the process with this id. Threads that have ended count through the process's own total.
///
/// # Errors
/// If there is no such process, or it is not ours to look at.
pub fn usage(pid: u32) -> std::io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Usage { cpu: cpu_of(pid, &stat)?, resident: resident(pid)?, threads, files })
}

/// Nanoseconds from the scheduler where it tells them, else clock ticks.
fn cpu_of(pid: u32, stat: &str) -> std::io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread may end while we look.
        let text = fs::read_to_string(path).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    if nanos > 0 {
        return Ok(Duration::from_nanos(nanos));
    }
    // The name in the second field may hold anything; fields are counted from behind it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    const TICKS_PER_SECOND: u64 = 100;
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS_PER_SECOND))
}

fn resident(pid: u32) -> std::io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_own_process_uses_something() {
        let mut spin = 0_u64;
        for n in 0..50_000_000_u64 {
            spin = spin.wrapping_mul(31).wrapping_add(std::hint::black_box(n));
        }
        std::hint::black_box(spin);
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.cpu > Duration::ZERO && usage.resident > 1024 * 1024, "{usage:?}");
        assert!(usage.threads >= 1 && usage.files >= 3, "{usage:?}");
        assert!(super::usage(u32::MAX).is_err());
    }
}
