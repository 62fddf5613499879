//! A validating JSON scanner (RFC 8259) that finds the bounds of values without building them.
//!
//! The server reads only the envelope and passes `data` on as the sender wrote it. So `data` must be
//! verified to be JSON (it is spliced into what readers receive), and nothing more. One pass, no recursion, no allocation down
//! to 128 levels ([`levels`](super::levels)); plain runs of a string are checked many bytes at a time
//! ([`plain`](super::plain)).
//!
//! What is called per token is inlined, and what is not takes and returns the place in the text as a value: a place in memory
//! would be stored and loaded again at each step, and each step would wait for the one before.
//!
//! Any nesting is accepted, and its depth is reported: a caller with a limit can then refuse only the message that exceeds
//! it, by its id, and not the whole frame.

use super::levels::Levels;
use super::plain::plain_run;

/// Text that is not JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} at byte {at}")]
pub struct JsonError {
    /// What was found or missing.
    pub what: &'static str,
    /// Byte offset in the text.
    pub at: usize,
}

/// The kind of a value, determined by its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JsonKind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// `"…"`
    String,
    /// `-1.5e3`
    Number,
    /// `true` or `false`
    Bool,
    /// `null`
    Null,
}

/// One scanned value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawValue<'a> {
    /// Its kind.
    pub kind: JsonKind,
    /// Its text, without surrounding white space.
    pub text: &'a str,
    /// Levels of objects and lists in it: 0 for a plain value, 1 for `{}`.
    pub depth: u32,
    /// A string with escapes.
    has_escapes: bool,
}

impl<'a> RawValue<'a> {
    /// The content of a string without escapes; `None` for other kinds and for strings with escapes.
    pub fn plain_str(&self) -> Option<&'a str> {
        if self.kind != JsonKind::String {
            return None;
        }
        if self.has_escapes { None } else { Some(&self.text[1..self.text.len() - 1]) }
    }

    /// The content of a string, escapes resolved; `None` for other kinds and for lone surrogates.
    pub fn to_str(&self) -> Option<std::borrow::Cow<'a, str>> {
        if self.kind != JsonKind::String {
            return None;
        }
        match self.plain_str() {
            Some(plain) => Some(plain.into()),
            None => serde_json::from_str::<String>(self.text).ok().map(Into::into),
        }
    }

    /// A whole number from 0 to 2⁶⁴ − 1.
    pub fn to_u64(&self) -> Option<u64> {
        if self.kind == JsonKind::Number { self.text.parse().ok() } else { None }
    }

    /// `true` or `false`.
    pub fn to_bool(&self) -> Option<bool> {
        if self.kind == JsonKind::Bool { Some(self.text == "true") } else { None }
    }
}

