//! Background jobs: each on a thread of its own, with a name, until the server stops.

mod evidence;
pub(crate) mod issuer;
pub(crate) mod liveness;
pub(crate) mod retention;
pub(crate) mod traces;
pub(crate) mod upkeep;
pub(crate) mod watch;

use std::sync::Arc;
use std::thread::JoinHandle;

use crate::figures::metrics::Metrics;
use crate::ops::audit::Auditor;

/// Where a job reports what it has done.
#[derive(Clone)]
pub(crate) struct Reports {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) auditor: Arc<Auditor>,
}

/// Jobs that run, in the order in which their ends are waited for.
#[derive(Default)]
pub(crate) struct Jobs(Vec<(&'static str, JoinHandle<()>)>);

impl Jobs {
    /// Adds one. `name` is the subject of the line that reports its panic.
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
