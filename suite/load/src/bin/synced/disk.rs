//! The disk alone: small appends to one file, each followed by `fdatasync`.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use hdrhistogram::Histogram;
use serde::Serialize;

/// Bytes of an append.
const APPEND: usize = 4096;
/// Bounds of a measurement: number of appends, and time.
const APPENDS: usize = 500;
const LIMIT: Duration = Duration::from_secs(3);

/// Latency of `fdatasync` after an append of 4 KiB.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct DiskLatency {
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    appends: u64,
}

#[cfg(test)]
impl DiskLatency {
    pub(crate) fn of(p50_ms: f64, p99_ms: f64) -> Self {
        Self { p50_ms, p99_ms, appends: 1 }
    }
}

/// Measures it with a new file in `folder`, which is removed afterwards.
pub(crate) fn measure(folder: &Path) -> anyhow::Result<DiskLatency> {
    let path = folder.join("disk-probe");
    let mut file = File::create_new(&path).context("cannot create a file for the disk's latency")?;
    let (block, mut latency, started) = ([0x5a; APPEND], Histogram::<u64>::new(3)?, Instant::now());
    for _ in 0..APPENDS {
        if started.elapsed() > LIMIT {
            break;
        }
        file.write_all(&block)?;
        let before = Instant::now();
        file.sync_data()?;
        latency.record(u64::try_from(before.elapsed().as_micros())?)?;
    }
    std::fs::remove_file(&path)?;
    let ms = |quantile| latency.value_at_quantile(quantile) as f64 / 1000.0;
    Ok(DiskLatency { p50_ms: ms(0.5), p99_ms: ms(0.99), appends: latency.len() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_is_bounded_and_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let latency = measure(folder.path()).unwrap();
        assert!(latency.appends > 0 && latency.appends <= APPENDS as u64);
        assert!(latency.p50_ms <= latency.p99_ms);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
