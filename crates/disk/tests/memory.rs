//! The disk in memory against a plain model: what was synced survives every power cut, everything else is one of the states it
//! had since; and against the operating system's disk, as long as nothing fails.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use agentbench_disk::{Disk, DiskFile, MemoryDisk, Opening, RealDisk, SectorSize};
use proptest::collection::vec;
use proptest::prelude::*;

/// One call. Files are chosen by a number among [`NAMES`].
#[derive(Debug, Clone)]
enum Call {
    Open(usize, Opening),
    Write(usize, usize, Vec<u8>),
    SetLen(usize, usize),
    Allocate(usize, usize, usize),
    Sync(usize),
    Rename(usize, usize),
    Remove(usize),
    SyncFolder,
    /// The next sync fails.
    FailSync,
    /// The next write fails.
    FailWrite,
    PowerCut,
}

const NAMES: usize = 4;
const LONGEST: usize = 3000;

fn calls() -> impl Strategy<Value = Vec<Call>> {
    let opening = prop_oneof![Just(Opening::Existing), Just(Opening::Any), Just(Opening::New)];
    let bytes = (1u8.., 1..1500usize).prop_map(|(first, len)| {
        (0..len).map(|at| first.wrapping_add((at / 100) as u8).max(1)).collect::<Vec<u8>>()
    });
    let call = prop_oneof![
        6 => (0..NAMES, opening).prop_map(|(file, opening)| Call::Open(file, opening)),
        12 => (0..NAMES, 0..LONGEST, bytes).prop_map(|(file, at, bytes)| Call::Write(file, at, bytes)),
        4 => (0..NAMES, 0..LONGEST).prop_map(|(file, len)| Call::SetLen(file, len)),
        2 => (0..NAMES, 0..LONGEST, 1..LONGEST).prop_map(|(file, at, len)| Call::Allocate(file, at, len)),
        6 => (0..NAMES).prop_map(Call::Sync),
        3 => (0..NAMES, 0..NAMES).prop_map(|(from, to)| Call::Rename(from, to)),
        2 => (0..NAMES).prop_map(Call::Remove),
        4 => Just(Call::SyncFolder),
        1 => Just(Call::FailSync),
        1 => Just(Call::FailWrite),
        3 => Just(Call::PowerCut),
    ];
    vec(call, 0..60)
}

fn sectors() -> impl Strategy<Value = SectorSize> {
    prop_oneof![Just(SectorSize::Bytes512), Just(SectorSize::Bytes4096)]
}

fn path(folder: &Path, file: usize) -> PathBuf {
    folder.join(["a", "b", "c", "d"][file])
}

fn read(file: &dyn DiskFile) -> Vec<u8> {
    let mut bytes = vec![0; file.len().unwrap() as usize + 1];
    let count = file.read_at(&mut bytes, 0).unwrap();
    bytes.truncate(count);
    bytes
}

/// Makes a call; a fault is none. Returns the result as text, to be compared.
fn make(disk: &dyn Disk, folder: &Path, call: &Call) -> Result<String, ErrorKind> {
    let open = |file| disk.open(&path(folder, file), Opening::Existing);
    let result = match call {
        Call::Open(file, opening) => {
            disk.open(&path(folder, *file), *opening).map(|file| format!("{:?}", read(&*file)))
        }
        Call::Write(file, at, bytes) => {
            open(*file).and_then(|file| file.write_all_at(bytes, *at as u64)).map(|()| String::new())
        }
        Call::SetLen(file, len) => {
            open(*file).and_then(|file| file.set_len(*len as u64)).map(|()| String::new())
        }
        Call::Allocate(file, at, len) => {
            open(*file).and_then(|file| file.allocate(*at as u64, *len as u64)).map(|()| String::new())
        }
        Call::Sync(file) => open(*file).and_then(|file| file.sync()).map(|()| String::new()),
        Call::Rename(from, to) => {
            disk.rename(&path(folder, *from), &path(folder, *to)).map(|()| String::new())
        }
        Call::Remove(file) => disk.remove(&path(folder, *file)).map(|()| String::new()),
        Call::SyncFolder => disk.sync_dir(folder).map(|()| String::new()),
        Call::FailSync | Call::FailWrite | Call::PowerCut => Ok(String::new()),
    };
    result.map_err(|error| error.kind())
}

