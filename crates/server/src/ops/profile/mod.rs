//! A CPU profile of this process: stacks are sampled by a timer that runs while CPU is used, and counted.
//!
//! `folded` is the counts by stack; `flame` draws them. One profile at a time, since the timer is the process's.

pub(crate) mod flame;
pub(crate) mod folded;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::clock;
use folded::Folded;

/// Samples per second of CPU time; not a divisor of common timer frequencies.
const FREQUENCY: i32 = 199;
/// Time between checks whether the server is about to end.
const LOOK: Duration = Duration::from_millis(100);
/// Maximum number of frames of one stack; deeper ones are cut at the root.
const MAX_DEPTH: usize = 256;

/// Whether a profile is being taken.
static BUSY: AtomicBool = AtomicBool::new(false);

/// Why there is no profile.
#[derive(Debug)]
pub(crate) enum ProfileError {
    /// Another profile is being taken.
    Busy,
    /// The system does not provide the timer.
    Failed(String),
}

/// The right to take a profile, for as long as it lives.
struct ProfileGuard;

impl ProfileGuard {
    fn take() -> Option<Self> {
        (!BUSY.swap(true, Ordering::Acquire)).then_some(Self)
    }
}

impl Drop for ProfileGuard {
    fn drop(&mut self) {
        BUSY.store(false, Ordering::Release);
    }
}

/// Samples for `time`, or until the server drains. Stops early without a result if the future is dropped.
pub(crate) async fn take(time: Duration, is_ending: impl Fn() -> bool) -> Result<Folded, ProfileError> {
    let turn = ProfileGuard::take().ok_or(ProfileError::Busy)?;
    let failed = |error: &dyn std::fmt::Display| ProfileError::Failed(error.to_string());
    let guard = pprof::ProfilerGuardBuilder::default()
        .frequency(FREQUENCY)
        // Unwinding there would block on locks that the interrupted code may hold.
        .blocklist(&["libc", "libgcc", "pthread", "vdso"])
        .build()
        .map_err(|error| failed(&error))?;
    let until = clock::instant() + time;
    while clock::instant() < until && !is_ending() {
        tokio::time::sleep(LOOK.min(until.saturating_duration_since(clock::instant()))).await;
    }
    let folding = tokio::task::spawn_blocking(move || {
        let report = guard.report().build().map_err(|error| error.to_string())?;
        let mut folded = Folded::default();
        for (frames, count) in &report.data {
            folded.add(stack_of(frames), u64::try_from(*count).unwrap_or(0));
        }
        drop(turn);
        Ok(folded)
    });
    match folding.await {
        Ok(folded) => folded.map_err(ProfileError::Failed),
        Err(error) => Err(failed(&error)),
    }
}

/// The names of a stack, the thread first.
fn stack_of(frames: &pprof::Frames) -> Vec<String> {
    // Innermost first, and so are the inlined functions of each frame.
    let symbols = frames.frames.iter().flatten().map(pprof::Symbol::name);
    let mut names: Vec<String> = symbols.take(MAX_DEPTH).collect();
    names.push(frames.thread_name_or_id());
    names.reverse();
    names
}
