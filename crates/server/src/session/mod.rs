//! Sessions in the server: the catalog, changes by other processes, the pace of events, and reads of their logs.

pub(crate) mod catalog;
pub(crate) mod cursor;
pub(crate) mod entry;
pub(crate) mod observing;
pub(crate) mod pace;
pub(crate) mod progress;
pub(crate) mod reading;
