//! An answer, with its connection.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};

use agentbench_tls::Stream;
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::http::response::Parts;
use hyper::{HeaderMap, StatusCode};
use hyper_util::rt::TokioIo;

use crate::RequestError;

type Connection = http1::Connection<TokioIo<Stream>, Full<Bytes>>;

/// An answer. Dropping it closes the connection.
#[derive(Debug)]
pub struct Response {
    pub(crate) head: Parts,
    pub(crate) body: Incoming,
    pub(crate) connection: Option<Connection>,
}

impl Response {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        &self.head.headers
    }

    /// The next chunk of the body; `None` at its end.
    ///
    /// # Errors
    /// The body is cut off, so what was read is incomplete.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RequestError> {
        loop {
            match drive(&mut self.connection, self.body.frame()).await.transpose()? {
                None => return Ok(None),
                Some(frame) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }

    /// The rest of the body.
    ///
    /// # Errors
    /// The body is cut off, or has more than `limit` bytes.
    pub async fn whole(mut self, limit: usize) -> Result<Bytes, RequestError> {
        let mut whole = BytesMut::new();
        while let Some(piece) = self.next().await? {
            if whole.len() + piece.len() > limit {
                return Err(RequestError::TooLong(limit));
            }
            whole.extend_from_slice(&piece);
        }
        Ok(whole.freeze())
    }
}

/// Waits for a future that needs the connection's bytes, and drives the connection meanwhile.
pub(crate) async fn drive<T>(connection: &mut Option<Connection>, waiting: impl Future<Output = T>) -> T {
    let mut waiting = pin!(waiting);
    poll_fn(|context| {
        // The awaited future shows how the connection ended.
        if connection.as_mut().is_some_and(|connection| Pin::new(connection).poll(context).is_ready()) {
            *connection = None;
        }
        waiting.as_mut().poll(context)
    })
    .await
}
