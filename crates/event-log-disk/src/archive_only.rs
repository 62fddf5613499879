//! The engine for when the hot log cannot be opened: ended sessions are read from the archive, and nothing is changed.

use agentbench_event_log::{
    Append, Appended, Done, EventLog, Health, Listed, LogError, Observer, ReadLimit, Reading, Retention,
};
use agentbench_protocol::{Epoch, Head, Seq, SessionId};

use crate::archive::Archive;
use crate::config::{Damage, DiskConfig, OpenError, RecoveryReport};
use crate::lock::DirLock;

/// The archive of a data folder whose hot log is damaged. Every change is refused with the reason.
pub struct ArchiveLog {
    archive: Archive,
    why: String,
    _lock: DirLock,
}

impl ArchiveLog {
    /// Opens the archive of a directory; `why` is why the hot log cannot be opened.
    ///
    /// # Errors
    /// [`OpenError`]: the directory is in use, or the archive cannot be opened either.
    pub fn open(config: &DiskConfig, why: &OpenError) -> Result<(Self, RecoveryReport), OpenError> {
        let lock = DirLock::take(&config.dir)?;
        let mut damage = vec![Damage { place: "hot/".into(), what: why.to_string() }];
        let archive = Archive::open(config.dir.join("archive"), config.archive.clone(), &mut damage)?;
        let report = RecoveryReport { sessions: archive.len(), damage, ..RecoveryReport::default() };
        Ok((Self { archive, why: why.to_string(), _lock: lock }, report))
    }

    fn refuse<T>(&self) -> Result<T, LogError> {
        Err(LogError::Unavailable(self.why.clone()))
    }

    /// A session that is not archived may be in the hot log, so its absence here proves nothing.
    fn or_refuse<T>(&self, result: Result<T, LogError>) -> Result<T, LogError> {
        match result {
            Err(LogError::NotFound(_)) => self.refuse(),
            other => other,
        }
    }
}

impl EventLog for ArchiveLog {
    fn submit(&self, appends: Vec<Append>, done: Done) {
        done(appends.iter().map(|_| Appended::Unavailable(self.why.clone())).collect());
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn head(&self, session: SessionId) -> Option<Head> {
        self.archive.head(session)
    }

    fn read(&self, session: SessionId, from: Seq, limit: ReadLimit) -> Result<Reading, LogError> {
        self.or_refuse(self.archive.read(session, from, limit))
    }

    fn list(&self) -> Result<Vec<Listed>, LogError> {
        Ok(self.archive.list())
    }

    fn find(&self, session: SessionId) -> Result<Listed, LogError> {
        self.or_refuse(self.archive.find(session).ok_or(LogError::NotFound(session)))
    }

    fn observe(&self, _: Observer) {}

    fn trim(&self, _: SessionId, _: Seq) -> Result<Seq, LogError> {
        self.refuse()
    }

    fn archive(&self, session: SessionId, _: u64) -> Result<(), LogError> {
        if self.archive.head(session).is_some() { Ok(()) } else { self.refuse() }
    }

    fn retain(&self, _: u64, _: Retention) -> Result<Vec<(SessionId, Epoch)>, LogError> {
        self.refuse()
    }

    fn delete(&self, _: SessionId) -> Result<(), LogError> {
        self.refuse()
    }

    fn health(&self) -> Health {
        Health::Failed(self.why.clone())
    }

    fn close(&self) -> Result<(), LogError> {
        Ok(())
    }
}
