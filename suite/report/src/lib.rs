//! The report of a run of the suite.
//!
//! - [`schema`]: the report as data, with a version; all other forms are derived from it.
//! - [`metric`]: every named figure. [`promises`]: broken promises in four groups. [`figure`]: figures formatted for
//!   people.
//! - [`score`]: a single number. [`recommend`]: recommended changes, each with the figure behind it. [`fail_on`]:
//!   thresholds that fail a run. [`baseline`] on [`statistics`]: two sets of runs side by side.
//! - [`text`], [`markdown`], [`html`], [`junit`]: the report for a terminal, a pull request, a browser, and CI.
//!   [`folder`]: writes and reads the report's files.

pub mod baseline;
mod escape;
pub mod fail_on;
pub mod figure;
pub mod folder;
pub mod html;
pub mod junit;
pub mod markdown;
pub mod metric;
pub mod promises;
pub mod recommend;
pub mod schema;
pub mod score;
pub mod statistics;
pub mod text;

pub use baseline::Comparison;
pub use fail_on::FailOn;
pub use schema::Report;

#[cfg(test)]
mod sample;
