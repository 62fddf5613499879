//! A disk in memory that keeps its promises and no more.
//!
//! Reads see every change at once, as on a real machine. [`MemoryDisk::power_cut`] is the end of that: it leaves what was synced,
//! and of each other sector, length and change of names one of the states since the last sync, as the seed decides. So writes
//! are lost, reordered and torn at sectors. Faults (a failed write or sync, a short write, no room, a power cut in the middle of an
//! operation) happen when a test asks for them.
//!
//! The same calls on a disk with the same seed leave the same bytes. Calls of several threads at once have no fixed order, and
//! only then nothing is promised.
//!
//! Harsher than most file systems: lengths and names are reordered like data, and a synced file is lost with its unsynced name.
//! Kinder than some hardware: a sector is atomic, and nothing that was synced is ever damaged.

mod chance;
mod file;
mod folder;
mod state;

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use self::file::FileState;
use self::folder::FolderState;
use self::state::{Node, State, is_due, offset};
use crate::{Disk, DiskFile, Listed, Opening, folder_of};

/// Bytes that a disk writes whole or not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SectorSize {
    /// 512 bytes.
    Bytes512,
    /// 4096 bytes.
    Bytes4096,
}

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct MemoryDisk {
    state: Arc<Mutex<State>>,
}

/// One open file. It ends with its disk's power.
struct MemoryFile {
    disk: MemoryDisk,
    node: u64,
}

impl MemoryDisk {
    /// An empty disk. The seed decides what power cuts and failed syncs leave.
    pub fn new(seed: u64, sector: SectorSize) -> Self {
        let sector = match sector {
            SectorSize::Bytes512 => 512,
            SectorSize::Bytes4096 => 4096,
        };
        Self::of(State::new(seed, sector))
    }

