//! `agentbench log`: what it prints about whole, damaged and old folders, and its exit codes.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::channel;

use agentbench_event_log::{Append, Appended, EventLog, FrameBuilder, Kind, Record};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use agentbench_protocol::{Epoch, Head, SessionId};

const EPOCH: Epoch = Epoch::from_u64(7);
const EVENTS: u64 = 6;

fn session(number: u128) -> SessionId {
    SessionId::from_u128(0x0197_0000_0000_7000_8000_0000_0000_0000 + number)
}

fn body(number: u128, seq: u64) -> String {
    format!("{{\"session\":{number},\"seq\":{seq}}}")
}

fn append(log: &DiskLog, number: u128, seq: u64) {
    let text = body(number, seq);
    let mut frame = FrameBuilder::new(seq, text.len());
    frame.push(&Record {
        kind: Kind::Event,
        received_at: 1,
        ttl_ms: 0,
        digest: 0,
        user: "u",
        producer: "",
        id: "i",
        body: text.as_bytes(),
    });
    let expected = Head { epoch: EPOCH, seq: seq - 1 };
    let append = Append { session: session(number), expected, frame: frame.finish(), summary: None };
    let (done, told) = channel();
    log.submit(vec![append], Box::new(move |outcomes| done.send(outcomes).unwrap()));
    assert!(matches!(told.recv().unwrap()[..], [Appended::Committed(_)]));
}

/// A folder with a live session and an ended one.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let (log, _) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
    for seq in 1..=EVENTS {
        append(&log, 1, seq);
        append(&log, 2, seq);
    }
    log.archive(session(2), 1_700_000_000_000).unwrap();
    dir
}

fn agentbench(arguments: &[&str], paths: &[&Path]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_agentbench")).arg("log").args(arguments).args(paths).output().unwrap()
}

fn printed(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

fn segment(dir: &Path) -> PathBuf {
    let files = fs::read_dir(dir.join("segments")).unwrap().map(|file| file.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|found| found == "seg")).max().unwrap()
}

/// Changes a byte of the fourth event of the live session.
fn damage(dir: &Path) {
    let mut bytes = fs::read(segment(dir)).unwrap();
    let text = body(1, 4);
    let at = bytes.windows(text.len()).position(|window| window == text.as_bytes()).unwrap();
    bytes[at] ^= 1;
    fs::write(segment(dir), bytes).unwrap();
}

#[test]
fn a_whole_folder_is_said_to_be_whole() {
    let dir = folder();
    let (code, text) = printed(&agentbench(&["check"], &[dir.path()]));
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("1 live and 1 ended sessions, 12 events"), "{text}");
}

#[test]
fn damage_is_named_by_session_and_events_and_the_rest_is_saved() {
    let dir = folder();
    damage(dir.path());
    let (code, text) = printed(&agentbench(&["check"], &[dir.path()]));
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains(&format!("session {}: events 4 to 4 are lost", session(1))), "{text}");
    let to = tempfile::tempdir().unwrap();
    let (code, text) = printed(&agentbench(&["salvage", "--to"], &[to.path(), dir.path()]));
    assert_eq!(code, Some(1), "{text}");
    let saved = fs::read_to_string(to.path().join(format!("{}.jsonl", session(1)))).unwrap();
    let lines: Vec<_> = saved.lines().collect();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[2], body(1, 3));
    let lost: serde_json::Value = serde_json::from_str(lines[3]).unwrap();
    assert_eq!((&lost["lost"]["from"], &lost["lost"]["to"]), (&4.into(), &4.into()));
    let archived = fs::read_to_string(to.path().join(format!("{}.archived.jsonl", session(2)))).unwrap();
    assert_eq!(archived.lines().count() as u64, EVENTS);
    // Nothing is written over.
    assert_eq!(agentbench(&["salvage", "--to"], &[to.path(), dir.path()]).status.code(), Some(2));
}

#[test]
fn a_folder_in_use_and_one_that_is_none_are_refused() {
    let dir = folder();
    let (log, _) = DiskLog::open(DiskConfig::new(dir.path())).unwrap();
    let output = agentbench(&["check"], &[dir.path()]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("is in use by process"));
    drop(log);
    let empty = tempfile::tempdir().unwrap();
    let output = agentbench(&["check"], &[empty.path()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("is no data folder"));
    assert_eq!(fs::read_dir(empty.path()).unwrap().count(), 0, "it is left as it was");
}

#[test]
fn a_folder_of_an_older_version_is_described_and_moved() {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("../event-log-disk/tests/fixtures/old-small/hot");
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("hot")).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), dir.path().join("hot").join(file.file_name())).unwrap();
    }
    let (code, text) = printed(&agentbench(&["migrate", "--dry-run"], &[dir.path()]));
    assert!(code == Some(0) && text.contains("4 live sessions with 24 frames would be moved"), "{text}");
    let (code, text) = printed(&agentbench(&["migrate"], &[dir.path()]));
    assert!(code == Some(0) && text.contains("24 frames were moved"), "{text}");
    let (code, text) = printed(&agentbench(&["check"], &[dir.path()]));
    assert!(code == Some(0) && text.contains("4 live and 0 ended sessions"), "{text}");
    let (code, text) = printed(&agentbench(&["migrate"], &[dir.path()]));
    assert!(code == Some(0) && text.contains("nothing to migrate"), "{text}");
}
