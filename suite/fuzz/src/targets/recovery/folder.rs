//! The folder that is damaged: written once by the engine, copied from memory for every input.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use agentbench_event_log::{Append, Appended, EventLog, Frame};
use agentbench_event_log_disk::{DiskConfig, DiskLog};
use agentbench_protocol::{Epoch, Head, SessionId};
use bytes::Bytes;

pub(super) const EPOCH: Epoch = Epoch::from_u64(0xabc);
const ROUNDS: u8 = 4;
const SESSIONS: u8 = 4;
/// Sessions from this one on are archived.
const ARCHIVED: u8 = 2;

/// A file by its path in the folder.
pub(super) type File = (String, Vec<u8>);

pub(super) struct Template {
    pub(super) files: Vec<File>,
    /// What was written.
    pub(super) sessions: BTreeMap<SessionId, Vec<Frame>>,
}

pub(super) fn template() -> &'static Template {
    static TEMPLATE: OnceLock<Template> = OnceLock::new();
    TEMPLATE.get_or_init(make)
}

pub(super) fn config(dir: &Path) -> DiskConfig {
    DiskConfig { segment_bytes: 64 << 10, ..DiskConfig::new(dir) }
}

fn make() -> Template {
    let place = temporary();
    let mut sessions = BTreeMap::<SessionId, Vec<Frame>>::new();
    let (log, _) = DiskLog::open(config(place.path())).expect("an empty folder opens");
    for round in 0..ROUNDS {
        for number in 0..SESSIONS {
            let session = SessionId::from_u128(0x1000 + u128::from(number));
            let frames = sessions.entry(session).or_default();
            let seq = frames.last().map_or(0, Frame::last_seq);
            let frame = crate::targets::frame::frame(seq + 1, 1 + round % 3, number * 16 + round);
            let expected = Head { epoch: EPOCH, seq };
            let summary = (round == 1).then(|| Bytes::from_static(b"summary"));
            append(&log, Append { session, expected, frame: frame.clone(), summary });
            frames.push(frame);
        }
    }
    for number in ARCHIVED..SESSIONS {
        let session = SessionId::from_u128(0x1000 + u128::from(number));
        log.archive(session, 1_760_000_000_000).expect("a whole log is archived");
    }
    drop(log);
    Template { files: read(place.path()), sessions }
}

fn append(log: &DiskLog, append: Append) {
    let (send, receive) = std::sync::mpsc::channel();
    log.submit(vec![append], Box::new(move |outcomes| drop(send.send(outcomes))));
    let outcomes = receive.recv().expect("an append has an outcome");
    assert!(matches!(outcomes[..], [Appended::Committed(_)]), "{outcomes:?}");
}

/// All files of a folder with bytes in them, in order.
pub(super) fn read(dir: &Path) -> Vec<File> {
    let mut files = Vec::new();
    gather(dir, dir, &mut files);
    files.retain(|(name, content)| !content.is_empty() && name != "lock");
    files.sort_unstable();
    files
}

fn gather(root: &Path, dir: &Path, files: &mut Vec<File>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            gather(root, &path, files);
        } else if let (Ok(name), Ok(content)) = (path.strip_prefix(root), fs::read(&path)) {
            files.push((name.to_string_lossy().into_owned(), content));
        }
    }
}

pub(super) fn write(dir: &Path, files: &[File]) {
    for (name, content) in files {
        let path = dir.join(name);
        let folder = path.parent().unwrap_or(dir);
        fs::create_dir_all(folder).and_then(|()| fs::write(&path, content)).expect("a file is written");
    }
}

/// A folder for a moment; in memory if there is such a place, since a disk is a thousand times slower.
pub(super) fn temporary() -> tempfile::TempDir {
    let in_memory = tempfile::tempdir_in("/dev/shm");
    in_memory.or_else(|_| tempfile::tempdir()).expect("a folder for a moment")
}
