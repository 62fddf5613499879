//! MessagePack as a second spelling of the JSON messages, translated at the connection's edge.
//!
//! Inside the server and in the log a message has one form, its JSON text; so both kinds of clients meet in one session
//! and get the same content. What JSON cannot say is refused on the way in rather than bent: binary and extension values,
//! keys that are no strings, numbers that are not finite. On the way out, integers beyond 64 bits become floats.

use std::fmt;

use bytes::{BufMut, BytesMut};
use rmp::Marker;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{ErrorCode, Refusal};
use crate::json::write_str;
use crate::limits::MAX_JSON_DEPTH;

/// Appends the JSON text of one whole MessagePack value.
///
/// # Errors
/// `malformed_json` for bytes that are not one MessagePack value, `invalid_message` for values that JSON does not have.
pub fn to_json(bytes: &[u8], dst: &mut BytesMut) -> Result<(), Refusal> {
    let mut reader = Reader { bytes };
    reader.value(dst, 0)?;
    if reader.bytes.is_empty() { Ok(()) } else { Err(malformed("bytes after the value")) }
}

/// Appends the MessagePack form of a JSON text that this crate wrote or checked.
///
/// # Errors
/// If `json` is not one JSON value.
pub fn from_json(json: &[u8], dst: &mut BytesMut) -> Result<(), serde_json::Error> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    Writer { dst }.deserialize(&mut deserializer)?;
    deserializer.end()
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(ErrorCode::MalformedJson, format!("the message is not valid MessagePack: {what}"))
}

struct Reader<'a> {
    bytes: &'a [u8],
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

    fn length<const N: usize>(&mut self) -> Result<usize, Refusal> {
        usize::try_from(self.number::<N>()?).map_err(|_| malformed("a length out of range"))
    }

    fn value(&mut self, dst: &mut BytesMut, depth: u32) -> Result<(), Refusal> {
        match Marker::from_u8(self.take(1)?[0]) {
            Marker::Null => dst.put_slice(b"null"),
            Marker::True => dst.put_slice(b"true"),
            Marker::False => dst.put_slice(b"false"),
            Marker::FixPos(number) => write_unsigned(dst, u64::from(number)),
            Marker::FixNeg(number) => write_signed(dst, i64::from(number)),
            Marker::U8 => write_unsigned(dst, self.number::<1>()?),
            Marker::U16 => write_unsigned(dst, self.number::<2>()?),
            Marker::U32 => write_unsigned(dst, self.number::<4>()?),
            Marker::U64 => write_unsigned(dst, self.number::<8>()?),
            Marker::I8 => write_signed(dst, i64::from(self.number::<1>()? as i8)),
            Marker::I16 => write_signed(dst, i64::from(self.number::<2>()? as i16)),
            Marker::I32 => write_signed(dst, i64::from(self.number::<4>()? as i32)),
            Marker::I64 => write_signed(dst, self.number::<8>()? as i64),
            Marker::F32 => write_float(dst, f64::from(f32::from_bits(self.number::<4>()? as u32)))?,
            Marker::F64 => write_float(dst, f64::from_bits(self.number::<8>()?))?,
            Marker::FixStr(length) => self.string(dst, usize::from(length))?,
            Marker::Str8 => {
                let length = self.length::<1>()?;
                self.string(dst, length)?;
            }
            Marker::Str16 => {
                let length = self.length::<2>()?;
                self.string(dst, length)?;
            }
            Marker::Str32 => {
                let length = self.length::<4>()?;
                self.string(dst, length)?;
            }
            Marker::FixArray(count) => self.array(dst, usize::from(count), depth)?,
            Marker::Array16 => {
                let count = self.length::<2>()?;
                self.array(dst, count, depth)?;
            }
            Marker::Array32 => {
                let count = self.length::<4>()?;
                self.array(dst, count, depth)?;
            }
            Marker::FixMap(count) => self.map(dst, usize::from(count), depth)?,
            Marker::Map16 => {
                let count = self.length::<2>()?;
                self.map(dst, count, depth)?;
            }
            Marker::Map32 => {
                let count = self.length::<4>()?;
                self.map(dst, count, depth)?;
            }
            Marker::Reserved => return Err(malformed("a reserved marker")),
            _ => {
                let detail = "binary and extension values are not taken: send bytes as a base64 string";
                return Err(Refusal::invalid("data", detail));
            }
        }
        Ok(())
    }

    fn string(&mut self, dst: &mut BytesMut, length: usize) -> Result<(), Refusal> {
        let bytes = self.take(length)?;
        let text = simdutf8::basic::from_utf8(bytes).map_err(|_| malformed("a string is not UTF-8"))?;
        write_str(dst, text);
        Ok(())
    }

    fn array(&mut self, dst: &mut BytesMut, count: usize, depth: u32) -> Result<(), Refusal> {
        let depth = deeper(depth)?;
        dst.put_u8(b'[');
        for index in 0..count {
            if index > 0 {
                dst.put_u8(b',');
            }
            self.value(dst, depth)?;
        }
        dst.put_u8(b']');
        Ok(())
    }

    fn map(&mut self, dst: &mut BytesMut, count: usize, depth: u32) -> Result<(), Refusal> {
        let depth = deeper(depth)?;
        dst.put_u8(b'{');
        for index in 0..count {
            if index > 0 {
                dst.put_u8(b',');
            }
            let key = dst.len();
            self.value(dst, depth)?;
            if dst[key] != b'"' {
                return Err(Refusal::invalid("", "the keys of a map must be strings"));
            }
            dst.put_u8(b':');
            self.value(dst, depth)?;
        }
        dst.put_u8(b'}');
        Ok(())
    }
}

