//! Makes untrusted text safe in a log line: control characters are escaped, so that a name cannot start a line of its own or move
//! a terminal's cursor; anything that looks like a token is masked, whatever its source.

use std::fmt::{self, Debug, Write as _};
use std::io::{self, Write};

use tracing_subscriber::fmt::format::Writer;

/// Replaces a token.
const MASK: &str = "(token)";
/// What precedes a token: in query strings, in headers, in the subprotocol.
const BEFORE: [&str; 4] = ["token=", "bearer ", "bearer.", "secret="];
/// The start of every JWT: `{"` in base64url.
const JWT: &str = "eyJ";

/// Writes one field for people, with control characters escaped.
pub(super) fn write_field(writer: &mut Writer<'_>, name: &str, value: &dyn Debug) -> fmt::Result {
    let mut text = String::new();
    write!(text, "{value:?}")?;
    if name != "message" {
        write!(writer, "{name}=")?;
    }
    let mut shown = String::with_capacity(text.len());
    text.chars().for_each(|char| escape(char, &mut shown));
    writer.write_str(&shown)
}

/// A writer of whole lines.
pub(super) struct Lines<W> {
    to: W,
    /// Whether the lines contain our own escape sequences.
    coloured: bool,
}

impl<W> Lines<W> {
    pub(super) fn new(to: W, coloured: bool) -> Self {
        Self { to, coloured }
    }
}

impl<W: Write> Write for Lines<W> {
    /// Takes one or more whole lines.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !bytes.is_empty() {
            let text = String::from_utf8_lossy(bytes);
            let masked = mask(&text);
            let mut shown = String::with_capacity(masked.len());
            for char in masked.chars() {
                match char {
                    '\n' => shown.push('\n'),
                    '\u{1b}' if self.coloured => shown.push(char),
                    _ => escape(char, &mut shown),
                }
            }
            self.to.write_all(shown.as_bytes())?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }
}

/// Escapes invisible text: control characters (C0, C1), characters that change the direction of writing, and line separators. The
/// escaped form is valid inside JSON, too.
fn escape(char: char, shown: &mut String) {
    let hidden = char.is_control()
        || matches!(char, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    if hidden {
        // All of them are in the basic multilingual plane.
        let _ = write!(shown, "\\u{:04x}", char as u32);
    } else {
        shown.push(char);
    }
}

/// Replaces the tokens in the text.
fn mask(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((at, keep)) = next_token(rest) {
        shown.push_str(&rest[..at + keep]);
        let token = &rest[at + keep..];
        let length = token.find(|char: char| !is_of_token(char)).unwrap_or(token.len());
        if length > 0 {
            shown.push_str(MASK);
        }
        rest = &token[length..];
    }
    shown.push_str(rest);
    shown
}

/// The position of the next token, and the length of the prefix that marks it and is kept.
fn next_token(text: &str) -> Option<(usize, usize)> {
    let mut at = 0;
    while at < text.len() {
        let here = &text.as_bytes()[at..];
        let begins = |word: &&str| {
            here.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word.as_bytes()))
        };
        if let Some(word) = BEFORE.iter().find(|word| begins(word)) {
            return Some((at, word.len()));
        }
        // A short word that happens to start like a JWT is kept.
        let token = here.iter().take_while(|byte| is_of_token(char::from(**byte))).count();
        if here.starts_with(JWT.as_bytes()) && token >= 16 {
            return Some((at, 0));
        }
        at += 1;
    }
    None
}

fn is_of_token(char: char) -> bool {
    char.is_ascii_alphanumeric() || matches!(char, '-' | '_' | '.' | '~' | '+' | '/' | '=' | '%')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, coloured: bool) -> String {
        let mut to = Vec::new();
        Lines::new(&mut to, coloured).write_all(text.as_bytes()).unwrap();
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn tokens_are_left_out_wherever_they_stand() {
        let jwt = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.c2ln";
        for (text, expected) in [
            (format!("GET /ws?token={jwt}&x=1"), "GET /ws?token=(token)&x=1"),
            (format!("authorization: Bearer {jwt}"), "authorization: Bearer (token)"),
            (format!("protocols bearer.{jwt}, v1"), "protocols bearer.(token), v1"),
            (format!("\"detail\":\"{jwt}\""), "\"detail\":\"(token)\""),
            (format!("{jwt} and {jwt}"), "(token) and (token)"),
            ("?TOKEN=short".to_owned(), "?TOKEN=(token)"),
            ("token= and eyJ".to_owned(), "token= and eyJ"),
            ("no such thing".to_owned(), "no such thing"),
        ] {
            assert_eq!(written(&text, false), expected, "{text}");
        }
    }

    #[test]
    fn nothing_moves_the_cursor_or_begins_a_line() {
        let hostile = "a\u{1b}[2J\rb\u{9b}31m\u{202e}c\u{2028}d\u{0}";
        assert_eq!(written(hostile, false), "a\\u001b[2J\\u000db\\u009b31m\\u202ec\\u2028d\\u0000");
        assert_eq!(written("\u{1b}[31mred\u{1b}[0m\n", true), "\u{1b}[31mred\u{1b}[0m\n");
        let mut shown = String::new();
        write_field(&mut Writer::new(&mut shown), "name", &format_args!("x\ny\u{1b}")).unwrap();
        assert_eq!(shown, "name=x\\u000ay\\u001b");
    }
}
