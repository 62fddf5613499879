//! The secret of a development server: generated at first start and stored in the data folder, readable by its owner only.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::Context;

/// Path of the secret file.
pub(crate) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("development.secret")
}

/// The stored secret, if there is one.
///
/// # Errors
/// The file exists and cannot be read.
pub(crate) fn load(data_dir: &Path) -> anyhow::Result<Option<String>> {
    let path = path(data_dir);
    match fs::read_to_string(&path) {
        Ok(secret) => Ok(Some(secret.trim().to_owned()).filter(|secret| !secret.is_empty())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot read {}", path.display())),
    }
}

/// The stored secret, or a newly generated one.
///
/// # Errors
/// The file cannot be read or written.
pub(crate) fn load_or_make(data_dir: &Path) -> anyhow::Result<String> {
    if let Some(secret) = load(data_dir)? {
        return Ok(secret);
    }
    let path = path(data_dir);
    fs::create_dir_all(data_dir).with_context(|| format!("cannot create {}", data_dir.display()))?;
    let secret = random_hex()?;
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    writeln!(file, "{secret}")?;
    Ok(secret)
}

fn random_hex() -> anyhow::Result<String> {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes)
        .map_err(|error| anyhow::anyhow!("the system provides no random numbers: {error}"))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
