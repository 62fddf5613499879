//! A validating JSON scanner (RFC 8259) that finds the bounds of values without building them.
//!
//! The server reads only the envelope and passes `data` on as the sender wrote it. So `data` must be
//! verified to be JSON (it is spliced into what readers receive), and nothing more. One pass, no recursion, no allocation down
//! to 128 levels; plain runs of a string are checked eight bytes at a time, long ones in blocks.
//!
//! Any nesting is accepted, and its depth is reported: a caller with a limit can then refuse only the message that exceeds
//! it, by its id, and not the whole frame.

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
}

impl<'a> RawValue<'a> {
    /// The content of a string without escapes; `None` for other kinds and for strings with escapes.
    pub fn plain_str(&self) -> Option<&'a str> {
        if self.kind != JsonKind::String {
            return None;
        }
        let inner = &self.text[1..self.text.len() - 1];
        if inner.as_bytes().contains(&b'\\') { None } else { Some(inner) }
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
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        match self.bytes().get(self.at) {
            // Nearly always there is no white space.
            Some(&byte) if byte > b' ' => Some(byte),
            _ => self.skip_white_space(),
        }
    }

    fn skip_white_space(&mut self) -> Option<u8> {
        let bytes = self.bytes();
        while let Some(&byte) = bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(byte);
            }
            self.at += 1;
        }
        None
    }

    /// Consumes `byte` if it comes next after white space.
    #[inline]
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
    #[inline]
    pub fn value(&mut self) -> Result<RawValue<'a>, JsonError> {
        let Some(first) = self.peek() else { return self.error("a value is missing") };
        let start = self.at;
        let (kind, depth) = match first {
            b'"' => {
                self.string()?;
                (JsonKind::String, 0)
            }
            b'{' => (JsonKind::Object, self.container()?),
            b'[' => (JsonKind::Array, self.container()?),
            _ => (self.scalar(first)?, 0),
        };
        Ok(RawValue { kind, text: &self.text[start..self.at], depth })
    }

    /// Calls `member` with each key (as a value, including quotes) and value of an object.
    ///
    /// # Errors
    /// The text is not an object, or `member` returned an error.
    #[inline]
    pub fn object<E: From<JsonError>>(
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

    /// Consumes an object or array, and returns its number of levels.
    fn container(&mut self) -> Result<u32, JsonError> {
        let mut open = Levels::default();
        loop {
            // A value starts here.
            let opened = match self.peek() {
                Some(first @ (b'{' | b'[')) => {
                    self.at += 1;
                    open.push(first == b'{');
                    true
                }
                Some(b'"') => {
                    self.string()?;
                    false
                }
                Some(first) => {
                    self.scalar(first)?;
                    false
                }
                None => return self.error("a value is missing"),
            };
            if opened && !self.eat(open.end()) {
                if open.is_object() {
                    self.key()?;
                }
                continue;
            }
            // A value has ended; `opened` means that it was an empty container whose end is already consumed.
            if opened {
                open.pop();
            }
            loop {
                if open.depth == 0 {
                    return Ok(open.deepest);
                }
                if self.eat(b',') {
                    if open.is_object() {
                        self.key()?;
                    }
                    break;
                }
                self.expect(open.end())?;
                open.pop();
            }
        }
    }

    /// Consumes the key of an object's member, including quotes, and the colon.
    ///
    /// # Errors
    /// Something else comes next.
    #[inline]
    pub fn key(&mut self) -> Result<RawValue<'a>, JsonError> {
        if self.peek() != Some(b'"') {
            return self.error("a key is missing");
        }
        let start = self.at;
        self.string()?;
        let key = RawValue { kind: JsonKind::String, text: &self.text[start..self.at], depth: 0 };
        if self.eat(b':') { Ok(key) } else { self.error("':' is missing") }
    }

    /// Consumes a string; the next byte is its opening quote.
    #[inline]
    fn string(&mut self) -> Result<(), JsonError> {
        let bytes = self.bytes();
        self.at += 1;
        loop {
            self.at += plain_run(&bytes[self.at..]);
            match bytes.get(self.at) {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(());
                }
                Some(b'\\') => self.escape()?,
                Some(_) => return self.error("a control character in a string"),
                None => return self.error("a string without end"),
            }
        }
    }

    fn escape(&mut self) -> Result<(), JsonError> {
        let rest = &self.bytes()[self.at + 1..];
        match rest.first() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 2,
            Some(b'u') if rest.len() >= 5 && rest[1..5].iter().all(u8::is_ascii_hexdigit) => self.at += 6,
            _ => return self.error("an unknown escape"),
        }
        Ok(())
    }

    fn scalar(&mut self, first: u8) -> Result<JsonKind, JsonError> {
        match first {
            b't' => self.literal("true", JsonKind::Bool),
            b'f' => self.literal("false", JsonKind::Bool),
            b'n' => self.literal("null", JsonKind::Null),
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.error("a value is missing"),
        }
    }

    fn literal(&mut self, word: &'static str, kind: JsonKind) -> Result<JsonKind, JsonError> {
        if !self.bytes()[self.at..].starts_with(word.as_bytes()) {
            return self.error("an unknown word");
        }
        self.at += word.len();
        Ok(kind)
    }

    fn number(&mut self) -> Result<JsonKind, JsonError> {
        let bytes = self.bytes();
        if bytes[self.at] == b'-' {
            self.at += 1;
        }
        if bytes.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if matches!(bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            if matches!(bytes.get(self.at), Some(b'+' | b'-')) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(JsonKind::Number)
    }

    fn digits(&mut self) -> Result<(), JsonError> {
        let count = self.bytes()[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
        self.at += count;
        if count == 0 { self.error("a digit is missing") } else { Ok(()) }
    }
}

/// The open containers: one bit each distinguishes objects from lists.
#[derive(Default)]
struct Levels {
    /// The innermost ones, with the last in the lowest bit.
    bits: u128,
    /// Those further out, 128 at a time.
    outer: Vec<u128>,
    depth: u32,
    deepest: u32,
}

impl Levels {
    #[inline]
    fn push(&mut self, is_object: bool) {
        if self.depth > 0 && self.depth.is_multiple_of(u128::BITS) {
            self.outer.push(self.bits);
        }
        self.bits = (self.bits << 1) | u128::from(is_object);
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    #[inline]
    fn pop(&mut self) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(u128::BITS) {
            // The value that `push` stored when the ending level began.
            self.bits = self.outer.pop().unwrap_or_default();
        }
    }

    #[inline]
    fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }

    #[inline]
    fn end(&self) -> u8 {
        if self.is_object() { b'}' } else { b']' }
    }
}

