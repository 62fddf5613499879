//! Revocations of tokens: kept in memory, and in `revocations.jsonl` of the data folder.
//!
//! A revocation is in force for new connections and requests as soon as [`Revocations::add`] returns, and for open connections
//! with the next tick of their worker. One line of the file is `{"at":1760000000000,"jti":"…"}`, or `"user"`, or `"issuedBefore"`.

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, RwLock};

use agentbench_auth::Grant;
use serde::{Deserialize, Serialize};

/// Name of the file in the data folder.
const FILE: &str = "revocations.jsonl";
/// Maximum number of revocations of single tokens and users: beyond that, `issuedBefore` can replace all of them.
const MAX_ENTRIES: usize = 1_000_000;

/// What is revoked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub enum Revocation {
    /// The token with this id.
    Jti(String),
    /// The user's tokens that were issued up to the moment of the revocation, and those without a time of issue.
    User(String),
    /// All users' tokens that were issued before this time, ms since 1970, and those without a time of issue.
    IssuedBefore(u64),
}

/// A revocation and its time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revoked {
    /// When, ms since 1970.
    pub at: u64,
    /// What.
    #[serde(flatten)]
    pub what: Revocation,
}

/// Reads a file of revocations; a missing file has none. An incomplete last line was never acknowledged and is skipped.
///
/// # Errors
/// The file cannot be read, or a complete line is invalid: revocations must not be lost silently.
pub fn load(path: &Path) -> io::Result<Vec<Revoked>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = text[..whole].split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_slice(line).map_err(|_| {
                let (path, line) = (path.display(), number + 1);
                let why = format!(
                    "{path}: line {line} is no revocation; repair or remove the line (whoever it named is then let in again)"
                );
                io::Error::new(io::ErrorKind::InvalidData, why)
            })
        })
        .collect()
}

/// Appends one revocation to the file, durably. The rest of an interrupted write is removed first.
///
/// # Errors
/// If the file cannot be written.
pub fn append(path: &Path, revoked: &Revoked) -> io::Result<()> {
    let mut file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    let end = whole_lines(&mut file)?;
    file.set_len(end)?;
    file.seek(SeekFrom::Start(end))?;
    let mut line = serde_json::to_vec(revoked)?;
    line.push(b'\n');
    file.write_all(&line)?;
    file.sync_data()?;
    if end == 0
        && let Some(folder) = path.parent()
    {
        // The directory entry of a new file has to be durable, too.
        File::open(folder)?.sync_all()?;
    }
    Ok(())
}

/// Where the last whole line ends.
fn whole_lines(file: &mut File) -> io::Result<u64> {
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut byte = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut byte)?;
        if byte == [b'\n'] {
            break;
        }
        end -= 1;
    }
    Ok(end)
}

#[derive(Debug, Default)]
struct Index {
    tokens: HashSet<String>,
    /// Time up to which a user's tokens are revoked, ms since 1970.
    users: HashMap<String, u64>,
    issued_before: u64,
}

impl Index {
    fn add(&mut self, revoked: Revoked) {
        match revoked.what {
            Revocation::Jti(jti) => drop(self.tokens.insert(jti)),
            Revocation::User(user) => {
                let until = self.users.entry(user).or_default();
                *until = (*until).max(revoked.at);
            }
            Revocation::IssuedBefore(time) => self.issued_before = self.issued_before.max(time),
        }
    }

    fn len(&self) -> usize {
        self.tokens.len() + self.users.len()
    }

    fn holds(&self, grant: &Grant) -> bool {
        let issued_at = grant.issued_at.unwrap_or(0);
        issued_at < self.issued_before
            || self.users.get(&grant.user_id).is_some_and(|until| issued_at <= *until)
            || grant.token_id.as_ref().is_some_and(|id| self.tokens.contains(id))
    }
}

/// All revocations of a server.
#[derive(Debug)]
pub(crate) struct Revocations {
    index: RwLock<Index>,
    /// Incremented with each revocation, so that workers detect new ones by a comparison.
    generation: AtomicU64,
    path: PathBuf,
    writing: Mutex<()>,
}

impl Revocations {
    /// Loads the revocations of the data folder.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join(FILE);
        let mut index = Index::default();
        load(&path)?.into_iter().for_each(|revoked| index.add(revoked));
        Ok(Self { index: RwLock::new(index), generation: AtomicU64::new(0), path, writing: Mutex::new(()) })
    }

    /// Whether there is room for one more.
    pub(crate) fn has_room(&self) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).len() < MAX_ENTRIES
    }

    /// Applies a revocation, then stores it. Blocks on the disk.
    ///
    /// # Errors
    /// The revocation applies but is not stored: it would end with the process.
    pub(crate) fn add(&self, revoked: &Revoked) -> io::Result<()> {
        let _turn = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        self.index.write().unwrap_or_else(PoisonError::into_inner).add(revoked.clone());
        self.generation.fetch_add(1, Ordering::Release);
        append(&self.path, revoked)
    }

    /// Whether the token behind a grant is revoked.
    pub(crate) fn holds(&self, grant: &Grant) -> bool {
        self.index.read().unwrap_or_else(PoisonError::into_inner).holds(grant)
    }

    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use agentbench_auth::{Permissions, Role};

    use super::*;

    fn grant(user: &str, jti: Option<&str>, issued_at: Option<u64>) -> Grant {
        Grant {
            user_id: user.into(),
            username: user.into(),
            role: Role::Viewer,
            permissions: Permissions::ALL,
            project: None,
            token_id: jti.map(Into::into),
            issued_at,
            expires_at: None,
        }
    }

    #[test]
    fn each_kind_revokes_what_it_names_and_nothing_else() {
        let mut index = Index::default();
        let mut add = |at, what| index.add(Revoked { at, what });
        add(50, Revocation::Jti("t1".into()));
        add(50, Revocation::User("ada".into()));
        add(40, Revocation::User("ada".into()));
        add(50, Revocation::IssuedBefore(10));
        add(50, Revocation::IssuedBefore(5));
        let cases = [
            (grant("bob", Some("t1"), Some(100)), true),
            (grant("bob", Some("t2"), Some(100)), false),
            (grant("ada", None, Some(50)), true),
            (grant("ada", None, Some(51)), false),
            (grant("ada", None, None), true),
            (grant("bob", None, Some(9)), true),
            (grant("bob", None, Some(10)), false),
            (grant("bob", None, None), true),
        ];
        for (grant, revoked) in cases {
            assert_eq!(index.holds(&grant), revoked, "{grant:?}");
        }
    }

    #[test]
    fn the_file_survives_an_interrupted_write_and_names_a_damaged_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        let all = [
            Revoked { at: 1, what: Revocation::Jti("a\nb".into()) },
            Revoked { at: 2, what: Revocation::User("u".into()) },
            Revoked { at: 3, what: Revocation::IssuedBefore(7) },
        ];
        assert_eq!(load(&path).unwrap(), []);
        for revoked in &all[..2] {
            append(&path, revoked).unwrap();
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"at\":3,\"jt").unwrap();
        assert_eq!(load(&path).unwrap(), all[..2]);
        append(&path, &all[2]).unwrap();
        assert_eq!(load(&path).unwrap(), all);
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"nonsense\n").unwrap();
        let error = load(&path).unwrap_err();
        assert!(error.to_string().contains("line 4"), "{error}");
    }
}
