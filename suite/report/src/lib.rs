//! What a run of the suite says.
//!
//! - [`schema`]: the report as data, with a version. [`text`]: the report on a terminal. [`folder`]: the report
//!   as files.

pub mod folder;
pub mod schema;
pub mod text;
