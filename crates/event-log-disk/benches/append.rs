//! What an append costs: µs of CPU (all threads, the kernel's share included) and of time per frame, for submits of 1, 16
//! and 64 sessions, one at a time (each one wakes two threads) and eight at a time. Prints a table; judges nothing.
//!
//! `cargo bench -p agentbench-event-log-disk --bench append [-- <directory>]`

use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use agentbench_event_log::{Append, Appended, EventLog, Frame, FrameBuilder, Kind, Record};
use agentbench_event_log_disk::{DiskConfig, DiskLog, Durability};
use agentbench_protocol::{Epoch, Head, SessionId};

const EPOCH: Epoch = Epoch::from_u64(1);

fn main() {
    let place = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    println!(
        "| level | submits at a time | frames in each | event | µs CPU per frame | µs per frame |\n|---|---|---|---|---|---|"
    );
    for (durability, frames) in [(Durability::Logged, 400_000), (Durability::Synced, 20_000)] {
        for (at_a_time, batch) in [(1, 1), (1, 16), (1, 64), (8, 1), (8, 16), (8, 64)] {
            for body in [128, 1024] {
                let dir = match &place {
                    Some(place) => tempfile::tempdir_in(place),
                    None => tempfile::tempdir(),
                }
                .expect("a directory");
                let frames = frames / if batch == 1 { 8 } else { 1 };
                let config = DiskConfig { durability, ..DiskConfig::new(dir.path()) };
                let (log, _) = DiskLog::open(config).expect("an engine");
                let (cpu, time) = measure(&log, frames / batch, at_a_time, batch, body);
                let per = |spent: Duration| spent.as_secs_f64() * 1e6 / frames as f64;
                let (cpu, time) = (per(cpu), per(time));
                println!("| {durability:?} | {at_a_time} | {batch} | {body} B | {cpu:.2} | {time:.2} |");
            }
        }
    }
}

/// Submit number n goes to the n-th of `at_a_time` groups of sessions, in turn, so that as many are in flight.
fn measure(
    log: &DiskLog,
    submits: usize,
    at_a_time: usize,
    batch: usize,
    body: usize,
) -> (Duration, Duration) {
    // The frames are made beforehand: here it is about the log.
    let content = vec![b'x'; body];
    let one = |submit: usize, n: usize| {
        let seq = (submit / at_a_time) as u64;
        Append {
            session: SessionId::from_u128((submit % at_a_time * batch + n) as u128),
            expected: Head { epoch: EPOCH, seq },
            frame: frame(seq + 1, &content),
            summary: None,
        }
    };
    let all: Vec<Vec<Append>> =
        (0..submits).map(|submit| (0..batch).map(|n| one(submit, n)).collect()).collect();
    let (done, told) = channel();
    let wait = || {
        let outcomes: Vec<Appended> = told.recv().expect("an answer");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    };
    let (cpu, time) = (cpu(), Instant::now());
    for (submit, appends) in all.into_iter().enumerate() {
        if submit >= at_a_time {
            wait();
        }
        let done = done.clone();
        log.submit(appends, Box::new(move |outcomes| drop(done.send(outcomes))));
    }
    (0..at_a_time).for_each(|_| wait());
    (self::cpu() - cpu, time.elapsed())
}

fn frame(seq: u64, body: &[u8]) -> Frame {
    let mut builder = FrameBuilder::new(seq, body.len() + 64);
    let (kind, received_at, ttl_ms, digest) = (Kind::Event, 1, 0, 2);
    builder.push(&Record {
        kind,
        received_at,
        ttl_ms,
        digest,
        user: "user",
        producer: "",
        id: "event-id",
        body,
    });
    builder.finish()
}

/// CPU time of all threads that live, from the scheduler's own count in ns.
fn cpu() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").expect("a /proc");
    let spent = tasks.flatten().filter_map(|task| {
        let text = std::fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(spent.sum())
}
