//! Spans of events that carry a `traceparent`: publish → log → delivery, for an OpenTelemetry collector.
//!
//! Nothing is kept for an event under way. A span is made when it is over, from the committed frame: the event's metadata are in it, and
//! names of spans follow from the event's place, so that workers agree on them without a word. `encode` has the collector's form; the job that sends is [`crate::housekeeping::traces`].

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

/// Spans that may wait for the collector.
const QUEUE: usize = 8_192;

/// What a span is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From the event's arrival to its ack.
    Publish,
    /// From the hand-over to the log to its word.
    Log,
    /// One worker's pass over its followers' sockets.
    Delivery,
}

/// One span that is over.
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
    /// Of a delivery: which worker's, and to how many.
    delivery: Option<(usize, usize)>,
}

/// What the job gets.
pub(crate) enum Item {
    Span(Box<Span>),
    /// Nothing comes after it.
    Stop,
}

/// Makes spans and hands them to the thread that exports.
pub(crate) struct Tracer {
    pub(crate) endpoint: String,
    spans: SyncSender<Item>,
    waiting: Mutex<Option<Receiver<Item>>>,
    /// Spans that found no room.
    pub(crate) left_out: AtomicU64,
    /// The server ends.
    pub(crate) stopping: AtomicBool,
}

impl Tracer {
    pub(crate) fn new(endpoint: String) -> Self {
        let (spans, waiting) = sync_channel(QUEUE);
        let (waiting, left_out) = (Mutex::new(Some(waiting)), AtomicU64::new(0));
        Self { endpoint, spans, waiting, left_out, stopping: AtomicBool::new(false) }
    }

    /// A frame is in the log, and whoever waited for that has been told.
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
            // The arrival is known to the millisecond.
            let arrived = record.received_at.saturating_mul(1_000_000).min(submitted);
            self.offer(span(publish, parent.span, Stage::Publish, arrived, clock::now_ns()));
            let log = name(&parent, session, seq, "log");
            self.offer(span(log, publish, Stage::Log, submitted, settled));
        });
    }

    /// A worker has offered a frame to its followers.
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

    /// Has the exporting thread send what it can in a few seconds, and end.
    pub(crate) fn close(&self) {
        self.stopping.store(true, Ordering::Relaxed);
        // Where there is no room it has something to do, and looks at the flag after it.
        let _ = self.spans.try_send(Item::Stop);
    }

    /// What the job receives from; once.
    pub(crate) fn take_waiting(&self) -> Option<Receiver<Item>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Calls for every event of the frame whose trace is sampled.
fn each_traced(frame: &Frame, mut with: impl FnMut(TraceParent, Seq, &agentbench_event_log::Record<'_>)) {
    for (seq, record) in frame.records() {
        if record.kind == Kind::Event
            && let Some(parent) = TraceParent::of_event(record.body).filter(|parent| parent.is_sampled)
        {
            with(parent, seq, &record);
        }
    }
}

/// The name of a span: whoever knows the event knows it.
fn name(parent: &TraceParent, session: SessionId, seq: Seq, stage: &str) -> [u8; 8] {
    let mut hash = Sha256::new();
    hash.update(parent.trace);
    hash.update(parent.span);
    hash.update(session.as_u128().to_be_bytes());
    hash.update(seq.to_be_bytes());
    hash.update(stage.as_bytes());
    let mut id = [0; 8];
    id.copy_from_slice(&hash.finalize()[..8]);
    // All zeroes is no name (W3C Trace Context §3.2.2.4).
    if id == [0; 8] { [1; 8] } else { id }
}
