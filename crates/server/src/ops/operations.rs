//! The operational state of a running server.

use std::sync::Arc;

use super::audit::Auditor;
use super::farewell::CloseRecords;
use super::folder::DataFolder;
use super::liveness::Liveness;
use super::readers::Readers;
use super::stats::Stats;
use crate::alerts::Alerts;
use crate::config::Config;
use crate::inspection::Inspections;
use crate::trace::Tracer;

/// See the module.
pub(crate) struct Operations {
    pub(crate) auditor: Arc<Auditor>,
    /// Creates spans, if tracing is configured.
    pub(crate) tracer: Option<Arc<Tracer>>,
    pub(crate) stats: Stats,
    pub(crate) readers: Readers,
    pub(crate) close_records: CloseRecords,
    pub(crate) inspections: Inspections,
    pub(crate) liveness: Arc<Liveness>,
    pub(crate) alerts: Alerts,
    pub(crate) folder: DataFolder,
}

impl Operations {
    pub(crate) fn new(config: &Config, auditor: Auditor) -> Self {
        Self {
            auditor: Arc::new(auditor),
            tracer: config.operations.otlp_endpoint.clone().map(Tracer::new).map(Arc::new),
            stats: Stats::new(),
            readers: Readers::new(config.workers),
            close_records: CloseRecords::default(),
            inspections: Inspections::default(),
            liveness: Arc::new(Liveness::new(config.workers)),
            alerts: Alerts::new(&config.watch, &config.node_name),
            folder: DataFolder::new(&config.data_dir),
        }
    }
}
