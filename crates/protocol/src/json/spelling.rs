//! One JSON text in the spellings that JSON writers give it.
//!
//! Two writers spell the same value differently in three ways: blanks between tokens, escapes in strings, digits of numbers. This
//! settles the first two, so that a text can be compared with one of which only a hash is left. Digits and the order of keys stay
//! as they are.

use super::plain::plain_run;

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// One blank behind each comma and colon, or none.
    has_blanks: bool,
    /// Characters beyond `~` as `\u` escapes in lower-case digits, or as they are.
    is_ascii: bool,
}

impl Spelling {
    /// What `JSON.stringify`, serde_json and Jackson write, and what a message in MessagePack becomes: no blanks, and only the
    /// escapes that RFC 8259 asks for.
    pub const COMPACT: Self = Self { has_blanks: false, is_ascii: false };

    /// The spellings of writers in wide use, the most frequent first. Python's `json.dumps` writes the last one, and the others with
    /// its options `separators` and `ensure_ascii`.
    pub const USUAL: [Self; 4] = [
        Self::COMPACT,
        Self { has_blanks: true, is_ascii: false },
        Self { has_blanks: false, is_ascii: true },
        Self { has_blanks: true, is_ascii: true },
    ];
}

/// Appends `text`, which is JSON, in this spelling: the same values, with the same keys in the same order and numbers as written.
pub fn respell(text: &str, spelling: Spelling, dst: &mut String) {
    let mut rest = text;
    while let Some(&first) = rest.as_bytes().first() {
        match first {
            b'"' => rest = string(&rest[1..], spelling, dst),
            b' ' | b'\t' | b'\n' | b'\r' => rest = &rest[1..],
            b',' | b':' => {
                dst.push(char::from(first));
                if spelling.has_blanks {
                    dst.push(' ');
                }
                rest = &rest[1..];
            }
            _ => {
                let ends = |b: &u8| matches!(b, b'"' | b',' | b':' | b' ' | b'\t' | b'\n' | b'\r');
                let size = rest.bytes().position(|b| ends(&b)).unwrap_or(rest.len());
                let (token, next) = rest.split_at(size);
                dst.push_str(token);
                rest = next;
            }
        }
    }
}

/// Writes a string whose opening quote has been read. Gives what follows its closing quote.
fn string<'a>(text: &'a str, spelling: Spelling, dst: &mut String) -> &'a str {
    dst.push('"');
    let mut rest = text;
    loop {
        // Ends at a quote, a backslash or a control character, none of which is part of a longer character.
        let (plain, next) = rest.split_at(plain_run(rest.as_bytes()));
        if spelling.is_ascii && plain.bytes().any(|b| b > b'~') {
            plain.chars().for_each(|c| character(c, spelling, dst));
        } else {
            dst.push_str(plain);
        }
        let mut chars = next.chars();
        match chars.next() {
            Some('\\') => {}
            // In JSON nothing but a quote comes here.
            Some(_) | None => {
                dst.push('"');
                return chars.as_str();
            }
        }
        rest = escape(chars.as_str(), spelling, dst);
    }
}

/// Writes what an escape stands for; its backslash has been read. Gives what follows it.
fn escape<'a>(text: &'a str, spelling: Spelling, dst: &mut String) -> &'a str {
    let mut chars = text.chars();
    let meant = match chars.next() {
        Some('u') => return unicode(chars.as_str(), spelling, dst),
        Some('b') => '\u{8}',
        Some('f') => '\u{c}',
        Some('n') => '\n',
        Some('r') => '\r',
        Some('t') => '\t',
        Some(other) => other,
        None => return "",
    };
    character(meant, spelling, dst);
    chars.as_str()
}

/// The same for `\u`, of which the `u` has been read. Half a surrogate pair stands for nothing else and stays an escape.
fn unicode<'a>(text: &'a str, spelling: Spelling, dst: &mut String) -> &'a str {
    let Some((unit, rest)) = hex(text) else { return text };
    let pair = rest.strip_prefix("\\u").and_then(hex);
    if let Some((low, behind)) = pair
        && let Some(Ok(meant)) = char::decode_utf16([unit, low]).next()
        && meant > '\u{ffff}'
    {
        character(meant, spelling, dst);
        return behind;
    }
    match char::from_u32(u32::from(unit)) {
        Some(meant) => character(meant, spelling, dst),
        None => write_unit(unit, dst),
    }
    rest
}

fn hex(text: &str) -> Option<(u16, &str)> {
    let (digits, rest) = text.split_at_checked(4)?;
    Some((u16::from_str_radix(digits, 16).ok()?, rest))
}

fn character(c: char, spelling: Spelling, dst: &mut String) {
    match c {
        '"' => dst.push_str("\\\""),
        '\\' => dst.push_str("\\\\"),
        '\u{8}' => dst.push_str("\\b"),
        '\u{c}' => dst.push_str("\\f"),
        '\n' => dst.push_str("\\n"),
        '\r' => dst.push_str("\\r"),
        '\t' => dst.push_str("\\t"),
        _ if c < ' ' || (spelling.is_ascii && c > '~') => {
            c.encode_utf16(&mut [0; 2]).iter().for_each(|unit| write_unit(*unit, dst));
        }
        _ => dst.push(c),
    }
}

