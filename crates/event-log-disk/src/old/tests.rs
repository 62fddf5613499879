//! The reader on folders that the former engine wrote, and on all that can happen to a small one.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use agentbench_disk::RealDisk;
use agentbench_event_log::Frame;
use agentbench_protocol::SessionId;

use super::*;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn read(dir: &Path) -> OldFolder {
    let promised = witness::read(dir).unwrap().map(|testimony| testimony.ends);
    OldFolder::read(&RealDisk, &dir.join("hot"), promised).unwrap()
}

/// One log as a line of the file `expected`.
fn line(folder: &OldFolder, log: &OldLog) -> String {
    let frames = log.frames.iter().map(|frame| folder.frame(frame).unwrap());
    let crc = frames.fold(0, |crc, frame| crc32c::crc32c_append(crc, frame.bytes()));
    let OldLog { session, first_seq, head, .. } = log;
    let (epoch, count) = (log.epoch.as_u64(), log.frames.len());
    let summary = crc32c::crc32c(&log.summary);
    let holes: String =
        log.holes.iter().map(|hole| format!(" {}-{}", hole.first_seq, hole.last_seq)).collect();
    format!("live {session} {epoch:x} {first_seq} {head} {summary:08x} {count} {crc:08x}{holes}")
}

fn is_as_expected(name: &str) -> OldFolder {
    let dir = fixtures().join(name);
    let expected = fs::read_to_string(dir.join("expected")).unwrap();
    let expected: Vec<_> = expected.lines().filter(|line| line.starts_with("live ")).collect();
    let folder = read(&dir);
    let mut found: Vec<_> = folder.logs.iter().map(|log| line(&folder, log)).collect();
    found.sort_unstable();
    assert_eq!(found, expected, "{name}");
    assert_eq!(folder.missing, [], "{name}");
    assert!(folder.logs.iter().all(|log| log.lost_at_end == 0), "{name}");
    folder
}

#[test]
fn whole_folders_are_read_as_the_former_engine_served_them() {
    for name in ["old-small", "old-various", "old-cleaned", "old-groups"] {
        assert_eq!(is_as_expected(name).damage, [], "{name}");
    }
}

#[test]
fn an_incomplete_last_write_is_left_out_and_reported() {
    let folder = is_as_expected("old-killed");
    assert_eq!(folder.damage.len(), 1, "{:?}", folder.damage);
    assert!(folder.damage[0].what.contains("cut short"), "{:?}", folder.damage);
}

#[test]
fn damage_in_the_middle_costs_the_frames_that_it_hits() {
    let folder = is_as_expected("old-damaged");
    assert_eq!(folder.damage.len(), 3, "{:?}", folder.damage);
    let holes: Vec<_> = folder.logs.iter().flat_map(|log| &log.holes).map(|hole| hole.what).collect();
    let missing = "the frames are missing, or the headers of their entries are damaged";
    assert_eq!(holes, ["the frame fails its checksum", missing]);
}

/// A copy of the smallest folder in which one file is changed.
struct Small {
    dir: tempfile::TempDir,
    file: File,
    bytes: Vec<u8>,
    /// All frames, with their sessions and offsets.
    frames: Vec<(SessionId, u64, Frame)>,
    batches: Vec<Stretch>,
}

fn small(has_witness: bool) -> Small {
    let (from, dir) = (fixtures().join("old-small"), tempfile::tempdir().unwrap());
    fs::create_dir(dir.path().join("hot")).unwrap();
    let name = "hot/0000000000000001.raftlog";
    fs::copy(from.join(name), dir.path().join(name)).unwrap();
    if has_witness {
        fs::copy(from.join("hot.witness"), dir.path().join("hot.witness")).unwrap();
        fs::copy(
            from.join(name.replace("raftlog", "rewrite")),
            dir.path().join(name.replace("raftlog", "rewrite")),
        )
        .unwrap();
    }
    let file = OpenOptions::new().read(true).write(true).open(dir.path().join(name)).unwrap();
    let folder = read(dir.path());
    let places = folder.logs.iter().flat_map(|log| log.frames.iter().map(|frame| (log.session, *frame)));
    let frames = places.map(|(session, frame)| (session, frame.offset, folder.frame(&frame).unwrap()));
    let batches = folder.files.last().unwrap().stretches.clone();
    let bytes = fs::read(dir.path().join(name)).unwrap();
    Small { frames: frames.collect(), file, bytes, batches, dir }
}

