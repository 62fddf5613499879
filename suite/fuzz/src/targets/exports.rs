//! Files that come back to a program of ours: histories and reports of the suite, the audit log.

use std::fs;

use agentbench_audit::{Log, Record as AuditRecord, Settings, verify};
use agentbench_history::ClientHistory;
use agentbench_history::{Content, Operation, Record, StopReason, check, jsonl};
use agentbench_protocol::{Epoch, GapCause, SessionId};
use agentbench_report::{baseline, folder, html, junit, markdown, score};
use sha2::{Digest as _, Sha256};

use super::Seed;

/// Any bytes as a client's history.
///
/// Holds if what is read is the same written and read again, and is judged: the same twice, and by itself or beside itself.
pub fn history_file(input: &[u8]) {
    let Ok(history) = jsonl::read("c", input) else { return };
    let mut written = Vec::new();
    jsonl::write(&history, &mut written).expect("written to memory");
    assert_eq!(jsonl::read("c", &written[..]).ok().as_ref(), Some(&history), "read again");
    let alone = std::slice::from_ref(&history);
    assert_eq!(format!("{:?}", check(alone)), format!("{:?}", check(alone)), "judged twice");
    drop(check(&[history.clone(), ClientHistory { client: "d".into(), ..history }]));
}

/// Any text as a report.
///
/// Holds if what is read is the same written and read again, can be compared with itself, and becomes every page of a report.
pub fn report_file(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    let Ok(report) = folder::parse_report(text, "report.json") else { return };
    let written = serde_json::to_string(&report).expect("a report is written");
    let again = folder::parse_report(&written, "report.json").expect("our own report is read");
    assert_eq!(serde_json::to_string(&again).ok(), Some(written), "read again");
    let comparison = baseline::compare(std::slice::from_ref(&report), &[again]);
    for page in [
        html::render(&report, Some(&comparison)),
        markdown::render(&report, Some(&comparison)),
        junit::render(&report, &[], &[]),
    ] {
        assert!(!page.is_empty());
    }
    drop((comparison.summary(), score::score(&report).explanation()));
}

/// Any bytes as an audit log.
///
/// Input: which lines get the hash of their new content (bits), then the file. Holds if each line has at most one finding, the lines
/// are counted, a line that is found whole is whole, and the file in two halves is judged like the file.
pub fn audit_log(input: &[u8]) {
    let Some((&sealed, file)) = input.split_first() else { return };
    let mut lines: Vec<Vec<u8>> = file.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    for (at, line) in lines.iter_mut().enumerate() {
        if sealed >> (at % 8) & 1 == 1 {
            seal(line);
        }
    }
    let report = verify([&lines.concat()[..]], None).expect("memory can be read");
    assert_eq!(report.lines, lines.len() as u64);
    assert!(report.findings.len() <= lines.len(), "{:?}", report.findings);
    let (first, rest) = lines.split_at(lines.len() / 2);
    let halves = verify([&first.concat()[..], &rest.concat()[..]], report.last).expect("memory can be read");
    assert_eq!(halves.has_noted, report.last.is_some(), "the last line is noted");
    assert_eq!(
        (halves.lines, halves.lost, halves.last),
        (report.lines, report.lost, report.last),
        "in two files"
    );
}

/// Gives a line the hash of its content, as somebody would who changes it and knows the format.
fn seal(line: &mut Vec<u8>) {
    const BEFORE: &[u8] = b",\"hash\":\"";
    let Some(at) = line.windows(BEFORE.len()).rposition(|window| window == BEFORE) else { return };
    let body = [&line[..at], b"}"].concat();
    let hash: String = Sha256::digest(&body).iter().map(|byte| format!("{byte:02x}")).collect();
    line.truncate(at);
    line.extend_from_slice(BEFORE);
    line.extend_from_slice(hash.as_bytes());
    line.extend_from_slice(b"\"}\n");
}