    fn of(state: State) -> Self {
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Cuts the power, if it is still there, and returns the disk with what the next start finds on it, without faults and with
    /// unlimited room. On this disk every operation fails from now on.
    pub fn power_cut(&self) -> Self {
        let mut state = self.locked();
        state.has_power = false;
        Self::of(state.after_power_cut())
    }

    /// Cuts the power in the middle of a change (to bytes, lengths or names, or a sync) after so many further ones.
    pub fn power_cut_after(&self, changes: u64) {
        self.locked().faults.power_cut = Some(changes);
    }

    /// Makes a write fail, after so many further ones; any part of its bytes is written.
    pub fn fail_write_after(&self, writes: u64) {
        self.locked().faults.write_fails = Some(writes);
    }

    /// Makes a write store and report fewer bytes than asked for, after so many further ones.
    pub fn shorten_write_after(&self, writes: u64) {
        self.locked().faults.write_is_short = Some(writes);
    }

    /// Makes a sync, of a file or folder, fail after so many further ones.
    pub fn fail_sync_after(&self, syncs: u64) {
        self.locked().faults.sync_fails = Some(syncs);
    }

    /// Limits the number of bytes by which files can grow; `None` for no limit. What is cut off or removed can be used again.
    pub fn limit_room(&self, bytes: Option<u64>) {
        self.locked().room = bytes;
    }

    /// Takes back every fault that is still to come, and the limit of the room.
    pub fn clear_faults(&self) {
        let mut state = self.locked();
        state.faults = state::Due::default();
        state.room = None;
    }

    /// Whether the power is still there.
    pub fn has_power(&self) -> bool {
        self.locked().has_power
    }

    /// Every file and its bytes as they are read, with or without power.
    pub fn image(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut image = BTreeMap::new();
        let mut state = self.locked();
        let mut folders = vec![PathBuf::from("/")];
        while let Some(path) = folders.pop() {
            let Ok((_, folder)) = state.folder(&path) else { continue };
            let names: Vec<_> = folder.iter().map(|(name, node)| (path.join(name), node)).collect();
            for (path, node) in names {
                match state.file(node) {
                    Ok(file) => drop(image.insert(path, file.bytes().to_vec())),
                    Err(_) => folders.push(path),
                }
            }
        }
        image
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn reading<T>(&self, read: impl FnOnce(&mut State) -> Result<T>) -> Result<T> {
        let mut state = self.locked();
        if !state.has_power {
            return Err(no_power());
        }
        read(&mut state)
    }

    /// Makes a change, unless there is no power. `change` is told whether the power goes in the middle of it.
    fn changing<T>(&self, change: impl FnOnce(&mut State, bool) -> Result<T>) -> Result<T> {
        let mut state = self.locked();
        if !state.has_power {
            return Err(no_power());
        }
        let is_last = is_due(&mut state.faults.power_cut);
        let result = change(&mut state, is_last);
        if is_last {
            state.has_power = false;
            return Err(no_power());
        }
        result
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, opening: Opening) -> Result<Box<dyn DiskFile>> {
        let name = name_of(path)?;
        let there = self.reading(|state| Ok(state.folder(folder_of(path))?.1.get(name)))?;
        let node = match (there, opening) {
            (Some(_), Opening::New) => return Err(Error::from(ErrorKind::AlreadyExists)),
            (Some(node), _) => self.reading(|state| state.file(node).map(|_| node))?,
            (None, Opening::Existing) => return Err(Error::from(ErrorKind::NotFound)),
            (None, _) => self.changing(|state, _| {
                let (folder, _) = state.folder(folder_of(path))?;
                state.add(folder, name, Node::File(FileState::default()))
            })?,
        };
        Ok(Box::new(MemoryFile { disk: self.clone(), node }))
    }

    fn list(&self, folder: &Path) -> Result<Vec<Listed>> {
        self.reading(|state| {
            let (_, names) = state.folder(folder)?;
            let nodes: Vec<_> = names.iter().map(|(name, node)| (folder.join(name), node)).collect();
            let file = |(path, node)| Some(Listed { path, len: state.file_len(node)? });
            Ok(nodes.into_iter().filter_map(file).collect())
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let (from_name, to_name) = (name_of(from)?, name_of(to)?);
        if folder_of(from) != folder_of(to) {
            return Err(Error::from(ErrorKind::CrossesDevices));
        }
        self.changing(|state, _| {
            let (folder, names) = state.folder(folder_of(from))?;
            let node = names.get(from_name).ok_or(ErrorKind::NotFound)?;
            let replaced = names.get(to_name).filter(|replaced| *replaced != node);
            state.file(node)?;
            if let Some(replaced) = replaced {
                let len = state.file(replaced)?.bytes().len() as u64;
                state.resized(len, 0);
            }
            if from_name != to_name {
                state.folder_at(folder)?.rename(to_name, node);
            }
            Ok(())
        })
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let name = name_of(path)?;
        self.changing(|state, _| {
            let (folder, names) = state.folder(folder_of(path))?;
            let node = names.get(name).ok_or(ErrorKind::NotFound)?;
            let len = state.file(node)?.bytes().len() as u64;
            state.resized(len, 0);
            state.folder_at(folder)?.remove(name, node);
            Ok(())
        })
    }

    fn create_dir(&self, folder: &Path) -> Result<()> {
        if folder.file_name().is_none() {
            return Err(Error::from(ErrorKind::AlreadyExists));
        }
        let name = name_of(folder)?;
        self.changing(|state, _| {
            let (around, names) = state.folder(folder_of(folder))?;
            if names.get(name).is_some() {
                return Err(Error::from(ErrorKind::AlreadyExists));
            }
            state.add(around, name, Node::Folder(FolderState::default())).map(drop)
        })
    }

    fn sync_dir(&self, folder: &Path) -> Result<()> {
        self.changing(|state, is_interrupted| {
            if is_due(&mut state.faults.sync_fails) {
                return Err(Error::other("injected: the sync failed"));
            }
            let (_, names) = state.folder(folder)?;
            if !is_interrupted {
                names.sync();
            }
            Ok(())
        })
    }
}

impl DiskFile for MemoryFile {
    fn read_at(&self, to: &mut [u8], at: u64) -> Result<usize> {
        self.disk.reading(|state| {
            let bytes = state.file(self.node)?.bytes();
            let rest = bytes.get(offset(at)?..).unwrap_or_default();
            let count = rest.len().min(to.len());
            to[..count].copy_from_slice(&rest[..count]);
            Ok(count)
        })
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<usize> {
        self.disk.changing(|state, _| state.write(self.node, bytes, at))
    }

    fn sync(&self) -> Result<()> {
        self.disk.changing(|state, is_interrupted| state.sync(self.node, is_interrupted))
    }

    fn set_len(&self, len: u64) -> Result<()> {
        self.disk.changing(|state, _| state.set_len(self.node, len))
    }

    fn allocate(&self, at: u64, len: u64) -> Result<()> {
        self.disk.changing(|state, _| {
            let end = at.saturating_add(len);
            if state.file_len(self.node).is_some_and(|before| before >= end) {
                return Ok(());
            }
            state.set_len(self.node, end)
        })
    }

    fn len(&self) -> Result<u64> {
        self.disk.reading(|state| Ok(state.file(self.node)?.bytes().len() as u64))
    }

    fn os_file(&self) -> Option<File> {
        None
    }
}

fn name_of(path: &Path) -> Result<&OsStr> {
    path.file_name().ok_or_else(|| Error::from(ErrorKind::InvalidInput))
}

fn no_power() -> Error {
    Error::other("injected: the power was cut")
}
