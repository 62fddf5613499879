//! The folder of all evidence: the files, the uploads in progress, and the space that each session uses.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::files;
use crate::hash::Hash;
use crate::media_type::MediaType;
use crate::reader::Reader;
use crate::tree::Tree;
use crate::upload::Upload;

/// Time after its last byte during which an interrupted upload can be continued.
pub const PARTIAL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Limits in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Maximum size of one file.
    pub file: u64,
    /// Maximum total of one session. A file counts as at least 4 KiB.
    pub session: u64,
}

/// A complete file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes.
    pub size: u64,
    /// Its media type.
    pub media_type: MediaType,
}

/// How much of a file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Whole(Stored),
    /// This number of bytes from its beginning.
    Partly(u64),
    /// Nothing.
    Nothing,
}

/// Which part of a file is about to be uploaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, with its size if known in advance. Earlier parts are discarded.
    Whole(Option<u64>),
    /// Bytes from `from` on, of a file of `total` bytes. They must start where the received bytes end.
    Range {
        /// Offset of the first byte.
        from: u64,
        /// Size of the whole file in bytes.
        total: u64,
    },
}

impl Part {
    pub(crate) const fn from(self) -> u64 {
        match self {
            Self::Whole(_) => 0,
            Self::Range { from, .. } => from,
        }
    }

    pub(crate) const fn total(self) -> Option<u64> {
        match self {
            Self::Whole(total) => total,
            Self::Range { total, .. } => Some(total),
        }
    }
}

/// The result of starting an upload.
#[derive(Debug)]
pub enum Begun {
    /// The file exists already: nothing needs to be sent.
    There(Stored),
    /// Bytes are expected.
    Upload(Upload),
}

/// A store of evidence. Shared by threads; no lock is held during disk operations.
#[derive(Debug)]
pub struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that are being written.
    busy: HashSet<(SessionId, Hash)>,
    /// Space used by sessions, as far as requested; includes the announced sizes of uploads in progress.
    used: HashMap<SessionId, u64>,
    /// Files known to be damaged.
    damaged: HashSet<(SessionId, Hash)>,
    /// Number of times that damage was found.
    found_damaged: u64,
    /// The last file that the scrub read.
    scrubbed_to: Option<(SessionId, Hash)>,
}

