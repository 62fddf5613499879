//! The generator watches itself: whether a run's figures are the server's, or only say how fast the load could be made.

use std::time::{Duration, Instant};

use serde::Serialize;

use crate::process::{Usage, usage};

/// From this share of a core on, whoever uses it is the bottleneck.
const BUSY: f64 = 0.95;
/// With a rate: the 99th percentile of lateness from which latencies tell of the generator.
const LATE: Duration = Duration::from_millis(1);

/// One look at both processes.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    at: Instant,
    own: Usage,
    server: Option<Usage>,
}

/// What the time between two looks has cost.
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

/// What a run is good for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", content = "why", rename_all = "lowercase")]
pub enum Verdict {
    /// Its figures are the server's.
    Valid,
    /// They are not, and why.
    Invalid(String),
}

impl Look {
    /// Looks at this process, and at the server's if it is known.
    ///
    /// # Errors
    /// If one of them cannot be looked at: it has gone, or belongs to somebody else.
    pub fn now(server: Option<u32>) -> std::io::Result<Self> {
        let own = usage(std::process::id())?;
        Ok(Self { at: Instant::now(), own, server: server.map(usage).transpose()? })
    }

    /// What has been used since.
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

/// Judges a run with a window: whoever has no CPU left was the bottleneck.
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
            "the generator used {own:.0} % of a core, and nobody knows whether the server was busier; name its process"
        )),
    }
}

/// Judges a run with a rate by how late the generator was. It spins, so its CPU says nothing.
pub fn judge_rate(lag_p99: Duration) -> Verdict {
    if lag_p99 < LATE {
        return Verdict::Valid;
    }
    Verdict::Invalid(format!(
        "the generator was late itself: 1 in 100 messages by more than {:.1} ms; give it a core, or ask for less",
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
        let before = Look::now(Some(std::process::id())).unwrap();
        let since = Instant::now();
        while since.elapsed() < Duration::from_millis(20) {
            std::hint::spin_loop();
        }
        let cost = before.until(&Look::now(Some(std::process::id())).unwrap());
        assert!(cost.generator_cores > 0.0 && cost.server_cpu_us > Some(0.0), "{cost:?}");
        Look::now(Some(u32::MAX)).unwrap_err();
    }
}