/// A position in a JSON text, which only moves forward.
#[derive(Debug, Clone)]
pub struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    /// Starts at the beginning of `text`.
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0 }
    }

    #[cold]
    fn error<T>(&self, what: &'static str) -> Result<T, JsonError> {
        Err(JsonError { what, at: self.at })
    }

    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// The next byte that is not white space, not consumed.
    #[inline(always)]
    pub fn peek(&mut self) -> Option<u8> {
        match self.bytes().get(self.at) {
            // Nearly always there is no white space.
            Some(&byte) if byte > b' ' => Some(byte),
            _ => {
                self.at = end_of_white_space(self.bytes(), self.at);
                self.bytes().get(self.at).copied()
            }
        }
    }

    /// Consumes `byte` if it comes next after white space.
    #[inline(always)]
    pub fn eat(&mut self, byte: u8) -> bool {
        let found = self.peek() == Some(byte);
        self.at += usize::from(found);
        found
    }

    /// Consumes `byte`, the end of a list or object, which must come next after white space.
    ///
    /// # Errors
    /// Something else comes next.
    pub fn expect(&mut self, byte: u8) -> Result<(), JsonError> {
        if self.eat(byte) { Ok(()) } else { self.error("',' or the end of a list or object is missing") }
    }

    /// Checks that only white space remains.
    ///
    /// # Errors
    /// Something else remains.
    pub fn end(&mut self) -> Result<(), JsonError> {
        if self.peek().is_some() { self.error("something after the value") } else { Ok(()) }
    }

    /// Consumes one whole value of any kind.
    ///
    /// # Errors
    /// The text is not a JSON value.
    #[inline(always)]
    pub fn value(&mut self) -> Result<RawValue<'a>, JsonError> {
        let first = self.peek();
        let (start, mut has_escapes, mut depth) = (self.at, false, 0);
        let kind = match first {
            Some(b'"') => {
                has_escapes = self.string()?;
                JsonKind::String
            }
            Some(first @ (b'{' | b'[')) => {
                (self.at, depth) = skip_container(self.text, self.at)?;
                if first == b'{' { JsonKind::Object } else { JsonKind::Array }
            }
            Some(first) => {
                let (kind, end) = skip_scalar(self.text, self.at, first)?;
                self.at = end;
                kind
            }
            None => return self.error("a value is missing"),
        };
        Ok(RawValue { kind, text: &self.text[start..self.at], depth, has_escapes })
    }

    /// Calls `member` with each key (as a value, including quotes) and value of an object.
    ///
    /// # Errors
    /// The text is not an object, or `member` returned an error.
    #[inline]
    pub fn object<E: From<JsonError>>(
        &mut self,
        member: impl FnMut(RawValue<'a>, RawValue<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        // A copy, whose place can be in a register.
        let mut here = Self { ..*self };
        let read = here.members(member);
        self.at = here.at;
        read
    }

    #[inline(always)]
    fn members<E: From<JsonError>>(
        &mut self,
        mut member: impl FnMut(RawValue<'a>, RawValue<'a>) -> Result<(), E>,
    ) -> Result<(), E> {
        if !self.eat(b'{') {
            return Ok(self.error("an object is missing")?);
        }
        if self.eat(b'}') {
            return Ok(());
        }
        loop {
            let key = self.key()?;
            let value = self.value()?;
            member(key, value)?;
            if self.eat(b'}') {
                return Ok(());
            }
            if !self.eat(b',') {
                return Ok(self.error("',' or '}' is missing")?);
            }
        }
    }

    /// Consumes the key of an object's member, including quotes, and the colon.
    ///
    /// # Errors
    /// Something else comes next.
    #[inline(always)]
    pub fn key(&mut self) -> Result<RawValue<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return self.error("a key is missing");
        }
        let start = self.at;
        let has_escapes = self.string()?;
        let text = &self.text[start..self.at];
        let key = RawValue { kind: JsonKind::String, text, depth: 0, has_escapes };
        if self.eat(b':') { Ok(key) } else { self.error("':' is missing") }
    }

    /// Consumes a string, whose opening quote is the next byte; returns whether it has escapes.
    #[inline(always)]
    fn string(&mut self) -> Result<bool, JsonError> {
        let bytes = self.bytes();
        self.at += 1;
        self.at += plain_run(&bytes[self.at..]);
        if bytes.get(self.at) == Some(&b'"') {
            self.at += 1;
            return Ok(false);
        }
        self.at = skip_escaped(self.text, self.at)?;
        Ok(true)
    }
}

fn end_of_white_space(bytes: &[u8], start: usize) -> usize {
    let is_white = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    start + bytes[start..].iter().take_while(|byte| is_white(byte)).count()
}

/// Skips an object or array; returns where it ends, and its number of levels.
fn skip_container(text: &str, start: usize) -> Result<(usize, u32), JsonError> {
    let mut scanner = Scanner { text, at: start };
    let (mut open, mut outer) = (Levels::default(), Vec::new());
    loop {
        // A value starts here.
        let opened = match scanner.peek() {
            Some(first @ (b'{' | b'[')) => {
                scanner.at += 1;
                open.push(first == b'{', &mut outer);
                true
            }
            Some(b'"') => {
                scanner.string()?;
                false
            }
            Some(first) => {
                (_, scanner.at) = skip_scalar(text, scanner.at, first)?;
                false
            }
            None => return scanner.error("a value is missing"),
        };
        if opened && !scanner.eat(open.end()) {
            if open.is_object() {
                scanner.key()?;
            }
            continue;
        }
        // A value has ended; `opened` means that it was an empty container whose end is already consumed.
        if opened {
            open.pop(&mut outer);
        }
        loop {
            if open.depth == 0 {
                return Ok((scanner.at, open.deepest));
            }
            if scanner.eat(b',') {
                if open.is_object() {
                    scanner.key()?;
                }
                break;
            }
            scanner.expect(open.end())?;
            open.pop(&mut outer);
        }
    }
}

/// Skips the rest of a string from its first byte that is not plain; returns where the string ends.
fn skip_escaped(text: &str, start: usize) -> Result<usize, JsonError> {
    let (bytes, mut at) = (text.as_bytes(), start);
    loop {
        match bytes.get(at) {
            Some(b'"') => return Ok(at + 1),
            Some(b'\\') => match bytes.get(at + 1) {
                Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => at += 2,
                Some(b'u') if has_four_digits(&bytes[at + 2..]) => at += 6,
                _ => return Err(JsonError { what: "an unknown escape", at }),
            },
            Some(_) => return Err(JsonError { what: "a control character in a string", at }),
            None => return Err(JsonError { what: "a string without end", at }),
        }
        at += plain_run(&bytes[at..]);
    }
}