impl Store {
    /// A store in this folder, which is created with the first file.
    pub fn new(dir: impl Into<PathBuf>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { dir: dir.into(), limits, state: Mutex::default() })
    }

    /// The limits.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How much of a session's file exists. A file known to be damaged counts as missing.
    ///
    /// # Errors
    /// The disk failed.
    pub fn find(&self, session: SessionId, hash: Hash) -> Result<Found, EvidenceError> {
        if let Some(stored) = self.find_whole(session, hash)?
            && !self.is_damaged(session, hash)
        {
            return Ok(Found::Whole(stored));
        }
        let partly = files::metadata(&files::partial(&self.dir, session, hash))?;
        Ok(partly.map_or(Found::Nothing, |metadata| Found::Partly(metadata.len())))
    }

    /// The file by name, whatever its bytes are.
    pub(crate) fn find_whole(&self, session: SessionId, hash: Hash) -> io::Result<Option<Stored>> {
        for media_type in MediaType::ALL {
            if let Some(metadata) = files::metadata(&files::whole(&self.dir, session, hash, media_type))? {
                return Ok(Some(Stored { size: metadata.len(), media_type }));
            }
        }
        Ok(None)
    }

    /// Files known to be damaged.
    pub fn damaged(&self) -> usize {
        self.state().damaged.len()
    }

    /// Number of times that damage was found.
    pub fn found_damaged(&self) -> u64 {
        self.state().found_damaged
    }

    /// Whether the file is known to be damaged.
    pub fn is_damaged(&self, session: SessionId, hash: Hash) -> bool {
        self.state().damaged.contains(&(session, hash))
    }

    /// Records that a file is damaged, and logs it the first time.
    pub(crate) fn note_damage(&self, session: SessionId, hash: Hash, what: &'static str) -> EvidenceError {
        let mut state = self.state();
        state.found_damaged += 1;
        let is_new = state.damaged.insert((session, hash));
        drop(state);
        if is_new {
            tracing::error!(%session, %hash, what, "stored evidence is damaged; it is not served until it is uploaded again");
        }
        EvidenceError::Damaged { what }
    }

    /// A file was read completely and is valid: a restored one is no longer damaged.
    pub(crate) fn note_intact(&self, session: SessionId, hash: Hash) {
        self.state().damaged.remove(&(session, hash));
    }

    /// Clears the damage of a file that is about to be replaced, and the space it counted for.
    pub(crate) fn replace(&self, session: SessionId, hash: Hash) -> io::Result<()> {
        let Some(old) = self.find_whole(session, hash)? else { return Ok(()) };
        files::remove(&files::whole(&self.dir, session, hash, old.media_type))?;
        let mut state = self.state();
        state.damaged.remove(&(session, hash));
        if let Some(used) = state.used.get_mut(&session) {
            *used = used.saturating_sub(files::charge(old.size));
        }
        Ok(())
    }

    pub(crate) fn scrubbed_to(&self) -> Option<(SessionId, Hash)> {
        self.state().scrubbed_to
    }

    pub(crate) fn set_scrubbed_to(&self, last: Option<(SessionId, Hash)>) {
        self.state().scrubbed_to = last;
    }

    /// Every complete file of a session, by hash.
    ///
    /// # Errors
    /// The disk failed.
    pub fn list(&self, session: SessionId) -> Result<Vec<(Hash, Stored)>, EvidenceError> {
        let mut found = Vec::new();
        for (path, metadata) in files::list(&files::folder(&self.dir, session))? {
            if let Some((hash, media_type)) = files::named(&path) {
                found.push((hash, Stored { size: metadata.len(), media_type }));
            }
        }
        found.sort_unstable_by_key(|(hash, _)| *hash);
        Ok(found)
    }

    /// Opens a complete file for reading; `None` if there is none. A file whose inner hashes are unknown is first read
    /// completely to compute them.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`] if its length or its content is wrong; and errors of the disk.
    pub fn read(self: &Arc<Self>, session: SessionId, hash: Hash) -> Result<Option<Reader>, EvidenceError> {
        let Some(stored) = self.find_whole(session, hash)? else { return Ok(None) };
        let mut file = match File::open(files::whole(&self.dir, session, hash, stored.media_type)) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let known = self.known_tree(session, hash);
        let is_new = known.is_none();
        let tree = match known {
            Some(tree) => tree,
            None => Tree::of(&mut file)?,
        };
        if tree.size() != stored.size {
            return Err(self.note_damage(session, hash, "its length is wrong"));
        }
        if tree.hash() != hash {
            return Err(self.note_damage(session, hash, "its bytes were altered"));
        }
        if is_new {
            self.keep_tree(session, &tree);
        }
        Ok(Some(Reader { store: Arc::clone(self), session, stored, file, tree }))
    }

    /// The inner hashes of a file, if they exist and are valid.
    fn known_tree(&self, session: SessionId, hash: Hash) -> Option<Tree> {
        // An unreadable sidecar is created again: it is no reason to withhold the file.
        let bytes = fs::read(files::tree(&self.dir, session, hash)).ok()?;
        Tree::decode(&bytes, hash)
    }

    /// Stores the inner hashes of a file that is larger than one group. If that fails, they are computed again next time.
    pub(crate) fn keep_tree(&self, session: SessionId, tree: &Tree) {
        if tree.size() <= crate::tree::GROUP as u64 {
            return;
        }
        let path = files::tree(&self.dir, session, tree.hash());
        let bytes = tree.encode();
        let written = || {
            let mut file = private_options().write(true).create(true).truncate(true).open(&path)?;
            file.write_all(&bytes)?;
            file.sync_data()
        };
        if let Err(error) = written() {
            tracing::warn!(%session, %error, "the inner hashes of evidence cannot be stored");
        }
    }

    /// Starts or continues an upload.
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`], [`EvidenceError::SessionFull`], [`EvidenceError::OutOfPlace`], [`EvidenceError::Busy`]
    /// and errors of the disk.
    pub fn begin(
        self: &Arc<Self>,
        session: SessionId,
        hash: Hash,
        media_type: MediaType,
        part: Part,
    ) -> Result<Begun, EvidenceError> {
        // The sender may have been told that it is damaged: it counts as present only if its bytes are valid.
        if let Found::Whole(stored) = self.find(session, hash)? {
            match self.check(session, hash) {
                Ok(()) => return Ok(Begun::There(stored)),
                Err(EvidenceError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        if part.total().is_some_and(|total| total > self.limits.file) {
            return Err(EvidenceError::TooLarge { limit: self.limits.file });
        }
        if !self.state().busy.insert((session, hash)) {
            let partial = files::metadata(&files::partial(&self.dir, session, hash))?;
            return Err(EvidenceError::Busy { received: partial.map_or(0, |metadata| metadata.len()) });
        }
        // From here on the upload's end releases the mark.
        Upload::begin(Arc::clone(self), session, hash, media_type, part)
    }

    /// Creates a session's folder, for this user alone.
    pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    pub(crate) fn release(&self, session: SessionId, hash: Hash) {
        self.state().busy.remove(&(session, hash));
    }

    /// The space that the files of a session count for.
    fn listed_bytes(&self, session: SessionId) -> io::Result<u64> {
        let files = files::list(&files::folder(&self.dir, session))?;
        let charged = files.iter().filter(|(path, _)| files::is_charged(path));
        Ok(charged.map(|(_, metadata)| files::charge(metadata.len())).sum())
    }

    /// Reserves space of a session's limit: `more` bytes instead of `before`.
    pub(crate) fn charge(&self, session: SessionId, before: u64, more: u64) -> Result<(), EvidenceError> {
        let known = self.state().used.contains_key(&session);
        // The disk is read without the lock, which is also taken by threads that must not block.
        let listed = if known { 0 } else { self.listed_bytes(session)? };
        let mut state = self.state();
        let used = *state.used.entry(session).or_insert(listed);
        let after = (used.saturating_sub(before)).saturating_add(more);
        let fits = more <= before || after <= self.limits.session;
        state.used.insert(session, if fits { after } else { used });
        if fits { Ok(()) } else { Err(EvidenceError::SessionFull { limit: self.limits.session, used }) }
    }

    /// Removes all evidence of a session.
    ///
    /// # Errors
    /// The disk failed; a later [`Store::sweep`] tries again.
    pub fn remove(&self, session: SessionId) -> io::Result<()> {
        let mut state = self.state();
        state.used.remove(&session);
        state.damaged.retain(|(of, _)| *of != session);
        drop(state);
        match fs::remove_dir_all(files::folder(&self.dir, session)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    /// Removes uploads that were interrupted [`PARTIAL_LIFE`] before `now`, and the files of sessions for which `is_known` returns
    /// false and which are as old. Returns the number of removed files and folders.
    ///
    /// # Errors
    /// The disk failed; the rest is left for the next time.
    pub fn sweep(&self, now: SystemTime, is_known: impl Fn(SessionId) -> bool) -> io::Result<usize> {
        let is_old = |metadata: &fs::Metadata| {
            let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            age.is_some_and(|age| age >= PARTIAL_LIFE)
        };
        let mut removed = 0;
        for (folder, metadata) in files::list(&self.dir)? {
            let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // Anything without a session's name is not ours.
            let Some(session) = name.filter(|_| metadata.is_dir()) else { continue };
            if !is_known(session) && is_old(&metadata) {
                removed += usize::from(self.remove(session).is_ok());
                continue;
            }
            for (path, metadata) in files::list(&folder)? {
                if files::is_partial(&path) && is_old(&metadata) && !self.is_busy(session, &path) {
                    files::remove(&path)?;
                    removed += 1;
                    if let Some(used) = self.state().used.get_mut(&session) {
                        *used = used.saturating_sub(files::charge(metadata.len()));
                    }
                }
            }
        }
        Ok(removed)
    }

    fn is_busy(&self, session: SessionId, path: &std::path::Path) -> bool {
        let name = path.file_stem().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
        name.is_some_and(|hash| self.state().busy.contains(&(session, hash)))
    }
}

/// Options that create files for this user alone.
pub(crate) fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}
