//! Checks the generator itself: whether a run's figures are the server's, or only show how fast the generator was.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::process::{Usage, usage};

/// Share of a core from which a process counts as the bottleneck.
const BUSY: f64 = 0.95;
/// With a rate: 99th percentile of lateness above which latencies reflect the generator.
const LATE: Duration = Duration::from_millis(1);

/// One sample of both processes.
#[derive(Debug, Clone, Copy)]
pub struct UsageSample {
    at: Instant,
    own: Usage,
    server: Option<Usage>,
}

/// Resources used between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Cost {
    /// CPU of the generator, in cores.
    pub generator_cores: f64,
    /// CPU of the server, in cores, if its process is known.
    pub server_cores: Option<f64>,
    /// CPU of the server, µs.
    pub server_cpu_us: Option<f64>,
    /// The server's resident memory at the end, bytes.
    pub server_resident: Option<u64>,
}

/// Whether a run is valid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "lowercase")]
pub enum Verdict {
    /// Its figures are the server's.
    Valid,
    /// Its figures are not the server's, for this reason.
    Invalid(String),
}

impl UsageSample {
    /// Samples this process, and the server's if it is known.
    ///
    /// # Errors
    /// A process cannot be read: it has exited, or belongs to another user.
    pub fn now(server: Option<u32>) -> std::io::Result<Self> {
        let own = usage(std::process::id())?;
        Ok(Self { at: Instant::now(), own, server: server.map(usage).transpose()? })
    }

    /// Resources used until the later sample.
    pub fn until(&self, later: &Self) -> Cost {
        let took = later.at.duration_since(self.at).as_secs_f64().max(1e-9);
        let cpu = |from: Usage, to: Usage| to.cpu.saturating_sub(from.cpu).as_secs_f64();
        let server = self.server.zip(later.server).map(|(from, to)| cpu(from, to));
        Cost {
            generator_cores: cpu(self.own, later.own) / took,
            server_cores: server.map(|cpu| cpu / took),
            server_cpu_us: server.map(|cpu| cpu * 1e6),
            server_resident: later.server.map(|usage| usage.resident),
        }
    }
}

/// Judges a run with a window: the process without spare CPU was the bottleneck.
pub fn judge_window(cost: &Cost) -> Verdict {
    let own = cost.generator_cores * 100.0;
    match cost.server_cores {
        _ if cost.generator_cores < BUSY => Verdict::Valid,
        Some(server) if server >= BUSY => Verdict::Valid,
        Some(server) => Verdict::Invalid(format!(
            "the generator was the bottleneck: {own:.0} % of a core, the server only {:.0} %",
            server * 100.0
        )),
        None => Verdict::Invalid(format!(
            "the generator used {own:.0} % of a core, and it is unknown whether the server was busier; give its process id"
        )),
    }
}

/// Judges a run with a rate by the generator's lateness. It spins, so its CPU is meaningless.
pub fn judge_rate(lag_p99: Duration) -> Verdict {
    if lag_p99 < LATE {
        return Verdict::Valid;
    }
    Verdict::Invalid(format!(
        "the generator itself was late: 1 in 100 messages by more than {:.1} ms; give it a core of its own, or lower the rate",
        lag_p99.as_secs_f64() * 1000.0
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(generator_cores: f64, server_cores: Option<f64>) -> Cost {
        Cost { generator_cores, server_cores, server_cpu_us: None, server_resident: None }
    }

    #[test]
    fn a_busy_generator_beside_an_idle_server_is_no_measurement() {
        for (own, server, valid) in [
            (0.5, Some(0.2), true),
            (0.97, Some(0.99), true),
            (0.97, Some(0.6), false),
            (0.97, None, false),
            (0.5, None, true),
        ] {
            assert_eq!(judge_window(&cost(own, server)) == Verdict::Valid, valid, "{own} {server:?}");
        }
        assert_eq!(judge_rate(Duration::from_micros(300)), Verdict::Valid);
        assert_ne!(judge_rate(Duration::from_millis(3)), Verdict::Valid);
    }

    #[test]
    fn looks_see_what_is_used_between_them() {
        let before = UsageSample::now(Some(std::process::id())).unwrap();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let cost = before.until(&UsageSample::now(Some(std::process::id())).unwrap());
        assert!(cost.generator_cores > 0.0 && cost.server_cpu_us > Some(0.0), "{cost:?}");
        UsageSample::now(Some(u32::MAX)).unwrap_err();
    }
}
