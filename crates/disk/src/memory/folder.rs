//! One folder of the disk in memory: the names that are seen, those that are stored, and the changes between.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};

use super::chance::{About, Chance};

type Names = BTreeMap<OsString, u64>;

/// A folder's names, and what they name.
#[derive(Debug, Default)]
pub(super) struct FolderState {
    seen: Names,
    stored: Names,
    /// The changes since the last sync, in order.
    unsynced: Vec<Change>,
}

/// One change. It is stored whole or not at all.
#[derive(Debug, Clone)]
enum Change {
    Added { name: OsString, node: u64 },
    Removed { name: OsString, node: u64 },
    Renamed { to: OsString, node: u64, replaced: Option<u64> },
}

impl FolderState {
    pub(super) fn get(&self, name: &OsStr) -> Option<u64> {
        self.seen.get(name).copied()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&OsString, u64)> {
        self.seen.iter().map(|(name, node)| (name, *node))
    }

    pub(super) fn add(&mut self, name: &OsStr, node: u64) {
        self.change(Change::Added { name: name.to_owned(), node });
    }

    pub(super) fn remove(&mut self, name: &OsStr, node: u64) {
        self.change(Change::Removed { name: name.to_owned(), node });
    }

    pub(super) fn rename(&mut self, to: &OsStr, node: u64) {
        let replaced = self.get(to);
        self.change(Change::Renamed { to: to.to_owned(), node, replaced });
    }

    fn change(&mut self, change: Change) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        self.stored.clone_from(&self.seen);
        self.unsynced.clear();
    }

    /// What a power cut leaves of the folder. `moment` is its number, `node` the folder's.
    pub(super) fn after_power_cut(&self, chance: Chance, moment: u64, node: u64) -> Self {
        let mut stored = self.stored.clone();
        for (at, change) in self.unsynced.iter().enumerate() {
            if chance.below(About::Name, [moment, node, at as u64], 2) == 0 {
                change.apply(&mut stored);
            }
        }
        Self { seen: stored.clone(), stored, unsynced: Vec::new() }
    }
}

impl Change {
    /// Makes the change, where earlier ones may be missing, since they were not stored. A name that is therefore still
    /// taken is not given to another file: that would lose the one that has it.
    fn apply(&self, names: &mut Names) {
        match self {
            Self::Added { name, node } => drop(names.entry(name.clone()).or_insert(*node)),
            Self::Removed { name, node } => {
                if names.get(name) == Some(node) {
                    names.remove(name);
                }
            }
            Self::Renamed { to, node, replaced } => {
                let has_it = names.get(to).copied();
                if has_it.is_none() || has_it == *replaced {
                    names.retain(|_, named| named != node);
                    names.insert(to.clone(), *node);
                }
            }
        }
    }
}
