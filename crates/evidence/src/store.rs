//! The folder of all evidence: what is there, who is uploading, how much each session takes.

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

/// Time after its last byte for which an upload that broke off can be gone on with.
pub const PARTIAL_LIFE: Duration = Duration::from_secs(24 * 3600);

/// How much may be stored, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of one file.
    pub file: u64,
    /// Of one session. A file counts for 4 KiB at least.
    pub session: u64,
}

/// A file that is whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub size: u64,
    /// What they are.
    pub media_type: MediaType,
}

/// What there is of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// All of it.
    Whole(Stored),
    /// So many bytes from its beginning.
    Partly(u64),
    /// Nothing.
    Nothing,
}

/// Which part of a file is about to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// All of it, so many bytes if that is known before. What there was of it is forgotten.
    Whole(Option<u64>),
    /// Bytes from `from` on, of a file of `total`. They have to begin where what is there ends.
    Range {
        /// The first byte, counted from 0.
        from: u64,
        /// Bytes of the whole file.
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

/// What a begun upload is.
#[derive(Debug)]
pub enum Begun {
    /// The file is there already: nothing has to come.
    There(Stored),
    /// Bytes are expected.
    Upload(Upload),
}

/// See the crate. Shared by threads; no lock is held while the disk works.
#[derive(Debug)]
pub struct Store {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Files that somebody is writing.
    busy: HashSet<(SessionId, Hash)>,
    /// What sessions take, as far as somebody asked; with what uploads under way have announced.
    used: HashMap<SessionId, u64>,
    /// Files that are known to be damaged.
    damaged: HashSet<(SessionId, Hash)>,
    /// Times that damage was found.
    found_damaged: u64,
    /// The file that the scrub has read last.
    scrubbed_to: Option<(SessionId, Hash)>,
}

impl Store {
    /// A store in this folder, which is made with the first file.
    pub fn new(dir: impl Into<PathBuf>, limits: Limits) -> Arc<Self> {
        Arc::new(Self { dir: dir.into(), limits, state: Mutex::default() })
    }

    /// How much may be stored.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What there is of a session's file. One that is known to be damaged is as good as not there.
    ///
    /// # Errors
    /// If the disk does not say.
    pub fn find(&self, session: SessionId, hash: Hash) -> Result<Found, EvidenceError> {
        if let Some(stored) = self.find_whole(session, hash)?
            && !self.is_damaged(session, hash)
        {
            return Ok(Found::Whole(stored));
        }
        let partly = files::look(&files::partial(&self.dir, session, hash))?;
        Ok(partly.map_or(Found::Nothing, |metadata| Found::Partly(metadata.len())))
    }

    /// The file with its name, whatever its bytes are.
    pub(crate) fn find_whole(&self, session: SessionId, hash: Hash) -> io::Result<Option<Stored>> {
        for media_type in MediaType::ALL {
            if let Some(metadata) = files::look(&files::whole(&self.dir, session, hash, media_type))? {
                return Ok(Some(Stored { size: metadata.len(), media_type }));
            }
        }
        Ok(None)
    }

    /// Files that are known to be damaged.
    pub fn damaged(&self) -> usize {
        self.state().damaged.len()
    }

    /// Times that damage was found.
    pub fn found_damaged(&self) -> u64 {
        self.state().found_damaged
    }

    /// Whether the file is known to be damaged.
    pub fn is_damaged(&self, session: SessionId, hash: Hash) -> bool {
        self.state().damaged.contains(&(session, hash))
    }

    /// Remembers that a file is damaged, and says so the first time.
    pub(crate) fn note_damage(&self, session: SessionId, hash: Hash, what: &'static str) -> EvidenceError {
        let mut state = self.state();
        state.found_damaged += 1;
        let is_new = state.damaged.insert((session, hash));
        drop(state);
        if is_new {
            tracing::error!(%session, %hash, what, "stored evidence is damaged: it is not served until it is uploaded again");
        }
        EvidenceError::Damaged { what }
    }

    /// A file was read as a whole and is right: one that was restored is no longer damaged.
    pub(crate) fn note_intact(&self, session: SessionId, hash: Hash) {
        self.state().damaged.remove(&(session, hash));
    }

    /// Forgets the damage of a file that is about to be replaced, and what it was charged for.
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

    /// Every whole file of a session, by hash.
    ///
    /// # Errors
    /// If the disk does not say.
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

    /// Opens a whole file for reading; `None` if there is none. A file whose inner hashes are not known is read once as
    /// a whole for them.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`] if its length is another one, or the whole is; and the disk's.
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
            return Err(self.note_damage(session, hash, "it has another length"));
        }
        if tree.hash() != hash {
            return Err(self.note_damage(session, hash, "its bytes are other ones"));
        }
        if is_new {
            self.keep_tree(session, &tree);
        }
        Ok(Some(Reader { store: Arc::clone(self), session, stored, file, tree }))
    }

    /// The inner hashes of a file, if they are there and prove themselves.
    fn known_tree(&self, session: SessionId, hash: Hash) -> Option<Tree> {
        // A sidecar that cannot be read is made again: it is no reason to withhold the file.
        let bytes = fs::read(files::tree(&self.dir, session, hash)).ok()?;
        Tree::decode(&bytes, hash)
    }

    /// Keeps the inner hashes of a file that is larger than one group. One that cannot be kept is made again.
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
            tracing::warn!(%session, %error, "the inner hashes of evidence cannot be kept");
        }
    }

    /// Begins to take a file, or goes on with it.
    ///
    /// # Errors
    /// [`EvidenceError::TooLarge`], [`EvidenceError::SessionFull`], [`EvidenceError::OutOfPlace`], [`EvidenceError::Busy`]
    /// and the disk's.
    pub fn begin(
        self: &Arc<Self>,
        session: SessionId,
        hash: Hash,
        media_type: MediaType,
        part: Part,
    ) -> Result<Begun, EvidenceError> {
        // Who sends it again may have been told that it is damaged: it is there if its bytes are.
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
            let partial = files::look(&files::partial(&self.dir, session, hash))?;
            return Err(EvidenceError::Busy { received: partial.map_or(0, |metadata| metadata.len()) });
        }
        // From here on the upload's end gives the place back.
        Upload::begin(Arc::clone(self), session, hash, media_type, part)
    }

    /// Makes a session's folder, for this user alone.
    pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
    }

    pub(crate) fn release(&self, session: SessionId, hash: Hash) {
        self.state().busy.remove(&(session, hash));
    }

    /// What the files of a session are charged for.
    fn listed_bytes(&self, session: SessionId) -> io::Result<u64> {
        let files = files::list(&files::folder(&self.dir, session))?;
        let charged = files.iter().filter(|(path, _)| files::is_charged(path));
        Ok(charged.map(|(_, metadata)| files::charge(metadata.len())).sum())
    }

    /// Takes room of a session's share: `more` bytes instead of `before`.
    pub(crate) fn charge(&self, session: SessionId, before: u64, more: u64) -> Result<(), EvidenceError> {
        let known = self.state().used.contains_key(&session);
        // The disk is asked without the lock, which threads that must not wait take, too.
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
    /// If the disk does not let go of it; a later [`Store::sweep`] tries again.
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

    /// Removes uploads that broke off [`PARTIAL_LIFE`] before `now`, and what belongs to sessions that `is_known` does not
    /// know and has not been touched for as long. Gives the number of files and folders that went.
    ///
    /// # Errors
    /// If the disk does not let it; what is left stays for the next time.
    pub fn sweep(&self, now: SystemTime, is_known: impl Fn(SessionId) -> bool) -> io::Result<usize> {
        let is_old = |metadata: &fs::Metadata| {
            let age = metadata.modified().ok().and_then(|modified| now.duration_since(modified).ok());
            age.is_some_and(|age| age >= PARTIAL_LIFE)
        };
        let mut removed = 0;
        for (folder, metadata) in files::list(&self.dir)? {
            let name = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok());
            // What is not named like a session is not ours.
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

/// Options that make files for this user alone.
pub(crate) fn private_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    options.mode(0o600);
    options
}
