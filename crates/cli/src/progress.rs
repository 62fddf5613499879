//! Progress as a line on standard error, which a terminal updates in place.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

/// Time between two lines on a terminal, and without one.
const TERMINAL_PERIOD: Duration = Duration::from_millis(100);
const LOG_PERIOD: Duration = Duration::from_secs(5);

/// See the module. A failure to show progress stops nothing.
pub(crate) struct Line {
    is_terminal: bool,
    last: Instant,
}

impl Line {
    pub(crate) fn new() -> Self {
        Self { is_terminal: std::io::stderr().is_terminal(), last: Instant::now() }
    }

    /// Shows it, unless another one was shown just now.
    pub(crate) fn show(&mut self, text: &str) {
        let period = if self.is_terminal { TERMINAL_PERIOD } else { LOG_PERIOD };
        if self.last.elapsed() < period {
            return;
        }
        self.last = Instant::now();
        let mut out = std::io::stderr();
        let _ = if self.is_terminal { write!(out, "\r\x1b[K{text}") } else { writeln!(out, "{text}") };
    }

    /// Makes room for other output.
    pub(crate) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
