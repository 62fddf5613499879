//! The store on a real folder: what is whole, what is partly there, what is refused and what is removed.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use agentbench_evidence::{
    Begun, Ended, EvidenceError, Found, Hash, Limits, MediaType, PARTIAL_LIFE, Part, Store, Stored, Upload,
};
use agentbench_protocol::SessionId;
use proptest::prelude::*;
use tempfile::TempDir;

const SESSION: SessionId = SessionId::from_u128(7);
const OTHER: SessionId = SessionId::from_u128(8);
const LIMITS: Limits = Limits { file: 100_000, session: 250_000 };

fn store() -> (TempDir, Arc<Store>) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::new(dir.path().join("evidence"), LIMITS);
    (dir, store)
}

fn begin(store: &Arc<Store>, hash: Hash, part: Part) -> Result<Upload, EvidenceError> {
    match store.begin(SESSION, hash, MediaType::Png, part)? {
        Begun::Upload(upload) => Ok(upload),
        Begun::There(stored) => panic!("it is there: {stored:?}"),
    }
}

fn put(store: &Arc<Store>, bytes: &[u8]) -> Result<Ended, EvidenceError> {
    let mut upload = begin(store, Hash::of(bytes), Part::Whole(Some(bytes.len() as u64)))?;
    upload.write(bytes)?;
    upload.end()
}

fn whole(bytes: &[u8]) -> Stored {
    Stored { size: bytes.len() as u64, media_type: MediaType::Png }
}

fn content(store: &Arc<Store>, hash: Hash) -> Vec<u8> {
    let mut reader = store.read(SESSION, hash).unwrap().unwrap();
    let mut bytes = Vec::new();
    loop {
        let step = reader.read(bytes.len() as u64, u64::MAX).unwrap();
        if step.is_empty() {
            break;
        }
        bytes.extend(step);
    }
    assert_eq!(bytes.len() as u64, reader.stored().size);
    bytes
}

