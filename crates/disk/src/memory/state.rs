//! The whole disk in memory: its tree, its room, its power and the faults that are due.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Result};
use std::path::{Component, Path};

use super::chance::{About, Chance};
use super::file::{Draw, FileState};
use super::folder::FolderState;

/// The number of the root folder.
const ROOT: u64 = 0;

/// A file or folder.
#[derive(Debug)]
pub(super) enum Node {
    File(FileState),
    Folder(FolderState),
}

/// Everything about one disk.
#[derive(Debug)]
pub(super) struct State {
    pub(super) sector: usize,
    chance: Chance,
    nodes: BTreeMap<u64, Node>,
    next: u64,
    /// Number of power cuts so far.
    cuts: u64,
    /// Number of failed writes and syncs so far.
    failures: u64,
    pub(super) has_power: bool,
    /// Bytes by which files may still grow; `None` for no limit.
    pub(super) room: Option<u64>,
    pub(super) faults: Due,
}

/// In how many further operations of its kind each fault happens.
#[derive(Debug, Default)]
pub(super) struct Due {
    pub(super) write_fails: Option<u64>,
    pub(super) write_is_short: Option<u64>,
    pub(super) sync_fails: Option<u64>,
    pub(super) power_cut: Option<u64>,
}

/// Counts one operation; returns whether the fault is due now.
pub(super) fn is_due(fault: &mut Option<u64>) -> bool {
    match fault {
        Some(0) => {
            *fault = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
        None => false,
    }
}

impl State {
    pub(super) fn new(seed: u64, sector: usize) -> Self {
        Self {
            sector,
            chance: Chance::new(seed),
            nodes: BTreeMap::from([(ROOT, Node::Folder(FolderState::default()))]),
            next: ROOT + 1,
            cuts: 0,
            failures: 0,
            has_power: true,
            room: None,
            faults: Due::default(),
        }
    }

    /// What a power cut leaves, with power again and without faults.
    pub(super) fn after_power_cut(&self) -> Self {
        let moment = self.cuts + 1;
        let nodes = self.nodes.iter().map(|(node, state)| {
            let left = match state {
                Node::File(file) => Node::File(file.after_power_cut(self.draw(moment, *node))),
                Node::Folder(folder) => Node::Folder(folder.after_power_cut(self.chance, moment, *node)),
            };
            (*node, left)
        });
        let nodes = nodes.collect();
        Self {
            nodes,
            next: self.next,
            cuts: moment,
            ..Self { chance: self.chance, ..Self::new(0, self.sector) }
        }
    }

    fn draw(&self, moment: u64, node: u64) -> Draw {
        Draw { chance: self.chance, moment, node, sector: self.sector }
    }

    pub(super) fn file(&mut self, node: u64) -> Result<&mut FileState> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Folder(_)) => Err(Error::from(ErrorKind::IsADirectory)),
            None => Err(Error::from(ErrorKind::NotFound)),
        }
    }

    pub(super) fn file_len(&self, node: u64) -> Option<u64> {
        match self.nodes.get(&node)? {
            Node::File(file) => Some(file.bytes().len() as u64),
            Node::Folder(_) => None,
        }
    }

    pub(super) fn folder(&mut self, path: &Path) -> Result<(u64, &mut FolderState)> {
        let mut at = ROOT;
        for part in path.components() {
            if let Component::Normal(name) = part {
                at = self.folder_at(at)?.get(name).ok_or(ErrorKind::NotFound)?;
            }
        }
        Ok((at, self.folder_at(at)?))
    }

    pub(super) fn folder_at(&mut self, node: u64) -> Result<&mut FolderState> {
        match self.nodes.get_mut(&node) {
            Some(Node::Folder(folder)) => Ok(folder),
            Some(Node::File(_)) => Err(Error::from(ErrorKind::NotADirectory)),
            None => Err(Error::from(ErrorKind::NotFound)),
        }
    }

    pub(super) fn add(&mut self, folder: u64, name: &OsStr, node: Node) -> Result<u64> {
        let number = self.next;
        self.next += 1;
        self.folder_at(folder)?.add(name, number);
        self.nodes.insert(number, node);
        Ok(number)
    }

    /// Of a write of `len` bytes at byte `at` of a file with length `end`: how many have room.
    fn that_fit(&self, end: u64, at: u64, len: u64) -> u64 {
        let growth = at.saturating_add(len).saturating_sub(end);
        let too_many = self.room.map_or(0, |room| growth.saturating_sub(room));
        len.saturating_sub(too_many)
    }

    /// Takes the bytes by which a file has grown from the room, or gives back those by which it has shrunk.
    pub(super) fn resized(&mut self, before: u64, after: u64) {
        if let Some(room) = &mut self.room {
            *room = room.saturating_add(before).saturating_sub(after);
        }
    }

    pub(super) fn write(&mut self, node: u64, bytes: &[u8], at: u64) -> Result<usize> {
        let before = self.file(node)?.bytes().len() as u64;
        let fit = self.that_fit(before, at, bytes.len() as u64) as usize;
        if fit == 0 && !bytes.is_empty() {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let fails = is_due(&mut self.faults.write_fails);
        let is_short = is_due(&mut self.faults.write_is_short);
        let count = match (fails, is_short) {
            (false, false) => fit,
            (true, _) => self.some_of(node, fit as u64 + 1),
            // At least one byte: a caller may go on with the rest.
            (false, true) => 1 + self.some_of(node, fit.max(1) as u64),
        };
        let count = count.min(fit);
        let (sector, at) = (self.sector, offset(at)?);
        let file = self.file(node)?;
        file.write(&bytes[..count], at, sector);
        let after = file.bytes().len() as u64;
        self.resized(before, after);
        if fails { Err(Error::other("injected: the write failed")) } else { Ok(count) }
    }

    fn some_of(&mut self, node: u64, below: u64) -> usize {
        self.failures += 1;
        self.chance.below(About::Write, [self.failures, node, 0], below) as usize
    }

    /// A sync of a file, which the power cut may interrupt before anything is durable.
    pub(super) fn sync(&mut self, node: u64, is_interrupted: bool) -> Result<()> {
        if is_due(&mut self.faults.sync_fails) {
            self.failures += 1;
            let draw = self.draw(self.failures, node);
            self.file(node)?.fail_sync(draw);
            return Err(Error::other("injected: the sync failed"));
        }
        let sector = self.sector;
        let file = self.file(node)?;
        if !is_interrupted {
            file.sync(sector);
        }
        Ok(())
    }

    pub(super) fn set_len(&mut self, node: u64, len: u64) -> Result<()> {
        let before = self.file(node)?.bytes().len() as u64;
        if self.that_fit(before, before, len.saturating_sub(before)) + before < len {
            return Err(Error::from(ErrorKind::StorageFull));
        }
        let (sector, to) = (self.sector, offset(len)?);
        self.file(node)?.set_len(to, sector);
        self.resized(before, len);
        Ok(())
    }
}

/// A place in a file as an index in memory.
pub(super) fn offset(at: u64) -> Result<usize> {
    usize::try_from(at).map_err(|_| Error::from(ErrorKind::FileTooLarge))
}
