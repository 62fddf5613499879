//! What all workers share: settings, the gate, the log, the catalog, the counts that bound the whole process.

use std::rc::Rc;
use std::sync::Arc;

use agentbench_audit::Record;
use agentbench_event_log::EventLog;
use agentbench_evidence::{Limits, Store};
use agentbench_protocol::{ErrorCode, Refusal};
use agentbench_session::Context;

use crate::alerts::Alerts;
use crate::clock::Clock;
use crate::config::Config;
use crate::delivery::streams::Streams;
use crate::figures::meters::AllMeters;
use crate::figures::metrics::Metrics;
use crate::gate::Gate;
use crate::inspection::Inspections;
use crate::intake::Intake;
use crate::letters::Letter;
use crate::letters::exchange::Exchanges;
use crate::letters::mailbox::Mailbox;
use crate::names::{MessageNumbers, Names};
use crate::opening::LogCondition;
use crate::ops::audit::Auditor;
use crate::ops::farewell::Farewells;
use crate::ops::folder::DataFolder;
use crate::ops::liveness::Liveness;
use crate::ops::readers::Readers;
use crate::ops::stats::Stats;
use crate::owner::{OwnerParts, Reporting, SessionLimits};
use crate::rules;
use crate::sabotage::Sabotage;
use crate::session::catalog::Catalog;
use crate::session::reading::LogReader;
use crate::trace::Tracer;

/// See the module.
pub(crate) struct Shared {
    pub(crate) config: Config,
    pub(crate) clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) meters: Arc<AllMeters>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) intake: Intake,
    pub(crate) log: Arc<dyn EventLog>,
    /// What opening the log found.
    pub(crate) log_condition: LogCondition,
    /// What the log found at its start was not all as it should be.
    pub(crate) log_damaged: bool,
    /// Reads the log for readers that are behind.
    pub(crate) reader: LogReader,
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) evidence: Arc<Store>,
    pub(crate) names: Names,
    pub(crate) mailboxes: Vec<Mailbox>,
    pub(crate) exchanges: Arc<Exchanges>,
    pub(crate) streams: Streams,
    pub(crate) auditor: Arc<Auditor>,
    /// Makes spans, if they are wanted.
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) stats: Stats,
    pub(crate) readers: Readers,
    pub(crate) farewells: Farewells,
    pub(crate) inspections: Inspections,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) alerts: Alerts,
    pub(crate) folder: DataFolder,
    pub(crate) sabotage: Sabotage,
    /// Secret of this process's dedupe keys.
    seed: u64,
}

/// An open log, and what opening it found.
pub(crate) struct Opened {
    pub(crate) log: Arc<dyn EventLog>,
    pub(crate) condition: LogCondition,
    pub(crate) is_damaged: bool,
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
        let log = sabotage.log(opened.log);
        let workers = config.workers;
        let stall_after = config.watch.stall_after.as_millis() as u64;
        let limits = Limits { file: config.max_evidence_bytes, session: config.max_session_evidence_bytes };
        Self {
            clock: Arc::new(Clock::new(Arc::clone(&config.clock_skew))),
            meters: Arc::new(AllMeters::new(workers)),
            gate: Arc::new(gate),
            intake: Intake::new(&config, Arc::clone(&metrics)),
            reader: LogReader::new(Arc::clone(&log), config.read_budget),
            log,
            log_condition: opened.condition,
            log_damaged: opened.is_damaged,
            catalog: Arc::new(Catalog::new(stall_after)),
            evidence: Store::new(config.data_dir.join("evidence"), limits),
            names: Names::new(random[1] as u32, workers),
            mailboxes: (0..workers).map(|_| Mailbox::default()).collect(),
            exchanges: Arc::default(),
            streams: Streams::default(),
            auditor: Arc::new(auditor),
            tracer: config.operations.otlp_endpoint.clone().map(Tracer::new).map(Arc::new),
            stats: Stats::new(),
            readers: Readers::new(workers),
            farewells: Farewells::default(),
            inspections: Inspections::default(),
            liveness: Arc::new(Liveness::new(workers)),
            alerts: Alerts::new(&config.watch, &config.node_name),
            folder: DataFolder::new(&config.data_dir),
            sabotage,
            seed: random[0],
            metrics,
            config,
        }
    }

    pub(crate) fn send(&self, worker: usize, letter: Letter) {
        self.mailboxes[worker].send(letter);
    }

    /// As [`Auditor::record`].
    pub(crate) fn audit(&self, record: impl FnOnce() -> Record) {
        self.auditor.record(record);
    }

    /// As [`Auditor::wait_for_room`].
    ///
    /// # Errors
    /// The refusal, if there is no room in time.
    pub(crate) async fn audit_room(&self) -> Result<(), Refusal> {
        self.auditor.wait_for_room(|| self.gate.doors.is_draining()).await
    }

    /// What the owners of sessions on a worker are made of.
    pub(crate) fn owner_parts(&self, worker: usize, numbers: Rc<MessageNumbers>) -> OwnerParts {
        let config = &self.config;
        OwnerParts {
            worker,
            catalog: Arc::clone(&self.catalog),
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
                traces: self.tracer.is_some(),
                exemplars: config.watch.exemplars,
            },
            no_such_session: self.no_such_session(),
            // Without randomness there are no epochs, and without epochs no honest positions: the process cannot go on.
            random: Box::new(|| getrandom::u64().expect("the system gives random numbers")),
            sabotage: self.sabotage,
        }
    }

    /// The refusal of a name that no session has. Where live sessions cannot be read, their absence proves nothing.
    pub(crate) fn no_such_session(&self) -> Refusal {
        if matches!(self.log_condition, LogCondition::ArchiveOnly(_)) {
            let detail =
                "the log of live sessions cannot be opened; only ended sessions are served, see /readyz";
            return Refusal::new(ErrorCode::LogUnavailable, detail).retry_after(30_000);
        }
        rules::no_such_session()
    }
}
