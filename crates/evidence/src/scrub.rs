//! The scrub: every stored file is read again from time to time, since disks lose data silently.

use std::io;
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::error::EvidenceError;
use crate::files;
use crate::hash::Hash;
use crate::store::Store;

/// The result of one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ScrubReport {
    /// Number of files read.
    pub files: u64,
    /// Number of bytes read.
    pub bytes: u64,
    /// Number of damaged files found in this round.
    pub damaged: u64,
    /// Whether it has reached the end; the next round starts over.
    pub is_over: bool,
}

impl Store {
    /// Continues where the last round ended, until `most` bytes have been read or `stop` returns true.
    ///
    /// # Errors
    /// The folders cannot be listed.
    pub fn scrub(self: &Arc<Self>, most: u64, stop: impl Fn() -> bool) -> io::Result<ScrubReport> {
        let mut done = ScrubReport::default();
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
        Ok(ScrubReport { is_over: true, ..done })
    }

    /// Reads one file and compares it with its name.
    ///
    /// # Errors
    /// [`EvidenceError::Damaged`], and errors of the disk.
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
            // Removed meanwhile.
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
