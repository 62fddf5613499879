//! Bodies: taking a request's within the limits, and giving an answer's piece by piece at the client's pace.
//!
//! An answer's body is a channel of one piece: whoever writes it waits until the socket has taken the piece before. A client
//! that takes nothing for `SLOW_CONSUMER_TIMEOUT` loses its connection, so that nothing waits for it for ever; one that holds
//! memory which other readers wait for loses it sooner. Proxies are such clients: one that passes answers on with Node's
//! `readable.pipe(response)` keeps its connection here when its own client has gone, and reads no more of it.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use agentbench_auth::Grant;
use agentbench_protocol::{ErrorCode, Refusal};
use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use http_body::{Body as _, Frame};
use tokio::sync::mpsc;

use super::answer::{Answer, Refused};
use crate::clock;
use crate::intake::Share;
use crate::shared::Shared;
use crate::transport::plain::Link;

/// Time for a whole request body: a publish of the largest size over a slow line, and no longer.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// Reads a request's body. Its bytes are in the receive budget until the value is dropped.
pub(crate) async fn read(shared: &Arc<Shared>, body: Body, limit: usize) -> Answer<Taken> {
    let mut taken = Taken { bytes: BytesMut::new(), share: shared.intake.receive_share() };
    let budget = shared.config.receive_budget;
    let too_slow = |_| Refused {
        refusal: Refusal::new(ErrorCode::InvalidMessage, "the body did not arrive in time"),
        status: Some(StatusCode::REQUEST_TIMEOUT),
    };
    tokio::time::timeout(BODY_TIMEOUT, taken.fill(body, limit, budget)).await.map_err(too_slow)??;
    Ok(taken)
}

/// A body that has arrived.
pub(crate) struct Taken {
    bytes: BytesMut,
    share: Share,
}

impl Taken {
    /// The body, which has to be UTF-8.
    pub(crate) fn text(&self) -> Answer<&str> {
        std::str::from_utf8(&self.bytes)
            .map_err(|_| Refusal::new(ErrorCode::MalformedJson, "the body must be UTF-8").into())
    }

    async fn fill(&mut self, body: Body, limit: usize, budget: usize) -> Answer<()> {
        let too_large =
            || Refusal::new(ErrorCode::PayloadTooLarge, format!("a body may have at most {limit} bytes"));
        if body.size_hint().lower() > limit as u64 {
            return Err(too_large().into());
        }
        let mut body = pin!(body);
        while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
            let broken = |_| Refusal::new(ErrorCode::InvalidMessage, "the body did not arrive whole");
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            if self.bytes.len() + data.len() > limit {
                return Err(too_large().into());
            }
            self.bytes.extend_from_slice(&data);
            if self.share.set(self.bytes.len()) > budget {
                let detail = "the server holds too many incomplete messages";
                return Err(Refusal::new(ErrorCode::Overloaded, detail).retry_after(1_000).into());
            }
        }
        Ok(())
    }
}

/// One piece of an answer's body.
enum Piece {
    Some(Bytes),
    /// Nothing comes after it.
    Last(Bytes),
    /// The rest cannot be had: the connection ends, so that the client sees that something is missing.
    Broken,
}

/// Largest piece: a slow client that takes something all the time is not cut off for the size of an event.
pub(crate) const MAX_PIECE: usize = 256 * 1024;

/// Time between looks at how long a socket may still take nothing.
pub(crate) const LOOK: Duration = Duration::from_millis(500);

/// The end that writes.
pub(crate) struct Writer {
    shared: Arc<Shared>,
    pieces: mpsc::Sender<Piece>,
    link: Arc<Link>,
    /// What has to stay good while it writes.
    grant: Option<Arc<Grant>>,
    /// What it writes was read from a log, and holds the memory of readers.
    is_of_log: bool,
}

/// Why nothing more can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unread {
    /// The client has gone.
    Gone,
    /// The client took nothing for too long; its connection is cut.
    Slow,
}

