//! Delivery on one worker: feeds, the readers that follow them, and the pending output of each reader.

pub(crate) mod audience;
pub(crate) mod audiences;
pub(crate) mod feed;
pub(crate) mod flushing;
pub(crate) mod inspection;
pub(crate) mod outbox;
pub(crate) mod reader;
pub(crate) mod render;
pub(crate) mod replays;
mod sending;
pub(crate) mod socket;
pub(crate) mod stream_room;
pub(crate) mod streams;

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;

use crate::clock::{Clock, Moment};
use crate::figures::meters::{AllMeters, Meters};
use crate::figures::metrics::Metrics;
use crate::names::MessageNumbers;
use inspection::Inspection;
use render::Renderer;

/// State shared by all deliveries of one worker.
pub(crate) struct Delivery {
    worker: usize,
    clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    meters: Arc<AllMeters>,
    pub(crate) renderer: RefCell<Renderer>,
    /// The active frame inspections.
    pub(crate) inspection: Inspection,
    pub(crate) numbers: Rc<MessageNumbers>,
    /// The level of acks.
    ack_level: &'static str,
    /// Buffer in which small messages are serialized before they are framed.
    json_buf: RefCell<BytesMut>,
}

impl Delivery {
    /// For worker number `worker`.
    pub(crate) fn new(
        worker: usize,
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        meters: Arc<AllMeters>,
        numbers: Rc<MessageNumbers>,
        renderer: Renderer,
        ack_level: &'static str,
    ) -> Self {
        let (renderer, inspection) = (RefCell::new(renderer), Inspection::new());
        let json_buf = RefCell::default();
        Self { worker, clock, metrics, meters, renderer, inspection, numbers, ack_level, json_buf }
    }

    /// The metrics that only this worker writes.
    pub(crate) fn meters(&self) -> &Meters {
        self.meters.of(self.worker)
    }

    /// Both clocks.
    pub(crate) fn moment(&self) -> Moment {
        self.clock.moment()
    }

    /// The monotonic clock.
    pub(crate) fn instant(&self) -> Instant {
        self.clock.instant()
    }

    /// ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// ms by a monotonic clock, for all timeouts.
    pub(crate) fn steady(&self) -> u64 {
        self.clock.steady_ms()
    }
}
