//! How commands find a server and authenticate to it.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, Role, SigningKey, sign, without_line_end};
use anyhow::Context;
use clap::Args;

use crate::secret;

/// Lifetime of tokens minted for one command: longer than any run of the suite.
const TOKEN_SECONDS: u64 = 24 * 3600;

#[derive(Args)]
pub(crate) struct Access {
    /// Token to connect with
    #[arg(long, global = true, env = "AGENTBENCH_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// Secret to mint a token with, if no token is given
    #[arg(long, global = true, env = "JWT_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Data folder of the development server whose secret is used, if neither is given
    #[arg(long, global = true, env = "DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

impl Access {
    /// The token that was given, or a new one for this user.
    ///
    /// # Errors
    /// No token was given, and there is no secret to sign one with.
    pub(crate) fn token(&self, user: &str, role: Role) -> anyhow::Result<String> {
        match (&self.token, &self.secret) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(secret)) => make_token(without_line_end(secret), user, role),
            (None, None) => make_token(&development_secret(&self.data_dir)?, user, role),
        }
    }
}

fn development_secret(data_dir: &Path) -> anyhow::Result<String> {
    let path = secret::path(data_dir);
    let found = std::fs::read_to_string(&path).with_context(|| {
        let path = path.display();
        format!("no token: give --token or JWT_SECRET, or the --data-dir of a development server ({path})")
    })?;
    Ok(found.trim().to_owned())
}

/// Mints a token for a server with this secret.
///
/// # Errors
/// The token cannot be signed.
pub(crate) fn make_token(secret: &str, user: &str, role: Role) -> anyhow::Result<String> {
    let key = SigningKey::from_secret(Algorithm::Hs256, secret.as_bytes())?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(sign(&Claims::new(user, role, now.saturating_sub(10), now + TOKEN_SECONDS), &key)?)
}