/// Bytes of a string that are checked together once it has proved to be long.
const BLOCK: usize = 64;

/// How many bytes from the start are plain inside a string: no quote, backslash or control character.
#[inline]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    // Keys and most values end here.
    let (head, rest) = bytes.split_at(bytes.len().min(BLOCK));
    let run = plain_run_by_words(head);
    if run < BLOCK { run } else { BLOCK + plain_run_by_blocks(rest) }
}

fn plain_run_by_blocks(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| is_plain(block)).count() * BLOCK;
    plain + plain_run_by_words(&bytes[plain..])
}

/// Without branches and with one combined result, which compilers turn into vector instructions.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    let special = |b: u8| u8::from(b == b'"') | u8::from(b == b'\\') | u8::from(b < 0x20);
    block.iter().fold(0, |found, b| found | special(*b)) == 0
}

/// Eight bytes per step; the tests for "less than" and "equal" on all bytes of a word are those of
/// <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>.
#[inline]
fn plain_run_by_words(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, tail) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = quote | backslash | control;
        if found != 0 {
            // A borrow can mark bytes after the first hit wrongly, never before it: the lowest mark is right.
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    let special = |b: &u8| *b == b'"' || *b == b'\\' || *b < 0x20;
    words.len() * 8 + tail.iter().position(special).unwrap_or(tail.len())
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

        #[test]
        fn plain_runs_end_at_the_first_special_byte(bytes in proptest::collection::vec(any::<u8>(), 0..40), plain in 0..200_usize) {
            let bytes = [vec![b'x'; plain], bytes].concat();
            let slow = bytes.iter().position(|b| *b == b'"' || *b == b'\\' || *b < 0x20).unwrap_or(bytes.len());
            prop_assert_eq!(plain_run(&bytes), slow);
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
