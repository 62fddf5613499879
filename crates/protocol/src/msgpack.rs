//! MessagePack as a second encoding of the JSON messages, converted at the connection's edge.
//!
//! Inside the server and in the log a message has one form, its JSON text; so both kinds of clients can share a session
//! and receive the same content.
//!
//! - [`intake`] converts clients' messages. What JSON cannot express is a [`Flaw`] of its message, which is refused rather
//!   than altered: binary and extension values, keys that are not strings, NaN.
//! - [`from_json`] converts for sending, and cannot fail on JSON: whatever the scanner accepts has a MessagePack form. Integers
//!   beyond 64 bits become floats, numbers beyond a float's range infinite (as `JSON.parse` reads them), half a surrogate
//!   pair becomes U+FFFD.
//! - [`to_json`] converts back, for readers of the result.
//!
//! None recurses: deep nesting costs memory in proportion, and no stack.

mod pack;
mod unescape;

use bytes::{BufMut, BytesMut};
use rmp::Marker;

use crate::error::{ErrorCode, Refusal};
use crate::json::{JsonError, write_str, write_u64, write_value};
use crate::limits::{MAX_BATCH, MAX_MSGPACK_DEPTH};

pub use pack::Packer;

/// A value that JSON cannot express, the first one of its member. `null` replaces it, and an empty string a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Flaw {
    /// Its offset in the text, in bytes.
    pub at: usize,
    /// Why a message that contains it is refused.
    pub refusal: Refusal,
}

/// Appends the JSON text of one whole MessagePack value from a client, up to `limit` bytes. An
/// infinite number is written as `1e999`, which is beyond all floats.
///
/// # Errors
/// `malformed_json` for bytes that are not one MessagePack value, `payload_too_large` for a text over the limit: a byte of
/// MessagePack can stand for six of JSON. `invalid_message` for flaws in more members than messages have.
pub fn intake(bytes: &[u8], dst: &mut BytesMut, limit: usize) -> Result<Vec<Flaw>, Refusal> {
    let start = dst.len();
    let end = start.saturating_add(limit);
    let mut reader = Reader { bytes, start, end, flaws: Vec::new(), member: 0, flawed: None };
    reader.document(dst)?;
    if reader.bytes.is_empty() { Ok(reader.flaws) } else { Err(malformed("bytes after the value")) }
}

/// Appends the JSON text of what [`from_json`] wrote.
///
/// # Errors
/// As [`intake`], and `invalid_message` for values that JSON does not have.
pub fn to_json(bytes: &[u8], dst: &mut BytesMut) -> Result<(), Refusal> {
    let flaws = intake(bytes, dst, usize::MAX)?;
    flaws.into_iter().next().map_or(Ok(()), |flaw| Err(flaw.refusal))
}

/// Appends the MessagePack form of one JSON value. For many conversions, keep a [`Packer`].
///
/// # Errors
/// `json` is not one JSON value; then nothing is appended.
pub fn from_json(json: &[u8], dst: &mut BytesMut) -> Result<(), JsonError> {
    Packer::default().pack(json, dst)
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(ErrorCode::MalformedJson, format!("the message is not valid MessagePack: {what}"))
}

/// Most flaws of one frame. There is at most one for each key and each value of a member, so `data` and `metadata` of all messages fit.
const MAX_FLAWS: usize = 4 * MAX_BATCH;

const NO_STRING: &str = "the keys of a map must be strings";

/// A list or map whose values are being read.
struct Open {
    /// Number of missing values; for a map, keys and values together.
    missing: u64,
    is_map: bool,
}

