//! `agentbench token`: mints tokens, and shows what a token contains.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use agentbench_auth::{Algorithm, Claims, KeyRing, Permissions, Role, SigningKey, sign, without_line_end};
use anyhow::Context;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use crate::secret;

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Mint a token
    Mint(Mint),
    /// Show a token's claims, and whether it is valid
    Inspect(Inspect),
}

#[derive(Args)]
pub(crate) struct Mint {
    /// User that the token is for
    #[arg(long, default_value = "me")]
    user: String,
    /// Display name; the user if not given
    #[arg(long)]
    username: Option<String>,
    /// admin, evaluator or viewer
    #[arg(long, default_value = "evaluator")]
    role: Role,
    /// Restrict the user to this project
    #[arg(long)]
    project: Option<String>,
    /// Permission beyond those of the role; may be given several times
    #[arg(long = "permission", value_parser = PossibleValuesParser::new(Permissions::claim_words()))]
    permissions: Vec<String>,
    /// Lifetime in seconds
    #[arg(long, default_value_t = 24 * 3600)]
    ttl: u64,
    #[command(flatten)]
    key: Key,
    /// Private key in PEM, for RS256, ES256 and EdDSA
    #[arg(long)]
    private_key: Option<PathBuf>,
    /// Signature algorithm
    #[arg(long, default_value = "HS256")]
    algorithm: Algorithm,
    /// Id of the key (kid), for servers with several keys
    #[arg(long)]
    kid: Option<String>,
    /// Generate a secret in --data-dir if there is none; a server started there later uses it
    #[arg(long)]
    new_secret: bool,
    /// Print JSON instead of the bare token
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Key {
    /// Secret to sign or verify with; that of the development server in --data-dir if not given
    #[arg(long, env = "JWT_SECRET", hide_env_values = true)]
    secret: Option<String>,
    /// Data folder of the development server whose secret is used
    #[arg(long, env = "DATA_DIR", default_value = "./data")]
    data_dir: PathBuf,
}

#[derive(Args)]
pub(crate) struct Inspect {
    /// The token
    token: String,
    #[command(flatten)]
    key: Key,
    /// Keys file to verify with, instead of a secret
    #[arg(long, env = "JWT_KEYS_FILE")]
    keys_file: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Key {
    /// The secret that was given, or the development server's. Tokens signed with a made-up one would be refused by every server.
    fn secret(&self, or_new: bool) -> anyhow::Result<String> {
        match &self.secret {
            Some(secret) => Ok(without_line_end(secret).to_owned()),
            None if or_new => secret::load_or_make(&self.data_dir),
            None => secret::load(&self.data_dir)?.with_context(|| {
                let folder = std::path::absolute(&self.data_dir).unwrap_or_else(|_| self.data_dir.clone());
                format!(
                    "no development server's secret in {}: run this in the server's folder, or give its --data-dir or JWT_SECRET (--new-secret generates one for a server started there later)",
                    folder.display()
                )
            }),
        }
    }
}

pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Mint(mint) => mint_token(mint),
        Command::Inspect(inspect) => inspect_token(inspect),
    }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

fn mint_token(mint: &Mint) -> anyhow::Result<ExitCode> {
    let key = match &mint.private_key {
        Some(path) => {
            let pem =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            SigningKey::from_private_pem(mint.algorithm, &pem)?
        }
        None => SigningKey::from_secret(mint.algorithm, mint.key.secret(mint.new_secret)?.as_bytes())?,
    };
    let key = match &mint.kid {
        Some(kid) => key.with_kid(kid),
        None => key,
    };
    let now = now();
    let mut claims = Claims::new(&mint.user, mint.role, now, now + mint.ttl);
    claims.username.clone_from(&mint.username);
    claims.project_id.clone_from(&mint.project);
    claims.permissions.clone_from(&mint.permissions);
    let token = sign(&claims, &key)?;
    if mint.json {
        outln!("{}", serde_json::json!({"token": token, "claims": claims}));
    } else {
        outln!("{token}");
    }
    Ok(ExitCode::SUCCESS)
}

fn inspect_token(inspect: &Inspect) -> anyhow::Result<ExitCode> {
    let keys = match &inspect.keys_file {
        Some(path) => {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
            KeyRing::from_json(&text)?
        }
        None => KeyRing::from_secret(inspect.key.secret(false)?.as_bytes()),
    };
    let verified = keys.verify(&inspect.token, now() * 1000);
    let shown = match &verified {
        Ok(grant) => serde_json::json!({
            "valid": true,
            "userId": grant.user_id,
            "username": grant.username,
            "role": grant.role.as_str(),
            "projectId": grant.project,
            "permissions": grant.permissions.iter().map(|permission| permission.as_str()).collect::<Vec<_>>(),
            "expiresAt": grant.expires_at,
            "tokenId": grant.token_id,
        }),
        Err(error) => serde_json::json!({"valid": false, "code": error.as_str(), "error": error.to_string()}),
    };
    if inspect.json {
        outln!("{shown}");
    } else {
        outln!("{}", serde_json::to_string_pretty(&shown)?);
    }
    Ok(if verified.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