fn write_unit(unit: u16, dst: &mut String) {
    dst.push_str("\\u");
    dst.extend(
        [12, 8, 4, 0].map(|shift| char::from(b"0123456789abcdef"[usize::from((unit >> shift) & 0xf)])),
    );
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;
    use serde_json::Value;

    use super::*;

    fn respelt(text: &str, spelling: Spelling) -> String {
        let mut dst = String::new();
        respell(text, spelling, &mut dst);
        dst
    }

    /// What `json.dumps` of Python 3.12 writes for a value: by default, with `ensure_ascii=False`, and both of them with
    /// `separators=(",", ":")`.
    #[test]
    fn python_s_spellings() {
        let written = [
            r#"{"a": [1, -2.5, true, null, {}, []], "é": "\"\\/\b\f\n\r\t\u0001~ü😀"}"#.replace('~', "~\u{7f}"),
            r#"{"a": [1, -2.5, true, null, {}, []], "\u00e9": "\"\\/\b\f\n\r\t\u0001~\u007f\u00fc\ud83d\ude00"}"#.to_owned(),
        ];
        for text in &written {
            let [compact, blanks, ascii, both] = Spelling::USUAL.map(|spelling| respelt(text, spelling));
            assert_eq!([&blanks, &both], [&written[0], &written[1]]);
            let separated = |text: &str| text.replace(", ", ",").replace(": ", ":");
            assert_eq!([compact, ascii], [separated(&written[0]), separated(&written[1])]);
        }
    }

    #[test]
    fn half_a_pair_stays_what_it_is() {
        for (text, compact) in [
            (r#""\uD800""#, r#""\ud800""#),
            (r#""\uDE00\uD83D""#, r#""\ude00\ud83d""#),
            (r#""\ud83d\ud83d\ude00""#, r#""\ud83d😀""#),
            (r#""\uD83Dx""#, r#""\ud83dx""#),
        ] {
            assert_eq!(respelt(text, Spelling::COMPACT), compact);
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["\\PC{0,8}", "[ -~]{0,80}", "[\u{0}-\u{7f}\u{e9}\u{1f600}\u{ffff}]{0,8}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    /// One of few values, so that two of them are often nearly alike.
    fn small() -> impl Strategy<Value = Value> {
        let text = select(&["", "a", " ", ", ", "\"", "\\u0061", "é", "\\u00e9"][..]);
        let leaf = prop_oneof![
            (0..2_u8).prop_map(Value::from),
            text.clone().prop_map(Value::from),
            Just(Value::from(0.0))
        ];
        prop_oneof![
            leaf.clone(),
            prop::collection::vec(leaf.clone(), 0..3).prop_map(Value::from),
            (text, leaf).prop_map(|(key, value)| serde_json::json!({ key: value })),
        ]
    }

    /// A text with other blanks and escapes, by a row of numbers.
    fn misspelt(text: &str, mut dice: impl Iterator<Item = u8>) -> String {
        let (mut dst, mut chars, mut in_string) = (String::new(), text.chars(), false);
        let mut roll = || dice.next().unwrap_or(0);
        while let Some(c) = chars.next() {
            match c {
                '"' => {
                    in_string = !in_string;
                    dst.push(c);
                }
                '\\' => {
                    dst.push(c);
                    let short = chars.next();
                    dst.extend(short);
                    if short == Some('u') {
                        dst.extend(chars.by_ref().take(4));
                    }
                }
                _ if in_string && roll().is_multiple_of(3) => {
                    let units: Vec<String> =
                        c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect();
                    dst.push_str(&units.concat());
                }
                '/' if in_string => dst.push_str("\\/"),
                ',' | ':' | '{' | '}' | '[' | ']' if !in_string => {
                    let blanks = [" ", "", "\n\t", "\r\n  "];
                    dst.push_str(blanks[usize::from(roll() % 4)]);
                    dst.push(c);
                    dst.push_str(blanks[usize::from(roll() % 4)]);
                }
                _ => dst.push(c),
            }
        }
        dst
    }

    proptest! {
        #[test]
        fn all_spellings_of_a_value_come_to_the_same(value in value(), dice in prop::collection::vec(any::<u8>(), 1..100)) {
            let compact = value.to_string();
            let other = misspelt(&compact, dice.iter().copied().cycle());
            prop_assert_eq!(&serde_json::from_str::<Value>(&other).unwrap(), &value, "{}", other);
            prop_assert_eq!(&respelt(&other, Spelling::COMPACT), &compact);
            for spelling in Spelling::USUAL {
                let respelled = respelt(&compact, spelling);
                prop_assert_eq!(&respelt(&other, spelling), &respelled);
                prop_assert_eq!(&respelt(&respelled, Spelling::COMPACT), &compact);
                prop_assert_eq!(respelled.is_ascii(), spelling.is_ascii || compact.is_ascii());
            }
        }

        #[test]
        fn other_values_stay_others(one in small(), other in small()) {
            for spelling in Spelling::USUAL {
                let same = respelt(&one.to_string(), spelling) == respelt(&other.to_string(), spelling);
                prop_assert_eq!(same, one == other);
            }
        }

        #[test]
        fn no_text_panics(text in ".{0,60}|[\\\\u\"d8 ,:{}é]{0,60}") {
            for spelling in Spelling::USUAL {
                let _ = respelt(&text, spelling);
            }
        }
    }
}
