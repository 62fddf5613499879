//! Do the workers still turn? For a watchdog: it asks every one of them, and waits for the answer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::letters::{Letter, Survey};
use crate::shared::Shared;

/// Asks the workers of a [`Server`](crate::Server); may outlive it, and then hears nothing.
#[derive(Clone)]
pub struct Probe {
    pub(crate) shared: Arc<Shared>,
}

impl Probe {
    /// Whether every worker has answered within the time.
    pub async fn answers(&self, patience: Duration) -> bool {
        let ask = |worker| {
            let (reply, answer) = oneshot::channel();
            // About one connection that is none: the answer is the point.
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
