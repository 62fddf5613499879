//! Resource use of a process, from `/proc` (proc(5)).

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

/// One sample of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU of all its threads so far, user and system.
    pub cpu: Duration,
    /// Resident memory, bytes.
    pub resident: u64,
    /// Threads.
    pub threads: usize,
    /// Open file descriptors.
    pub files: usize,
}

/// Samples the process with this id. Threads that have ended count through the process's own total.
///
/// # Errors
/// There is no such process, or reading it is not permitted.
pub fn usage(pid: u32) -> std::io::Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let threads = fs::read_dir(format!("/proc/{pid}/task"))?.count();
    let files = fs::read_dir(format!("/proc/{pid}/fd"))?.count();
    Ok(Usage { cpu: cpu_of(pid, &stat)?, resident: resident(pid)?, threads, files })
}

/// Bytes queued in the sockets of a process, all together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Queues {
    /// Written, but not yet received by the peer.
    pub unsent: u64,
    /// Received, but not yet read.
    pub unread: u64,
}

/// Samples the TCP sockets of the process with this id.
///
/// # Errors
/// There is no such process, or reading it is not permitted.
pub fn queues(pid: u32) -> std::io::Result<Queues> {
    let mut own = HashSet::new();
    for file in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A file may be closed meanwhile.
        let Ok(target) = fs::read_link(file?.path()) else { continue };
        let inode = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        own.extend(inode.and_then(|text| text.parse::<u64>().ok()));
    }
    let mut queues = Queues::default();
    for table in ["tcp", "tcp6"] {
        // A kernel without IPv6 has no second table.
        let text = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        for (unsent, unread, inode) in text.lines().skip(1).filter_map(socket) {
            if own.contains(&inode) {
                queues.unsent += unsent;
                queues.unread += unread;
            }
        }
    }
    Ok(queues)
}

/// `tx_queue`, `rx_queue` and inode of a connected socket's line; for a listener, the fields count connections, not bytes.
fn socket(line: &str) -> Option<(u64, u64, u64)> {
    const LISTENING: &str = "0A";
    let fields: Vec<&str> = line.split_whitespace().collect();
    let (unsent, unread) = fields.get(4)?.split_once(':')?;
    let bytes = |text| u64::from_str_radix(text, 16).ok();
    let is_listening = *fields.get(3)? == LISTENING;
    if is_listening { None } else { Some((bytes(unsent)?, bytes(unread)?, fields.get(9)?.parse().ok()?)) }
}

/// Disk usage of a folder with all its contents, in bytes.
pub fn disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(entries) = fs::read_dir(folder) else { return 0 };
    // A file that is removed meanwhile no longer counts.
    let of = |entry: fs::DirEntry| match entry.metadata() {
        Ok(found) if found.is_dir() => disk(&entry.path()),
        Ok(found) => found.blocks() * 512,
        Err(_) => 0,
    };
    entries.flatten().map(of).sum()
}

/// Nanoseconds from the scheduler if available, otherwise clock ticks.
fn cpu_of(pid: u32, stat: &str) -> std::io::Result<Duration> {
    let mut nanos = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = task?.path().join("schedstat");
        // A thread may end meanwhile.
        let text = fs::read_to_string(path).unwrap_or_default();
        nanos += text.split(' ').next().and_then(|first| first.parse::<u64>().ok()).unwrap_or(0);
    }
    if nanos > 0 {
        return Ok(Duration::from_nanos(nanos));
    }
    // The name in the second field may contain anything; fields are counted from its end.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    const TICKS_PER_SECOND: u64 = 100;
    Ok(Duration::from_millis((ticks(11) + ticks(12)) * 1000 / TICKS_PER_SECOND))
}

fn resident(pid: u32) -> std::io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|rest| rest.split_whitespace().next()).and_then(|text| text.parse::<u64>().ok());
    Ok(kib.unwrap_or(0) * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_that_nobody_reads_wait_in_the_queues() {
        use std::io::Write;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let _server = listener.accept().unwrap();
        client.write_all(&[0; 5000]).unwrap();
        let seen = (0..500).any(|_| {
            std::thread::sleep(Duration::from_millis(10));
            queues(std::process::id()).unwrap().unread >= 5000
        });
        assert!(seen, "{:?}", queues(std::process::id()));
        assert!(queues(u32::MAX).is_err());
    }

    #[test]
    fn a_folder_takes_what_its_files_take() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("inner")).unwrap();
        fs::write(folder.path().join("inner/file"), vec![1; 100_000]).unwrap();
        assert!((100_000..200_000).contains(&disk(folder.path())));
        assert_eq!(disk(Path::new("/nowhere/at/all")), 0);
    }

    #[test]
    fn our_own_process_uses_something() {
        let mut spin = 0_u64;
        for n in 0..50_000_000_u64 {
            spin = spin.wrapping_mul(31).wrapping_add(std::hint::black_box(n));
        }
        std::hint::black_box(spin);
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.cpu > Duration::ZERO && usage.resident > 1024 * 1024, "{usage:?}");
        assert!(usage.threads >= 1 && usage.files >= 3, "{usage:?}");
        assert!(super::usage(u32::MAX).is_err());
    }
}
