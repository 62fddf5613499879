//! What is in the `data` of the events that everybody knows: the dashboard shows them, and `docs/events.md` describes them.
//!
//! The server passes `data` on as it was written and insists on none of this (but for who may review, see
//! [`crate::outline`]): these types are for those who publish and read. Fields that are not here are allowed and kept.

use serde::{Deserialize, Serialize};

/// The `data` of an event, by its `eventType`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(tag = "eventType", rename_all = "snake_case")]
pub enum EventData {
    /// A step of the test begins, goes on or ends.
    AutomationStep(AutomationStep),
    /// How far the test has come.
    Progress(Progress),
    /// A screenshot, video or file.
    Evidence(Evidence),
    /// A judgement by an agent or an automatic judge.
    ScoreUpdate(Score),
    /// A line of the console of the page under test.
    ConsoleLog(ConsoleLog),
    /// A request of the page under test.
    NetworkRequest(NetworkRequest),
    /// Something went wrong in the test.
    Error(TestError),
    /// A reviewer's remark; needs `session:review`.
    ReviewNote(ReviewNote),
    /// A reviewer's judgement; needs `session:review`.
    ReviewScore(Score),
    /// Any other event: it is kept and shown as it is.
    #[serde(other)]
    Other,
}

/// A step. The same `stepId` again tells more of the same step. Older publishers send only `step`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct AutomationStep {
    /// Which step, unique in the session.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_id: Option<String>,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What older publishers call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StepStatus>,
    /// Its place among all steps, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    /// How many steps there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// How long it took, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// What more is to be said.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepStatus {
    /// It has begun.
    Running,
    /// It ended as it should.
    Passed,
    /// It did not.
    Failed,
    /// It was left out.
    Skipped,
}

/// How far the test has come. The newest one is in `SessionInfo.progress`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Progress {
    /// 0 to 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "schema", schemars(range(min = 0, max = 100)))]
    pub percent: Option<f64>,
    /// What is being done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A piece of evidence, uploaded before by `PUT /api/v1/evidence/{hash}`. Older publishers send a small `image` instead.
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
    /// Its bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Of a picture: dots across.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u64>,
    /// Of a picture: dots down.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u64>,
    /// What people read under it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption: Option<String>,
    /// Id of the event that it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// A `data:` address of the picture itself, from older publishers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
}

/// What a piece of evidence shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EvidenceKind {
    /// The page under test.
    Screenshot,
    /// Another picture.
    Image,
    /// Text.
    Text,
    /// A page's source. It is shown as text.
    Html,
    /// JSON.
    Json,
    /// Anything else.
    File,
}

/// A judgement. The newest of an author and a criterion counts.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct Score {
    /// What is judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub criterion: Option<String>,
    /// How good it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub score: Option<f64>,
    /// The best that there is; 1 if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<f64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A line of a console.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ConsoleLog {
    /// How serious it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// The line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The script or page that wrote it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
}

/// How serious a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// For whoever looks for something.
    Debug,
    /// As usual.
    Info,
    /// Not as it should be.
    Warn,
    /// Wrong.
    Error,
}

/// A request of the page under test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct NetworkRequest {
    /// `GET`, `POST`, …
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// The answer's status; absent if there was none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u64>,
    /// How long it took, ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<f64>,
    /// Bytes of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// Why there was no good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Something that went wrong in the test.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct TestError {
    /// What.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// A word for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where in the program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stack: Option<String>,
    /// Whether the test cannot go on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fatal: Option<bool>,
}

/// A reviewer's remark.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase", default)]
pub struct ReviewNote {
    /// The remark.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Seq of the event that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<u64>,
}
