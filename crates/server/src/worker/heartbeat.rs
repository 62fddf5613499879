//! Heartbeats: when data last arrived on a connection, and the pings that request it.

use std::cell::Cell;

/// Unanswered pings after which a connection is closed.
const MAX_UNANSWERED: u8 = 2;

/// See the module.
pub(crate) struct Heartbeat {
    /// ms since 1970.
    last_activity: Cell<u64>,
    /// ms by the steady clock.
    next_ping: Cell<u64>,
    unanswered: Cell<u8>,
}

/// The heartbeat action that is due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Due {
    Nothing,
    Ping,
    /// Too many pings were not answered.
    End,
}

impl Heartbeat {
    /// For a connection accepted at `now`, ms since 1970.
    pub(crate) fn new(now: u64) -> Self {
        Self { last_activity: Cell::new(now), next_ping: Cell::new(0), unanswered: Cell::new(0) }
    }

    /// Schedules the first ping at `steady`, ms by the steady clock.
    pub(crate) fn begin_at(&self, steady: u64) {
        self.next_ping.set(steady);
    }

    /// Records that data arrived.
    pub(crate) fn record_activity(&self, now: u64) {
        self.last_activity.set(now);
        self.unanswered.set(0);
    }

    pub(crate) fn last_activity(&self) -> u64 {
        self.last_activity.get()
    }

    pub(crate) fn unanswered(&self) -> u8 {
        self.unanswered.get()
    }

    /// The action due at `steady`. A due ping counts as sent; the next is due after `interval`. Both in ms.
    pub(crate) fn due(&self, steady: u64, interval: u64) -> Due {
        if steady < self.next_ping.get() {
            return Due::Nothing;
        }
        let unanswered = self.unanswered.get();
        if unanswered >= MAX_UNANSWERED {
            return Due::End;
        }
        self.unanswered.set(unanswered + 1);
        self.next_ping.set(steady + interval);
        Due::Ping
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_ends_when_the_third_ping_is_due_and_none_was_answered() {
        let heartbeat = Heartbeat::new(0);
        heartbeat.begin_at(100);
        assert_eq!(heartbeat.due(99, 50), Due::Nothing);
        assert_eq!(
            [100, 120, 150, 200].map(|at| heartbeat.due(at, 50)),
            [Due::Ping, Due::Nothing, Due::Ping, Due::End]
        );
        heartbeat.record_activity(210);
        assert_eq!(
            (heartbeat.due(210, 50), heartbeat.last_activity(), heartbeat.unanswered()),
            (Due::Ping, 210, 1)
        );
    }
}
