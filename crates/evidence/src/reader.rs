//! Reading a file so that no byte goes out that is not what the file's name says.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::hash::Hash;
use crate::store::{Store, Stored};
use crate::tree::{GROUP, Tree};

/// An open file whose length is right, and whose groups are checked as they are read.
#[derive(Debug)]
pub struct Reader {
    pub(crate) store: Arc<Store>,
    pub(crate) session: SessionId,
    pub(crate) stored: Stored,
    pub(crate) file: File,
    pub(crate) tree: Tree,
}

impl Reader {
    /// What it is.
    pub fn stored(&self) -> Stored {
        self.stored
    }

    /// Its name.
    pub fn hash(&self) -> Hash {
        self.tree.hash()
    }

    /// Bytes from `from` on, `most` at most and as many as one group of 256 KiB has from there; none at the end. They
    /// are what was uploaded.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`], and the disk's.
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
            return Err(self.store.note_damage(self.session, self.hash(), "its bytes are other ones"));
        }
        group.truncate((from - begin).saturating_add(most).min(length as u64) as usize);
        group.drain(..(from - begin) as usize);
        Ok(group)
    }

    /// Reads all of it, and keeps nothing; ends early, without a finding, when `stop` says so.
    ///
    /// # Errors
    /// As [`Reader::read`].
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
