//! Applies the faults to one message or piece.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Link;
use crate::decide::{Moment, Purpose, Spot, Traffic, draw, strikes};
use crate::fault::impact::Impact;
use crate::fault::{self, Direction, Effect, Way};
use crate::opening::Mode;
use crate::pipe::{Continuation, End, item};
use crate::record::Strike;
use crate::table::ActiveFault;

/// The result for one message or piece.
#[derive(Debug)]
pub(super) struct StrikeOutcome {
    pub(super) impact: Impact,
    /// The fault whose swap is pending.
    pub(super) swap: Option<Option<Arc<ActiveFault>>>,
    /// Messages were dropped, repeated or reordered, or are about to be.
    pub(super) is_disordered: bool,
}

impl Link {
    /// Whether any fault must inspect the content in this direction.
    pub(super) fn reads_content(&self, way: Way) -> bool {
        self.proxy.table().iter().any(|active| active.reads(way))
    }

    /// Applies every fault to the traffic, in the order they were added, until one ends the link.
    pub(super) fn apply_faults(
        &self,
        moment: &Moment,
        bytes: Bytes,
        content: Option<&[u8]>,
    ) -> StrikeOutcome {
        let mut outcome = StrikeOutcome { impact: Impact::none(bytes), swap: None, is_disordered: false };
        for effect in self.take_pending(moment.traffic) {
            self.strike(&mut outcome, None, &effect, moment);
        }
        for active in self.proxy.table().iter() {
            if outcome.impact.is_final() {
                break;
            }
            if self.is_struck_by(active, moment, content) {
                self.strike(&mut outcome, Some(active), &active.fault.effect, moment);
            }
        }
        outcome
    }

    fn is_struck_by(&self, active: &Arc<ActiveFault>, moment: &Moment, content: Option<&[u8]>) -> bool {
        let fault = &active.fault;
        let begins_by_itself = fault.effect.is_lasting() && !fault.when.needs_traffic();
        !begins_by_itself
            && !active.is_used_up()
            && strikes(active.id.0, fault, moment)
            && active.finds(content)
            && (!active.is_once_per_link(moment.traffic == Traffic::Message) || self.first_time(active))
            && active.take()
    }

    /// Requested effects that needed something to pass.
    fn take_pending(&self, traffic: Traffic) -> Vec<Effect> {
        let mut state = self.state();
        if state.pending.is_empty() {
            return Vec::new();
        }
        let fits = |effect: &mut Effect| traffic == Traffic::Message || !effect.needs_messages();
        state.pending.extract_if(.., fits).collect()
    }

    fn strike(
        &self,
        outcome: &mut StrikeOutcome,
        active: Option<&Arc<ActiveFault>>,
        effect: &Effect,
        moment: &Moment,
    ) {
        let impact = &mut outcome.impact;
        let direction = active.map_or(moment.way.into(), |active| active.fault.direction);
        let is_message = moment.traffic == Traffic::Message;
        let luck = || draw(moment.spot(active.map_or(0, |active| active.id.0)), Purpose::Detail);
        match effect {
            Effect::Stall { ms } => fault::stall::strike(&self.pipes, direction, *ms, Instant::now()),
            Effect::Delay { ms } => fault::delay::strike(impact, *ms),
            Effect::Drop => fault::drop::strike(impact),
            Effect::Duplicate => fault::duplicate::strike(impact),
            Effect::Swap if outcome.swap.is_some() => return undo(active),
            Effect::Swap => fault::swap::strike(impact),
            Effect::Corrupt { part } => fault::corrupt::strike(impact, *part, is_message, luck()),
            Effect::Truncate { ending } => fault::truncate::strike(impact, *ending),
            Effect::Reset { forward } => fault::reset::strike(impact, *forward),
            Effect::HalfClose => fault::half_close::strike(impact),
            Effect::Close { code, reason } => {
                impact.copies = 0;
                self.close(*code, reason);
            }
            lasting => {
                if !self.begin(active, lasting, direction) {
                    return undo(active);
                }
            }
        }
        outcome.is_disordered |= matches!(effect, Effect::Drop | Effect::Duplicate | Effect::Swap);
        if matches!(effect, Effect::Swap) {
            // Recorded when the next message arrives.
            outcome.swap = Some(active.cloned());
            return;
        }
        self.record(active, effect, moment.way, is_message.then_some(moment.messages));
    }

    pub(super) fn record(
        &self,
        active: Option<&Arc<ActiveFault>>,
        effect: &Effect,
        way: Way,
        message: Option<u64>,
    ) {
        self.proxy.record(match active {
            Some(active) => Strike::of(active, self.id, way.into(), message),
            None => Strike::at_once(effect, self.id, way.into(), message),
        });
    }

    /// Sends a close frame to both sides, after what is already on its way to them, and ends the link.
    fn close(&self, code: u16, reason: &str) {
        self.state().closing.get_or_insert(Instant::now() + super::CLOSING);
        for way in Way::BOTH {
            let spot =
                Spot { seed: self.proxy.seed, fault: 0, link: self.id, direction: way.into(), ordinal: 0 };
            let frame = fault::close::frame(way, code, reason, draw(spot, Purpose::Detail));
            let mut close = item(frame, Duration::ZERO);
            close.then = Continuation::Closed;
            self.pipes[way.index()].push_now(close);
        }
    }

    /// Applies an effect to this link now; effects that need traffic wait for it. Returns whether it is possible here.
    pub(crate) fn strike_now(&self, effect: &Effect) -> bool {
        if effect.needs_messages() && !matches!(self.opening.mode(), Mode::WebSocket(_)) {
            return false;
        }
        match effect {
            Effect::Reset { .. } => self.end(End::Reset),
            Effect::Close { code, reason } => self.close(*code, reason),
            Effect::Stall { ms } => fault::stall::strike(&self.pipes, Direction::Both, *ms, Instant::now()),
            Effect::HalfClose => {
                let mut fin = item(Bytes::new(), Duration::ZERO);
                fin.then = Continuation::Fin;
                self.pipes[Way::Up.index()].push_now(fin);
            }
            lasting if lasting.is_lasting() => {
                self.begin(None, lasting, Direction::Both);
            }
            waits => {
                self.state().pending.push(waits.clone());
                return true;
            }
        }
        self.proxy.record(Strike::at_once(effect, self.id, Direction::Both, None));
        true
    }
}

fn undo(active: Option<&Arc<ActiveFault>>) {
    if let Some(active) = active {
        active.give_back();
    }
}
