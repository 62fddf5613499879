//! A thread that keeps fresh what the server was told by files (today the certificate), and sweeps up what evidence left behind.

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

/// Time between looks at files. They are small, and whoever has just renewed a certificate watches.
const PERIOD: Duration = Duration::from_secs(2);

/// Time after the start at which evidence is swept first, and from then on: what it removes is a day old.
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
                look_at_certificate(&shared.gate, &shared.metrics, &shared.ops.auditor);
                next = clock::instant() + PERIOD;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    std::thread::Builder::new().name("upkeep".to_owned()).spawn(keep)
}

/// Takes a new certificate; a bad one leaves the old one in force and is said in the log.
pub(crate) fn look_at_certificate(gate: &Gate, metrics: &Metrics, auditor: &Auditor) {
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
            tracing::error!(%error, "the certificate was not read again; the old one stays");
        }
    }
}
