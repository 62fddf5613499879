//! Opening a log whose files are not as they were written.

mod archive;
mod edit;
mod folder;

use agentbench_event_log::{Append, Appended, EventLog, Frame, LogError, ReadLimit};
use agentbench_event_log_disk::{ArchiveLog, DiskLog, RecoveryReport};
use agentbench_protocol::{Head, SessionId};

use super::Seed;
pub use archive::archive_file;
pub(crate) use archive::seeds as archive_seeds;
use edit::Edit;
use folder::{EPOCH, Template, config};

const NO_LIMIT: ReadLimit = ReadLimit { bytes: usize::MAX, events: usize::MAX };
/// Most edits of one folder.
const MAX_EDITS: usize = 4;

/// A folder of the engine with edited files: live sessions, archived ones, the witness.
///
/// Input: edits ([`Edit`]). Holds if opening gives the log or a reason, a refused folder stays as it was, what is served is what was
/// written, what one edit costs is said, other logs go on, and the folder opens again with the same content.
pub fn log_recovery(input: &[u8]) {
    let template = folder::template();
    let place = folder::temporary();
    let dir = place.path();
    let (mut files, edits) = (template.files.clone(), edits(input));
    edits.iter().for_each(|edit| edit.apply(&mut files));
    folder::write(dir, &files);
    let before = folder::read(&dir.join("segments"));
    match DiskLog::open(config(dir)) {
        Err(error) => {
            assert_eq!(folder::read(&dir.join("segments")), before, "refused ({error}), and changed");
            if error.is_of_the_hot_log()
                && let Ok((log, _)) = ArchiveLog::open(&config(dir), &error)
            {
                served(&log, template);
            }
        }
        Ok((log, report)) => {
            let content = served(&log, template);
            // Two files that are gone together may have been the only ones to tell of a session.
            if edits.len() == 1 && is_silent(&report) {
                assert!(
                    content.iter().all(|session| session.is_whole()),
                    "missing and not said: {content:?}"
                );
            }
            go_on(&log, template);
            let content = served(&log, template);
            drop(log);
            let (log, _) = DiskLog::open(config(dir)).expect("what was opened opens again");
            assert_eq!(served(&log, template), content, "opened again");
        }
    }
}

/// At most [`MAX_EDITS`]. An exchange of files stands alone: only the header of an archive file says whose it is.
fn edits(mut input: &[u8]) -> Vec<Edit<'_>> {
    let mut edits = Vec::new();
    while let Some((edit, rest)) = Edit::read(input).filter(|_| edits.len() < MAX_EDITS) {
        input = rest;
        if edit.is_exchange() {
            return vec![edit];
        }
        edits.push(edit);
    }
    edits
}

fn is_silent(report: &RecoveryReport) -> bool {
    report.damage.is_empty() && report.missing.is_empty()
}

/// What can be read of one session.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    session: SessionId,
    head: Option<Head>,
    /// First seqs of the frames.
    frames: Vec<u64>,
    holes: Vec<(u64, u64)>,
    /// Seq of the last event that was written.
    written: u64,
}

impl Served {
    /// Whether every event is there, or said to be damaged.
    fn is_whole(&self) -> bool {
        self.head.is_some_and(|head| head.seq >= self.written)
    }
}

/// Reads everything of every session; panics at an event that was not written.
fn served(log: &impl EventLog, template: &Template) -> Vec<Served> {
    for listed in log.list().expect("an open log has a list") {
        assert!(
            template.sessions.contains_key(&listed.session),
            "a session that never was: {}",
            listed.session
        );
    }
    template.sessions.iter().map(|(session, written)| read(log, *session, written)).collect()
}