fn all(disk: &dyn Disk, folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = disk.list(folder).unwrap();
    let file = |path: PathBuf| {
        let bytes = read(&*disk.open(&path, Opening::Existing).unwrap());
        (path.strip_prefix(folder).unwrap().to_owned(), bytes)
    };
    files.into_iter().map(|listed| file(listed.path)).collect()
}

/// What may be on the disk: every content that a file had since its last sync, and everything that a name named since the
/// last sync of the folder; the first are the synced ones.
#[derive(Default)]
struct Model {
    /// By the number of a file, which is its place here.
    files: Vec<Vec<Vec<u8>>>,
    /// Files of which a sync has failed: no later sync proves anything.
    doubtful: BTreeSet<usize>,
    names: Vec<BTreeMap<usize, usize>>,
}

impl Model {
    fn new() -> Self {
        Self { names: vec![BTreeMap::new()], ..Self::default() }
    }

    fn file(&self, name: usize) -> Option<usize> {
        self.names.last().unwrap().get(&name).copied()
    }

    fn rename(&mut self, change: impl FnOnce(&mut BTreeMap<usize, usize>)) {
        let mut names = self.names.last().unwrap().clone();
        change(&mut names);
        self.names.push(names);
    }

    /// Follows a call that was made, with what it came to.
    fn follow(&mut self, disk: &MemoryDisk, folder: &Path, call: &Call, made: bool) {
        match call {
            Call::Open(name, _) if made && self.file(*name).is_none() => {
                let number = self.files.len();
                self.files.push(vec![Vec::new()]);
                self.rename(|names| {
                    names.insert(*name, number);
                });
            }
            Call::Write(name, ..) | Call::SetLen(name, _) | Call::Allocate(name, ..) | Call::Sync(name) => {
                let Some(number) = self.file(*name) else { return };
                let seen = read(&*disk.open(&path(folder, *name), Opening::Existing).unwrap());
                let is_sync = matches!(call, Call::Sync(_));
                if is_sync && !made {
                    self.doubtful.insert(number);
                }
                let history = &mut self.files[number];
                if is_sync && made && !self.doubtful.contains(&number) {
                    assert_eq!(Some(&seen), history.last(), "a sync changes nothing");
                    history.clear();
                }
                history.push(seen);
            }
            Call::Rename(from, to) if made => {
                self.rename(|names| {
                    if let Some(number) = names.remove(from) {
                        names.insert(*to, number);
                    }
                });
            }
            Call::Remove(name) if made => self.rename(|names| {
                names.remove(name);
            }),
            Call::SyncFolder if made => drop(self.names.drain(..self.names.len() - 1)),
            _ => {}
        }
    }

    /// Compares what a power cut has left with what may be there, and goes on from it.
    fn check(&mut self, left: &MemoryDisk, folder: &Path, sector: usize) {
        let mut names = BTreeMap::new();
        for name in 0..NAMES {
            let had: BTreeSet<_> = self.names.iter().map(|names| names.get(&name).copied()).collect();
            match left.open(&path(folder, name), Opening::Existing) {
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::NotFound);
                    assert!(had.contains(&None), "{name} was durable and is gone");
                }
                Ok(file) => {
                    let bytes = read(&*file);
                    let may_be = |number: &usize| is_from(&bytes, &self.files[*number], sector);
                    let number = had.iter().flatten().copied().find(|number| may_be(number));
                    let number = number.unwrap_or_else(|| panic!("{name} has bytes it never had"));
                    names.insert(name, number);
                }
            }
        }
        // A file that had a name all along has one now: a rename is not half done.
        for (number, _) in self.files.iter().enumerate() {
            let was_always_there =
                self.names.iter().all(|names| names.values().any(|named| *named == number));
            let may_be_taken_for_another = names.values().collect::<BTreeSet<_>>().len() < names.len();
            assert!(
                !was_always_there || may_be_taken_for_another || self.may_be_in(left, folder, number, sector),
                "file {number} is lost"
            );
        }
        let mut files = Vec::new();
        for (place, name) in names.keys().enumerate() {
            files.push(vec![read(&*left.open(&path(folder, *name), Opening::Existing).unwrap())]);
            assert_eq!(place + 1, files.len());
        }
        let names = names.into_keys().enumerate().map(|(place, name)| (name, place)).collect();
        *self = Self { files, doubtful: BTreeSet::new(), names: vec![names] };
    }

    fn may_be_in(&self, left: &MemoryDisk, folder: &Path, number: usize, sector: usize) -> bool {
        all(left, folder).values().any(|bytes| is_from(bytes, &self.files[number], sector))
    }
}