/// A body and the end that writes it.
pub(crate) fn body(shared: &Arc<Shared>, link: &Arc<Link>) -> (Writer, Body) {
    let (pieces, waiting) = mpsc::channel(1);
    let (shared, link) = (Arc::clone(shared), Arc::clone(link));
    let writer = Writer { shared, pieces, link, grant: None, is_of_log: false };
    (writer, Body::new(Reader { waiting, over: false }))
}

impl Writer {
    /// Ends the connection between two pieces when the grant has expired or was revoked.
    pub(crate) fn while_good(self, grant: &Arc<Grant>) -> Self {
        Self { grant: Some(Arc::clone(grant)), ..self }
    }

    /// What it writes is in the account of [`crate::session::reading::ReadBudget`].
    pub(crate) fn of_log(self) -> Self {
        Self { is_of_log: true, ..self }
    }

    /// How long the socket may take nothing, as things are now.
    pub(crate) fn patience(&self) -> Duration {
        let longest = self.shared.config.slow_consumer_timeout;
        if self.is_of_log { self.shared.storage.reader.budget.patience(longest) } else { longest }
    }

    /// Waits until the client has taken the piece before.
    pub(crate) async fn write(&self, mut bytes: Bytes) -> Result<(), Unread> {
        while bytes.len() > MAX_PIECE {
            self.send(Piece::Some(bytes.split_to(MAX_PIECE))).await?;
        }
        self.send(Piece::Some(bytes)).await
    }

    /// Writes the last piece, and waits until it is on its way.
    pub(crate) async fn finish(&self, mut bytes: Bytes) -> Result<(), Unread> {
        while bytes.len() > MAX_PIECE {
            self.send(Piece::Some(bytes.split_to(MAX_PIECE))).await?;
        }
        self.send(Piece::Last(bytes)).await?;
        self.wait(self.pieces.closed()).await
    }

    /// Ends the connection before the end of the body.
    pub(crate) async fn fail(&self) {
        // If it is not even read, it is cut all the same.
        let _ = self.send(Piece::Broken).await;
    }

    /// Ready when the client has gone.
    pub(crate) async fn gone(&self) {
        self.pieces.closed().await;
    }

    /// Waits for room for a piece, as long as the caller likes. `false` if the client has gone.
    pub(crate) async fn has_room(&self) -> bool {
        self.pieces.reserve().await.is_ok()
    }

    /// Gives the client up.
    pub(crate) fn cut(&self) -> Unread {
        self.link.cut.notify_one();
        Unread::Slow
    }

    fn is_permitted(&self) -> bool {
        self.grant.as_ref().is_none_or(|grant| {
            !grant.has_expired(clock::now_ms()) && !self.shared.gate.revocations.holds(grant)
        })
    }

    async fn send(&self, piece: Piece) -> Result<(), Unread> {
        if !self.is_permitted() {
            return Err(self.cut());
        }
        self.wait(self.pieces.send(piece)).await?.map_err(|_| Unread::Gone)
    }

    /// Waits for the socket, as long as it may take nothing.
    async fn wait<T>(&self, socket: impl Future<Output = T>) -> Result<T, Unread> {
        let mut socket = pin!(socket);
        let began = clock::instant();
        loop {
            let left = self.patience().saturating_sub(clock::since(began));
            if let Ok(taken) = tokio::time::timeout(left.min(LOOK), socket.as_mut()).await {
                return Ok(taken);
            }
            if clock::since(began) >= self.patience() {
                return Err(self.cut());
            }
        }
    }
}

/// The end that the socket reads.
struct Reader {
    waiting: mpsc::Receiver<Piece>,
    over: bool,
}

impl http_body::Body for Reader {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if self.over {
            return Poll::Ready(None);
        }
        self.waiting.poll_recv(cx).map(|piece| match piece {
            Some(Piece::Some(bytes)) => Some(Ok(Frame::data(bytes))),
            Some(Piece::Last(bytes)) => {
                self.over = true;
                Some(Ok(Frame::data(bytes)))
            }
            // Without a last piece the writer has not come to its end.
            Some(Piece::Broken) | None => {
                self.over = true;
                Some(Err(io::Error::other("the rest of the answer cannot be had")))
            }
        })
    }
}
