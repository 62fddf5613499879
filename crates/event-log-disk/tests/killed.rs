//! The process is killed in the middle of appending, again and again, on the same logs: what it called committed is there.
//!
//! The test runs its own binary as the process to be killed; see [`the_process_to_be_killed`].

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::channel;

use agentbench_event_log::conformance::{append, session};
use agentbench_event_log::{Appended, EventLog};
use agentbench_event_log_disk::{DiskConfig, DiskLog, Durability};
use support::{EPOCH, nth, read_all};

const DIR: &str = "AGENTBENCH_TEST_KILLED_DIR";
const SYNCED: &str = "AGENTBENCH_TEST_KILLED_SYNCED";
const SESSIONS: u64 = 20;

fn config(dir: &Path, synced: bool) -> DiskConfig {
    let durability = if synced { Durability::Synced } else { Durability::Logged };
    // Small files, so that kills hit the change from one to the next and the clean-up as well.
    let purge_interval = std::time::Duration::from_millis(20);
    DiskConfig {
        durability,
        segment_bytes: 256 << 10,
        purge_threshold: 1 << 20,
        purge_interval,
        ..DiskConfig::new(dir)
    }
}

#[test]
#[ignore = "run by the other tests, which kill it"]
fn the_process_to_be_killed() {
    let dir = std::env::var(DIR).expect("set by the test that starts this");
    let (log, _) = DiskLog::open(config(Path::new(&dir), std::env::var(SYNCED).is_ok())).unwrap();
    let next = |n| log.head(session(n)).map_or(1, |head| head.seq / 2 + 1);
    let mut ordinals: Vec<u64> = (0..SESSIONS).map(next).collect();
    let (done, told) = channel();
    let submit = |n: u64, ordinal| {
        let done = done.clone();
        let frame = append(session(n), EPOCH, nth(n, ordinal));
        log.submit(vec![frame], Box::new(move |outcomes| drop(done.send((n, ordinal, outcomes)))));
    };
    (0..SESSIONS).for_each(|n| submit(n, ordinals[n as usize]));
    let mut out = std::io::stdout().lock();
    for (n, ordinal, outcomes) in told {
        assert!(matches!(outcomes[..], [Appended::Committed(_)]), "{outcomes:?}");
        writeln!(out, "committed {n} {ordinal}").unwrap();
        out.flush().unwrap();
        ordinals[n as usize] = ordinal + 1;
        submit(n, ordinal + 1);
    }
}

/// Starts the process and kills it after so many commits. Returns the last commit of each session that it told of.
fn run_and_kill(dir: &Path, synced: bool, commits: usize) -> HashMap<u64, u64> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "the_process_to_be_killed", "--ignored", "--nocapture"]).env(DIR, dir);
    if synced {
        command.env(SYNCED, "yes");
    }
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut committed = HashMap::new();
    let mut count = 0;
    for line in BufReader::new(child.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        let Some((_, numbers)) = line.split_once("committed ") else { continue };
        let mut numbers = numbers.split(' ').map(|number| number.parse::<u64>().unwrap());
        committed.insert(numbers.next().unwrap(), numbers.next().unwrap());
        count += 1;
        if count == commits {
            child.kill().unwrap();
        }
    }
    assert!(!child.wait().unwrap().success());
    assert!(count >= commits, "the process ended by itself");
    committed
}

fn survives(synced: bool, rounds: [usize; 6]) {
    let dir = tempfile::tempdir().unwrap();
    let mut last = HashMap::new();
    for commits in rounds {
        last.extend(run_and_kill(dir.path(), synced, commits));
        let (log, report) = DiskLog::open(config(dir.path(), synced)).unwrap();
        for (n, ordinal) in &last {
            let (frames, holes) = read_all(&log, *n);
            assert_eq!(holes, []);
            assert!(frames.len() as u64 >= *ordinal, "session {n}: {} of {ordinal}", frames.len());
            for (at, frame) in frames.iter().enumerate() {
                assert_eq!(*frame, nth(*n, at as u64 + 1));
            }
        }
        // One write may have been cut short, no more.
        assert!(report.damage.len() <= 1, "{:?}", report.damage);
        assert_eq!(report.missing, [], "the witness accuses no log that was only killed");
    }
    assert_eq!(last.len() as u64, SESSIONS);
}

#[test]
fn what_was_logged_survives_sigkill() {
    survives(false, [1, 777, 5000, 40, 2500, 9000]);
}

#[test]
fn what_was_synced_survives_sigkill() {
    survives(true, [1, 300, 50, 900, 20, 400]);
}
