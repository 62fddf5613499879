//! Plain HTTP connections, served by the worker's router.

use std::sync::Arc;

use axum::http::header;
use axum::http::request::Parts;
use hyper::service::Service as _;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::Notify;

use super::{Peer, Prefixed};
use crate::shared::Shared;

/// The client's end of an HTTP connection.
#[derive(Debug)]
pub(crate) struct Link {
    /// Aborts the connection at once.
    pub(crate) cut: Notify,
}

impl Link {
    /// The link of a request's connection.
    pub(crate) fn of(parts: &Parts) -> Arc<Self> {
        let link = parts.extensions.get::<Arc<Self>>();
        link.cloned().expect("every request is given its link before it is routed")
    }
}

/// Serves one plain HTTP connection. The request's extensions hold the [`Peer`], as reported by trusted proxies, and the
/// [`Link`].
pub(crate) async fn serve(shared: &Arc<Shared>, router: axum::Router, stream: Prefixed, peer: Peer) {
    let link = Arc::new(Link { cut: Notify::new() });
    let router = TowerToHyperService::new(router);
    let keep_alive = shared.config.http_keep_alive;
    let (shared, given) = (Arc::clone(shared), Arc::clone(&link));
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        let trusted = &shared.config.security.trusted_proxies;
        let said = request.headers().get_all("x-forwarded-for").into_iter();
        let peer = peer.forwarded(trusted, said.map(header::HeaderValue::as_bytes));
        request.extensions_mut().insert(peer);
        request.extensions_mut().insert(Arc::clone(&given));
        let (busy, answer) = (Busy::begin(&shared), router.call(request));
        async move {
            let _busy = busy;
            answer.await
        }
    });
    let mut builder = hyper::server::conn::http1::Builder::new();
    // The first head has already arrived; this is the time limit for the next one.
    builder.timer(hyper_util::rt::TokioTimer::new());
    builder.header_read_timeout(keep_alive);
    tokio::select! {
        served = builder.serve_connection(TokioIo::new(stream), service) => {
            if let Err(error) = served {
                tracing::debug!(%error, "an HTTP connection ended with an error");
            }
        }
        () = link.cut.notified() => {}
    }
}

/// Counts a request in progress: a stopping server waits for it.
struct Busy {
    shared: Arc<Shared>,
}

impl Busy {
    fn begin(shared: &Arc<Shared>) -> Self {
        shared.gate.doors.count_request(1);
        Self { shared: Arc::clone(shared) }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.shared.gate.doors.count_request(-1);
    }
}
