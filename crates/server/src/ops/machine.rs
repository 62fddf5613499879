//! The process's use of its machine: memory, CPU, file descriptors, disk. Read from `/proc` (proc(5)) and statvfs(3).

use std::fs;
use std::path::Path;

use serde::Serialize;

/// Maximum number of files counted in the data folder; the size of a folder with more is underestimated.
const MAX_FILES: usize = 1_000_000;

/// Memory of the process as the kernel counts it, in bytes, under the names that Node.js uses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct MemoryUsage {
    /// Resident memory (`VmRSS`).
    pub(crate) rss: u64,
    /// Heap and stacks, resident or not (`VmData`).
    heap_total: u64,
    /// Their resident part (`RssAnon`).
    heap_used: u64,
}

/// Open files.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct FileDescriptors {
    /// Open now.
    pub(crate) used: u64,
    /// As many as there may be (`ulimit -n`).
    pub(crate) limit: u64,
}

/// Where the log lies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Disk {
    /// Bytes of the data folder.
    pub(crate) used_bytes: u64,
    /// Bytes that are free on its disk for this process.
    pub(crate) free_bytes: u64,
    /// Bytes of the disk.
    #[serde(skip)]
    pub(crate) size_bytes: u64,
}

/// One measurement.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct HostUsage {
    pub(crate) memory: MemoryUsage,
    /// Bytes of memory that the process may have: its control group's limit, or the machine's memory.
    pub(crate) memory_limit: u64,
    /// CPU time of the process, seconds.
    pub(crate) cpu_seconds: f64,
    pub(crate) descriptors: FileDescriptors,
    pub(crate) disk: Disk,
}

impl HostUsage {
    /// Takes a measurement. The data folder is walked only if `walk` is set, since that takes long with many files.
    pub(crate) fn measure(data_dir: &Path, before: &Self, walk: bool) -> Self {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let used_bytes = if walk { folder_bytes(data_dir) } else { before.disk.used_bytes };
        let disk = rustix::fs::statvfs(data_dir).map_or(before.disk, |it| Disk {
            used_bytes,
            free_bytes: it.f_bavail * it.f_frsize,
            size_bytes: it.f_blocks * it.f_frsize,
        });
        let open = fs::read_dir("/proc/self/fd").map_or(0, |entries| entries.count() as u64);
        Self {
            memory: memory(&read("/proc/self/status")),
            memory_limit: memory_limit(crate::cgroup::memory_limit(), &read("/proc/meminfo")),
            cpu_seconds: cpu_seconds(&read("/proc/self/stat"), rustix::param::clock_ticks_per_second()),
            // One of them is the directory being read.
            descriptors: FileDescriptors {
                used: open.saturating_sub(1),
                limit: descriptor_limit(&read("/proc/self/limits")),
            },
            disk,
        }
    }

    /// Percent of the memory that the process may have.
    pub(crate) fn memory_percent(&self) -> Option<f64> {
        (self.memory_limit > 0).then(|| self.memory.rss as f64 * 100.0 / self.memory_limit as f64)
    }

    /// Percent of the disk that is free.
    pub(crate) fn free_percent(&self) -> Option<f64> {
        let Disk { free_bytes, size_bytes, .. } = self.disk;
        (size_bytes > 0).then(|| free_bytes as f64 * 100.0 / size_bytes as f64)
    }
}

/// Reads `/proc/self/status`.
fn memory(status: &str) -> MemoryUsage {
    let field = |name| kib(status, name).unwrap_or(0);
    MemoryUsage { rss: field("VmRSS"), heap_total: field("VmData"), heap_used: field("RssAnon") }
}

/// A field of `name: number kB`, in bytes.
fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

fn memory_limit(group: Option<u64>, machine: &str) -> u64 {
    kib(machine, "MemTotal").into_iter().chain(group).min().unwrap_or(0)
}

/// Reads user and system time from `/proc/self/stat`; the command before them may hold blanks and brackets.
fn cpu_seconds(stat: &str, ticks_per_second: u64) -> f64 {
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|it| it.parse::<u64>().ok()).sum();
    ticks as f64 / ticks_per_second.max(1) as f64
}

fn descriptor_limit(limits: &str) -> u64 {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// Bytes of the files in a folder and the folders in it.
fn folder_bytes(folder: &Path) -> u64 {
    let (mut bytes, mut seen) = (0, 0);
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        // Unreadable or removed entries count as zero.
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
        if seen > MAX_FILES {
            break;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_what_the_kernel_says() {
        let status = "Name:\tx\nVmRSS:\t    12 kB\nRssAnon:\t 5 kB\nVmData:\t 30 kB\n";
        let expected = MemoryUsage { rss: 12_288, heap_total: 30_720, heap_used: 5_120 };
        assert_eq!(memory(status), expected);
        assert_eq!(memory(""), MemoryUsage::default());
        let meminfo = "MemTotal:       1000 kB\nMemFree: 1 kB\n";
        assert_eq!(memory_limit(None, meminfo), 1_024_000);
        assert_eq!((memory_limit(Some(4096), meminfo), memory_limit(None, "")), (4_096, 0));
    }

    #[test]
    fn cpu_and_descriptors_are_read() {
        let stat = "7 (a (b) c) R 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(cpu_seconds(stat, 100), 3.0);
        assert_eq!(cpu_seconds("", 100), 0.0);
        let limits =
            "Limit  Soft  Hard\nMax open files            1024                 4096                 files\n";
        assert_eq!((descriptor_limit(limits), descriptor_limit("")), (1_024, 0));
    }

    #[test]
    fn a_look_finds_this_process() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("hot")).unwrap();
        fs::write(folder.path().join("hot/a"), [0; 700]).unwrap();
        fs::write(folder.path().join("b"), [0; 77]).unwrap();
        let machine = HostUsage::measure(folder.path(), &HostUsage::default(), true);
        assert_eq!(machine.disk.used_bytes, 777);
        assert!(machine.disk.free_bytes > 0 && machine.memory.rss > 0 && machine.descriptors.used > 0);
        assert!(machine.memory_percent().unwrap() > 0.0 && machine.free_percent().unwrap() <= 100.0);
        assert_eq!(HostUsage::measure(folder.path(), &machine, false).disk.used_bytes, 777);
    }
}
