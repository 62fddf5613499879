//! What is written is found whole; what was done to it is found and named.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::fs;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentbench_audit::faults::Faults;
use agentbench_audit::{Fault, Finding, Hash, Log, OpenError, Record, Report, Settings, verify};
use proptest::prelude::*;
use tempfile::TempDir;

fn settings(folder: &TempDir) -> Settings {
    let file = folder.path().join("audit.jsonl");
    Settings { file, max_bytes: 1 << 30, max_age: None, queue: 64, faults: Faults::default() }
}

/// Files of the log, oldest first.
fn files(folder: &TempDir) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    // "audit-…" comes before "audit.jsonl".
    files.sort();
    files
}

fn check(files: &[PathBuf]) -> Report {
    verify(files.iter().map(|path| BufReader::new(fs::File::open(path).unwrap())), None).unwrap()
}

fn check_text(text: &[u8]) -> Report {
    verify([text], None).unwrap()
}

fn write(settings: Settings, records: impl IntoIterator<Item = Record>) {
    let log = Log::open(settings, 1).unwrap();
    records.into_iter().for_each(|record| assert!(log.record(record)));
    log.close();
}

fn numbered(count: u64) -> Vec<Record> {
    (0..count).map(|n| Record::allowed(n, "connect").detail(format!("number {n}"))).collect()
}

/// A log of the opening and five records, as lines.
fn sample(folder: &TempDir) -> Vec<String> {
    write(settings(folder), numbered(5));
    let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn join(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn a_log_is_whole_over_restarts_and_files() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        write(Settings { max_bytes: 4_000, ..settings(&folder) }, numbered(40));
    }
    let files = files(&folder);
    assert!(files.len() >= 3, "{files:?}");
    let report = check(&files);
    assert_eq!((report.findings, report.first, report.lost), (vec![], Some(1), 0));
    assert_eq!((report.lines, report.last.unwrap().0), (123, 123));
    // A part alone is whole, too, and says where it begins.
    let later = check(&files[1..]);
    assert!(later.findings.is_empty() && later.first.unwrap() > 1);
    // A file that is missing in the middle.
    let (first, rest) = files.split_first().unwrap();
    let gap = check(&[std::slice::from_ref(first), &rest[1..]].concat());
    assert!(matches!(gap.findings[..], [Finding { file: 1, line: 1, fault: Fault::Removed(..) }]));
}

#[test]
fn age_begins_a_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let settings = Settings { max_age: Some(Duration::from_nanos(1)), ..settings(&folder) };
    write(settings.clone(), numbered(1));
    write(settings, numbered(1));
    let files = files(&folder);
    assert!(files.len() >= 3, "{files:?}");
    assert!(check(&files).findings.is_empty());
}

#[test]
fn what_was_done_to_a_line_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let lines = sample(&folder);
    let faults = |lines: &[String]| {
        let report = check_text(join(lines).as_bytes());
        report.findings.into_iter().map(|finding| (finding.line, finding.fault)).collect::<Vec<_>>()
    };
    assert_eq!(faults(&lines), []);

    let mut changed = lines.clone();
    changed[2] = changed[2].replace("number 1", "number 9");
    assert_eq!(faults(&changed), [(3, Fault::Changed)]);

    let mut removed = lines.clone();
    removed.remove(2);
    assert_eq!(faults(&removed), [(3, Fault::Removed(3, 3))]);

    let mut swapped = lines.clone();
    swapped.swap(2, 3);
    let found = faults(&swapped);
    assert_eq!(found[0], (3, Fault::Removed(3, 3)));
    assert_eq!(found[1], (4, Fault::Misplaced(3, 5)));

    let mut repeated = lines.clone();
    repeated.insert(3, lines[2].clone());
    assert_eq!(faults(&repeated)[0], (4, Fault::Misplaced(3, 4)));

    let text = join(&lines);
    let cut = check_text(&text.as_bytes()[..text.len() - 10]);
    assert_eq!(cut.findings, [Finding { file: 0, line: 6, fault: Fault::Truncated }]);

    // Whole lines missing at the end are known by a note of what the end was.
    let noted = check_text(text.as_bytes()).last;
    let shorter = verify([join(&lines[..5]).as_bytes()], noted).unwrap();
    assert!(shorter.findings.is_empty() && !shorter.has_noted);
    assert!(verify([text.as_bytes()], noted).unwrap().has_noted);
}

