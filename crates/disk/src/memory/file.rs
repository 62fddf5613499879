//! One file of the disk in memory: what reads see, what is stored, and what lies between.
//!
//! The unit of everything that is not synced is the sector: it is stored whole or not at all, and separately from others.

use std::collections::BTreeMap;

use super::chance::{About, Chance};

/// A file's bytes in the operating system's memory and on the disk.
#[derive(Debug, Default)]
pub(super) struct FileState {
    /// What reads return.
    cached: Vec<u8>,
    /// What the disk has. May be longer than `stored_len`, by sectors that are there while the length is not, and shorter:
    /// the rest is zero.
    stored: Vec<u8>,
    stored_len: usize,
    /// The contents of each sector since the last sync, oldest first.
    unsynced: BTreeMap<usize, Vec<Vec<u8>>>,
    /// The file's lengths since the last sync, oldest first.
    lengths: Vec<usize>,
}

/// How to decide about one file's sectors.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw {
    pub(super) chance: Chance,
    /// The number of the power cut or failure.
    pub(super) moment: u64,
    /// The number of the file.
    pub(super) node: u64,
    /// Size of a sector in bytes.
    pub(super) sector: usize,
}

impl Draw {
    fn below(self, about: About, part: usize, below: usize) -> usize {
        self.chance.below(about, [self.moment, self.node, part as u64], below as u64) as usize
    }
}

impl FileState {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.cached
    }

    pub(super) fn write(&mut self, bytes: &[u8], at: usize, sector: usize) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        self.grow(end);
        self.cached[at..end].copy_from_slice(bytes);
        self.touch(at, end, sector);
    }

    /// Extends the file by zeros up to this length, if it is shorter.
    pub(super) fn grow(&mut self, len: usize) {
        if len > self.cached.len() {
            self.cached.resize(len, 0);
            self.lengths.push(len);
        }
    }

    pub(super) fn set_len(&mut self, len: usize, sector: usize) {
        self.grow(len);
        let end = self.cached.len();
        if len == end {
            return;
        }
        // What is cut off is zero if the file grows again.
        for begin in (len - len % sector..end).step_by(sector) {
            let gone = begin.max(len)..end.min(begin + sector);
            if self.cached[gone.clone()].iter().any(|byte| *byte != 0) {
                self.cached[gone].fill(0);
                self.touch(begin, begin + 1, sector);
            }
        }
        self.cached.truncate(len);
        self.lengths.push(len);
    }

    /// Notes the new content of the sectors that hold the bytes `begin..end`.
    fn touch(&mut self, begin: usize, end: usize, sector: usize) {
        for number in begin / sector..end.div_ceil(sector) {
            let content = padded(&self.cached, number, sector);
            self.unsynced.entry(number).or_default().push(content);
        }
    }

    pub(super) fn sync(&mut self, sector: usize) {
        for (number, mut contents) in std::mem::take(&mut self.unsynced) {
            if let Some(newest) = contents.pop() {
                store(&mut self.stored, number, &newest, sector);
            }
        }
        self.stored_len = self.cached.len();
        self.stored.truncate(self.stored_len);
        self.lengths.clear();
    }

    /// A sync that fails. Each sector that it was to write is written after all, or taken for written, so that no later sync
    /// writes it; of those, some are read as before and others from the disk. A length is kept for the next sync: it is in the
    /// file system's journal, not in pages.
    pub(super) fn fail_sync(&mut self, draw: Draw) {
        for (number, mut contents) in std::mem::take(&mut self.unsynced) {
            match (draw.below(About::FailedSync, number, 3), contents.pop()) {
                (0, Some(newest)) => store(&mut self.stored, number, &newest, draw.sector),
                (1, _) => {}
                _ => self.forget(number, draw.sector),
            }
        }
    }

    /// Reads a sector from the disk again.
    fn forget(&mut self, number: usize, sector: usize) {
        let content = padded(&self.stored, number, sector);
        let begin = (number * sector).min(self.cached.len());
        let end = (begin + sector).min(self.cached.len());
        self.cached[begin..end].copy_from_slice(&content[..end - begin]);
    }

    /// What a power cut leaves of the file.
    pub(super) fn after_power_cut(&self, draw: Draw) -> Self {
        let mut stored = self.stored.clone();
        for (number, contents) in &self.unsynced {
            let choice = draw.below(About::Sector, *number, contents.len() + 1);
            if let Some(content) = choice.checked_sub(1).and_then(|choice| contents.get(choice)) {
                store(&mut stored, *number, content, draw.sector);
            }
        }
        let choice = draw.below(About::Length, 0, self.lengths.len() + 1);
        let len = choice.checked_sub(1).and_then(|choice| self.lengths.get(choice)).copied();
        let len = len.unwrap_or(self.stored_len);
        stored.resize(len, 0);
        Self { cached: stored.clone(), stored, stored_len: len, ..Self::default() }
    }
}

/// A whole sector of a file, zero where the file has ended.
fn padded(bytes: &[u8], number: usize, sector: usize) -> Vec<u8> {
    let begin = (number * sector).min(bytes.len());
    let end = (begin + sector).min(bytes.len());
    let mut content = vec![0; sector];
    content[..end - begin].copy_from_slice(&bytes[begin..end]);
    content
}

fn store(stored: &mut Vec<u8>, number: usize, content: &[u8], sector: usize) {
    let begin = number * sector;
    if stored.len() < begin + sector {
        stored.resize(begin + sector, 0);
    }
    stored[begin..begin + sector].copy_from_slice(content);
}
