//! The form of a line: `{"n":…,<record>,"prev":"<hash of the line before>","hash":"<hash>"}`. The hash is the SHA-256 of the line
//! without its `hash` field.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::record::{Record, to_line};

/// A line's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Hash(pub [u8; 32]);

/// The previous hash in the very first line.
pub const FIRST: Hash = Hash([0; 32]);

/// Text before the hash at a line's end.
const BEFORE: &str = ",\"hash\":\"";
const BEHIND: &str = "\"}";
const HEX: usize = 64;

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Hash {
    /// Parses 64 hexadecimal digits.
    pub fn parse(text: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if text.len() != HEX || !text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return None;
        }
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
    }
}

/// The end of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Link {
    /// Number of the last line; 0 before the first.
    pub(crate) number: u64,
    /// Its hash.
    pub(crate) hash: Hash,
}

/// The link before the first line.
pub(crate) const BEGINNING: Link = Link { number: 0, hash: FIRST };

#[derive(Serialize)]
struct ChainedRecord<'a> {
    n: u64,
    #[serde(flatten)]
    record: &'a Record,
    /// Number of lines lost right before this one.
    #[serde(skip_serializing_if = "is_zero")]
    lost: u64,
    prev: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Deserialize)]
struct ParsedLine {
    n: u64,
    prev: String,
    #[serde(default)]
    lost: u64,
}

/// A line with a valid hash.
pub(crate) struct Line {
    pub(crate) prev: Hash,
    pub(crate) link: Link,
    pub(crate) lost: u64,
}

/// Appends the record's line, with its end, to `out`.
pub(crate) fn append(out: &mut Vec<u8>, before: Link, record: &Record, lost: u64) -> Link {
    let n = before.number + 1;
    let line = to_line(&ChainedRecord { n, record, lost, prev: before.hash.to_string() });
    let hash = Hash(Sha256::digest(&line).into());
    out.extend_from_slice(&line[..line.len() - 1]);
    out.extend_from_slice(format!("{BEFORE}{hash}{BEHIND}\n").as_bytes());
    Link { number: n, hash }
}

/// Parses a line (without its end); `None` if it was altered.
pub(crate) fn read(line: &[u8]) -> Option<Line> {
    let text = std::str::from_utf8(line).ok()?;
    let (body, hash) = text.strip_suffix(BEHIND)?.rsplit_once(BEFORE)?;
    let hash = Hash::parse(hash)?;
    let mut digest = Sha256::new();
    digest.update(body.as_bytes());
    digest.update(b"}");
    if <[u8; 32]>::from(digest.finalize()) != hash.0 {
        return None;
    }
    let read: ParsedLine = serde_json::from_str(text).ok()?;
    // Each line has a number behind it, so this one was not written by us.
    if read.n == u64::MAX {
        return None;
    }
    Some(Line { prev: Hash::parse(&read.prev)?, link: Link { number: read.n, hash }, lost: read.lost })
}