fn files(dir: &TempDir) -> Vec<String> {
    let folder = dir.path().join("evidence").join(SESSION.to_string());
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

#[test]
fn a_whole_file_is_there_for_its_session_alone() {
    let (_dir, store) = store();
    let bytes = b"picture".repeat(900);
    let hash = Hash::of(&bytes);
    assert_eq!(put(&store, &bytes).unwrap(), Ended::Whole(whole(&bytes)));
    assert_eq!(store.find(SESSION, hash).unwrap(), Found::Whole(whole(&bytes)));
    assert_eq!(content(&store, hash), bytes);
    assert_eq!(store.find(OTHER, hash).unwrap(), Found::Nothing);
    let again = store.begin(SESSION, hash, MediaType::Text, Part::Whole(None)).unwrap();
    assert!(matches!(again, Begun::There(stored) if stored == whole(&bytes)));
    let mut partly = begin(&store, Hash::of(b"more"), Part::Whole(None)).unwrap();
    partly.write(b"mo").unwrap();
    assert_eq!(store.list(SESSION).unwrap(), [(hash, whole(&bytes))]);
    drop(partly);
    store.remove(SESSION).unwrap();
    store.remove(SESSION).unwrap();
    assert_eq!(store.find(SESSION, hash).unwrap(), Found::Nothing);
}

#[test]
fn an_empty_file_is_a_file() {
    let (_dir, store) = store();
    assert_eq!(put(&store, b"").unwrap(), Ended::Whole(whole(b"")));
}

#[test]
fn an_upload_that_broke_off_goes_on_in_a_later_life() {
    let (dir, store) = store();
    let bytes = b"0123456789".repeat(1000);
    let hash = Hash::of(&bytes);
    let mut upload = begin(&store, hash, Part::Whole(Some(10_000))).unwrap();
    upload.write(&bytes[..4321]).unwrap();
    drop(upload);
    assert_eq!(store.find(SESSION, hash).unwrap(), Found::Partly(4321));
    drop(store);
    let store = Store::new(dir.path().join("evidence"), LIMITS);
    let wrong = begin(&store, hash, Part::Range { from: 0, total: 10_000 }).unwrap_err();
    assert!(matches!(wrong, EvidenceError::OutOfPlace { received: 4321 }));
    let mut upload = begin(&store, hash, Part::Range { from: 4321, total: 10_000 }).unwrap();
    upload.write(&bytes[4321..]).unwrap();
    assert_eq!(upload.end().unwrap(), Ended::Whole(whole(&bytes)));
    assert_eq!(content(&store, hash), bytes);
    assert_eq!(files(&dir).len(), 1);
}

#[test]
fn wrong_bytes_leave_nothing_behind() {
    let (dir, store) = store();
    let mut upload = begin(&store, Hash::of(b"right"), Part::Whole(None)).unwrap();
    upload.write(b"wrong").unwrap();
    let error = upload.end().unwrap_err();
    assert!(matches!(error, EvidenceError::WrongHash { found } if found == Hash::of(b"wrong")));
    assert!(files(&dir).is_empty());
    put(&store, b"right").unwrap();
}

#[test]
fn a_begun_file_is_one_writers_alone() {
    let (_dir, store) = store();
    let hash = Hash::of(b"both");
    let mut first = begin(&store, hash, Part::Whole(None)).unwrap();
    first.write(b"bo").unwrap();
    assert!(matches!(begin(&store, hash, Part::Whole(None)), Err(EvidenceError::Busy { received: 2 })));
    drop(first);
    put(&store, b"both").unwrap();
}

#[test]
fn limits_hold_for_a_file_and_for_a_session() {
    let (dir, store) = store();
    let too_large = begin(&store, Hash::of(b"x"), Part::Whole(Some(100_001))).unwrap_err();
    assert!(matches!(too_large, EvidenceError::TooLarge { limit: 100_000 }));
    let mut unannounced = begin(&store, Hash::of(b"x"), Part::Whole(None)).unwrap();
    unannounced.write(&[1; 100_000]).unwrap();
    assert!(matches!(unannounced.write(&[1]), Err(EvidenceError::TooLarge { .. })));
    drop(unannounced);
    assert!(files(&dir).is_empty(), "what is too large is not kept");
    put(&store, &[2; 100_000]).unwrap();
    put(&store, &[3; 100_000]).unwrap();
    // The same once the share is counted anew, by another life.
    let store = Store::new(dir.path().join("evidence"), LIMITS);
    let full = begin(&store, Hash::of(b"x"), Part::Whole(Some(60_000))).unwrap_err();
    assert!(matches!(full, EvidenceError::SessionFull { limit: 250_000, used: 200_000 }));
    put(&store, &[4; 50_000]).unwrap();
    assert!(matches!(put(&store, b""), Err(EvidenceError::SessionFull { .. })), "even an empty file counts");
    // What a session gives back can be had again.
    store.remove(SESSION).unwrap();
    put(&store, &[4; 50_000]).unwrap();
}

#[test]
fn what_was_announced_and_did_not_come_is_given_back() {
    let (_dir, store) = store();
    for turn in 0..10 {
        let mut upload = begin(&store, Hash::of(b"x"), Part::Whole(Some(100_000))).unwrap();
        upload.write(&[turn; 10_000]).unwrap();
        drop(upload);
    }
    put(&store, &[9; 100_000]).unwrap();
    put(&store, &[8; 100_000]).unwrap();
}

#[test]
fn more_than_announced_is_refused() {
    let (_dir, store) = store();
    let mut upload = begin(&store, Hash::of(b"abc"), Part::Whole(Some(3))).unwrap();
    assert!(matches!(upload.write(b"abcd"), Err(EvidenceError::WrongSize { announced: 3, found: 4 })));
}

#[test]
fn sweeping_takes_what_nobody_went_on_with_and_sessions_that_are_gone() {
    let (dir, store) = store();
    put(&store, b"whole").unwrap();
    let mut upload = begin(&store, Hash::of(b"never finished"), Part::Whole(None)).unwrap();
    upload.write(b"never").unwrap();
    let later = SystemTime::now() + PARTIAL_LIFE + Duration::from_secs(60);
    assert_eq!(store.sweep(later, |_| true).unwrap(), 0, "it is being written");
    drop(upload);
    std::fs::write(dir.path().join("evidence/notes.txt"), "not ours").unwrap();
    assert_eq!(store.sweep(SystemTime::now(), |_| false).unwrap(), 0, "too early");
    assert_eq!(store.sweep(later, |_| true).unwrap(), 1);
    assert_eq!(store.find(SESSION, Hash::of(b"never finished")).unwrap(), Found::Nothing);
    assert_eq!(store.find(SESSION, Hash::of(b"whole")).unwrap(), Found::Whole(whole(b"whole")));
    assert_eq!(store.sweep(later, |session| session == OTHER).unwrap(), 1);
    assert!(files(&dir).is_empty() && dir.path().join("evidence/notes.txt").exists());
}

#[test]
fn a_session_that_is_removed_under_way_gets_no_file() {
    let (dir, store) = store();
    let mut upload = begin(&store, Hash::of(b"late"), Part::Whole(None)).unwrap();
    upload.write(b"late").unwrap();
    store.remove(SESSION).unwrap();
    assert!(matches!(upload.end(), Err(EvidenceError::Gone)));
    assert!(files(&dir).is_empty());
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_refuses_and_keeps_nothing() {
    let (dir, store) = store();
    let hash = Hash::of(b"no room");
    let folder = dir.path().join("evidence").join(SESSION.to_string());
    std::fs::create_dir_all(&folder).unwrap();
    // Every write to this device fails as on a full disk.
    std::os::unix::fs::symlink("/dev/full", folder.join(format!("{hash}.part"))).unwrap();
    let mut upload = begin(&store, hash, Part::Whole(None)).unwrap();
    assert!(matches!(upload.write(b"no room"), Err(EvidenceError::Full)));
    drop(upload);
    assert!(files(&dir).is_empty());
    put(&store, b"no room").unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// However a file is cut into ranges and writes, and wherever lives end between them, it is the same file.
    #[test]
    fn any_split_gives_the_same_file(
        bytes in prop::collection::vec(any::<u8>(), 1..6000),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..8),
    ) {
        let (dir, mut store) = store();
        let (hash, total) = (Hash::of(&bytes), bytes.len() as u64);
        let mut ends: Vec<_> = cuts.iter().map(|(at, life, breaks)| (at.index(bytes.len()), *life, *breaks)).collect();
        ends.sort_unstable();
        ends.push((bytes.len(), false, false));
        let mut at = 0;
        for (end, new_life, breaks) in ends {
            if end <= at {
                continue;
            }
            let mut upload = begin(&store, hash, Part::Range { from: at as u64, total }).unwrap();
            for piece in bytes[at..end].chunks(1000) {
                upload.write(piece).unwrap();
            }
            at = end;
            if breaks {
                drop(upload);
            } else {
                let expected = if end == bytes.len() { Ended::Whole(whole(&bytes)) } else { Ended::Partly(end as u64) };
                prop_assert_eq!(upload.end().unwrap(), expected);
            }
            if new_life {
                store = Store::new(dir.path().join("evidence"), LIMITS);
            }
        }
        prop_assert_eq!(content(&store, hash), bytes);
        prop_assert_eq!(files(&dir).len(), 1);
    }
}

/// Where a stored file is.
fn file_of(dir: &TempDir, hash: Hash) -> std::path::PathBuf {
    dir.path().join("evidence").join(SESSION.to_string()).join(format!("{hash}.png"))
}

#[test]
fn the_scrub_finds_what_nobody_asked_for_in_rounds_of_its_own_pace() {
    let (dir, store) = store();
    let files: Vec<Vec<u8>> = (0..6_u8).map(|n| vec![n; 9_000 + usize::from(n)]).collect();
    for bytes in &files {
        put(&store, bytes).unwrap();
    }
    assert!(store.scrub(u64::MAX, || false).unwrap().is_over);
    assert_eq!(store.damaged(), 0);
    std::fs::write(file_of(&dir, Hash::of(&files[4])), b"rot").unwrap();
    let mut rounds = 0;
    let (mut seen, mut damaged) = (0, 0);
    loop {
        let done = store.scrub(10_000, || false).unwrap();
        assert!(done.files <= 3, "a round ends when it has read enough: {done:?}");
        (rounds, seen, damaged) = (rounds + 1, seen + done.files, damaged + done.damaged);
        if done.is_over {
            break;
        }
    }
    assert_eq!((seen, damaged, store.damaged()), (6, 1, 1), "each file once");
    assert!(rounds >= 3, "{rounds}");
    assert_eq!(store.scrub(u64::MAX, || true).unwrap().files, 0, "it stops when it is told to");
    std::fs::write(file_of(&dir, Hash::of(&files[4])), &files[4]).unwrap();
    store.scrub(u64::MAX, || false).unwrap();
    assert_eq!(store.damaged(), 0, "restored from a copy");
    std::fs::write(file_of(&dir, Hash::of(&files[4])), b"rot").unwrap();
    store.scrub(u64::MAX, || false).unwrap();
    put(&store, &files[4]).unwrap();
    assert_eq!((store.damaged(), content(&store, Hash::of(&files[4]))), (0, files[4].clone()));
}

#[test]
fn a_damaged_file_counts_once_in_the_sessions_share_when_it_is_replaced() {
    let (dir, store) = store();
    let bytes = vec![7; 90_000];
    put(&store, &bytes).unwrap();
    for _ in 0..4 {
        std::fs::write(file_of(&dir, Hash::of(&bytes)), vec![8; 90_000]).unwrap();
        put(&store, &bytes).unwrap();
    }
    put(&store, &vec![9; 90_000]).unwrap();
}

proptest! {
    /// Whatever part of whatever damaged file is asked for, what is given is what was uploaded.
    #[test]
    fn no_wrong_byte_is_given(
        size in 1_usize..100_000,
        at in any::<prop::sample::Index>(),
        from in any::<prop::sample::Index>(),
        bit in 0_u8..8,
    ) {
        let (dir, store) = store();
        let bytes: Vec<u8> = (0..size).map(|n| (n * 7) as u8).collect();
        put(&store, &bytes).unwrap();
        let mut changed = bytes.clone();
        changed[at.index(size)] ^= 1 << bit;
        std::fs::write(file_of(&dir, Hash::of(&bytes)), &changed).unwrap();
        let from = from.index(size);
        let read = store.read(SESSION, Hash::of(&bytes)).and_then(|reader| reader.unwrap().read(from as u64, u64::MAX));
        match read {
            Ok(given) => prop_assert!(bytes[from..].starts_with(&given) && !given.is_empty()),
            Err(error) => {
                let is_damaged = matches!(error, EvidenceError::Damaged { .. });
                prop_assert!(is_damaged, "{error}");
            }
        }
    }
}
