//! Observes a run from outside, several times a second: the counters so far, and the resources of the processes.

use std::path::PathBuf;
use std::time::Duration;

use agentbench_load::process::{Queues, Usage, disk, queues, usage};
use agentbench_report::schema::{ProcessFigures, Sample};

use crate::meters::{Counter, Meters};

/// Observes a run.
#[derive(Debug)]
pub(crate) struct Observer {
    server: Option<ProcessUsage>,
    data_dir: Option<PathBuf>,
    disk_before: u64,
    generator: ProcessUsage,
    queues: Queues,
    samples: Vec<Sample>,
}

/// Resource use of one process, or of several successive ones.
#[derive(Debug)]
struct ProcessUsage {
    pid: Option<u32>,
    /// CPU before the run, which does not count.
    before: Duration,
    /// CPU of the processes before this one.
    earlier: Duration,
    last: Usage,
    most: Usage,
}

impl ProcessUsage {
    fn new(pid: Option<u32>) -> Self {
        let now = pid.and_then(|pid| usage(pid).ok()).unwrap_or_default();
        Self { pid, before: now.cpu, earlier: Duration::ZERO, last: now, most: now }
    }

    /// `pid` is `None` while there is no process.
    fn observe(&mut self, pid: Option<u32>) {
        let Some(pid) = pid else { return };
        if self.pid != Some(pid) {
            self.earlier += self.last.cpu;
            self.last = Usage::default();
            self.pid = Some(pid);
        }
        // A process that has ended keeps its last figures.
        let Ok(now) = usage(pid) else { return };
        self.last = Usage { cpu: now.cpu.max(self.last.cpu), ..now };
        self.most = Usage {
            cpu: Duration::ZERO,
            resident: self.most.resident.max(now.resident),
            threads: self.most.threads.max(now.threads),
            files: self.most.files.max(now.files),
        };
    }

    fn cpu(&self) -> Duration {
        (self.earlier + self.last.cpu).saturating_sub(self.before)
    }

    fn figures(&self, took: Duration, disk_bytes: u64) -> ProcessFigures {
        ProcessFigures {
            cpu_ms: self.cpu().as_millis() as u64,
            cpu_share: self.cpu().as_secs_f64() / took.as_secs_f64().max(0.001),
            peak_resident: self.most.resident,
            threads: self.most.threads,
            files: self.most.files,
            disk_bytes,
        }
    }
}

impl Observer {
    /// `server` is the server's process and its data folder, if they are on this machine.
    pub(crate) fn new(server: Option<(u32, PathBuf)>) -> Self {
        let (pid, data_dir) = server.unzip();
        Self {
            server: pid.map(|pid| ProcessUsage::new(Some(pid))),
            disk_before: data_dir.as_deref().map_or(0, disk),
            data_dir,
            generator: ProcessUsage::new(Some(std::process::id())),
            queues: Queues::default(),
            samples: Vec::new(),
        }
    }

    /// `server` is the server's current process, if there is one.
    pub(crate) fn observe(&mut self, meters: &Meters, server: Option<u32>) {
        self.generator.observe(Some(std::process::id()));
        if let Some(usage) = &mut self.server {
            usage.observe(server);
        }
        let queues = queues(std::process::id()).unwrap_or_default();
        self.queues.unread = self.queues.unread.max(queues.unread);
        self.queues.unsent = self.queues.unsent.max(queues.unsent);
        self.samples.push(self.sample(meters));
    }

    fn sample(&self, meters: &Meters) -> Sample {
        let millis = |usage: &ProcessUsage| usage.cpu().as_millis() as u64;
        let server = self.server.as_ref();
        Sample {
            at_ms: meters.now().as_millis() as u64,
            sent: meters.get(Counter::Sent),
            acked: meters.get(Counter::Acked),
            delivered: meters.get(Counter::Delivered),
            server_cpu_ms: server.map_or(0, millis),
            server_resident: server.map_or(0, |usage| usage.last.resident),
            server_files: server.map_or(0, |usage| usage.last.files),
            generator_cpu_ms: millis(&self.generator),
        }
    }

    pub(crate) fn server(&self, took: Duration) -> Option<ProcessFigures> {
        let grown = self.data_dir.as_deref().map_or(0, disk).saturating_sub(self.disk_before);
        self.server.as_ref().map(|usage| usage.figures(took, grown))
    }

    pub(crate) fn generator(&self, took: Duration) -> ProcessFigures {
        self.generator.figures(took, 0)
    }

    /// The maximum that waited in the generator's own sockets.
    pub(crate) fn queues(&self) -> Queues {
        self.queues
    }

    pub(crate) fn into_samples(self) -> Vec<Sample> {
        self.samples
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_was_started_again_goes_on_where_the_one_before_stopped() {
        let usage = |cpu: u64| Usage { cpu: Duration::from_secs(cpu), ..Usage::default() };
        let mut tracked = ProcessUsage::new(None);
        (tracked.pid, tracked.before, tracked.last) = (Some(u32::MAX), Duration::from_secs(1), usage(5));
        assert_eq!(tracked.cpu(), Duration::from_secs(4));
        // Down, then another process, which cannot be looked at and so has used nothing yet.
        tracked.observe(None);
        tracked.observe(Some(u32::MAX - 1));
        assert_eq!(tracked.cpu(), Duration::from_secs(4));
        tracked.last = usage(2);
        assert_eq!(tracked.cpu(), Duration::from_secs(6));
    }
}