impl Small {
    /// The offsets of the frames that are read. They are what was written, and none of them is twice.
    fn offsets(&self, folder: &OldFolder) -> Vec<u64> {
        let mut offsets = Vec::new();
        for log in &folder.logs {
            let mut next = log.first_seq;
            for place in &log.frames {
                let frame = folder.frame(place).unwrap();
                assert!(place.first_seq >= next && place.last_seq <= log.head);
                next = place.last_seq + 1;
                offsets.push(place.offset);
                let written = (log.session, place.offset, frame);
                assert!(self.frames.contains(&written), "what is read was written");
            }
        }
        offsets.sort_unstable();
        offsets
    }

    fn batch_of(&self, at: usize) -> Option<Stretch> {
        self.batches.iter().copied().find(|batch| (batch.begin()..batch.end()).contains(&at))
    }
}

#[test]
fn every_flipped_byte_costs_no_more_than_a_frame_of_its_batch() {
    for has_witness in [true, false] {
        let small = small(has_witness);
        for (at, byte) in small.bytes.iter().enumerate() {
            small.file.write_all_at(&[byte ^ 0x20], at as u64).unwrap();
            let folder = read(small.dir.path());
            let offsets = small.offsets(&folder);
            let lost: Vec<_> = small
                .frames
                .iter()
                .map(|(_, offset, _)| *offset as usize)
                .filter(|at| !offsets.contains(&(*at as u64)))
                .collect();
            let batch = small.batch_of(at);
            let is_last = batch == small.batches.last().copied();
            // Without a witness a damaged last batch cannot be told from an incomplete write.
            let limit = if is_last && !has_witness { 4 } else { 1 };
            assert!(lost.len() <= limit, "byte {at}: {} frames are lost", lost.len());
            assert!(lost.iter().all(|lost| small.batch_of(*lost) == batch), "byte {at}");
            let ends: u64 = folder.logs.iter().map(|log| log.lost_at_end).sum();
            assert_eq!(folder.damage.len() as u64, 1 + ends, "byte {at}: {:?}", folder.damage);
            small.file.write_all_at(&[*byte], at as u64).unwrap();
        }
    }
}

#[test]
fn a_file_of_every_length_is_read_up_to_its_end() {
    for has_witness in [true, false] {
        let small = small(has_witness);
        for len in (0..small.bytes.len()).rev() {
            small.file.set_len(len as u64).unwrap();
            let folder = read(small.dir.path());
            let offsets = small.offsets(&folder);
            let whole = small.batches.iter().filter(|batch| batch.end() <= len).count();
            assert!(offsets.len() >= whole * 4, "{len}: {} of {whole} batches", offsets.len());
            assert!(has_witness || offsets.len() == whole * 4, "{len}");
            assert_eq!(folder.missing.len(), usize::from(has_witness), "{len}: {:?}", folder.missing);
        }
    }
}

#[test]
fn every_lost_sector_costs_no_more_than_the_batches_it_hits() {
    let small = small(true);
    for at in (0..small.bytes.len() - 512).step_by(61) {
        small.file.write_all_at(&[0xee; 512], at as u64).unwrap();
        let folder = read(small.dir.path());
        let offsets = small.offsets(&folder);
        for (_, offset, _) in &small.frames {
            let batch = small.batch_of(*offset as usize).unwrap();
            let is_hit = batch.begin() < at + 512 && at < batch.end();
            assert!(is_hit || offsets.contains(offset), "byte {at}: the frame at {offset}");
        }
        assert!(!folder.damage.is_empty(), "byte {at}");
        small.file.write_all_at(&small.bytes[at..at + 512], at as u64).unwrap();
    }
}

