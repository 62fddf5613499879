//! The pace and the result of a run, for every job.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;

/// When the next message is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pace {
    /// When an earlier one is answered: this number is in flight, on each connection (broadcast: from the one sender).
    Window(usize),
    /// At this rate per second of all connections together, independent of the server.
    Rate(u64),
}

/// The result of a run.
#[derive(Clone)]
pub struct Measurement {
    /// Echoes, acks or deliveries in the measured time.
    pub answered: u64,
    /// The measured time.
    pub took: Duration,
    /// From sending to the answer, µs; with a rate, from the scheduled send.
    pub latency: Histogram<u64>,
    /// With a rate: how much later than scheduled the messages were sent, µs.
    pub lag: Option<Histogram<u64>>,
    /// Time to open all connections.
    pub opened_in: Duration,
    /// Writes that did not fit the socket.
    pub blocked: u64,
}

impl Measurement {
    /// Answers per second.
    pub fn per_second(&self) -> f64 {
        self.answered as f64 / self.took.as_secs_f64()
    }

    /// A quantile of the latency, ms.
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.value_at_quantile(quantile) as f64 / 1000.0
    }
}

impl fmt::Debug for Measurement {
    /// Omits the thousands of buckets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Measurement")
            .field("answered", &self.answered)
            .field("took", &self.took)
            .field("latencies", &self.latency.len())
            .field("blocked", &self.blocked)
            .finish_non_exhaustive()
    }
}
