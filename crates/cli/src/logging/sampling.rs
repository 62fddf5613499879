//! Limits floods: at most `burst` lines per second of the same message. The rest is counted, and the count is written with the first
//! line after that second.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::callsite::Identifier;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::fmt::FmtContext;
use tracing_subscriber::fmt::format::{FormatEvent, FormatFields, Writer};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::registry::LookupSpan;

/// Counts messages by identity (`K`), and names those that were left out (`V`). The caller provides the time.
pub(super) struct Sampler<K, V> {
    /// Messages per second; 0 for no limit.
    burst: u64,
    seen: Mutex<Counts<K, V>>,
}

struct Counts<K, V> {
    second: u64,
    messages: HashMap<K, (V, u64)>,
}

/// The decision on a message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Decision<V> {
    pub(super) is_written: bool,
    /// Floods that ended, and the number of lines left out of each.
    pub(super) left_out: Vec<(V, u64)>,
}

impl<K: Hash + Eq, V: Copy> Sampler<K, V> {
    pub(super) fn new(burst: u64) -> Self {
        Self { burst, seen: Mutex::new(Counts { second: 0, messages: HashMap::new() }) }
    }

    /// Records a message in this second, counted from any origin.
    pub(super) fn take(&self, key: K, name: V, second: u64) -> Decision<V> {
        if self.burst == 0 {
            return Decision { is_written: true, left_out: Vec::new() };
        }
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let mut left_out = Vec::new();
        if seen.second != second {
            seen.second = second;
            // Messages are call sites: there are a few hundred of them.
            for (name, count) in seen.messages.values_mut() {
                if let Some(more) = count.checked_sub(self.burst).filter(|more| *more > 0) {
                    left_out.push((*name, more));
                }
                *count = 0;
            }
        }
        let (_, count) = seen.messages.entry(key).or_insert((name, 0));
        *count += 1;
        Decision { is_written: *count <= self.burst, left_out }
    }
}

/// Formats events like `F`, unless there are too many.
pub(super) struct Sampled<F> {
    format: F,
    sampler: Sampler<Identifier, &'static Metadata<'static>>,
    began: Instant,
    json: bool,
}

impl<F> Sampled<F> {
    pub(super) fn new(format: F, burst: u64, json: bool) -> Self {
        Self { format, sampler: Sampler::new(burst), began: Instant::now(), json }
    }

    fn write_left_out(&self, writer: &mut Writer<'_>, metadata: &Metadata<'_>, count: u64) -> fmt::Result {
        let (level, target, name) = (metadata.level(), metadata.target(), metadata.name());
        if self.json {
            // Level, target and name come from our own code.
            write!(writer, "{{\"timestamp\":\"")?;
            SystemTime.format_time(writer)?;
            writeln!(
                writer,
                "\",\"level\":\"{level}\",\"fields\":{{\"message\":\"more of the same were left out\",\"of\":\"{name}\",\"count\":{count}}},\"target\":\"{target}\"}}"
            )
        } else {
            SystemTime.format_time(writer)?;
            writeln!(
                writer,
                " {level:>5} {target}: more of the same were left out of=\"{name}\" count={count}"
            )
        }
    }
}

impl<S, N, F> FormatEvent<S, N> for Sampled<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let metadata = event.metadata();
        let taken = self.sampler.take(metadata.callsite(), metadata, self.began.elapsed().as_secs());
        for (flood, count) in taken.left_out {
            self.write_left_out(&mut writer, flood, count)?;
        }
        if taken.is_written { self.format.format_event(context, writer, event) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_counted() {
        let sampler = Sampler::new(3);
        let written = (0..10).filter(|_| sampler.take("flood", 'f', 7).is_written).count();
        assert_eq!(written, 3);
        // Others are written meanwhile.
        assert_eq!(sampler.take("rare", 'r', 7), Decision { is_written: true, left_out: Vec::new() });
        // Whatever comes first when the second is over says how many it were, once.
        let next = sampler.take("rare", 'r', 8);
        assert_eq!(next, Decision { is_written: true, left_out: vec![('f', 7)] });
        assert_eq!(sampler.take("flood", 'f', 8), Decision { is_written: true, left_out: Vec::new() });
        assert_eq!(sampler.take("flood", 'f', 9), Decision { is_written: true, left_out: Vec::new() });
    }

    #[test]
    fn without_a_limit_everything_is_written() {
        let sampler = Sampler::new(0);
        assert!((0..1_000).all(|_| sampler.take("flood", 'f', 0).is_written));
    }
}
