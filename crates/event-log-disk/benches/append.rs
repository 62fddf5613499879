//! What an append costs: µs of CPU (all threads, the kernel's share included) and of time per frame, for commits of 1, 16
//! and 64 sessions. Prints a table; judges nothing.
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
    println!("| level | batch | event | µs CPU per frame | µs per frame |\n|---|---|---|---|---|");
    for (durability, frames) in [(Durability::Logged, 400_000), (Durability::Synced, 20_000)] {
        for batch in [1, 16, 64] {
            for body in [128, 1024] {
                let dir = match &place {
                    Some(place) => tempfile::tempdir_in(place),
                    None => tempfile::tempdir(),
                }
                .expect("a directory");
                let frames = frames / if batch == 1 { 8 } else { 1 };
                let config = DiskConfig { durability, ..DiskConfig::new(dir.path()) };
                let (log, _) = DiskLog::open(config).expect("an engine");
                let (cpu, time) = measure(&log, frames / batch, batch, body);
                let per = |spent: Duration| spent.as_secs_f64() * 1e6 / frames as f64;
                println!("| {durability:?} | {batch} | {body} B | {:.2} | {:.2} |", per(cpu), per(time));
            }
        }
    }
}

fn measure(log: &DiskLog, rounds: usize, sessions: usize, body: usize) -> (Duration, Duration) {
    // The frames are made beforehand: here it is about the log.
    let content = vec![b'x'; body];
    let frames: Vec<Vec<Frame>> =
        (1..=rounds as u64).map(|seq| (0..sessions).map(|_| frame(seq, &content)).collect()).collect();
    let (done, told) = channel();
    let (cpu, time) = (cpu(), Instant::now());
    for (seq, round) in frames.into_iter().enumerate() {
        let append = |(n, frame): (usize, Frame)| Append {
            session: SessionId::from_u128(n as u128),
            expected: Head { epoch: EPOCH, seq: seq as u64 },
            frame,
            summary: None,
        };
        let appends = round.into_iter().enumerate().map(append).collect();
        let done = done.clone();
        log.submit(appends, Box::new(move |outcomes| drop(done.send(outcomes))));
        let outcomes = told.recv().expect("an answer");
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Appended::Committed(_))));
    }
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
