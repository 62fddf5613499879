//! Reads a file so that only bytes that match the file's name are returned.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::hash::Hash;
use crate::store::{Store, Stored};
use crate::tree::{GROUP, Tree};

/// An open file with the right length, whose groups are verified as they are read.
#[derive(Debug)]
pub struct Reader {
    pub(crate) store: Arc<Store>,
    pub(crate) session: SessionId,
    pub(crate) stored: Stored,
    pub(crate) file: File,
    pub(crate) tree: Tree,
}

impl Reader {
    /// Its media type.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Its hash.
    pub fn hash(&self) -> Hash {
        self.tree.hash()
    }

    /// Bytes from `from` on, at most `most` and at most the rest of that group of 256 KiB; none at the end. They
    /// are what was uploaded.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`], and errors of the disk.
    pub fn read(&mut self, from: u64, most: u64) -> Result<Vec<u8>, EvidenceError> {
        if from >= self.stored.size {
            return Ok(Vec::new());
        }
        let index = from / GROUP as u64;
        let begin = index * GROUP as u64;
        let length = (self.stored.size - begin).min(GROUP as u64) as usize;
        let mut group = vec![0; length];
        self.file.seek(SeekFrom::Start(begin))?;
        let read = self.file.read_exact(&mut group);
        if let Err(error) = &read
            && error.kind() != io::ErrorKind::UnexpectedEof
        {
            return Err(io::Error::new(error.kind(), error.to_string()).into());
        }
        if read.is_err() || !self.tree.holds(index as usize, &group) {
            return Err(self.store.note_damage(self.session, self.hash(), "its bytes were altered"));
        }
        group.truncate((from - begin).saturating_add(most).min(length as u64) as usize);
        group.drain(..(from - begin) as usize);
        Ok(group)
    }

    /// Reads and verifies all of it; ends early, without a finding, when `stop` returns true.
    ///
    /// # Errors
    /// See [`Reader::read`].
    pub(crate) fn verify(&mut self, stop: &impl Fn() -> bool) -> Result<(), EvidenceError> {
        let mut at = 0;
        while at < self.stored.size && !stop() {
            at += self.read(at, GROUP as u64)?.len() as u64;
        }
        if self.stored.size == 0 && !self.tree.holds(0, &[]) {
            return Err(self.store.note_damage(self.session, self.hash(), "it is empty"));
        }
        Ok(())
    }
}
