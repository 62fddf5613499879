//! One decision, and its text: no text from a peer can end a line or affect a terminal.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// Maximum length of a field in characters; longer text is cut. Validated names are always shorter.
const MAX_CHARS: usize = 512;

/// The outcome of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was done.
    Allowed,
    /// It was refused; `code` is the reason.
    Refused,
}

/// One decision. Empty fields are left out of the line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// ms since 1970.
    pub at: u64,
    /// The request: `connect`, `create_session`, …
    pub action: &'static str,
    /// The outcome.
    pub outcome: Outcome,
    /// The reason of a refusal, as in error codes and metrics.
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
    /// The client's address.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub address: String,
    /// The session.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub session: String,
    /// Further details.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub detail: String,
}

impl Record {
    /// A permitted request.
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

    /// A refused request, with the reason.
    pub fn refused(at: u64, action: &'static str, code: &'static str) -> Self {
        Self { outcome: Outcome::Refused, code, ..Self::allowed(at, action) }
    }

    /// Adds further details.
    #[must_use]
    pub fn detail(self, detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), ..self }
    }

    /// The texts that a peer may influence.
    pub(crate) fn texts(&mut self) -> [&mut String; 6] {
        let Self { user, role, client_id, address, session, detail, .. } = self;
        [user, role, client_id, address, session, detail]
    }

    /// Cuts texts that are longer than any valid one.
    pub(crate) fn shorten(&mut self) {
        for text in self.texts() {
            if let Some((end, _)) = text.char_indices().nth(MAX_CHARS) {
                text.truncate(end);
            }
        }
    }
}

/// JSON in which all invisible and control characters are escaped, not only those that JSON requires.
pub(crate) struct VisibleFormatter;

impl Formatter for VisibleFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| acts(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            // All of them are in the basic plane except the tags, which take a surrogate pair.
            for unit in c.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + c.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Control characters, line separators, zero-width marks, and marks that change the direction of text.
pub(crate) fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
}

/// A value as one line of visible JSON.
pub(crate) fn to_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    let mut serializer = serde_json::Serializer::with_formatter(&mut line, VisibleFormatter);
    value.serialize(&mut serializer).expect("records are plain texts and numbers, and a Vec takes all");
    line
}
