//! The states of a session and the steps between them: `idle → running ⇄ paused → completed | error`, or expired.

use agentbench_protocol::{ErrorCode, Outcome, Refusal, Status};

/// A step that somebody, or time, asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// `start_test`
    Start,
    /// `pause_test`
    Pause,
    /// `resume_test`
    Resume,
    /// `stop_test`
    Stop {
        /// How it ended.
        outcome: Outcome,
        /// Why, for people.
        reason: Option<String>,
    },
    /// Nobody used the session for too long.
    Expire,
}

impl Step {
    /// The word of the command, or of the server's own doing.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Start => "start_test",
            Self::Pause => "pause_test",
            Self::Resume => "resume_test",
            Self::Stop { .. } => "stop_test",
            Self::Expire => "expire",
        }
    }
}

/// Where a session is in its life, and when it came there (ms since 1970).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lifecycle {
    /// The state.
    pub status: Status,
    /// When the test was started first.
    pub started_at: Option<u64>,
    /// When the session ended.
    pub ended_at: Option<u64>,
    /// Why it ended, if somebody said so.
    pub reason: Option<String>,
}

impl Lifecycle {
    /// A session that was just created.
    pub fn new() -> Self {
        Self { status: Status::Idle, started_at: None, ended_at: None, reason: None }
    }

    /// The lifecycle after `step`.
    ///
    /// # Errors
    /// `invalid_transition` that names both states.
    pub fn after(&self, step: &Step, now: u64) -> Result<Self, Refusal> {
        let target = match step {
            Step::Start | Step::Resume => Status::Running,
            Step::Pause => Status::Paused,
            Step::Stop { outcome: Outcome::Completed, .. } => Status::Completed,
            Step::Stop { outcome: Outcome::Error, .. } => Status::Error,
            Step::Expire => Status::Expired,
        };
        let allowed = match step {
            Step::Start => self.status == Status::Idle,
            Step::Pause => self.status == Status::Running,
            Step::Resume => self.status == Status::Paused,
            Step::Stop { outcome: Outcome::Completed, .. } => {
                matches!(self.status, Status::Running | Status::Paused)
            }
            // A run may fail before it was started.
            Step::Stop { outcome: Outcome::Error, .. } | Step::Expire => !self.status.has_ended(),
        };
        if !allowed {
            let (from, to) = (self.status.as_str(), target.as_str());
            let detail = format!("{} cannot take the session from {from} to {to}", step.name());
            return Err(Refusal::new(ErrorCode::InvalidTransition, detail));
        }
        let mut next = Self { status: target, ..self.clone() };
        if *step == Step::Start {
            next.started_at = Some(now);
        }
        if target.has_ended() {
            next.ended_at = Some(now);
        }
        if let Step::Stop { reason, .. } = step {
            next.reason.clone_from(reason);
        }
        Ok(next)
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stop(outcome: Outcome) -> Step {
        Step::Stop { outcome, reason: Some("why".into()) }
    }

    #[test]
    fn every_state_and_step() {
        use Status::{Completed, Error, Expired, Idle, Paused, Running};
        let steps = [
            Step::Start,
            Step::Pause,
            Step::Resume,
            stop(Outcome::Completed),
            stop(Outcome::Error),
            Step::Expire,
        ];
        let table: [(Status, [Option<Status>; 6]); 6] = [
            (Idle, [Some(Running), None, None, None, Some(Error), Some(Expired)]),
            (Running, [None, Some(Paused), None, Some(Completed), Some(Error), Some(Expired)]),
            (Paused, [None, None, Some(Running), Some(Completed), Some(Error), Some(Expired)]),
            (Completed, [None; 6]),
            (Error, [None; 6]),
            (Expired, [None; 6]),
        ];
        for (status, targets) in table {
            for (step, target) in steps.iter().zip(targets) {
                let at = Lifecycle { status, ..Lifecycle::new() };
                let next = at.after(step, 5);
                assert_eq!(next.as_ref().ok().map(|next| next.status), target, "{status:?} {step:?}");
                if let Err(refusal) = next {
                    assert_eq!(refusal.code, ErrorCode::InvalidTransition);
                    assert!(refusal.detail.contains(status.as_str()), "{refusal}");
                }
            }
        }
    }

    #[test]
    fn times_and_reason_are_kept() {
        let ended =
            Lifecycle::new().after(&Step::Start, 1).unwrap().after(&stop(Outcome::Completed), 2).unwrap();
        assert_eq!(
            (ended.started_at, ended.ended_at, ended.reason.as_deref()),
            (Some(1), Some(2), Some("why"))
        );
    }
}
