//! Keys: whether they are strong, and readable by their owner only.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use agentbench_auth::{KeyRing, secret_strength};
use agentbench_server::config::Config;

use super::{Check, Verdict};
use crate::secret;

const MAKE: &str = "generate one with: openssl rand -hex 32";

pub(super) fn checks(config: &Config) -> Vec<Check> {
    // Development permits weak secrets.
    let fault = if config.production { Verdict::Bad } else { Verdict::Warn };
    let mut checks = Vec::new();
    if let Some(path) = &config.jwt_keys_file {
        checks.extend(keys_file(path, fault));
    } else if !config.jwt_secret.is_empty() {
        checks.push(strength("JWT_SECRET", &config.jwt_secret, fault));
    } else if config.production && config.security.jwks.is_none() {
        let advice =
            format!("production does not start without JWT_SECRET, JWT_KEYS_FILE or JWKS_URL; {MAKE}");
        checks.push(Check::of("secret", Verdict::Bad, "none is set", advice));
    } else if !config.production {
        let path = secret::path(&config.data_dir);
        if path.exists() {
            checks.push(mode("secret_file", &path));
        } else {
            checks.push(Check::good(
                "secret",
                "none is set; a development server generates one at its first start",
            ));
        }
    }
    if let Some(files) = &config.security.tls {
        checks.push(mode("tls_key_file", &files.key));
    }
    checks
}

fn strength(of: &str, secret: &str, fault: Verdict) -> Check {
    match secret_strength(secret) {
        Ok(()) => Check::good("secret", format!("{of} has {} bytes", secret.len())),
        Err(weak) => Check::of("secret", fault, format!("{of}: {weak}"), MAKE),
    }
}

fn keys_file(path: &Path, fault: Verdict) -> Vec<Check> {
    let shown = path.display();
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            let advice = "JWT_KEYS_FILE must name a file that the server's user can read";
            return vec![Check::of("keys_file", Verdict::Bad, format!("{shown}: {error}"), advice)];
        }
    };
    let judged = match KeyRing::from_json(&text) {
        Err(error) => {
            Check::of("keys_file", Verdict::Bad, format!("{shown}: {error}"), "see Keys in docs/operating.md")
        }
        Ok(keys) => match keys.weak_secrets().next() {
            Some((kid, weak)) => {
                Check::of("keys_file", fault, format!("{shown}, key {:?}: {weak}", kid.unwrap_or("")), MAKE)
            }
            None => Check::good("keys_file", format!("{shown}, {} keys", keys.keys().count())),
        },
    };
    vec![judged, mode("keys_file_mode", path)]
}

/// Checks that a file with a secret is readable by its owner and at most its group.
fn mode(name: &'static str, path: &Path) -> Check {
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) => {
            Check::of(name, Verdict::Bad, format!("{shown}: {error}"), "the server cannot read it either")
        }
        Ok(meta) => {
            let mode = meta.permissions().mode() & 0o777;
            let verdict = match mode {
                _ if mode & 0o007 != 0 => Verdict::Bad,
                _ if mode & 0o020 != 0 => Verdict::Warn,
                _ => Verdict::Good,
            };
            Check::of(
                name,
                verdict,
                format!("{shown}, mode {mode:03o}"),
                format!(
                    "other users can read it: chmod 600 {shown}; replace the secret if they may have done so"
                ),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_found() {
        assert_eq!(strength("S", "change-me", Verdict::Bad).verdict, Verdict::Bad);
        assert_eq!(strength("S", "9f8a6b2c4d1e0375a1b2c3d4e5f60718", Verdict::Bad).verdict, Verdict::Good);
        let shown = format!("{:?}", strength("S", "change-me-please", Verdict::Warn));
        assert!(!shown.contains("please"), "{shown}");
    }

    #[test]
    fn files_that_others_read_are_bad() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (bits, verdict) in
            [(0o600, Verdict::Good), (0o640, Verdict::Good), (0o660, Verdict::Warn), (0o644, Verdict::Bad)]
        {
            fs::set_permissions(file.path(), fs::Permissions::from_mode(bits)).unwrap();
            assert_eq!(mode("m", file.path()).verdict, verdict, "{bits:o}");
        }
        assert_eq!(mode("m", Path::new("/nowhere")).verdict, Verdict::Bad);
        assert_eq!(keys_file(file.path(), Verdict::Bad)[0].verdict, Verdict::Bad);
    }
}
