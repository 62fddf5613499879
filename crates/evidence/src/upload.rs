//! The upload of one file.

use std::fs::{self, File};
use std::io::Write;
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::files;
use crate::hash::Hash;
use crate::media_type::MediaType;
use crate::store::{Begun, Part, Store, Stored, private_options};
use crate::tree::{self, Tree};

/// How an upload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The file is complete and has its final name.
    Whole(Stored),
    /// This number of bytes has been received, and more will follow.
    Partly(u64),
}

/// A part of a file that is being written. If it is dropped early, the received bytes are kept, to be continued.
#[derive(Debug)]
pub struct Upload {
    store: Arc<Store>,
    session: SessionId,
    hash: Hash,
    media_type: MediaType,
    total: Option<u64>,
    /// Number of bytes in the file.
    received: u64,
    /// The space reserved of the session's limit.
    charged: u64,
    /// The hash of everything so far, if it was computed from the first byte on.
    hasher: Option<tree::Builder>,
    file: Option<File>,
    /// Whether the session had no evidence before.
    in_new_folder: bool,
}

impl Upload {
    /// The caller has marked the file as busy.
    pub(crate) fn begin(
        store: Arc<Store>,
        session: SessionId,
        hash: Hash,
        media_type: MediaType,
        part: Part,
    ) -> Result<Begun, EvidenceError> {
        // Created at once, so that its drop releases the mark whatever happens next.
        let mut upload = Self {
            store,
            session,
            hash,
            media_type,
            total: part.total(),
            received: 0,
            charged: 0,
            hasher: None,
            file: None,
            in_new_folder: false,
        };
        // The other upload may have finished meanwhile.
        if let crate::Found::Whole(stored) = upload.store.find(session, hash)? {
            return Ok(Begun::There(stored));
        }
        upload.open(part)?;
        Ok(Begun::Upload(upload))
    }

    fn open(&mut self, part: Part) -> Result<(), EvidenceError> {
        let path = files::partial(&self.store.dir, self.session, self.hash);
        let there = files::metadata(&path)?.map(|metadata| metadata.len());
        let from = part.from();
        if matches!(part, Part::Range { .. }) && from != there.unwrap_or(0) {
            return Err(EvidenceError::OutOfPlace { received: there.unwrap_or(0) });
        }
        // The received bytes are already counted in the session's space.
        let announced = files::charge(part.total().unwrap_or(0));
        self.store.charge(self.session, there.map_or(0, files::charge), announced)?;
        self.charged = announced;
        self.received = from;
        let folder = files::folder(&self.store.dir, self.session);
        if files::metadata(&folder)?.is_none() {
            Store::make_folder(&folder)?;
            self.in_new_folder = true;
        }
        let mut options = private_options();
        let file = match from {
            0 => options.write(true).create(true).truncate(true).open(&path)?,
            _ => options.append(true).open(&path)?,
        };
        self.hasher = (from == 0).then(tree::Builder::default);
        self.file = Some(file);
        Ok(())
    }

    /// Number of bytes in the file so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Writes the next bytes.
    ///
    /// # Errors
    /// More bytes than announced or allowed, and errors of the disk. On a full disk the file is removed.
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), EvidenceError> {
        let written = self.append(bytes);
        if matches!(written, Err(EvidenceError::Full | EvidenceError::TooLarge { .. })) {
            self.discard();
        }
        written
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), EvidenceError> {
        let after = self.received + bytes.len() as u64;
        if let Some(total) = self.total.filter(|total| after > *total) {
            return Err(EvidenceError::WrongSize { announced: total, found: after });
        }
        if after > self.store.limits.file {
            return Err(EvidenceError::TooLarge { limit: self.store.limits.file });
        }
        if after > self.charged {
            self.store.charge(self.session, self.charged, after)?;
            self.charged = after;
        }
        let file = self.file.as_mut().ok_or(EvidenceError::Gone)?;
        if let Err(error) = file.write_all(bytes) {
            // After a partial write, the next one would go to the wrong place.
            let _ = file.set_len(self.received);
            return Err(error.into());
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(bytes);
        }
        self.received = after;
        Ok(())
    }

    /// Ends the part. If it was the last one, the file is verified, made durable and given its final name.
    ///
    /// # Errors
    /// [`EvidenceError::WrongHash`], and then the file is removed; and errors of the disk.
    pub fn end(mut self) -> Result<Ended, EvidenceError> {
        if self.total.is_some_and(|total| self.received < total) {
            return Ok(Ended::Partly(self.received));
        }
        let ended = self.finish();
        if ended.is_err() {
            self.discard();
        }
        ended.map(Ended::Whole)
    }

    fn finish(&mut self) -> Result<Stored, EvidenceError> {
        let file = self.file.take().ok_or(EvidenceError::Gone)?;
        let path = files::partial(&self.store.dir, self.session, self.hash);
        let tree = match self.hasher.take() {
            Some(builder) => builder.finish(),
            None => Tree::of(&mut File::open(&path)?)?,
        };
        if tree.hash() != self.hash {
            return Err(EvidenceError::WrongHash { found: tree.hash() });
        }
        file.sync_all()?;
        drop(file);
        self.store.keep_tree(self.session, &tree);
        self.store.replace(self.session, self.hash)?;
        fs::rename(&path, files::whole(&self.store.dir, self.session, self.hash, self.media_type))?;
        files::sync_folder(&files::folder(&self.store.dir, self.session))?;
        if self.in_new_folder {
            self.store.dir.ancestors().take(2).try_for_each(files::sync_folder)?;
        }
        Ok(Stored { size: self.received, media_type: self.media_type })
    }

    /// Removes the file.
    fn discard(&mut self) {
        self.file = None;
        // If it cannot be removed now, a sweep removes it later.
        let _ = files::remove(&files::partial(&self.store.dir, self.session, self.hash));
        self.received = 0;
        let _ = self.store.charge(self.session, self.charged, 0);
        self.charged = 0;
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // The space for announced bytes that did not arrive is released; a file counts as at least one block.
        let kept = if self.charged == 0 { 0 } else { files::charge(self.received) };
        if kept < self.charged {
            let _ = self.store.charge(self.session, self.charged, kept);
        }
        self.store.release(self.session, self.hash);
    }
}
