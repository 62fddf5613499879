//! What is kept beside a session's log so that start-up and listings need not read it: the session without its participants.
//!
//! Stored as JSON with the frame that last changed it; unknown fields are skipped, so an older server reads a newer summary.

use agentbench_protocol::{Head, SessionId, SessionInfo};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Lifecycle;
use agentbench_protocol::Status;

/// What `create_session` fixed, and where the session is in its life.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// The project that the session belongs to.
    pub project_id: String,
    /// The test case that is run.
    pub test_id: String,
    /// The agent under test.
    pub agent_name: String,
    /// User who created it.
    pub created_by: String,
    /// When, ms since 1970.
    pub created_at: u64,
    /// What the creator added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<Box<RawValue>>,
    /// The state.
    pub status: Status,
    /// When the test was started first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<u64>,
    /// When the session ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Why it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Percent of the newest `progress` event when this was stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
}

impl Summary {
    /// The stored form.
    pub fn to_bytes(&self) -> bytes::Bytes {
        serde_json::to_vec(self).expect("own types serialise").into()
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// If the bytes are none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(bytes)
    }

    /// The lifecycle part.
    pub fn lifecycle(&self) -> Lifecycle {
        Lifecycle {
            status: self.status,
            started_at: self.started_at,
            ended_at: self.ended_at,
            reason: self.reason.clone(),
        }
    }

    /// The same session at another point of its life.
    #[must_use]
    pub fn with(&self, lifecycle: &Lifecycle) -> Self {
        Self {
            status: lifecycle.status,
            started_at: lifecycle.started_at,
            ended_at: lifecycle.ended_at,
            reason: lifecycle.reason.clone(),
            ..self.clone()
        }
    }

    /// The session as clients see it, without participants.
    pub fn describe(&self, session_id: SessionId, head: Head) -> SessionInfo {
        SessionInfo {
            session_id,
            project_id: self.project_id.clone(),
            test_id: self.test_id.clone(),
            agent_name: self.agent_name.clone(),
            status: self.status,
            epoch: head.epoch,
            head_seq: head.seq,
            created_by: self.created_by.clone(),
            created_at: self.created_at,
            started_at: self.started_at,
            ended_at: self.ended_at,
            reason: self.reason.clone(),
            progress: self.progress,
            metadata: self.metadata.clone(),
            last_event_at: None,
            pace_ms: None,
            stalled: None,
            participants: Vec::new(),
        }
    }
}
