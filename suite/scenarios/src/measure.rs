//! Looks at a run from outside, several times a second: what was counted so far, and what the processes use.

use std::path::PathBuf;
use std::time::Duration;

use agentbench_load::process::{Queues, Usage, disk, queues, usage};
use agentbench_report::schema::{ProcessFigures, Sample};

use crate::meters::{Counter, Meters};

/// See the module.
#[derive(Debug)]
pub(crate) struct Observer {
    server: Option<Looks>,
    data_dir: Option<PathBuf>,
    disk_before: u64,
    generator: Looks,
    queues: Queues,
    samples: Vec<Sample>,
}

/// What one process, or several that followed each other, used.
#[derive(Debug)]
struct Looks {
    pid: Option<u32>,
    /// CPU before the run, which does not count.
    before: Duration,
    /// CPU of the processes before this one.
    earlier: Duration,
    last: Usage,
    most: Usage,
}

impl Looks {
    fn new(pid: Option<u32>) -> Self {
        let now = pid.and_then(|pid| usage(pid).ok()).unwrap_or_default();
        Self { pid, before: now.cpu, earlier: Duration::ZERO, last: now, most: now }
    }

    /// None while there is no process.
    fn look(&mut self, pid: Option<u32>) {
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
    /// `server` is the server's process and its data, if they are here.
    pub(crate) fn new(server: Option<(u32, PathBuf)>) -> Self {
        let (pid, data_dir) = server.unzip();
        Self {
            server: pid.map(|pid| Looks::new(Some(pid))),
            disk_before: data_dir.as_deref().map_or(0, disk),
            data_dir,
            generator: Looks::new(Some(std::process::id())),
            queues: Queues::default(),
            samples: Vec::new(),
        }
    }

    /// `server` is its process now, if it has one now.
    pub(crate) fn look(&mut self, meters: &Meters, server: Option<u32>) {
        self.generator.look(Some(std::process::id()));
        if let Some(looks) = &mut self.server {
            looks.look(server);
        }
        let queues = queues(std::process::id()).unwrap_or_default();
        self.queues.unread = self.queues.unread.max(queues.unread);
        self.queues.unsent = self.queues.unsent.max(queues.unsent);
        self.samples.push(self.sample(meters));
    }

    fn sample(&self, meters: &Meters) -> Sample {
        let millis = |looks: &Looks| looks.cpu().as_millis() as u64;
        let server = self.server.as_ref();
        Sample {
            at_ms: meters.now().as_millis() as u64,
            sent: meters.get(Counter::Sent),
            acked: meters.get(Counter::Acked),
            delivered: meters.get(Counter::Delivered),
            server_cpu_ms: server.map_or(0, millis),
            server_resident: server.map_or(0, |looks| looks.last.resident),
            server_files: server.map_or(0, |looks| looks.last.files),
            generator_cpu_ms: millis(&self.generator),
        }
    }

    pub(crate) fn server(&self, took: Duration) -> Option<ProcessFigures> {
        let grown = self.data_dir.as_deref().map_or(0, disk).saturating_sub(self.disk_before);
        self.server.as_ref().map(|looks| looks.figures(took, grown))
    }

    pub(crate) fn generator(&self, took: Duration) -> ProcessFigures {
        self.generator.figures(took, 0)
    }

    /// The most that waited in the generator's own sockets.
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
        let mut looks = Looks::new(None);
        (looks.pid, looks.before, looks.last) = (Some(u32::MAX), Duration::from_secs(1), usage(5));
        assert_eq!(looks.cpu(), Duration::from_secs(4));
        // Down, then another process, which cannot be looked at and so has used nothing yet.
        looks.look(None);
        looks.look(Some(u32::MAX - 1));
        assert_eq!(looks.cpu(), Duration::from_secs(4));
        looks.last = usage(2);
        assert_eq!(looks.cpu(), Duration::from_secs(6));
    }
}
