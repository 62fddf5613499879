//! The `data` of well-known events: the dashboard shows them, and `docs/events.md` describes them.
//!
//! The server passes `data` on unchanged and validates none of this (except for who may review, see
//! [`mod@crate::outline`]): these types are for publishers and readers. Additional fields are allowed and kept.

use serde::{Deserialize, Serialize};

/// The `data` of an event, by its `eventType`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "eventType", rename_all = "snake_case")]
pub enum EventData {
    /// A step of the test starts, continues or ends.
    AutomationStep(AutomationStep),
    /// The test's progress.
    Progress(Progress),
    /// A screenshot, video or file.
    Evidence(Evidence),
    /// A score by an agent or an automatic judge.
    ScoreUpdate(Score),
    /// A line of the console of the page under test.
    ConsoleLog(ConsoleLog),
    /// A request of the page under test.
    NetworkRequest(NetworkRequest),
    /// Something went wrong in the test.
    Error(TestError),
    /// A reviewer's note; needs `session:review`.
    ReviewNote(ReviewNote),
    /// A reviewer's score; needs `session:review`.
    ReviewScore(Score),
    /// Any other event: it is kept and shown as it is.
    #[serde(other)]
    Other,
}

/// A step. Another event with the same `stepId` updates it. Older publishers send only `step`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AutomationStep {
    /// Id of the step, unique in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// Its name, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its name from older publishers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// Its status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StepStatus>,
    /// Its number among all steps, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// Number of steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Duration, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Further details.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The reason of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The status of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has started.
    Running,
    /// It succeeded.
    Passed,
    /// It failed.
    Failed,
    /// It was skipped.
    Skipped,
}

/// The test's progress. The newest one is in `SessionInfo.progress`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub percent: Option<f64>,
    /// The current activity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A piece of evidence, uploaded earlier with `PUT /api/v1/evidence/{hash}`. Older publishers send a small `image` instead.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Evidence {
    /// What it shows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<EvidenceKind>,
    /// BLAKE3 of its bytes, 64 lowercase hexadecimal digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(regex(pattern = "^[0-9a-f]{64}$")))]
    pub hash: Option<String>,
    /// Its media type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// Its size in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Width of a picture in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// Height of a picture in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// Its caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Id of the event that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// A `data:` URL of the picture itself, from older publishers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// The kind of a piece of evidence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// A screenshot of the page under test.
    Screenshot,
    /// Another picture.
    Image,
    /// Text.
    Text,
    /// The source of a page. It is shown as text.
    Html,
    /// JSON.
    Json,
    /// Anything else.
    File,
}

/// A score. For each author and criterion, the newest one counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Score {
    /// The criterion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// The score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The maximum; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// The reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A line of a console.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConsoleLog {
    /// Its level.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The script or page that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The line number in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// The level of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For debugging.
    Debug,
    /// Normal.
    Info,
    /// Unexpected.
    Warn,
    /// An error.
    Error,
}

/// A request of the page under test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkRequest {
    /// The method: `GET`, `POST`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The status of the answer; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u64>,
    /// Duration, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Size of the answer in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why the request failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Something that went wrong in the test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TestError {
    /// The message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A code for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The stack trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Whether the test cannot continue.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fatal: Option<bool>,
}

/// A reviewer's note.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ReviewNote {
    /// The text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Seq of the event that it refers to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}
