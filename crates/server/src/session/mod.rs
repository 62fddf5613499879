//! Sessions in the server: the catalog of all, those in memory, and reading their logs.

pub(crate) mod catalog;
pub(crate) mod cursor;
pub(crate) mod pace;
pub(crate) mod progress;
pub(crate) mod reading;
