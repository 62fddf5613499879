//! What a run of the suite says.
//!
//! - [`schema`]: the report as data, with a version; the one form that all others are made from.
//! - [`metric`]: every figure that has a name. [`promises`]: broken promises under four words. [`figure`]: figures
//!   as people read them.
//! - [`score`]: one number. [`recommend`]: what to change, and the figure that says so. [`fail_on`]: bounds that fail
//!   a run. [`baseline`] on [`statistics`]: two sets of runs side by side.
//! - [`text`], [`markdown`], [`html`], [`junit`]: the report for a terminal, a pull request, a browser, and CI.
//!   [`folder`]: the report as files, written and read.

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