struct Reader<'a> {
    bytes: &'a [u8],
    /// Length of the output at the start, and the length at which reading stops.
    start: usize,
    end: usize,
    flaws: Vec<Flaw>,
    /// Number of messages and of their members' keys and values so far.
    member: usize,
    /// The member of the last flaw.
    flawed: Option<usize>,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (taken, rest) = self.bytes.split_at_checked(count).ok_or_else(|| malformed("it is cut short"))?;
        self.bytes = rest;
        Ok(taken)
    }

    /// A big-endian number of `N` bytes.
    fn number<const N: usize>(&mut self) -> Result<u64, Refusal> {
        Ok(self.take(N)?.iter().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
    }

    fn document(&mut self, dst: &mut BytesMut) -> Result<(), Refusal> {
        let mut open: Vec<Open> = Vec::new();
        loop {
            if dst.len() > self.end {
                let detail = "the message is longer as JSON than a message may be";
                return Err(Refusal::new(ErrorCode::PayloadTooLarge, detail));
            }
            if self.flaws.len() > MAX_FLAWS {
                return Err(Refusal::invalid("", "too many values that JSON does not have"));
            }
            // A message is a map, alone or in an array.
            let around = if open.first().is_some_and(|outer| outer.is_map) { 1 } else { 2 };
            self.member += usize::from(open.len() <= around);
            let is_key = open.last().is_some_and(|open| open.is_map && open.missing.is_multiple_of(2));
            match self.value(dst, is_key)? {
                Some(_) if open.len() == MAX_MSGPACK_DEPTH => return Err(malformed("nested too deeply")),
                Some(container) => open.push(container),
                None => {
                    let Some(open) = open.last_mut() else { return Ok(()) };
                    open.missing -= 1;
                }
            }
            // Ends containers that have all their values, and writes what precedes the next value.
            while let Some(innermost) = open.last_mut() {
                if innermost.missing > 0 {
                    separate(dst, innermost);
                    break;
                }
                dst.put_u8(if innermost.is_map { b'}' } else { b']' });
                open.pop();
                match open.last_mut() {
                    None => return Ok(()),
                    Some(outer) => outer.missing -= 1,
                }
            }
        }
    }

    /// Writes one plain value, or the start of a list or map, which is returned.
    fn value(&mut self, dst: &mut BytesMut, is_key: bool) -> Result<Option<Open>, Refusal> {
        let marker = Marker::from_u8(self.take(1)?[0]);
        if let Some(length) = self.string_length(marker)? {
            self.string(dst, length)?;
            return Ok(None);
        }
        if let Some((count, is_map)) = self.container(marker)? {
            if is_key {
                return Err(Refusal::invalid("", NO_STRING));
            }
            dst.put_u8(if is_map { b'{' } else { b'[' });
            return Ok(Some(Open { missing: if is_map { count * 2 } else { count }, is_map }));
        }
        let (at, flaws, flawed) = (dst.len(), self.flaws.len(), self.flawed);
        self.scalar(dst, marker)?;
        if is_key {
            dst.truncate(at);
            // The value may have been a flaw of its own, which is gone with it.
            self.flaws.truncate(flaws);
            self.flawed = flawed;
            dst.put_slice(b"\"\"");
            self.flaw(dst, NO_STRING);
        }
        Ok(None)
    }

    /// Records that a value is missing before the output's end.
    fn flaw(&mut self, dst: &BytesMut, detail: &str) {
        // One is enough to refuse a message. A member with many must not hide those of later messages.
        if self.flawed.replace(self.member) != Some(self.member) {
            let at = dst.len() - self.start;
            self.flaws.push(Flaw { at, refusal: Refusal::invalid("data", detail) });
        }
    }

    fn string_length(&mut self, marker: Marker) -> Result<Option<u64>, Refusal> {
        Ok(Some(match marker {
            Marker::FixStr(length) => u64::from(length),
            Marker::Str8 => self.number::<1>()?,
            Marker::Str16 => self.number::<2>()?,
            Marker::Str32 => self.number::<4>()?,
            _ => return Ok(None),
        }))
    }

    /// The number of members that follow, and whether they are pairs.
    fn container(&mut self, marker: Marker) -> Result<Option<(u64, bool)>, Refusal> {
        Ok(Some(match marker {
            Marker::FixArray(count) => (u64::from(count), false),
            Marker::Array16 => (self.number::<2>()?, false),
            Marker::Array32 => (self.number::<4>()?, false),
            Marker::FixMap(count) => (u64::from(count), true),
            Marker::Map16 => (self.number::<2>()?, true),
            Marker::Map32 => (self.number::<4>()?, true),
            _ => return Ok(None),
        }))
    }

    fn scalar(&mut self, dst: &mut BytesMut, marker: Marker) -> Result<(), Refusal> {
        match marker {
            Marker::Null => dst.put_slice(b"null"),
            Marker::True => dst.put_slice(b"true"),
            Marker::False => dst.put_slice(b"false"),
            Marker::FixPos(number) => write_u64(dst, u64::from(number)),
            Marker::FixNeg(number) => write_signed(dst, i64::from(number)),
            Marker::U8 => write_u64(dst, self.number::<1>()?),
            Marker::U16 => write_u64(dst, self.number::<2>()?),
            Marker::U32 => write_u64(dst, self.number::<4>()?),
            Marker::U64 => write_u64(dst, self.number::<8>()?),
            Marker::I8 => write_signed(dst, i64::from(self.number::<1>()? as i8)),
            Marker::I16 => write_signed(dst, i64::from(self.number::<2>()? as i16)),
            Marker::I32 => write_signed(dst, i64::from(self.number::<4>()? as i32)),
            Marker::I64 => write_signed(dst, self.number::<8>()? as i64),
            Marker::F32 => {
                let bits = self.number::<4>()? as u32;
                self.float(dst, f64::from(f32::from_bits(bits)));
            }
            Marker::F64 => {
                let bits = self.number::<8>()?;
                self.float(dst, f64::from_bits(bits));
            }
            Marker::Reserved => return Err(malformed("a reserved marker")),
            _ => {
                let length = self.opaque_length(marker)?;
                self.take(length)?;
                dst.put_slice(b"null");
                self.flaw(
                    dst,
                    "binary and extension values are not supported: send bytes as a base64 string",
                );
            }
        }
        Ok(())
    }

    /// The bytes of a binary or extension value; those of an extension start with its type.
    fn opaque_length(&mut self, marker: Marker) -> Result<usize, Refusal> {
        let length = match marker {
            Marker::Bin8 => self.number::<1>()?,
            Marker::Bin16 => self.number::<2>()?,
            Marker::Bin32 => self.number::<4>()?,
            Marker::FixExt1 => 2,
            Marker::FixExt2 => 3,
            Marker::FixExt4 => 5,
            Marker::FixExt8 => 9,
            Marker::FixExt16 => 17,
            Marker::Ext8 => self.number::<1>()? + 1,
            Marker::Ext16 => self.number::<2>()? + 1,
            Marker::Ext32 => self.number::<4>()? + 1,
            // All others are handled elsewhere.
            _ => 0,
        };
        usize::try_from(length).map_err(|_| malformed("a length out of range"))
    }

    fn float(&mut self, dst: &mut BytesMut, number: f64) {
        if number.is_finite() {
            write_value(dst, &number);
        } else if number.is_nan() {
            dst.put_slice(b"null");
            self.flaw(dst, "JSON has no NaN; send null or a string");
        } else {
            dst.put_slice(if number > 0.0 { b"1e999" } else { b"-1e999" });
        }
    }

    fn string(&mut self, dst: &mut BytesMut, length: u64) -> Result<(), Refusal> {
        let length = usize::try_from(length).map_err(|_| malformed("a length out of range"))?;
        let bytes = self.take(length)?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| malformed("a string is not UTF-8"))?;
        write_str(dst, text);
        Ok(())
    }
}

