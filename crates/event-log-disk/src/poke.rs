//! Wakes the thread that cleans up before its next second.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Poke {
    state: Mutex<State>,
    poked: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_poked: bool,
    is_stopped: bool,
}

impl Poke {
    /// There is something to do.
    pub(crate) fn now(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_poked = true;
        self.poked.notify_one();
    }

    /// The thread is to end.
    pub(crate) fn stop(&self) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_stopped = true;
        self.poked.notify_one();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).is_stopped
    }

    /// Waits for at most `time`. Returns whether to go on.
    pub(crate) fn wait(&self, time: Duration) -> bool {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = |state: &mut State| !state.is_poked && !state.is_stopped;
        let (mut state, _) =
            self.poked.wait_timeout_while(state, time, waits).unwrap_or_else(PoisonError::into_inner);
        state.is_poked = false;
        !state.is_stopped
    }
}
