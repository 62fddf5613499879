//! Delivery on one worker: feeds, the readers that follow them, and what each of these is owed.

pub(crate) mod audience;
pub(crate) mod feed;
pub(crate) mod inspection;
pub(crate) mod outbox;
pub(crate) mod playing;
pub(crate) mod reader;
pub(crate) mod render;
pub(crate) mod streams;

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use crate::clock::Clock;
use crate::figures::meters::{AllMeters, Meters};
use crate::figures::metrics::Metrics;
use inspection::Inspection;
use render::Renderer;

/// What a worker delivers with.
pub(crate) struct Delivery {
    worker: usize,
    workers: usize,
    clock: Arc<Clock>,
    pub(crate) metrics: Arc<Metrics>,
    meters: Arc<AllMeters>,
    pub(crate) renderer: RefCell<Renderer>,
    /// The looks at frames.
    pub(crate) inspection: Inspection,
    /// Messages that the server itself has written here.
    written: Cell<u64>,
}

impl Delivery {
    /// Of worker number `worker`, of so many.
    pub(crate) fn new(
        (worker, workers): (usize, usize),
        clock: Arc<Clock>,
        metrics: Arc<Metrics>,
        meters: Arc<AllMeters>,
        renderer: Renderer,
    ) -> Self {
        let (renderer, inspection) = (RefCell::new(renderer), Inspection::new());
        Self { worker, workers, clock, metrics, meters, renderer, inspection, written: Cell::new(0) }
    }

    /// A number for the id of a message of the server: unique in the process, whichever connection it goes to.
    pub(crate) fn next_number(&self) -> u64 {
        let count = self.written.get() + 1;
        self.written.set(count);
        count * self.workers as u64 + self.worker as u64
    }

    /// The figures that only this worker writes.
    pub(crate) fn meters(&self) -> &Meters {
        self.meters.of(self.worker)
    }

    /// ms since 1970.
    pub(crate) fn now(&self) -> u64 {
        self.clock.wall_ms()
    }

    /// ms by a clock that only goes forward, at the pace of time: for everything that waits.
    pub(crate) fn steady(&self) -> u64 {
        self.clock.steady_ms()
    }
}
