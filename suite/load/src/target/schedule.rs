//! Sends at a rate independent of the server.

use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

/// Calls `send` with each message's number (from 0) and scheduled time, `rate` times per second, and `begin` when the warm-up is over.
/// It spins in between, since a timer's tick is as long as the times to measure: it needs a core of its own. Returns how much later
/// than scheduled each message of the measured time was sent, µs, for which only the generator is responsible.
pub(super) async fn at_rate(
    rate: u64,
    warm_up: Duration,
    duration: Duration,
    mut begin: impl FnMut(),
    mut send: impl FnMut(u64, Instant) -> anyhow::Result<()>,
) -> anyhow::Result<Histogram<u64>> {
    let mut lag = Histogram::new(3)?;
    let (started, mut count, mut is_measuring) = (Instant::now(), 0_u64, false);
    while started.elapsed() < warm_up + duration {
        if !is_measuring && started.elapsed() >= warm_up {
            begin();
            lag.reset();
            is_measuring = true;
        }
        let due = (started.elapsed().as_secs_f64() * rate as f64) as u64;
        while count < due {
            let planned = started + Duration::from_nanos(count.saturating_mul(1_000_000_000) / rate.max(1));
            // Far below the histogram's limit.
            let _ = lag.record(planned.elapsed().as_micros() as u64);
            send(count, planned)?;
            count += 1;
        }
        tokio::task::yield_now().await;
    }
    Ok(lag)
}