/// What precedes the next value of a container: nothing before the first, which follows its bracket.
fn separate(dst: &mut BytesMut, open: &Open) {
    match dst.last() {
        // No value ends in one of these.
        Some(b'[' | b'{') => {}
        _ if open.is_map && !open.missing.is_multiple_of(2) => dst.put_u8(b':'),
        _ => dst.put_u8(b','),
    }
}

fn write_signed(dst: &mut BytesMut, number: i64) {
    dst.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn json_of(bytes: &[u8]) -> Result<String, Refusal> {
        let mut dst = BytesMut::new();
        to_json(bytes, &mut dst)?;
        Ok(String::from_utf8(dst.to_vec()).unwrap())
    }

    fn msgpack_of(json: &str) -> Vec<u8> {
        let mut dst = BytesMut::new();
        from_json(json.as_bytes(), &mut dst).unwrap();
        dst.to_vec()
    }

    #[test]
    fn examples_of_the_specification() {
        // https://msgpack.org: the example on its front page.
        let bytes = b"\x82\xa7compact\xc3\xa6schema\x00";
        assert_eq!(json_of(bytes).unwrap(), r#"{"compact":true,"schema":0}"#);
        assert_eq!(msgpack_of(r#"{"compact": true, "schema": 0}"#), bytes);
    }

    #[test]
    fn what_json_cannot_say_is_refused() {
        let cases: [(&[u8], ErrorCode); 12] = [
            (b"\xc4\x01a", ErrorCode::InvalidMessage),
            (b"\xd4\x01a", ErrorCode::InvalidMessage),
            (b"\x81\x01\x01", ErrorCode::InvalidMessage),
            (b"\x81\x90\x01", ErrorCode::InvalidMessage),
            (b"\xcb\x7f\xf8\x00\x00\x00\x00\x00\x00", ErrorCode::InvalidMessage),
            (b"\xc5\x01\x00a", ErrorCode::MalformedJson),
            (b"\xc9\xff\xff\xff\xff\x01", ErrorCode::MalformedJson),
            (b"\xc1", ErrorCode::MalformedJson),
            (b"", ErrorCode::MalformedJson),
            (b"\x01\x01", ErrorCode::MalformedJson),
            (b"\xa1\xff", ErrorCode::MalformedJson),
            (b"\xdf\xff\xff\xff\xff\xa1a", ErrorCode::MalformedJson),
        ];
        for (bytes, code) in cases {
            assert_eq!(json_of(bytes).unwrap_err().code, code, "{bytes:?}");
        }
        assert_eq!(json_of(&[0x91; 100_000]).unwrap_err().code, ErrorCode::MalformedJson);
    }

    #[test]
    fn a_text_that_grows_beyond_the_limit_is_refused_on_the_way() {
        let nils = [&b"\xdd\x00\x10\x00\x00"[..], &vec![0xc0; 1 << 20]].concat();
        let mut dst = BytesMut::new();
        assert_eq!(intake(&nils, &mut dst, 1 << 20).unwrap_err().code, ErrorCode::PayloadTooLarge);
        assert!(dst.len() < (1 << 20) + 16, "{}", dst.len());
        dst.clear();
        assert_eq!(intake(&nils, &mut dst, (5 << 20) + 1), Ok(Vec::new()));
    }

    #[test]
    fn what_json_lacks_is_told_by_its_place_and_the_rest_is_read() {
        // {"a": bin, "b": NaN, 7: 1, "c": ext, "d": inf}
        let packed =
            b"\x85\xa1a\xc4\x02xx\xa1b\xca\x7f\xc0\x00\x00\x07\x01\xa1c\xd5\x01ab\xa1d\xca\x7f\x80\x00\x00";
        let mut dst = BytesMut::from(&b"before"[..]);
        let flaws = intake(packed, &mut dst, 1024).unwrap();
        let text = std::str::from_utf8(&dst[6..]).unwrap();
        assert_eq!(text, r#"{"a":null,"b":null,"":1,"c":null,"d":1e999}"#);
        let before: Vec<&str> = flaws.iter().map(|flaw| &text[flaw.at - 2..flaw.at]).collect();
        assert_eq!(before, ["ll", "ll", "\"\"", "ll"]);
    }

    #[test]
    fn no_message_of_a_batch_hides_the_flaws_of_a_later_one() {
        // {"data": {"list": [nan × 1500]}} and {"data": {"x": nan}}
        let nan = b"\xca\x7f\xc0\x00\x00";
        let many = [&b"\x81\xa4data\x81\xa4list\xdc\x05\xdc"[..], &nan.repeat(1500)].concat();
        let one = [&b"\x81\xa4data\x81\xa1x"[..], nan].concat();
        let mut dst = BytesMut::new();
        let flaws = intake(&[&b"\x92"[..], &many, &one].concat(), &mut dst, 1 << 20).unwrap();
        assert_eq!(flaws.last().unwrap().at, dst.len() - b"}}]".len());
        assert!(flaws.len() < 5, "a list is flawed once");

        // A frame with more flawed members than any sender has is refused as a whole.
        let members = [&b"\xde\x13\x88"[..], &[&b"\xa1x"[..], nan].concat().repeat(5000)].concat();
        let refusal = intake(&members, &mut dst, 1 << 20).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::InvalidMessage);
    }

    #[test]
    fn a_key_that_json_lacks_is_one_flaw_behind_what_replaces_it() {
        for key in [&b"\xc4\x02xx"[..], b"\xd4\x01a", b"\xca\x7f\xc0\x00\x00"] {
            let packed = [b"\x82", key, b"\x01\xa1b\x02"].concat();
            let mut dst = BytesMut::new();
            let flaws = intake(&packed, &mut dst, 1024).unwrap();
            assert_eq!(&dst[..], br#"{"":1,"b":2}"#);
            assert_eq!(flaws.iter().map(|flaw| flaw.at).collect::<Vec<_>>(), [3], "{key:?}");
        }
    }

    #[test]
    fn nesting_costs_no_stack_on_either_way() {
        let depth = 60_000;
        let json = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert_eq!(json_of(&msgpack_of(&json)).unwrap(), json);
        let json = format!("{}1{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert_eq!(json_of(&msgpack_of(&json)).unwrap(), json);
    }

    #[test]
    fn what_only_json_can_spell_gets_the_nearest_form() {
        let float = |value: f64| [&[0xcb], &value.to_be_bytes()[..]].concat();
        for (json, packed) in [
            (r#""\ud83d""#, b"\xa3\xef\xbf\xbd".to_vec()),
            (r#""\ude00\ud83d""#, b"\xa6\xef\xbf\xbd\xef\xbf\xbd".to_vec()),
            (r#""\ud83dx""#, b"\xa4\xef\xbf\xbdx".to_vec()),
            (r#""\ud83d\n""#, b"\xa4\xef\xbf\xbd\n".to_vec()),
            (r#""\ud83d\u0041""#, b"\xa4\xef\xbf\xbdA".to_vec()),
            (r#""\uD83D\uDE00""#, b"\xa4\xf0\x9f\x98\x80".to_vec()),
            ("1e999", float(f64::INFINITY)),
            ("-1e999", float(f64::NEG_INFINITY)),
            ("1e-999", float(0.0)),
            ("-0", float(-0.0)),
            ("18446744073709551615", b"\xcf\xff\xff\xff\xff\xff\xff\xff\xff".to_vec()),
            ("18446744073709551616", float(18_446_744_073_709_551_616.0)),
            ("-9223372036854775809", float(-9_223_372_036_854_775_808.0)),
            (&"7".repeat(310), float(f64::INFINITY)),
        ] {
            assert_eq!(msgpack_of(json), packed, "{json}");
        }
    }

    #[test]
    fn what_is_not_json_leaves_nothing_behind() {
        let mut dst = BytesMut::from(&b"before"[..]);
        for text in ["", "{", "[1", r#"{"a"}"#, "{1:2}", "[1,]", "1 2", "nul", r#"["\x"]"#] {
            assert!(from_json(text.as_bytes(), &mut dst).is_err(), "{text}");
            assert_eq!(&dst[..], b"before", "{text}");
        }
    }

    #[test]
    fn containers_of_every_header_size() {
        for count in [0, 15, 16, 65_535, 65_536] {
            let array = format!("[{}]", vec!["1"; count].join(","));
            assert_eq!(json_of(&msgpack_of(&array)).unwrap(), array);
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":{n}")).collect();
            let map = format!("{{{}}}", members.join(","));
            assert_eq!(json_of(&msgpack_of(&map)).unwrap(), map);
        }
    }

    /// Any text that the scanner accepts: with halves of surrogate pairs, numbers beyond all floats, long lists, deep nests.
    fn any_json() -> impl Strategy<Value = String> {
        let string = r#""([a-z€]|\\[bfnrt/"\\]|\\u[dD][89a-fA-F][0-9a-f]{2}|\\u00[0-9a-f]{2}){0,8}""#;
        let leaf = prop_oneof![
            string,
            r"-?(0|[1-9][0-9]{0,25})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?",
            "[1-9][0-9]{300,320}",
            "true|false|null",
        ];
        let nested = leaf.prop_recursive(5, 64, 20, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..20)
                    .prop_map(|list| format!("[{}]", list.join(","))),
                proptest::collection::vec((string, inner), 0..20).prop_map(|members| {
                    let members: Vec<String> =
                        members.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                    format!("{{{}}}", members.join(" , "))
                }),
            ]
        });
        (nested, 0..200_usize)
            .prop_map(|(json, depth)| format!("{}{json}{}", "[".repeat(depth), "]".repeat(depth)))
    }

    proptest! {
        #[test]
        fn every_text_that_the_scanner_accepts_has_a_form(json in any_json()) {
            let mut scanner = crate::json::Scanner::new(&json);
            prop_assert!(scanner.value().and_then(|_| scanner.end()).is_ok(), "{}", json);
            let packed = msgpack_of(&json);
            // Our own readers take whatever comes out, and once more it comes out the same.
            let mut again = BytesMut::new();
            to_json(&packed, &mut again).unwrap();
            prop_assert_eq!(msgpack_of(std::str::from_utf8(&again).unwrap()), &packed[..]);
            // Where a stricter parser can read the text, both say the same.
            if let Ok(value) = serde_json::from_str::<serde_json::Value>(&json) {
                let back = json_of(&packed).unwrap();
                prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&back).unwrap(), value);
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_give_json(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(json) = json_of(&bytes) {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{}", json);
            }
        }

        #[test]
        fn values_survive_the_way_there_and_back(
            integers in proptest::collection::vec(any::<i64>(), 0..20),
            big in any::<u64>(),
            float in -1e300..1e300_f64,
            text in ".{0,300}",
        ) {
            let value = serde_json::json!({"integers": integers, "big": big, "float": float, text.as_str(): [text, null, true]});
            let back = json_of(&msgpack_of(&value.to_string())).unwrap();
            prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&back).unwrap(), value);
        }
    }
}