fn has_four_digits(bytes: &[u8]) -> bool {
    bytes.first_chunk::<4>().is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Skips a number, `true`, `false` or `null`, of which `first` is the first byte; returns where it ends.
#[inline(always)]
fn skip_scalar(text: &str, start: usize, first: u8) -> Result<(JsonKind, usize), JsonError> {
    let literal = |word: &'static str, kind| {
        let is_it = text.as_bytes()[start..].starts_with(word.as_bytes());
        if is_it {
            Ok((kind, start + word.len()))
        } else {
            Err(JsonError { what: "an unknown word", at: start })
        }
    };
    match first {
        b't' => literal("true", JsonKind::Bool),
        b'f' => literal("false", JsonKind::Bool),
        b'n' => literal("null", JsonKind::Null),
        b'-' | b'0'..=b'9' => Ok((JsonKind::Number, skip_number(text.as_bytes(), start)?)),
        _ => Err(JsonError { what: "a value is missing", at: start }),
    }
}

fn skip_number(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let mut at = start + usize::from(bytes[start] == b'-');
    at = if bytes.get(at) == Some(&b'0') { at + 1 } else { skip_digits(bytes, at)? };
    if bytes.get(at) == Some(&b'.') {
        at = skip_digits(bytes, at + 1)?;
    }
    if matches!(bytes.get(at), Some(b'e' | b'E')) {
        let has_sign = matches!(bytes.get(at + 1), Some(b'+' | b'-'));
        at = skip_digits(bytes, at + 1 + usize::from(has_sign))?;
    }
    Ok(at)
}

#[inline]
fn skip_digits(bytes: &[u8], start: usize) -> Result<usize, JsonError> {
    let count = bytes[start..].iter().take_while(|b| b.is_ascii_digit()).count();
    if count == 0 { Err(JsonError { what: "a digit is missing", at: start }) } else { Ok(start + count) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(text: &str) -> Result<(), JsonError> {
        let mut scanner = Scanner::new(text);
        scanner.value()?;
        scanner.end()
    }

    #[test]
    fn accepts_json_and_nothing_else() {
        for good in [
            "{}",
            "[]",
            " [ ] ",
            "0",
            "-0",
            "1.5e+3",
            "true",
            "null",
            "\"\"",
            "\"\\u00e9\\n\"",
            "[1,[2,{}],{\"a\":[]}]",
            "{\"a\":{\"b\":[{}]},\"c\":1}",
            "[[],[]]",
            "\"\u{7f}é😀\"",
        ] {
            assert_eq!(scan(good), Ok(()), "{good}");
        }
        for bad in [
            "",
            " ",
            "{",
            "[",
            "[1,]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\":1,}",
            "{a:1}",
            "01",
            "-",
            "1.",
            "1e",
            ".5",
            "+1",
            "tru",
            "nul",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\n\"",
            "[1 2]",
            "1 2",
            "[}",
            "{]",
            "{\"a\":1]",
            "NaN",
            "'a'",
        ] {
            assert!(scan(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn any_nesting_is_read_and_its_depth_told() {
        let depth_of = |text: &str| Scanner::new(text).value().map(|value| value.depth);
        for (text, depth) in
            [("1", 0), ("\"[\"", 0), ("[]", 1), ("{}", 1), (r#"[{"a":[]},[]]"#, 3), ("[[],[[]]]", 3)]
        {
            assert_eq!(depth_of(text), Ok(depth), "{text}");
        }
        for depth in [127, 128, 129, 255, 256, 257, 1_000_000] {
            let lists = "[".repeat(depth) + &"]".repeat(depth);
            assert_eq!(depth_of(&lists), Ok(depth as u32));
            assert!(scan(&lists[1..]).is_err());
            assert!(scan(&lists[..lists.len() - 1]).is_err());
            // Every other one an object: each end has to fit its beginning at any depth.
            let mixed = "[{\"a\":".repeat(depth) + "1" + &"}]".repeat(depth);
            assert_eq!(depth_of(&mixed), Ok(2 * depth as u32));
            assert!(scan(&mixed.replacen("}]", "]}", 1)).is_err());
        }
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json(text in r#"[\[\]{}:,"\\ea0-9.\-+ tnulrfs]{0,24}"#) {
            let reference: Result<Box<serde_json::value::RawValue>, _> = serde_json::from_str(&text);
            // serde_json refuses to read lone surrogates and huge exponents only when it builds values: RawValue skips as we do.
            prop_assert_eq!(scan(&text).is_ok(), reference.is_ok(), "{}", text);
        }

        #[test]
        fn accepts_what_serde_json_writes(value in arbitrary_json()) {
            let text = value.to_string();
            prop_assert_eq!(scan(&text), Ok(()));
            prop_assert_eq!(scan(&serde_json::to_string_pretty(&value).unwrap()), Ok(()));
        }
    }

    fn arbitrary_json() -> impl Strategy<Value = serde_json::Value> {
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            ".{0,20}".prop_map(Into::into),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
                proptest::collection::btree_map(".{0,8}", inner, 0..6)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }
}
