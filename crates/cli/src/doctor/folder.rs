//! The data folder: whether it exists and is writable, how fast its disk syncs a write, and how much space is left.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use agentbench_server::config::Config;
use rustix::fs::statvfs;

use super::{Check, Verdict, bytes};

/// Number of timed writes, each the size of a small commit.
const SYNCS: usize = 32;
const WRITE: [u8; 4096] = [0xab; 4096];
/// Time limit for all of them: by then, the disk has proved too slow.
const MAX_SYNC_TIME: Duration = Duration::from_secs(10);
/// Free space that counts as tight, as a multiple of what the hot log may use before it is cleaned.
const TIGHT_LOGS: u64 = 2;
/// Free space below which the server cannot work.
const NOTHING: u64 = 64 * 1024 * 1024;

pub(super) fn checks(config: &Config) -> Vec<Check> {
    let folder = &config.data_dir;
    if !folder.is_dir() {
        // The first start creates it: check the folder that will contain it.
        let parent = nearest(folder);
        let figure = format!("{} does not exist yet; checking {}", folder.display(), parent.display());
        let mut checks = vec![Check::good("data_folder", figure)];
        checks.extend(disk(&parent, config));
        return checks;
    }
    let mut checks = vec![privacy(folder)];
    checks.extend(disk(folder, config));
    checks
}

fn nearest(folder: &Path) -> PathBuf {
    let there = folder.ancestors().find(|parent| parent.is_dir() && !parent.as_os_str().is_empty());
    there.map_or_else(|| PathBuf::from("."), Path::to_owned)
}

fn privacy(folder: &Path) -> Check {
    let shown = folder.display();
    match fs::metadata(folder) {
        Err(error) => Check::of(
            "data_folder",
            Verdict::Bad,
            format!("{shown}: {error}"),
            "give the server's user access to this folder",
        ),
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            let verdict = match mode {
                _ if mode & 0o002 != 0 => Verdict::Bad,
                _ if mode & 0o007 != 0 => Verdict::Warn,
                _ => Verdict::Good,
            };
            let advice = format!("every user on this machine can read it: chmod o= {shown}");
            Check::of("data_folder", verdict, format!("{shown}, mode {mode:03o}"), advice)
        }
    }
}

fn disk(folder: &Path, config: &Config) -> Vec<Check> {
    let synced = match time_syncs(folder) {
        Ok(times) => judge_syncs(&times),
        Err(error) => {
            let advice = format!("the server's user must be able to write to it: {}", folder.display());
            Check::of("disk_sync", Verdict::Bad, error.to_string(), advice)
        }
    };
    let space = match statvfs(folder) {
        Ok(stat) => {
            let free = stat.f_bavail.saturating_mul(stat.f_frsize);
            judge_space(free, stat.f_blocks.saturating_mul(stat.f_frsize), config.hot_log_bytes)
        }
        Err(error) => Check::of(
            "disk_space",
            Verdict::Warn,
            error.to_string(),
            "the file system does not report its free space: check it by hand",
        ),
    };
    vec![synced, space]
}

/// A file that is removed on drop.
struct ScratchFile(PathBuf, File);

impl Drop for ScratchFile {
    fn drop(&mut self) {
        // A file that cannot be removed has a name that shows what it is.
        let _ = fs::remove_file(&self.0);
    }
}

/// Times synced writes; shortest first.
fn time_syncs(folder: &Path) -> io::Result<Vec<Duration>> {
    let path = folder.join(format!(".agentbench-doctor-{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
    let mut scratch = ScratchFile(path, file);
    let (began, mut times) = (Instant::now(), Vec::with_capacity(SYNCS));
    while times.len() < SYNCS && began.elapsed() < MAX_SYNC_TIME {
        let started = Instant::now();
        scratch.1.write_all(&WRITE)?;
        scratch.1.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

fn judge_syncs(times: &[Duration]) -> Check {
    let at =
        |share: usize| times.get(times.len().saturating_sub(1) * share / 100).copied().unwrap_or_default();
    let (middle, worst) = (at(50), at(100));
    let verdict = match middle.as_millis() {
        0..10 => Verdict::Good,
        10..100 => Verdict::Warn,
        _ => Verdict::Bad,
    };
    let millis = |time: Duration| time.as_secs_f64() * 1_000.0;
    let figure = format!(
        "median {:.2} ms, worst {:.2} ms ({} writes of 4 KiB with fsync)",
        millis(middle),
        millis(worst),
        times.len()
    );
    let advice =
        "with ACK_LEVEL=synced every ack waits for this: use a folder on a local SSD, not on a network disk";
    Check::of("disk_sync", verdict, figure, advice)
}

fn judge_space(free: u64, whole: u64, hot_log: u64) -> Check {
    let wanted = hot_log.saturating_mul(TIGHT_LOGS);
    let verdict = match free {
        _ if free < NOTHING => Verdict::Bad,
        _ if free < wanted => Verdict::Warn,
        _ => Verdict::Good,
    };
    let figure = format!("{} free of {}", bytes(free), bytes(whole));
    let advice = format!(
        "the live log alone may use {} (HOT_LOG_BYTES): free some space, or set RETENTION_AGE or RETENTION_BYTES",
        bytes(hot_log)
    );
    Check::of("disk_space", verdict, figure, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_is_timed_and_left_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let times = time_syncs(folder.path()).unwrap();
        assert!(!times.is_empty() && times.is_sorted());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
        assert!(time_syncs(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn speed_and_room_are_judged() {
        let slow = |ms| judge_syncs(&[Duration::from_millis(ms); 5]).verdict;
        assert_eq!((slow(1), slow(10), slow(100)), (Verdict::Good, Verdict::Warn, Verdict::Bad));
        let room = |free| judge_space(free, 1 << 40, 1 << 30).verdict;
        assert_eq!(
            (room(2 << 30), room(1 << 30), room(1 << 20)),
            (Verdict::Good, Verdict::Warn, Verdict::Bad)
        );
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_bad() {
        let folder = tempfile::tempdir().unwrap();
        for (mode, verdict) in [(0o700, Verdict::Good), (0o755, Verdict::Warn), (0o777, Verdict::Bad)] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(privacy(folder.path()).verdict, verdict, "{mode:o}");
        }
    }
}