/// Whether each sector, and the length, is that of one of the contents.
fn is_from(bytes: &[u8], contents: &[Vec<u8>], sector: usize) -> bool {
    let part = |of: &[u8], begin: usize, len: usize| {
        let there = &of[begin.min(of.len())..(begin + len).min(of.len())];
        there.iter().copied().chain(std::iter::repeat(0)).take(len).collect::<Vec<u8>>()
    };
    contents.iter().any(|content| content.len() == bytes.len())
        && (0..bytes.len()).step_by(sector).all(|begin| {
            let len = sector.min(bytes.len() - begin);
            // Before it grew, the file was zero there.
            let was = |content: &Vec<u8>| part(content, begin, len) == bytes[begin..begin + len];
            contents.iter().any(was)
        })
}

/// Makes all calls on a disk, with the model beside it if there is one. Returns what is on the disk after a last power cut.
fn run(
    seed: u64,
    sector: SectorSize,
    calls: &[Call],
    mut model: Option<&mut Model>,
) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = Path::new("/logs/hot");
    let mut disk = MemoryDisk::new(seed, sector);
    disk.create_dir_all(folder).unwrap();
    let bytes = if sector == SectorSize::Bytes512 { 512 } else { 4096 };
    for call in calls.iter().chain([&Call::PowerCut]) {
        match call {
            Call::FailSync => disk.fail_sync_after(0),
            Call::FailWrite => disk.fail_write_after(0),
            Call::PowerCut => {
                disk = disk.power_cut();
                if let Some(model) = &mut model {
                    model.check(&disk, folder, bytes);
                }
            }
            call => {
                let made = make(&disk, folder, call).is_ok();
                if let Some(model) = &mut model {
                    model.follow(&disk, folder, call, made);
                }
            }
        }
    }
    disk.image()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_power_cut_leaves_what_was_synced_and_else_only_what_was_there(
        seed: u64, sector in sectors(), calls in calls()
    ) {
        run(seed, sector, &calls, Some(&mut Model::new()));
    }

    #[test]
    fn the_same_seed_leaves_the_same_bytes(seed: u64, sector in sectors(), calls in calls()) {
        prop_assert_eq!(run(seed, sector, &calls, None), run(seed, sector, &calls, None));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    #[test]
    fn without_faults_it_is_as_the_operating_systems(calls in calls()) {
        let real = tempfile::tempdir().unwrap();
        let (memory, folder) = (MemoryDisk::new(1, SectorSize::Bytes512), Path::new("/logs"));
        memory.create_dir_all(folder).unwrap();
        for call in &calls {
            let (one, other) = (make(&RealDisk, real.path(), call), make(&memory, folder, call));
            prop_assert_eq!(one, other, "{:?}", call);
        }
        prop_assert_eq!(all(&RealDisk, real.path()), all(&memory, folder));
    }
}

/// A folder with one file, both durable, and that file.
fn with_file(seed: u64, content: &[u8]) -> (MemoryDisk, Box<dyn DiskFile>) {
    let disk = MemoryDisk::new(seed, SectorSize::Bytes512);
    let file = disk.open(Path::new("/a"), Opening::New).unwrap();
    file.write_all_at(content, 0).unwrap();
    file.sync().unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    (disk, file)
}

