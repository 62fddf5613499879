//! The folder of all evidence: what is there, who is uploading, how much each session takes.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::files;
use crate::hash::Hash;
use crate::media_type::MediaType;
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

/// See the crate. Shared by threads; no lock is held while the disk works, but for a session's first look.
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

    /// What there is of a session's file.
    ///
    /// # Errors
    /// If the disk does not say.
    pub fn find(&self, session: SessionId, hash: Hash) -> Result<Found, EvidenceError> {
        for media_type in MediaType::ALL {
            if let Some(metadata) = files::look(&files::whole(&self.dir, session, hash, media_type))? {
                return Ok(Found::Whole(Stored { size: metadata.len(), media_type }));
            }
        }
        let partly = files::look(&files::partial(&self.dir, session, hash))?;
        Ok(partly.map_or(Found::Nothing, |metadata| Found::Partly(metadata.len())))
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

    /// Opens a whole file for reading; `None` if there is none.
    ///
    /// # Errors
    /// If the disk does not give it.
    pub fn read(&self, session: SessionId, hash: Hash) -> Result<Option<(File, Stored)>, EvidenceError> {
        let Found::Whole(stored) = self.find(session, hash)? else { return Ok(None) };
        match File::open(files::whole(&self.dir, session, hash, stored.media_type)) {
            Ok(file) => Ok(Some((file, stored))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error.into()),
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
        if let Found::Whole(stored) = self.find(session, hash)? {
            return Ok(Begun::There(stored));
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

    pub(crate) fn release(&self, session: SessionId, hash: Hash) {
        self.state().busy.remove(&(session, hash));
    }

    /// Takes room of a session's share: `more` bytes instead of `before`.
    pub(crate) fn charge(&self, session: SessionId, before: u64, more: u64) -> Result<(), EvidenceError> {
        let mut state = self.state();
        let used = match state.used.get(&session) {
            Some(used) => *used,
            None => {
                let files = files::list(&files::folder(&self.dir, session))?;
                files.iter().map(|(_, metadata)| files::charge(metadata.len())).sum()
            }
        };
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
        self.state().used.remove(&session);
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
