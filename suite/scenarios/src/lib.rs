//! Test scenarios, what runs them, and what they measured.
//!
//! - [`scenario`]: the scenarios by name, as data. [`payload`]: what their events carry.
//! - [`target`]: the server under test, started here or somewhere else, and the sentence if there is none.
//! - [`fleet`]: publishers and followers on the SDK, each writing its history. `publisher`, `follower`,
//!   `final_read`, `recorder`, [`meters`]: its parts.
//! - [`performance`]: a scenario run, measured and judged.
//! - [`result`]: the report as data; [`text`]: the report for people; [`folder`]: the report as files.

mod final_read;
pub mod fleet;
pub mod folder;
mod follower;
pub mod meters;
pub mod payload;
pub mod performance;
mod publisher;
mod recorder;
pub mod result;
pub mod scenario;
pub mod target;
pub mod text;
