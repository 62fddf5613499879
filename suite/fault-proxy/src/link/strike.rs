//! One message or piece meets the faults.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::Link;
use crate::decide::{Moment, Passing, Purpose, Spot, draw, strikes};
use crate::fault::blow::Blow;
use crate::fault::{self, Direction, Effect, Way};
use crate::opening::Mode;
use crate::pipe::{End, Then, item};
use crate::record::Strike;
use crate::table::Armed;

/// What was decided for one message or piece.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) blow: Blow,
    /// Whose swap is waiting to come about.
    pub(super) swap: Option<Option<Arc<Armed>>>,
    /// Messages were taken away, repeated or moved, or are about to be.
    pub(super) is_disordered: bool,
}

impl Link {
    /// Whether any fault has to see the content of what goes this way.
    pub(super) fn reads_content(&self, way: Way) -> bool {
        self.proxy.table().iter().any(|armed| armed.reads(way))
    }

    /// Has every fault look at what passes, in the order they were added, until one ends the link.
    pub(super) fn meet(&self, moment: &Moment, bytes: Bytes, content: Option<&[u8]>) -> Outcome {
        let mut outcome = Outcome { blow: Blow::none(bytes), swap: None, is_disordered: false };
        for effect in self.take_pending(moment.passing) {
            self.strike(&mut outcome, None, &effect, moment);
        }
        for armed in self.proxy.table().iter() {
            if outcome.blow.is_final() {
                break;
            }
            if self.is_struck_by(armed, moment, content) {
                self.strike(&mut outcome, Some(armed), &armed.fault.effect, moment);
            }
        }
        outcome
    }

    fn is_struck_by(&self, armed: &Arc<Armed>, moment: &Moment, content: Option<&[u8]>) -> bool {
        let fault = &armed.fault;
        let begins_by_itself = fault.effect.is_lasting() && !fault.when.needs_traffic();
        !begins_by_itself
            && !armed.is_used_up()
            && strikes(armed.id.0, fault, moment)
            && armed.finds(content)
            && (!armed.is_once_per_link(moment.passing == Passing::Message) || self.first_time(armed))
            && armed.take()
    }

    /// Effects called for at once that needed something to pass.
    fn take_pending(&self, passing: Passing) -> Vec<Effect> {
        let mut state = self.state();
        if state.pending.is_empty() {
            return Vec::new();
        }
        let fits = |effect: &mut Effect| passing == Passing::Message || !effect.needs_messages();
        state.pending.extract_if(.., fits).collect()
    }

    fn strike(&self, outcome: &mut Outcome, armed: Option<&Arc<Armed>>, effect: &Effect, moment: &Moment) {
        let blow = &mut outcome.blow;
        let direction = armed.map_or(moment.way.into(), |armed| armed.fault.direction);
        let is_message = moment.passing == Passing::Message;
        let luck = || draw(moment.spot(armed.map_or(0, |armed| armed.id.0)), Purpose::Detail);
        match effect {
            Effect::Stall { ms } => fault::stall::strike(&self.pipes, direction, *ms, Instant::now()),
            Effect::Delay { ms } => fault::delay::strike(blow, *ms),
            Effect::Drop => fault::drop::strike(blow),
            Effect::Duplicate => fault::duplicate::strike(blow),
            Effect::Swap if outcome.swap.is_some() => return undo(armed),
            Effect::Swap => fault::swap::strike(blow),
            Effect::Corrupt { part } => fault::corrupt::strike(blow, *part, is_message, luck()),
            Effect::Truncate { ending } => fault::truncate::strike(blow, *ending),
            Effect::Reset { forward } => fault::reset::strike(blow, *forward),
            Effect::HalfClose => fault::half_close::strike(blow),
            Effect::Close { code, reason } => {
                blow.copies = 0;
                self.close(*code, reason);
            }
            lasting => {
                if !self.begin(armed, lasting, direction) {
                    return undo(armed);
                }
            }
        }
        outcome.is_disordered |= matches!(effect, Effect::Drop | Effect::Duplicate | Effect::Swap);
        if matches!(effect, Effect::Swap) {
            // Recorded when the next message has come.
            outcome.swap = Some(armed.cloned());
            return;
        }
        self.record(armed, effect, moment.way, is_message.then_some(moment.messages));
    }

    pub(super) fn record(&self, armed: Option<&Arc<Armed>>, effect: &Effect, way: Way, message: Option<u64>) {
        self.proxy.record(match armed {
            Some(armed) => Strike::of(armed, self.id, way.into(), message),
            None => Strike::at_once(effect, self.id, way.into(), message),
        });
    }

    /// A close frame to both sides, behind what is already on its way to them; then the link ends.
    fn close(&self, code: u16, reason: &str) {
        self.state().closing.get_or_insert(Instant::now() + super::CLOSING);
        for way in Way::BOTH {
            let spot =
                Spot { seed: self.proxy.seed, fault: 0, link: self.id, direction: way.into(), ordinal: 0 };
            let frame = fault::close::frame(way, code, reason, draw(spot, Purpose::Detail));
            let mut close = item(frame, Duration::ZERO);
            close.then = Then::Closed;
            self.pipes[way.index()].push_now(close);
        }
    }

    /// Does something to this link now; what needs something that passes waits for it. Tells whether it can be done here.
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
                fin.then = Then::Fin;
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

fn undo(armed: Option<&Arc<Armed>>) {
    if let Some(armed) = armed {
        armed.give_back();
    }
}