#[test]
fn a_missing_file_is_reported_and_the_others_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (fixtures().join("old-small/hot"), dir.path().join("hot"));
    fs::create_dir(&to).unwrap();
    let one = fs::read(from.join("0000000000000001.raftlog")).unwrap();
    fs::write(to.join("0000000000000001.raftlog"), &one).unwrap();
    // The batches of this one are signed with another number, so their frames are found one by one.
    fs::write(to.join("0000000000000003.raftlog"), &one).unwrap();
    fs::write(to.join("0000000000000004.raftlog"), &one[..69]).unwrap();
    let folder = read(dir.path());
    assert!(folder.damage[0].what.contains("missing"), "{:?}", folder.damage);
    assert!(folder.damage[1].what.contains("24 frames in them were recovered"), "{:?}", folder.damage);
    assert_eq!(folder.logs.len(), 4);
    assert!(folder.logs.iter().all(|log| log.frames.len() == 6 && log.holes.is_empty()));
}

#[test]
fn a_batch_that_a_power_cut_lost_hides_the_later_ones_beyond_the_witness() {
    let small = small(true);
    let third = small.batches[2].begin();
    small.file.write_all_at(&[0; 16], third as u64).unwrap();
    let promised = |bytes| Some(Ends { append: End { number: 1, bytes }, ..Ends::default() });
    let frames = |promised| {
        let folder = OldFolder::read(&RealDisk, &small.dir.path().join("hot"), promised).unwrap();
        folder.logs.iter().map(|log| log.frames.len()).sum::<usize>()
    };
    assert_eq!(frames(promised(third as u64)), 8);
    assert_eq!(frames(promised(small.batches[2].end() as u64)), 24, "it was promised");
    assert_eq!(frames(None), 24);
}

/// Copies a folder of the fixtures.
fn copy(name: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("hot")).unwrap();
    for file in fs::read_dir(fixtures().join(name).join("hot")).unwrap() {
        let path = file.unwrap().path();
        fs::copy(&path, dir.path().join("hot").join(path.file_name().unwrap())).unwrap();
    }
    dir
}

#[test]
fn flipped_bytes_among_trims_deletions_and_moved_batches_do_no_more_harm() {
    let files = [
        ("old-various", "0000000000000001.raftlog", 5),
        ("old-cleaned", "0000000000000001.rewrite", 97),
        ("old-groups", "0000000000000003.rewrite", 997),
    ];
    for (name, file, step) in files {
        let dir = copy(name);
        let path = dir.path().join("hot").join(file);
        let bytes = fs::read(&path).unwrap();
        let file = OpenOptions::new().write(true).open(path).unwrap();
        let logs = read(dir.path()).logs.len();
        for at in (0..bytes.len()).step_by(step) {
            file.write_all_at(&[bytes[at] ^ 0x04], at as u64).unwrap();
            let folder = read(dir.path());
            assert!(folder.logs.len() + 1 >= logs, "{name}, byte {at}");
            for log in &folder.logs {
                let mut next = log.first_seq;
                for place in &log.frames {
                    let frame = folder.frame(place).unwrap();
                    assert!(frame.last_seq() >= next && frame.last_seq() <= log.head, "{name}, byte {at}");
                    next = frame.last_seq() + 1;
                }
            }
            file.write_all_at(&bytes[at..=at], at as u64).unwrap();
        }
    }
}

#[test]
fn a_batch_with_a_checksum_and_nonsense_in_it_is_damage() {
    let dir = copy("old-small");
    let path = dir.path().join("hot/0000000000000001.raftlog");
    let whole = fs::read(&path).unwrap();
    let mut random = 1_u64;
    let mut next = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) as u8
    };
    for length in (1..40).cycle().take(2000) {
        // Small numbers are more likely to mean something.
        let footer: Vec<_> = (0..length).map(|at| if at % 3 == 0 { next() } else { next() % 4 }).collect();
        let mut bytes = whole.clone();
        bytes.extend_from_slice(&((16 + footer.len() as u64 + 4) << 8).to_be_bytes());
        bytes.extend_from_slice(&16_u64.to_be_bytes());
        bytes.extend_from_slice(&footer);
        bytes.extend_from_slice(&(crc32fast::hash(&footer) ^ 1).to_le_bytes());
        fs::write(&path, bytes).unwrap();
        let frames = read(dir.path()).logs.iter().map(|log| log.frames.len()).sum::<usize>();
        assert_eq!(frames, 24, "{footer:?}");
    }
}
