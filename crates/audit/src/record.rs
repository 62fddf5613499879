//! One decision, and its text: nothing that a peer has chosen can end a line or act on a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// Longest text of one field in characters; more is cut. Names are shorter everywhere they are checked.
const MAX_CHARS: usize = 512;

/// What became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was refused; `code` says why.
    Refused,
}

/// One decision. Empty fields are left out of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// ms since 1970.
    pub at: u64,
    /// What was asked for: `connect`, `create_session`, …
    pub action: &'static str,
    /// What became of it.
    pub outcome: Outcome,
    /// Why it was refused, in the words of error codes and metrics.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub code: &'static str,
    /// The token's subject.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The token's role.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub role: String,
    /// The connection.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub client_id: String,
    /// Where it came from.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The session that it is about.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Whatever else belongs to it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Record {
    /// Something that was done.
    pub fn allowed(at: u64, action: &'static str) -> Self {
        let empty = String::new;
        let outcome = Outcome::Allowed;
        Self {
            at,
            action,
            outcome,
            code: "",
            user: empty(),
            role: empty(),
            client_id: empty(),
            address: empty(),
            session: empty(),
            detail: empty(),
        }
    }

    /// Something that was refused, and why.
    pub fn refused(at: u64, action: &'static str, code: &'static str) -> Self {
        Self { outcome: Outcome::Refused, code, ..Self::allowed(at, action) }
    }

    /// Adds whatever else belongs to it.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The texts that a peer may have a say in.
    pub(crate) fn texts(&mut self) -> [&mut String; 6] {
        let Self { user, role, client_id, address, session, detail, .. } = self;
        [user, role, client_id, address, session, detail]
    }

    /// Cuts what is longer than any honest text.
    pub(crate) fn shorten(&mut self) {
        for text in self.texts() {
            if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
                text.truncate(end);
            }
        }
    }
}

/// JSON in which every character that would act instead of show is escaped, not only those that JSON asks for.
pub(crate) struct Visible;

impl Formatter for Visible {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| acts(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            // All of them are in the basic plane but the tags, which take a pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Control characters, line separators, marks without width, and those that turn the direction of what follows.
pub(crate) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A value as one line of visible JSON.
pub(crate) fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, Visible);
    value.serialize(&mut serializer).expect("records are plain texts and numbers, and a Vec takes all");
    line
}
