//! State shared by all workers: settings, the gate, the log, the catalog, and process-wide limits.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_protocol::Refusal;
use agentbench_session::Context;

use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::streams::Streams;
use crate::figures::meters::AllMeters;
use crate::figures::metrics::Metrics;
use crate::gate::Gate;
use crate::intake::Intake;
use crate::letters::Letter;
use crate::letters::post::PostOffice;
use crate::names::MessageNumbers;
use crate::ops::audit::Auditor;
use crate::ops::operations::Operations;
use crate::owner::{OwnerParts, Reporting, SessionLimits};
use crate::sabotage::Sabotage;
use crate::storage::{Opened, Storage};

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<AllMeters>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) intake: Intake,
    pub(crate) storage: Storage,
    pub(crate) post: PostOffice,
    pub(crate) streams: Streams,
    pub(crate) ops: Operations,
    pub(crate) sabotage: Sabotage,
    /// Secret of this process's dedupe keys.
    seed: u64,
}

impl Shared {
    pub(crate) fn new(
        config: Config,
        gate: Gate,
        auditor: Auditor,
        metrics: Arc<Metrics>,
        opened: Opened,
        random: [u64; 2],
    ) -> Self {
        let sabotage = Sabotage::from_env();
        let opened = Opened { log: sabotage.log(opened.log), ..opened };
        Self {
            clock: Arc::new(Clock::new(Arc::clone(&config.clock_skew))),
            meters: Arc::new(AllMeters::new(config.workers)),
            gate: Arc::new(gate),
            intake: Intake::new(&config, Arc::clone(&metrics)),
            storage: Storage::new(opened, &config),
            post: PostOffice::new(random[1] as u32, config.workers),
            streams: Streams::default(),
            ops: Operations::new(&config, auditor),
            sabotage,
            seed: random[0],
            metrics,
            config,
        }
    }

    pub(crate) fn send(&self, worker: usize, letter: Letter) {
        self.post.send(worker, letter);
    }

    /// As [`Auditor::record`].
    pub(crate) fn audit(&self, record: impl FnOnce() -> Record) {
        self.ops.auditor.record(record);
    }

    /// As [`Auditor::wait_for_room`].
    ///
    /// # Errors
    /// The refusal, if there is no room in time.
    pub(crate) async fn audit_room(&self) -> Result<(), Refusal> {
        self.ops.auditor.wait_for_room(|| self.gate.doors.is_draining()).await
    }

    /// The dependencies of a worker's session owners.
    pub(crate) fn owner_parts(&self, worker: usize, numbers: Rc<MessageNumbers>) -> OwnerParts {
        let config = &self.config;
        OwnerParts {
            worker,
            catalog: Arc::clone(&self.storage.catalog),
            metrics: Arc::clone(&self.metrics),
            meters: Arc::clone(&self.meters),
            numbers,
            sessions: Context { seed: self.seed, window: config.dedupe_window },
            limits: SessionLimits {
                of_user: config.security.user_sessions,
                of_all: config.max_sessions,
                timeout_ms: config.session_timeout.as_millis() as u64,
                bytes: config.max_session_bytes,
            },
            permit: self.intake.no_permit(),
            reporting: Reporting {
                audit: config.security.audit.is_some(),
                traces: self.ops.tracer.is_some(),
                exemplars: config.watch.exemplars,
            },
            no_such_session: self.storage.no_such_session(),
            // Without random epochs positions would be ambiguous, so the process cannot continue.
            random: Box::new(|| getrandom::u64().expect("the system gives random numbers")),
            sabotage: self.sabotage,
        }
    }
}
