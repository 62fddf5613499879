//! The reader's second half: applies faults to a unit on its way from the splitter to the pipe.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::read::Reader;
use super::strike::StrikeOutcome;
use crate::content::{self, uncompressed};
use crate::decide::{Moment, Purpose, Traffic, draw};
use crate::fault::{Effect, swap};
use crate::opening::{Compression, Mode};
use crate::pipe::{Continuation, Item, item};
use crate::split::Unit;
use crate::table::ActiveFault;

/// A message that waits for the next one, to follow it.
pub(super) struct HeldMessage {
    item: Item,
    pub(super) until: Instant,
    fault: Option<Arc<ActiveFault>>,
    message: u64,
}

impl Reader<'_> {
    pub(super) async fn pass(&mut self, unit: Unit) {
        self.units += 1;
        let (bytes, traffic) = match unit {
            Unit::Message(bytes) => return self.pass_message(bytes).await,
            Unit::Control(bytes) => return self.forward(bytes).await,
            Unit::Piece { bytes, begins } => {
                if begins {
                    self.count_message();
                    if let Some(content) = &mut self.content {
                        content.skip();
                    }
                }
                return self.forward(bytes).await;
            }
            Unit::Head(bytes) => (bytes, Traffic::Head),
            Unit::Bytes(bytes) => (bytes, Traffic::Bytes),
        };
        let moment = self.moment(traffic);
        let content = (traffic == Traffic::Bytes).then_some(&bytes[..]);
        let outcome = self.link.apply_faults(&moment, bytes.clone(), content);
        self.bytes += bytes.len() as u64;
        self.carry_out(outcome, moment.messages).await;
    }

    async fn pass_message(&mut self, bytes: Bytes) {
        let wire = bytes.clone();
        let retains = self.content().retains();
        let is_read = retains || self.link.reads_content(self.way);
        let content = if is_read { self.content().read(&wire) } else { None };
        // Once the order of messages was changed, only self-contained messages can be understood.
        let plain = match &content {
            Some(content) if retains => uncompressed(&wire, content),
            _ => None,
        };
        let bytes = if self.is_disordered { plain.clone().unwrap_or(bytes) } else { bytes };
        let moment = self.moment(Traffic::Message);
        let mut outcome = self.link.apply_faults(&moment, bytes, content.as_deref());
        self.count_message();
        self.bytes += wire.len() as u64;
        if outcome.is_disordered && !self.is_disordered {
            self.is_disordered = true;
            if let Some(plain) = plain
                && outcome.impact.bytes == wire
            {
                outcome.impact.bytes = plain;
            }
        }
        self.carry_out(outcome, moment.messages).await;
    }

    /// Pushes the result of the strikes on a message or piece to the pipe.
    async fn carry_out(&mut self, outcome: StrikeOutcome, message: u64) {
        let StrikeOutcome { impact, swap, .. } = outcome;
        let wait = impact.held + self.latency();
        if impact.swapped && impact.copies == 1 && !impact.is_final() && self.held.is_none() {
            self.held = Some(HeldMessage {
                item: item(impact.bytes, wait),
                until: Instant::now() + swap::WAIT,
                fault: swap.flatten(),
                message,
            });
            return;
        }
        if let Some(Some(active)) = swap {
            active.give_back();
        }
        let last = impact.copies.max(1) - 1;
        for copy in 0..impact.copies.max(1) {
            let bytes = if impact.copies == 0 { Bytes::new() } else { impact.bytes.clone() };
            let then = if copy == last { impact.then } else { Continuation::Nothing };
            self.push(Item { then, ..item(bytes, wait) }).await;
        }
        if impact.copies > 0
            && let Some(held) = self.held.take()
        {
            self.link.record(held.fault.as_ref(), &Effect::Swap, self.way, Some(held.message));
            self.push(held.item).await;
        }
    }

    /// Forwards a held message alone if its time is up or its fault was removed.
    pub(super) async fn release_held(&mut self) {
        let Some(held) = &self.held else { return };
        let is_gone = held
            .fault
            .as_ref()
            .is_some_and(|fault| !self.link.proxy.table().iter().any(|active| active.id == fault.id));
        if is_gone || held.until <= Instant::now() {
            self.give_up_held().await;
        }
    }

    pub(super) async fn give_up_held(&mut self) {
        if let Some(held) = self.held.take() {
            if let Some(active) = &held.fault {
                active.give_back();
            }
            self.push(held.item).await;
        }
    }

    async fn forward(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        let wait = self.latency();
        self.push(item(bytes, wait)).await;
    }

    pub(super) async fn push(&self, item: Item) {
        if item.bytes.is_empty() && item.then == Continuation::Nothing {
            return;
        }
        self.link.pipes[self.way.index()].push(item).await;
    }

    pub(super) fn latency(&self) -> Duration {
        let spot = crate::decide::Spot { ordinal: self.units, ..self.moment(Traffic::Bytes).spot(0) };
        self.link.latency(self.way, |fault| draw(crate::decide::Spot { fault, ..spot }, Purpose::Detail))
    }

    fn moment(&self, traffic: Traffic) -> Moment {
        Moment {
            seed: self.link.proxy.seed,
            link: self.link.id,
            way: self.way,
            traffic,
            messages: self.messages,
            bytes: self.bytes,
            age: self.link.since.elapsed(),
        }
    }

    fn count_message(&mut self) {
        self.messages += 1;
        self.link.counts[self.way.index()].messages.fetch_add(1, Ordering::Relaxed);
    }

    /// The reader of this direction's messages; the heads must have passed.
    fn content(&mut self) -> &mut content::Reader {
        let (link, way) = (self.link, self.way);
        self.content.get_or_insert_with(|| {
            let compression = match link.opening.mode() {
                Mode::WebSocket(compression) => compression,
                _ => Compression::default(),
            };
            content::Reader::new(compression.is_negotiated(), compression.retains(way))
        })
    }
}
