//! A thread that reloads the certificate when its files change, and sweeps evidence.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use agentbench_audit::Record;
use agentbench_tls::Refreshed;
use tokio::sync::watch;

use crate::clock;
use crate::figures::metrics::Metrics;
use crate::gate::Gate;
use crate::ops::audit::Auditor;
use crate::shared::Shared;

/// Time between checks of the files. They are small, and an operator who has just renewed a certificate waits for it.
const PERIOD: Duration = Duration::from_secs(2);

/// Time between sweeps of evidence, and before the first: a sweep removes only files that are a day old.
const SWEEP_DELAY: Duration = Duration::from_secs(60);
const SWEEP_PERIOD: Duration = Duration::from_secs(3600);

pub(crate) fn start(shared: &Arc<Shared>, stopped: watch::Receiver<bool>) -> io::Result<JoinHandle<()>> {
    let shared = Arc::clone(shared);
    let keep = move || {
        let mut next = clock::instant() + PERIOD;
        let mut next_sweep = clock::instant() + SWEEP_DELAY;
        while !*stopped.borrow() {
            if clock::instant() >= next_sweep {
                super::evidence::sweep(&shared);
                next_sweep = clock::instant() + SWEEP_PERIOD;
            }
            if clock::instant() >= next {
                reload_certificate(&shared.gate, &shared.metrics, &shared.ops.auditor);
                next = clock::instant() + PERIOD;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::Builder::new().name("upkeep".to_owned()).spawn(keep)
}

/// Installs a new certificate; an invalid one is logged and the old one stays in use.
pub(crate) fn reload_certificate(gate: &Gate, metrics: &Metrics, auditor: &Auditor) {
    let Some(tls) = &gate.tls else { return };
    match tls.refresh() {
        Ok(Refreshed::Same) => {}
        Ok(Refreshed::Changed) => {
            metrics.reloads("certificate", "taken");
            auditor.record(|| Record::allowed(clock::now_ms(), "certificate_changed"));
            tracing::info!("new connections get the new certificate");
        }
        Err(error) => {
            metrics.reloads("certificate", "refused");
            let refused = Record::refused(clock::now_ms(), "certificate_changed", "unusable");
            auditor.record(|| refused.detail(error.to_string()));
            tracing::error!(%error, "cannot reload the certificate; the old one stays in use");
        }
    }
}
