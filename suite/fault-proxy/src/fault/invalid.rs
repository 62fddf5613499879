//! Checks faults for invalid values.

use agentbench_websocket::is_sendable_close_code;

use super::{Effect, Fault, When};

/// Longest time in a fault: a day. Anything longer is probably a wrong unit.
const MAX_MS: u64 = 24 * 60 * 60 * 1000;
/// Maximum size of a close frame's reason in bytes (RFC 6455 §5.5).
const MAX_REASON: usize = 123;

/// Why a fault is refused; nothing was added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct InvalidFault {
    /// The field, as in a plan: `when.probability`.
    pub field: &'static str,
    /// What is wrong, and what is allowed.
    pub problem: String,
}

impl Fault {
    /// Checks the values.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub fn check(&self) -> Result<(), InvalidFault> {
        self.when.check()?;
        self.effect.check()
    }
}

impl When {
    fn check(&self) -> Result<(), InvalidFault> {
        let probability = self.probability.unwrap_or(0.0);
        require((0.0..=1.0).contains(&probability), "when.probability", || {
            format!("{probability} is not between 0 and 1")
        })?;
        require(self.contains.as_deref() != Some(""), "when.contains", || {
            "is empty; omit it to match any message".to_owned()
        })?;
        require(self.times != Some(0), "when.times", || {
            "is 0, so it would never strike; omit the fault".to_owned()
        })?;
        milliseconds(self.after_ms, "when.after_ms")
    }
}

impl Effect {
    /// Checks the values.
    ///
    /// # Errors
    /// The first field that is out of its range, with the range.
    pub fn check(&self) -> Result<(), InvalidFault> {
        let positive = |value: u64, field| require(value > 0, field, || "must be at least 1".to_owned());
        match self {
            Self::Latency { ms, jitter_ms, for_ms } => {
                milliseconds(Some(*ms), "effect.ms")?;
                milliseconds(Some(*jitter_ms), "effect.jitter_ms")?;
                milliseconds(*for_ms, "effect.for_ms")
            }
            Self::Bandwidth { bytes_per_second, for_ms } => {
                positive(*bytes_per_second, "effect.bytes_per_second")?;
                milliseconds(*for_ms, "effect.for_ms")
            }
            Self::Slice { bytes, for_ms, delay_us } => {
                positive(*bytes as u64, "effect.bytes")?;
                milliseconds(Some(delay_us / 1000), "effect.delay_us")?;
                milliseconds(*for_ms, "effect.for_ms")
            }
            Self::BlackHole { for_ms } => milliseconds(*for_ms, "effect.for_ms"),
            Self::Stall { ms } | Self::Delay { ms } => milliseconds(Some(*ms), "effect.ms"),
            Self::SlowReader { bytes_per_second, pause_ms, for_ms } => {
                require(bytes_per_second.is_some() || pause_ms.is_some(), "effect", || {
                    "slow_reader needs bytes_per_second or pause_ms".to_owned()
                })?;
                positive(bytes_per_second.unwrap_or(1), "effect.bytes_per_second")?;
                milliseconds(*pause_ms, "effect.pause_ms")?;
                milliseconds(*for_ms, "effect.for_ms")
            }
            Self::Close { code, reason } => {
                require(is_sendable_close_code(*code), "effect.code", || {
                    format!(
                        "{code} must not be sent (RFC 6455 §7.4); use 1000 to 1014 except 1004, 1005, 1006, or 3000 to 4999"
                    )
                })?;
                require(reason.len() <= MAX_REASON, "effect.reason", || {
                    format!("has {} bytes; a close frame holds {MAX_REASON}", reason.len())
                })
            }
            Self::Reset { .. }
            | Self::HalfClose
            | Self::Corrupt { .. }
            | Self::Truncate { .. }
            | Self::Drop
            | Self::Duplicate
            | Self::Swap => Ok(()),
        }
    }
}

fn milliseconds(value: Option<u64>, field: &'static str) -> Result<(), InvalidFault> {
    let value = value.unwrap_or(0);
    require(value <= MAX_MS, field, || format!("{value} ms is more than a day ({MAX_MS} ms)"))
}

fn require(holds: bool, field: &'static str, problem: impl FnOnce() -> String) -> Result<(), InvalidFault> {
    if holds { Ok(()) } else { Err(InvalidFault { field, problem: problem() }) }
}
