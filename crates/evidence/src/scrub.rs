//! The scrub: every stored file is read again now and then, since a disk forgets without a word.

use std::io;
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::files;
use crate::hash::Hash;
use crate::store::Store;

/// What one round did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scrubbed {
    /// Files that were read.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files that are damaged, as far as this round saw them.
    pub damaged: u64,
    /// Whether it has come to the end; the next round begins anew.
    pub is_over: bool,
}

impl Store {
    /// Goes on where the last round ended, until `most` bytes have been read or `stop` says so.
    ///
    /// # Errors
    /// If the folders cannot be listed.
    pub fn scrub(self: &Arc<Self>, most: u64, stop: impl Fn() -> bool) -> io::Result<Scrubbed> {
        let mut done = Scrubbed::default();
        let after = self.scrubbed_to();
        for session in self.sessions()? {
            if after.is_some_and(|(last, _)| session < last) {
                continue;
            }
            for (hash, stored) in self.list(session).unwrap_or_default() {
                if after.is_some_and(|after| (session, hash) <= after) {
                    continue;
                }
                if done.bytes >= most || stop() {
                    return Ok(done);
                }
                done.damaged += u64::from(matches!(
                    self.check_until(session, hash, &stop),
                    Err(EvidenceError::Damaged { .. })
                ));
                done.files += 1;
                done.bytes += files::charge(stored.size);
                self.set_scrubbed_to(Some((session, hash)));
            }
        }
        self.set_scrubbed_to(None);
        Ok(Scrubbed { is_over: true, ..done })
    }

    /// Reads one file and holds it against its name.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`], and the disk's.
    pub fn check(self: &Arc<Self>, session: SessionId, hash: Hash) -> Result<(), EvidenceError> {
        self.check_until(session, hash, &|| false)
    }

    fn check_until(
        self: &Arc<Self>,
        session: SessionId,
        hash: Hash,
        stop: &impl Fn() -> bool,
    ) -> Result<(), EvidenceError> {
        match self.read(session, hash)? {
            // Removed in the meantime.
            None => Ok(()),
            Some(mut reader) => {
                reader.verify(stop)?;
                if !stop() {
                    self.note_intact(session, hash);
                }
                Ok(())
            }
        }
    }

    fn sessions(&self) -> io::Result<Vec<SessionId>> {
        let names = files::list(&self.dir)?.into_iter();
        let mut sessions: Vec<SessionId> =
            names.filter_map(|(path, _)| path.file_name()?.to_str()?.parse().ok()).collect();
        sessions.sort_unstable();
        Ok(sessions)
    }
}
