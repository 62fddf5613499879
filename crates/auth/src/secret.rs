//! Whether a secret is strong enough for production. Catches common mistakes; it does not measure entropy.

/// Minimum length of a secret in bytes: the size of HS256's hash (RFC 7518, 3.2).
pub const MIN_SECRET_BYTES: usize = 32;
/// Minimum number of different bytes. Even 32 random hexadecimal digits have more, except in one case in millions.
const MIN_DISTINCT_BYTES: usize = 8;

/// Phrases of sample secrets in READMEs and `.env.example` files, in lower case and with hyphens. Long enough not to occur
/// in a random secret.
const SAMPLES: [&str; 14] = [
    "your-production-secret",
    "your-secret",
    "your-jwt-secret",
    "your-256-bit-secret",
    "your-super-secret",
    "secret-key",
    "jwt-secret",
    "super-secret",
    "development-secret",
    "test-secret",
    "change-me",
    "changeme",
    "change-this",
    "in-production",
];
/// Samples that are too short to be searched for within other secrets.
const SHORT_SAMPLES: [&str; 6] = ["secret", "password", "default", "example", "agentbench", "test"];

/// Why a secret is too weak for production.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WeakSecret {
    /// It is, or contains, a phrase from some documentation.
    #[error("the secret is a sample that everybody knows")]
    KnownSample,
    /// Fewer bytes than [`MIN_SECRET_BYTES`].
    #[error("the secret has {bytes} bytes; at least {MIN_SECRET_BYTES} are needed")]
    TooShort {
        /// Bytes of the secret.
        bytes: usize,
    },
    /// A few characters, repeated.
    #[error("the secret has only {distinct} different characters")]
    FewCharacters {
        /// Number of different bytes.
        distinct: usize,
    },
    /// The same piece, repeated.
    #[error("the secret repeats a short piece")]
    Repeated,
}

/// Why a secret is too weak for production, if it is.
pub fn secret_strength(secret: &str) -> Result<(), WeakSecret> {
    strength_of(secret.as_bytes())
}

/// The secret without the line end that files and `echo` append: it is never intended, and a client that reads the same
/// file otherwise would sign with a different secret.
pub fn without_line_end(secret: &str) -> &str {
    secret.trim_end_matches(['\r', '\n'])
}

pub(crate) fn strength_of(secret: &[u8]) -> Result<(), WeakSecret> {
    if is_sample(secret) {
        return Err(WeakSecret::KnownSample);
    }
    if secret.len() < MIN_SECRET_BYTES {
        return Err(WeakSecret::TooShort { bytes: secret.len() });
    }
    let mut seen = [false; 256];
    secret.iter().for_each(|byte| seen[usize::from(*byte)] = true);
    let distinct = seen.iter().filter(|seen| **seen).count();
    if distinct < MIN_DISTINCT_BYTES {
        return Err(WeakSecret::FewCharacters { distinct });
    }
    if repeats(secret) {
        return Err(WeakSecret::Repeated);
    }
    Ok(())
}

fn is_sample(secret: &[u8]) -> bool {
    let text = String::from_utf8_lossy(secret).trim().to_lowercase().replace(['_', ' '], "-");
    SHORT_SAMPLES.contains(&text.as_str()) || SAMPLES.iter().any(|sample| text.contains(sample))
}

/// Whether the secret repeats one piece that is shorter than half of the minimum.
fn repeats(secret: &[u8]) -> bool {
    (1..MIN_SECRET_BYTES / 2).any(|piece| secret.iter().zip(&secret[piece..]).all(|(one, next)| one == next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weak_secrets_are_told_apart_from_good_ones() {
        let cases: [(&str, Result<(), WeakSecret>); 16] = [
            ("", Err(WeakSecret::TooShort { bytes: 0 })),
            ("secret", Err(WeakSecret::KnownSample)),
            ("changeme", Err(WeakSecret::KnownSample)),
            ("your-production-secret-key", Err(WeakSecret::KnownSample)),
            ("YOUR_PRODUCTION_SECRET_KEY", Err(WeakSecret::KnownSample)),
            ("your-256-bit-secret", Err(WeakSecret::KnownSample)),
            ("my-jwt-secret-that-is-long-enough-to-pass", Err(WeakSecret::KnownSample)),
            ("please change this before you go live!!!", Err(WeakSecret::KnownSample)),
            ("k3yTh4tIsGoodButShort", Err(WeakSecret::TooShort { bytes: 21 })),
            ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", Err(WeakSecret::FewCharacters { distinct: 1 })),
            ("abababababababababababababababababababab", Err(WeakSecret::FewCharacters { distinct: 2 })),
            ("123456789012345678901234567890123456", Err(WeakSecret::Repeated)),
            ("correctponycorrectponycorrectponycorr", Err(WeakSecret::Repeated)),
            ("8f1d0c7ab2e94c6f9a35d1e07b46c28e", Ok(())),
            ("q0Gv0y7S3rVfC5mVJb1hX2cXv0lqk1pE5bqk3Y9mB1s=", Ok(())),
            ("correct horse battery staple, and then some", Ok(())),
        ];
        for (secret, verdict) in cases {
            assert_eq!(secret_strength(secret), verdict, "{secret}");
        }
    }

    #[test]
    fn a_line_end_is_no_part_of_a_secret() {
        for (secret, plain) in
            [("a\n", "a"), ("a\r\n", "a"), ("a\n\n", "a"), (" a ", " a "), ("a\nb", "a\nb"), ("", "")]
        {
            assert_eq!(without_line_end(secret), plain);
        }
    }

    #[test]
    fn the_reason_does_not_show_the_secret() {
        let secret = "your-production-secret-key";
        let reason = secret_strength(secret).unwrap_err();
        assert!(!reason.to_string().contains(secret) && !format!("{reason:?}").contains(secret));
    }
}
