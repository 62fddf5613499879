//! What handlers know: the server, the worker that the request came by, the client's end of the connection.

use std::sync::Arc;

use axum::http::request::Parts;

use crate::clock;
use crate::shared::Shared;

/// What handlers know.
#[derive(Clone)]
pub(crate) struct Api {
    pub(crate) shared: Arc<Shared>,
    /// The worker whose socket the request came from.
    pub(crate) worker: usize,
}

impl Api {
    /// ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        clock::now_ms()
    }
}

/// A part of the path, counted from 0. Names here are of letters, digits and hyphens: what is escaped is no name.
pub(crate) fn segment(parts: &Parts, index: usize) -> &str {
    parts.uri.path().split('/').nth(index + 1).unwrap_or("")
}