/// A history with every kind of record.
pub(crate) fn history_seeds() -> Vec<Seed> {
    let (message, epoch) = (|n: u64| Box::from(format!("m-{n}").as_str()), Epoch::from_u64(7));
    let event = |seq| Operation::Delivery { seq, message: message(seq), content: Content::Event(9) };
    let invoke = |n| Operation::Invoke { message: message(n), digest: 9 };
    let whole = vec![
        Operation::Read { epoch, after: 0 },
        Operation::Delivery { seq: 1, message: message(1), content: Content::Lifecycle },
        invoke(2),
        Operation::Ok { message: message(2), seq: 2, epoch: Some(epoch), duplicate: false },
        event(2),
        invoke(3),
        Operation::Fail { message: message(3), why: "overloaded".into() },
        invoke(4),
        Operation::Unknown { message: message(4), why: "no ack in time".into() },
        Operation::Dropped { count: 1 },
        Operation::Gap { from: 3, to: 4, cause: GapCause::Expired },
        Operation::Stop { why: StopReason::CaughtUp },
        Operation::FinalRead { epoch },
        Operation::Delivery { seq: 1, message: message(1), content: Content::Lifecycle },
        event(2),
        Operation::Stop { why: StopReason::CaughtUp },
    ];
    let broken = vec![
        Operation::Read { epoch, after: 5 },
        event(6),
        event(6),
        event(9),
        event(8),
        Operation::Stop { why: StopReason::Cut },
    ];
    let largest = vec![
        Operation::Read { epoch, after: u64::MAX - 1 },
        invoke(1),
        Operation::Ok { message: message(1), seq: u64::MAX, epoch: None, duplicate: true },
        event(u64::MAX),
        Operation::Gap { from: 1, to: u64::MAX, cause: GapCause::Overflow },
        Operation::Dropped { count: u64::MAX },
        Operation::Dropped { count: u64::MAX },
        Operation::Stop { why: StopReason::CaughtUp },
        Operation::FinalRead { epoch },
        event(u64::MAX),
        event(0),
        Operation::Read { epoch, after: u64::MAX },
    ];
    super::named([("whole", whole), ("broken", broken), ("largest", largest)].into_iter().map(
        |(name, operations)| {
            let session = SessionId::from_u128(1);
            let records =
                operations.into_iter().map(|operation| Record { at: 5, session, operation }).collect();
            let mut file = Vec::new();
            jsonl::write(&ClientHistory { client: "c".into(), records }, &mut file)
                .expect("written to memory");
            (name.to_owned(), file)
        },
    ))
}

/// The report that the suite's own tests read.
pub(crate) fn report_seeds() -> Vec<Seed> {
    let bare: &[u8] = include_bytes!("../../../report/tests/fixtures/version-2-bare.json");
    super::named([("bare".to_owned(), bare.to_vec())])
}

/// A log of a few lines, sealed anew and not.
pub(crate) fn audit_seeds() -> Vec<Seed> {
    let folder = tempfile::tempdir().expect("a folder for a moment");
    let file = folder.path().join("audit.jsonl");
    let settings = Settings {
        file: file.clone(),
        max_bytes: 1 << 20,
        max_age: None,
        queue: 64,
        faults: agentbench_audit::faults::Faults::default(),
    };
    let log = Log::open(settings, 1_760_000_000_000).expect("an empty folder");
    for n in 0..4 {
        let record =
            AuditRecord::refused(1_760_000_000_000 + n, "connect", "forbidden").detail("a \"detail\" é");
        log.record(AuditRecord { user: "u".into(), ..record });
    }
    log.close();
    drop(log);
    let written = fs::read(&file).expect("the log has written it");
    let sealed = [0_u8, 0b10101, 0xff];
    let sealed = sealed.map(|sealed| (format!("sealed-{sealed:03}"), [&[sealed], &written[..]].concat()));
    // Rewritten by somebody who knows the format, with the largest numbers there are.
    let largest = |log: &str, line: &str| log.replace(line, &format!("\"n\":{0},\"lost\":{0},", u64::MAX));
    let once = largest(&String::from_utf8_lossy(&written), "\"n\":2,");
    let twice = largest(&once, "\"n\":3,");
    let rewritten = [("largest-number", once), ("largest-numbers", twice)];
    let rewritten = rewritten.map(|(name, log)| (name.to_owned(), [&[0xff], log.as_bytes()].concat()));
    super::named(sealed.into_iter().chain(rewritten))
}
