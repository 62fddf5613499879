//! Spans of events that carry a `traceparent`: publish → log → delivery, for an OpenTelemetry collector.
//!
//! No state is kept for events in progress. A span is created at its end, from the committed frame, which has the event's
//! metadata; ids of spans are derived from the event's position, so that workers agree on them without communication.
//! `encode` writes the collector's format; the job that exports is [`crate::housekeeping::traces`].

pub(crate) mod encode;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use agentbench_event_log::{Frame, Kind};
use agentbench_protocol::{Seq, SessionId};
use sha2::{Digest, Sha256};

use crate::clock;
use crate::traceparent::TraceParent;

/// Maximum number of queued spans.
const QUEUE: usize = 8_192;

/// The stage of an event's processing that a span covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From the event's arrival to its ack.
    Publish,
    /// From submission to the log to its outcome.
    Log,
    /// One worker's pass over its followers' sockets.
    Delivery,
}

/// One completed span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Span {
    trace: [u8; 16],
    id: [u8; 8],
    parent: [u8; 8],
    stage: Stage,
    /// ns since 1970.
    began: u64,
    ended: u64,
    session: SessionId,
    seq: Seq,
    event: String,
    /// For a delivery: the worker, and the number of readers.
    delivery: Option<(usize, usize)>,
}

/// An item of the exporting job's queue.
pub(crate) enum Item {
    Span(Box<Span>),
    /// The end of the queue.
    Stop,
}

/// Creates spans and passes them to the exporting thread.
pub(crate) struct Tracer {
    pub(crate) endpoint: String,
    spans: SyncSender<Item>,
    waiting: Mutex<Option<Receiver<Item>>>,
    /// Spans dropped because the queue was full.
    pub(crate) left_out: AtomicU64,
    /// The server is stopping.
    pub(crate) stopping: AtomicBool,
}

impl Tracer {
    pub(crate) fn new(endpoint: String) -> Self {
        let (spans, waiting) = sync_channel(QUEUE);
        let (waiting, left_out) = (Mutex::new(Some(waiting)), AtomicU64::new(0));
        Self { endpoint, spans, waiting, left_out, stopping: AtomicBool::new(false) }
    }

    /// Called when a frame was committed and its requests were answered.
    pub(crate) fn logged(&self, session: SessionId, frame: &Frame, took: Duration, settled: u64) {
        let submitted = settled.saturating_sub(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
        each_traced(frame, |parent, seq, record| {
            let publish = name(&parent, session, seq, "publish");
            let span = |id, above, stage, began, ended| Span {
                trace: parent.trace,
                id,
                parent: above,
                stage,
                began,
                ended,
                session,
                seq,
                event: record.id.to_owned(),
                delivery: None,
            };
            // The arrival time has a precision of one millisecond.
            let arrived = record.received_at.saturating_mul(1_000_000).min(submitted);
            self.offer(span(publish, parent.span, Stage::Publish, arrived, clock::now_ns()));
            let log = name(&parent, session, seq, "log");
            self.offer(span(log, publish, Stage::Log, submitted, settled));
        });
    }

    /// Called when a worker has delivered a frame to its followers.
    pub(crate) fn delivered(
        &self,
        session: SessionId,
        frame: &Frame,
        began: u64,
        worker: usize,
        readers: usize,
    ) {
        if readers == 0 {
            return;
        }
        let ended = clock::now_ns();
        each_traced(frame, |parent, seq, record| {
            self.offer(Span {
                trace: parent.trace,
                id: name(&parent, session, seq, &format!("delivery {worker}")),
                parent: name(&parent, session, seq, "publish"),
                stage: Stage::Delivery,
                began,
                ended,
                session,
                seq,
                event: record.id.to_owned(),
                delivery: Some((worker, readers)),
            });
        });
    }

    fn offer(&self, span: Span) {
        if let Err(TrySendError::Full(_)) = self.spans.try_send(Item::Span(Box::new(span))) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Makes the exporting thread send queued spans for at most a few seconds, and end.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        // If the queue is full, the thread checks the flag after the current batch.
        let _ = self.spans.try_send(Item::Stop);
    }

    /// Takes the exporting job's receiver; `None` after the first call.
    pub(crate) fn take_waiting(&self) -> Option<Receiver<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Calls `with` for every event of the frame whose trace is sampled.
fn each_traced(frame: &Frame, mut with: impl FnMut(TraceParent, Seq, &agentbench_event_log::Record<'_>)) {
    for (seq, record) in frame.records() {
        if record.kind == Kind::Event
            && let Some(parent) = TraceParent::of_event(record.body).filter(|parent| parent.is_sampled)
        {
            with(parent, seq, &record);
        }
    }
}

/// The id of a span, derived from the event.
fn name(parent: &TraceParent, session: SessionId, seq: Seq, stage: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(parent.trace);
    hash.update(parent.span);
    hash.update(session.as_u128().to_be_bytes());
    hash.update(seq.to_be_bytes());
    hash.update(stage.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.finalize()[..8]);
    // All zeroes is not a valid id (W3C Trace Context §3.2.2.4).
    if id == [0; 8] { [1; 8] } else { id }
}