fn deeper(depth: u32) -> Result<u32, Refusal> {
    if depth == MAX_JSON_DEPTH { Err(malformed("nested too deeply")) } else { Ok(depth + 1) }
}

fn write_unsigned(dst: &mut BytesMut, number: u64) {
    dst.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_signed(dst: &mut BytesMut, number: i64) {
    dst.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn write_float(dst: &mut BytesMut, number: f64) -> Result<(), Refusal> {
    if !number.is_finite() {
        return Err(Refusal::invalid("data", "numbers must be finite"));
    }
    crate::json::write_value(dst, &number);
    Ok(())
}

/// Writes what a JSON deserializer meets, so that a text is translated in one pass.
struct Writer<'a> {
    dst: &'a mut BytesMut,
}

impl Writer<'_> {
    /// Runs `fill`, which writes a container's content and tells its size, and puts the smallest header before it.
    fn container<E>(
        self,
        small: u8,
        wide: u8,
        fill: impl FnOnce(&mut BytesMut) -> Result<usize, E>,
    ) -> Result<(), E> {
        let start = self.dst.len();
        self.dst.put_u8(0);
        let count = fill(self.dst)?;
        if count < 16 {
            self.dst[start] = small | count as u8;
            return Ok(());
        }
        // The size is known only now: make room for the longer header.
        let content = self.dst.split_off(start + 1);
        if let Ok(count) = u16::try_from(count) {
            self.dst[start] = wide;
            self.dst.put_u16(count);
        } else {
            self.dst[start] = wide + 1;
            self.dst.put_u32(count as u32);
        }
        self.dst.extend_from_slice(&content);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Writer<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// Writing to memory cannot fail; `rmp` cannot know that.
fn written<T, E: fmt::Debug>(result: Result<T, E>) {
    result.map(drop).expect("writing to memory");
}

impl<'de> Visitor<'de> for Writer<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        self.dst.put_u8(Marker::Null.to_u8());
        Ok(())
    }

    fn visit_bool<E>(self, value: bool) -> Result<(), E> {
        self.dst.put_u8(if value { Marker::True.to_u8() } else { Marker::False.to_u8() });
        Ok(())
    }

    fn visit_u64<E>(self, value: u64) -> Result<(), E> {
        written(rmp::encode::write_uint(&mut self.dst.writer(), value));
        Ok(())
    }

    fn visit_i64<E>(self, value: i64) -> Result<(), E> {
        written(rmp::encode::write_sint(&mut self.dst.writer(), value));
        Ok(())
    }

    fn visit_f64<E>(self, value: f64) -> Result<(), E> {
        written(rmp::encode::write_f64(&mut self.dst.writer(), value));
        Ok(())
    }

    fn visit_str<E>(self, value: &str) -> Result<(), E> {
        written(rmp::encode::write_str(&mut self.dst.writer(), value));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        self.container(0x90, Marker::Array16.to_u8(), |dst| {
            let mut count = 0;
            while seq.next_element_seed(Writer { dst })?.is_some() {
                count += 1;
            }
            Ok(count)
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        self.container(0x80, Marker::Map16.to_u8(), |dst| {
            let mut count = 0;
            while map.next_key_seed(Writer { dst: &mut *dst })?.is_some() {
                map.next_value_seed(Writer { dst })?;
                count += 1;
            }
            Ok(count)
        })
    }
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
        let cases: [(&[u8], ErrorCode); 9] = [
            (b"\xc4\x01a", ErrorCode::InvalidMessage),
            (b"\xd4\x01a", ErrorCode::InvalidMessage),
            (b"\x81\x01\x01", ErrorCode::InvalidMessage),
            (b"\xcb\x7f\xf0\x00\x00\x00\x00\x00\x00", ErrorCode::InvalidMessage),
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
    fn containers_of_every_header_size() {
        for count in [0, 15, 16, 65_535, 65_536] {
            let array = format!("[{}]", vec!["1"; count].join(","));
            assert_eq!(json_of(&msgpack_of(&array)).unwrap(), array);
            let members: Vec<String> = (0..count).map(|n| format!("\"{n}\":{n}")).collect();
            let map = format!("{{{}}}", members.join(","));
            assert_eq!(json_of(&msgpack_of(&map)).unwrap(), map);
        }
    }

    proptest! {
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
