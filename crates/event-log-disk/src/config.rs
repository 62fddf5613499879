//! Settings of an engine, and the report of opening it.

use std::path::PathBuf;
use std::time::Duration;

use agentbench_event_log::LogError;

/// When a frame counts as committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// When the operating system has it: it survives the end of the process, but not of the machine.
    Logged,
    /// When the disk has it (fsync).
    Synced,
}

/// Settings of the engine. [`DiskConfig::new`] has defaults.
#[derive(Debug, Clone)]
pub struct DiskConfig {
    /// Directory of all files. Created if necessary; used by one process at a time.
    pub dir: PathBuf,
    /// When a frame counts as committed.
    pub durability: Durability,
    /// Size in bytes at which a file of the hot log is followed by the next one.
    pub segment_bytes: u64,
    /// Size in bytes of the hot log above which old files are cleaned up; at least `segment_bytes`.
    pub purge_threshold: u64,
    /// Interval between two checks for something to clean up.
    pub purge_interval: Duration,
    /// Bytes of old frames that are read each second to find damage; 0 for none.
    pub scrub_bytes: u64,
    /// Settings of the archive.
    pub archive: ArchiveConfig,
}

/// Settings of the archive of ended sessions.
#[derive(Debug, Clone)]
pub struct ArchiveConfig {
    /// Bytes of frames that are compressed together: the minimum that a range read must decompress.
    pub block_bytes: usize,
    /// zstd's level, 1 (fast) to 22 (small).
    pub level: i32,
    /// Number of archived sessions whose index and last block stay in memory.
    pub open_files: usize,
}

impl DiskConfig {
    /// Default settings for a directory: `Logged`, files of 64 MiB, 512 MiB before clean-up.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            durability: Durability::Logged,
            segment_bytes: 64 << 20,
            purge_threshold: 512 << 20,
            purge_interval: Duration::from_secs(10),
            scrub_bytes: 1 << 20,
            archive: ArchiveConfig {
                block_bytes: 256 << 10,
                level: 3,
                open_files: open_files_for(file_limit()),
            },
        }
    }
}

/// Number of archived files to keep open, from the limit of open files: a sixteenth of it, since connections need the rest,
/// and no more than are useful.
const fn open_files_for(limit: u64) -> usize {
    match limit / 16 {
        0..=2 => 2,
        some @ 3..=63 => some as usize,
        _ => 64,
    }
}

/// The process's limit of open files (`ulimit -n`).
fn file_limit() -> u64 {
    /// Linux's default for a process.
    const USUAL: u64 = 1024;
    let limits = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|line| line.split_whitespace().next());
    soft.map_or(USUAL, |soft| soft.parse().unwrap_or(u64::MAX))
}

/// What opening the engine found.
#[derive(Debug, Clone, Default)]
pub struct RecoveryReport {
    /// Live and archived sessions.
    pub sessions: usize,
    /// Frames of live sessions.
    pub frames: u64,
    /// Bytes in the hot log's files.
    pub bytes: u64,
    /// Damage that was found, and how it was handled. Includes an incomplete last write after a crash.
    pub damage: Vec<Damage>,
    /// What was promised (acknowledged) but is no longer in the files of the hot log, according to its witness.
    pub missing: Vec<Damage>,
    /// When the witness was last written, ms since 1970: the last time that the folder was certainly in use.
    pub witnessed_at: Option<u64>,
    /// Duration of the recovery.
    pub took: Duration,
}

/// One damage found by recovery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file, and the position in it if known.
    pub place: String,
    /// What was found, and how it was handled.
    pub what: String,
}

/// Why the engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has the directory open.
    #[error("{dir} is in use by process {pid}")]
    InUse {
        /// The directory.
        dir: String,
        /// Its process id, if known.
        pid: String,
    },
    /// The directory or a file in it cannot be used.
    #[error("{path}: {error}")]
    Io {
        /// The file or directory.
        path: String,
        /// The error of the operating system.
        error: std::io::Error,
    },
    /// The stored bytes are damaged such that events would be lost silently.
    #[error("{place}: {what}")]
    Damaged {
        /// The file, and the position in it if known.
        place: String,
        /// What was found, and what can be done.
        what: String,
    },
    /// A setting is invalid.
    #[error("{0}")]
    Config(String),
}

impl OpenError {
    /// Whether only the hot log cannot be opened, so that [`ArchiveLog`](crate::ArchiveLog) may still be.
    pub fn is_of_the_hot_log(&self) -> bool {
        match self {
            Self::Damaged { .. } => true,
            Self::Io { path, .. } => std::path::Path::new(path).iter().any(|part| part == "segments"),
            Self::InUse { .. } | Self::Config(_) => false,
        }
    }

    pub(crate) fn io(path: &std::path::Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self::Io { path: path.display().to_string(), error }
    }
}

/// The log error for a storage failure.
pub(crate) fn unavailable(what: impl std::fmt::Display) -> LogError {
    LogError::Unavailable(what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_kept_open_leave_most_of_the_limit_to_others() {
        for (limit, files) in [(0, 2), (40, 2), (64, 4), (256, 16), (1024, 64), (u64::MAX, 64)] {
            assert_eq!(open_files_for(limit), files, "{limit}");
        }
        assert!(DiskConfig::new("x").archive.open_files <= 64);
    }
}