fn left(disk: &MemoryDisk) -> Option<Vec<u8>> {
    disk.power_cut().image().remove(Path::new("/a"))
}

#[test]
fn a_write_is_lost_kept_and_torn_and_two_are_reordered() {
    let mut seen = BTreeSet::new();
    for seed in 0..100 {
        let (disk, file) = with_file(seed, &[0; 1024]);
        file.write_all_at(&[1; 1024], 0).unwrap();
        file.write_all_at(&[2; 1024], 0).unwrap();
        let bytes = left(&disk).unwrap();
        seen.insert((bytes[0], bytes[512]));
    }
    assert_eq!(seen.len(), 9, "each sector is what it was, or what either write made of it: {seen:?}");
}

#[test]
fn what_a_failed_sync_was_to_write_may_be_lost_although_the_next_one_succeeds() {
    let (mut lost, mut kept, mut read_as_before) = (0, 0, 0);
    for seed in 0..100 {
        let (disk, file) = with_file(seed, &[1; 512]);
        file.write_all_at(&[2; 512], 0).unwrap();
        disk.fail_sync_after(0);
        file.sync().unwrap_err();
        file.sync().unwrap();
        let seen = read(&*file)[0];
        match left(&disk).unwrap()[0] {
            1 => lost += 1,
            _ => kept += 1,
        }
        read_as_before += u32::from(seen == 1);
    }
    assert!(lost > 20 && kept > 20 && (10..lost).contains(&read_as_before), "{lost} {kept} {read_as_before}");
}

#[test]
fn a_name_without_a_synced_folder_may_be_lost_with_its_synced_file() {
    let there = |seed| {
        let disk = MemoryDisk::new(seed, SectorSize::Bytes4096);
        disk.open(Path::new("/a"), Opening::New).unwrap().sync().unwrap();
        left(&disk).is_some()
    };
    let count = (0..100).filter(|seed| there(*seed)).count();
    assert!((20..80).contains(&count), "{count}");
}

#[test]
fn a_disk_that_fills_up_takes_what_fits_and_has_room_again() {
    let (disk, file) = with_file(7, b"");
    disk.limit_room(Some(10));
    assert_eq!(file.write_at(b"0123456", 0).unwrap(), 7);
    assert_eq!(file.write_at(b"789abc", 7).unwrap(), 3);
    assert_eq!(file.write_at(b"abc", 10).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.allocate(0, 11).unwrap_err().kind(), ErrorKind::StorageFull);
    assert_eq!(file.write_at(b"ABC", 4).unwrap(), 3, "it need not grow for that");
    file.set_len(5).unwrap();
    assert_eq!(file.write_at(b"567", 5).unwrap(), 3);
    disk.remove(Path::new("/a")).unwrap();
    let other = disk.open(Path::new("/b"), Opening::New).unwrap();
    assert_eq!(other.write_at(&[1; 20], 0).unwrap(), 10);
}

#[test]
fn writes_are_shortened_and_fail_when_asked_for() {
    let (disk, file) = with_file(7, b"");
    disk.shorten_write_after(1);
    assert_eq!(file.write_at(&[1; 9], 0).unwrap(), 9);
    assert!((1..9).contains(&file.write_at(&[2; 9], 9).unwrap()));
    disk.fail_write_after(0);
    file.write_at(&[3; 9], 0).unwrap_err();
    assert_eq!(file.write_at(&[4; 9], 0).unwrap(), 9);
}

#[test]
fn the_power_goes_in_the_middle_of_a_sync_and_nothing_works_then() {
    let mut seen = BTreeSet::new();
    for seed in 0..50 {
        let (disk, file) = with_file(seed, &[1; 512]);
        disk.power_cut_after(1);
        file.write_all_at(&[2; 512], 0).unwrap();
        assert!(disk.has_power());
        file.sync().unwrap_err();
        assert!(!disk.has_power());
        file.read_at(&mut [0], 0).unwrap_err();
        disk.list(Path::new("/")).unwrap_err();
        seen.insert(left(&disk).unwrap()[0]);
    }
    assert_eq!(seen, BTreeSet::from([1, 2]));
}
