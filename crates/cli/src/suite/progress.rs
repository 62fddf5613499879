//! The progress of a scenario as one line, which a terminal updates in place.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use agentbench_scenarios::definition::Scenario;
use agentbench_scenarios::meters::{Counter, Meters};

/// Time between two lines without a terminal.
const LOG_PERIOD: Duration = Duration::from_secs(1);

pub(crate) struct Progress<'a> {
    scenario: &'a Scenario,
    /// Number of this scenario, and how many there are.
    place: (usize, usize),
    is_terminal: bool,
    is_wanted: bool,
    last: Option<Instant>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(scenario: &'a Scenario, place: (usize, usize), is_wanted: bool) -> Self {
        let is_terminal = std::io::stderr().is_terminal();
        Self { scenario, place, is_terminal, is_wanted: is_wanted || is_terminal, last: None }
    }

    pub(crate) fn show(&mut self, meters: &Meters) {
        let is_soon = self.last.is_some_and(|last| last.elapsed() < LOG_PERIOD);
        if !self.is_wanted || (is_soon && !self.is_terminal) {
            return;
        }
        self.last = Some(Instant::now());
        let connections = u64::from(self.scenario.clients) * u64::from(2 + self.scenario.readers.late);
        self.print(&format!(
            "[{}/{}] {}: {:.1} s of {:.0} s, {} of {connections} connected, {} sent, {} acked, {} delivered",
            self.place.0,
            self.place.1,
            self.scenario.name,
            meters.now().as_secs_f64(),
            self.scenario.limit().as_secs_f64(),
            meters.get(Counter::Connected),
            meters.get(Counter::Sent),
            meters.get(Counter::Acked),
            meters.get(Counter::Delivered),
        ));
    }

    pub(crate) fn print(&self, line: &str) {
        if !self.is_wanted {
            return;
        }
        let mut out = std::io::stderr();
        // A failure to show progress does not stop the run.
        let _ = if self.is_terminal { write!(out, "\r\x1b[K{line}") } else { writeln!(out, "{line}") };
    }

    pub(crate) fn clear(&self) {
        if self.is_terminal {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
    }
}
