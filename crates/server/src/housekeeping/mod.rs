//! Background jobs: each on a thread of its own, with a name, until the server stops.

mod evidence;
pub(crate) mod issuer;
pub(crate) mod liveness;
pub(crate) mod retention;
pub(crate) mod ticks;
pub(crate) mod traces;
pub(crate) mod upkeep;
pub(crate) mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::figures::metrics::Metrics;
use crate::ops::audit::Auditor;

/// The metrics and audit log to which jobs report.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auditor: Arc<Auditor>,
}

/// The running jobs, in the order in which they are joined.
#[derive(Default)]
pub(crate) struct Jobs(Vec<(&'static str, JoinHandle<()>)>);

impl Jobs {
    /// Adds a job. `name` is the subject of the log line that reports its panic.
    pub(crate) fn add(&mut self, name: &'static str, job: JoinHandle<()>) {
        self.0.push((name, job));
    }

    /// Waits until all have ended.
    pub(crate) fn join(self) {
        for (name, job) in self.0 {
            if job.join().is_err() {
                tracing::error!("{name} has panicked");
            }
        }
    }
}