#[test]
fn a_line_of_another_log_does_not_pass_for_one() {
    let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lines = sample(&one);
    write(settings(&other), (0..5).map(|n| Record::refused(n, "connect", "expired")));
    let others = fs::read_to_string(other.path().join("audit.jsonl")).unwrap();
    lines[3] = others.lines().nth(3).unwrap().to_owned();
    let report = check_text(join(&lines).as_bytes());
    let places: Vec<_> = report.findings.iter().map(|finding| (finding.line, &finding.fault)).collect();
    assert_eq!(places, [(4, &Fault::Unchained), (5, &Fault::Unchained)]);
}

#[test]
fn a_torn_line_is_removed_and_said_and_a_changed_one_stops_the_start() {
    let folder = tempfile::tempdir().unwrap();
    sample(&folder);
    let path = folder.path().join("audit.jsonl");
    let text = fs::read(&path).unwrap();
    fs::write(&path, &text[..text.len() - 7]).unwrap();
    write(settings(&folder), numbered(1));
    assert!(check(&files(&folder)).findings.is_empty());
    assert!(fs::read_to_string(&path).unwrap().contains("bytes of an incomplete line"));

    let text = fs::read_to_string(&path).unwrap();
    let at = text.rfind("number").unwrap();
    fs::write(&path, format!("{}N{}", &text[..at], &text[at + 1..])).unwrap();
    assert!(matches!(Log::open(settings(&folder), 1), Err(OpenError::Broken(_))));
    assert!(matches!(
        Log::open(Settings { file: Path::new("/proc/nowhere/audit.jsonl").into(), ..settings(&folder) }, 1),
        Err(OpenError::Io { .. })
    ));
}

#[test]
fn a_crash_between_two_files_loses_no_number() {
    let folder = tempfile::tempdir().unwrap();
    sample(&folder);
    let path = folder.path().join("audit.jsonl");
    fs::rename(&path, folder.path().join("audit-000000000001.jsonl")).unwrap();
    write(settings(&folder), numbered(1));
    let report = check(&files(&folder));
    assert_eq!((report.findings, report.last.unwrap().0), (vec![], 8));
}

#[test]
fn lines_that_are_lost_are_counted_in_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(Settings { queue: 1, ..settings(&folder) }, 1).unwrap();
    let lost = (0..20_000).filter(|n| !log.record(Record::allowed(*n, "connect"))).count() as u64;
    log.close();
    assert!(lost > 0, "the writer was never behind, so this shows nothing");
    let report = check(&files(&folder));
    assert_eq!((report.findings, report.lost), (vec![], lost));
}

fn any_record() -> impl Strategy<Value = Record> {
    (
        any::<u64>(),
        any::<String>(),
        any::<String>(),
        "[\\x00-\\x1f\\x7f-\\x9f\u{2028}\u{2029}\u{202e}\"\\\\a]*",
    )
        .prop_map(|(at, user, session, detail)| Record {
            user,
            session,
            detail,
            ..Record::refused(at, "connect", "bad_signature")
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn no_text_ends_a_line_or_acts_on_a_terminal(records in proptest::collection::vec(any_record(), 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        write(settings(&folder), records.clone());
        let text = fs::read_to_string(folder.path().join("audit.jsonl")).unwrap();
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()));
        let turns = text.contains(['\u{2028}', '\u{2029}', '\u{202e}', '\u{feff}']);
        prop_assert!(!turns);
        let lines: Vec<_> = text.lines().skip(1).collect();
        prop_assert_eq!(lines.len(), records.len());
        for (line, record) in lines.iter().zip(&records) {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let cut: String = record.user.chars().take(512).collect();
            prop_assert_eq!(value["user"].as_str().unwrap_or(""), cut);
            prop_assert_eq!(value["detail"].as_str().unwrap_or(""), record.detail.chars().take(512).collect::<String>());
        }
        prop_assert!(check_text(text.as_bytes()).findings.is_empty());
    }

    #[test]
    fn any_changed_byte_is_found(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = join(&sample(&folder)).into_bytes();
        let at = at.index(text.len());
        prop_assume!(text[at] != byte);
        text[at] = byte;
        let report = check_text(&text);
        prop_assert!(!report.findings.is_empty(), "byte {} of {}", at, String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_bytes_panic(text in proptest::collection::vec(any::<u8>(), 0..400), hash in "[0-9a-f]{64}") {
        let _ = check_text(&text);
        let _ = check_text(format!("{{\"n\":1,\"hash\":\"{hash}\"}}\n").as_bytes());
        prop_assert_eq!(Hash::parse(&hash).unwrap().to_string(), hash);
    }
}
