//! The lasting effects of a link: their start, their end, and their sum.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Link;
use crate::decide;
use crate::fault::slice::{Slices, finer};
use crate::fault::slow_reader::{Pace, slower};
use crate::fault::{Direction, Effect, Way};
use crate::pipe::End;
use crate::record::Strike;
use crate::table::{ActiveFault, Table};

/// A lasting effect in progress.
#[derive(Debug)]
pub(super) struct LastingEffect {
    /// `None` for one that was requested directly.
    fault: Option<Arc<ActiveFault>>,
    effect: Effect,
    direction: Direction,
    since: Instant,
    until: Option<Instant>,
}

/// The sum of all lasting effects of one direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Flow {
    pub(super) black_hole: bool,
    /// Bytes per second.
    pub(super) rate: Option<u64>,
    pub(super) slices: Option<Slices>,
    /// How the server's output is read.
    pub(super) pace: Option<Pace>,
}

impl Link {
    /// The effects on one direction.
    pub(super) fn flow(&self, way: Way, now: Instant) -> Flow {
        let mut flow = Flow::default();
        for lasting in self.state().lasting.iter().filter(|lasting| lasting.works(now)) {
            lasting.add_to(&mut flow, way, now);
        }
        flow
    }

    /// The delay of something that passes now. `luck` gives each latency its number.
    pub(super) fn latency(&self, way: Way, luck: impl Fn(u64) -> u64) -> Duration {
        let now = Instant::now();
        let mut wait = Duration::ZERO;
        for lasting in self.state().lasting.iter().filter(|lasting| !lasting.is_over(now)) {
            if let Effect::Latency { ms, jitter_ms, .. } = lasting.effect
                && lasting.direction.covers(way)
            {
                let id = lasting.fault.as_ref().map_or(0, |active| active.id.0);
                wait += crate::fault::latency::wait(ms, jitter_ms, luck(id));
            }
        }
        wait
    }

    /// Starts a lasting effect, unless one of the same fault is in progress here.
    pub(super) fn begin(
        &self,
        fault: Option<&Arc<ActiveFault>>,
        effect: &Effect,
        direction: Direction,
    ) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        let is_going = |lasting: &LastingEffect| {
            !lasting.is_over(now)
                && fault.is_some_and(|fault| lasting.fault.as_ref().is_some_and(|other| other.id == fault.id))
        };
        if state.lasting.iter().any(is_going) {
            return false;
        }
        state.lasting.push(LastingEffect {
            fault: fault.cloned(),
            effect: effect.clone(),
            direction,
            since: now,
            until: effect.lasts().map(|lasts| now + lasts),
        });
        drop(state);
        self.wake();
        true
    }

    /// Starts the lasting effects that need no traffic, each once.
    pub(crate) fn admit(&self, table: &Table) {
        for active in table.iter().filter(|active| active.fault.effect.is_lasting()) {
            let fault = &active.fault;
            if fault.when.needs_traffic()
                || !decide::begins(active.id.0, fault, self.proxy.seed, self.id)
                || !self.first_time(active)
                || !active.take()
            {
                continue;
            }
            self.begin(Some(active), &fault.effect, fault.direction);
            self.proxy.record(Strike::of(active, self.id, fault.direction, None));
        }
    }

    /// Whether a fault has not struck here before, and marks it as having struck.
    pub(super) fn first_time(&self, active: &Arc<ActiveFault>) -> bool {
        let mut state = self.state();
        let is_new = !state.struck.iter().any(|other| other.id == active.id);
        if is_new {
            state.struck.push(active.clone());
        }
        is_new
    }

    /// Ends the lasting effects of removed faults; with `all`, also those requested directly and those pending.
    pub(crate) fn lift(&self, is_gone: impl Fn(&ActiveFault) -> bool, all: bool) {
        let mut state = self.state();
        let before = state.has_black_hole();
        state.lasting.retain(|lasting| match &lasting.fault {
            Some(fault) => !is_gone(fault),
            None => !all,
        });
        state.struck.retain(|active| !is_gone(active));
        if all {
            state.pending.clear();
        }
        let after = state.has_black_hole();
        drop(state);
        if all {
            self.pipes.iter().for_each(crate::pipe::Pipe::release);
        }
        self.reset_if_lossy(before && !after);
        self.wake();
    }

    /// Removes expired effects; returns the time of the next change.
    pub(super) fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state();
        let before = state.has_black_hole();
        state.lasting.retain(|lasting| !lasting.is_over(now));
        let after = state.has_black_hole();
        let next = state.lasting.iter().filter_map(|lasting| lasting.next_change(now)).min();
        drop(state);
        self.reset_if_lossy(before && !after);
        next
    }

    /// A black hole has closed: a link that lost something in it cannot continue.
    fn reset_if_lossy(&self, has_closed: bool) {
        if has_closed && self.lost.is_marked() {
            self.end(End::Reset);
        }
    }
}

impl super::State {
    fn has_black_hole(&self) -> bool {
        self.lasting.iter().any(|lasting| matches!(lasting.effect, Effect::BlackHole { .. }))
    }
}

impl LastingEffect {
    /// A black hole ends by removal, not by its time: nothing may pass before the link is reset for it.
    fn works(&self, now: Instant) -> bool {
        !self.is_over(now) || matches!(self.effect, Effect::BlackHole { .. })
    }

    fn is_over(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until <= now)
    }

    fn next_change(&self, now: Instant) -> Option<Instant> {
        let pause_ends = match self.effect {
            Effect::SlowReader { pause_ms: Some(ms), .. } => {
                Some(self.since + Duration::from_millis(ms)).filter(|end| *end > now)
            }
            _ => None,
        };
        [pause_ends, self.until].into_iter().flatten().min()
    }

    fn add_to(&self, flow: &mut Flow, way: Way, now: Instant) {
        match &self.effect {
            Effect::BlackHole { .. } => flow.black_hole = true,
            Effect::SlowReader { bytes_per_second, pause_ms, .. } if way == Way::Down => {
                let pause = Duration::from_millis(pause_ms.unwrap_or(0));
                if now < self.since + pause {
                    flow.pace = Some(slower(flow.pace, Pace::Paused));
                } else if let Some(rate) = bytes_per_second {
                    flow.pace = Some(slower(flow.pace, Pace::BytesPerSecond(*rate)));
                }
            }
            Effect::Bandwidth { bytes_per_second, .. } if self.direction.covers(way) => {
                flow.rate = Some(flow.rate.map_or(*bytes_per_second, |rate| rate.min(*bytes_per_second)));
            }
            Effect::Slice { bytes, delay_us, .. } if self.direction.covers(way) => {
                let slices = Slices { bytes: *bytes, delay: Duration::from_micros(*delay_us) };
                flow.slices = Some(finer(flow.slices, slices));
            }
            _ => {}
        }
    }
}