fn read(log: &impl EventLog, session: SessionId, written: &[Frame]) -> Served {
    let (mut frames, mut holes) = (Vec::new(), Vec::new());
    let head = log.head(session);
    let last = written.last().map_or(0, Frame::last_seq);
    let mut from = 1;
    while head.is_some_and(|head| from <= head.seq) {
        match log.read(session, from, NO_LIMIT) {
            Ok(reading) => {
                assert_eq!(reading.head.epoch, EPOCH, "an epoch that never was");
                let Some(frame) = reading.frames.last() else {
                    panic!("nothing at {from}, and the head is {head:?}")
                };
                from = frame.last_seq() + 1;
                for frame in &reading.frames {
                    let is_new = *frame == new_frame(frame.first_seq());
                    assert!(is_new || written.contains(frame), "what was not written: {frame:?}");
                    frames.push(frame.first_seq());
                }
            }
            Err(LogError::Damaged { from: begin, to, .. }) => {
                assert!(begin <= from && from <= to, "damage at {begin} to {to}, and not at {from}");
                holes.push((begin, to));
                from = to.saturating_add(1);
            }
            Err(LogError::Trimmed { first_seq }) if from < first_seq => {
                holes.push((from, first_seq - 1));
                from = first_seq;
            }
            Err(error) => panic!("at {from}: {error}"),
        }
    }
    Served { session, head, frames, holes, written: last }
}

/// What [`go_on`] appends.
fn new_frame(first_seq: u64) -> Frame {
    super::frame::frame(first_seq, 1, 99)
}

/// Appends to every log that takes it.
fn go_on(log: &DiskLog, template: &Template) {
    for (session, written) in &template.sessions {
        let Some(head) = log.head(*session) else { continue };
        let frame = new_frame(head.seq + 1);
        let append = Append { session: *session, expected: head, frame, summary: None };
        let (send, receive) = std::sync::mpsc::channel();
        log.submit(vec![append], Box::new(move |outcomes| drop(send.send(outcomes))));
        let outcomes = receive.recv().expect("an append has an outcome");
        if let [Appended::Committed(now)] = &outcomes[..] {
            assert_eq!(now.seq, head.seq + 1);
        } else {
            let last = written.last().map_or(0, Frame::last_seq);
            assert!(
                !matches!(outcomes[..], [Appended::Conflict(_)]),
                "{outcomes:?} at {head:?}, {last} were written"
            );
        }
    }
}

/// Edits of every kind of file.
pub(crate) fn seeds() -> Vec<Seed> {
    let count = folder::template().files.len() as u8;
    let flips = (0..count).map(|file| (format!("flip-{file}"), vec![file, 0, 0, 90, 1, 0x20]));
    let cuts = (0..count).map(|file| (format!("cut-{file}"), vec![file, 2, 0, 120, 0]));
    let gone = (0..count).map(|file| (format!("gone-{file}"), vec![file, 8, 0, 0, 0]));
    // Into the entries of the hot log, wherever it stands among the files.
    let hot = folder::template().files.iter().position(|(name, _)| name.ends_with(".seg")).unwrap_or(0) as u8;
    let inside = (1..24_u16).map(|part| {
        let [high, low] = (part * 120).to_be_bytes();
        (format!("flip-hot-{part:02}"), vec![hot, 0, high, low, 1, 0x20])
    });
    let others = [
        ("none", vec![]),
        ("overwrite", vec![0, 1, 2, 0, 8, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee, 0xee]),
        ("zeros", vec![0, 6, 1, 0, 200]),
        ("remove", vec![0, 3, 1, 0, 40]),
        ("double", vec![0, 5, 1, 0, 200]),
        ("append", vec![0, 9, 0, 0, 4, 1, 2, 3, 4]),
        ("exchange", vec![1, 7, 0, 0, 2]),
        ("two", vec![0, 0, 1, 0, 1, 1, 0, 0, 3, 0, 1, 1]),
    ];
    let others = others.map(|(name, edits)| (name.to_owned(), edits));
    super::named(flips.chain(cuts).chain(gone).chain(inside).chain(others))
}
