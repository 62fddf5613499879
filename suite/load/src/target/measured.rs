//! What a run is asked for and what comes of it, the same for every job.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// When the next message goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When an earlier one is answered: so many are on their way, on each connection (broadcast: from the one sender).
    Window(usize),
    /// So many a second of all connections together, whatever the server does.
    Rate(u64),
}

/// What came of a run.
#[derive(Clone)]
pub struct Measured {
    /// Echoes, acks or deliveries in the measured time.
    pub answered: u64,
    /// The measured time.
    pub took: Duration,
    /// Sending to answer, µs; with a rate from the planned moment.
    pub latency: Histogram<u64>,
    /// With a rate: how much later than planned the messages were sent, µs.
    pub lag: Option<Histogram<u64>>,
    /// Time that opening all connections took.
    pub opened_in: Duration,
    /// Writes that a full socket did not take whole.
    pub blocked: u64,
}

impl Measured {
    /// Answers a second.
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    /// A quantile of the latency, ms.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl fmt::Debug for Measured {
    /// Without the thousands of buckets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measured")
            .field("answered", &self.answered)
            .field("took", &self.took)
            .field("latencies", &self.latency.len())
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}
