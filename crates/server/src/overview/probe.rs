//! A liveness probe for a watchdog: it queries every worker and waits for the replies.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::letters::{Letter, Survey};
use crate::shared::Shared;

/// Queries the workers of a [`Server`](crate::Server). It may outlive the server, and then gets no replies.
#[derive(Clone)]
pub struct Probe {
    pub(crate) shared: Arc<Shared>,
}

impl Probe {
    /// Whether every worker has answered within the time.
    pub async fn answers(&self, patience: Duration) -> bool {
        let ask = |worker| {
            let (reply, answer) = oneshot::channel();
            // The query names a connection that does not exist: only the reply matters.
            let survey = Survey { after: None, only: true, limit: 1, user: None, reply };
            self.shared.send(worker, Letter::Survey(survey));
            answer
        };
        let asked: Vec<_> = (0..self.shared.config.workers).map(ask).collect();
        let all = async {
            for answer in asked {
                if answer.await.is_err() {
                    return false;
                }
            }
            true
        };
        tokio::time::timeout(patience, all).await.unwrap_or(false)
    }
}
