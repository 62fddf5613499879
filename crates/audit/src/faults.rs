//! Faults of the audit log's disk, for tests: nothing happens unless a test injects it.

use std::io::{Error, ErrorKind, Result};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

/// Faults of the disk, from now on. Clones share their state.
#[derive(Debug, Clone, Default)]
pub struct Faults(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_full: AtomicBool,
    hangs: Mutex<bool>,
    goes_on: Condvar,
}

/// Faults do not count when settings are compared.
impl PartialEq for Faults {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Faults {}

impl Faults {
    /// Makes the disk full from now on, or not full again.
    pub fn fill(&self, full: bool) {
        self.0.is_full.store(full, Ordering::SeqCst);
    }

    /// Makes writes block from now on, or continue again.
    pub fn hang(&self, hang: bool) {
        *self.0.hangs.lock().unwrap_or_else(PoisonError::into_inner) = hang;
        self.0.goes_on.notify_all();
    }

    pub(crate) fn on_write(&self) -> Result<()> {
        let hangs = self.0.hangs.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.0.goes_on.wait_while(hangs, |hangs| *hangs).unwrap_or_else(PoisonError::into_inner));
        if self.0.is_full.load(Ordering::SeqCst) {
            return Err(Error::new(ErrorKind::StorageFull, "injected: no space"));
        }
        Ok(())
    }
}
