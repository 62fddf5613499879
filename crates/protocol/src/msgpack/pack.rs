//! Converts JSON texts to MessagePack.
//!
//! One pass over the text. The number of members of a list or map is known only at its end, so each starts as one byte, which
//! becomes its header; those with more than 15 members need a longer one, for which the output is copied once more.

use bytes::{BufMut, BytesMut};
use rmp::Marker;
use rmp::encode::{write_f64, write_sint, write_str, write_uint};

use super::unescape::unescape;
use crate::json::{JsonError, JsonKind, RawValue, Scanner};

/// Maximum number of members for a header of one byte.
const SMALL: u32 = 15;

/// A list or map in the output.
struct Container {
    /// Where its header goes.
    at: usize,
    members: u32,
    is_map: bool,
}

/// Converts JSON to MessagePack. It keeps only buffers between texts.
#[derive(Default)]
pub struct Packer {
    containers: Vec<Container>,
    /// Indices in `containers` of the open ones.
    open: Vec<usize>,
    text: String,
}

impl Packer {
    /// Appends the MessagePack form of one JSON value.
    ///
    /// # Errors
    /// `json` is not one JSON value; then nothing is appended.
    pub fn pack(&mut self, json: &[u8], dst: &mut BytesMut) -> Result<(), JsonError> {
        let Ok(json) = simdutf8::basic::from_utf8(json) else {
            return Err(JsonError { what: "bytes that are not UTF-8", at: 0 });
        };
        let start = dst.len();
        self.containers.clear();
        self.open.clear();
        match self.values(&mut Scanner::new(json), dst) {
            Ok(()) => {
                self.write_headers(dst);
                Ok(())
            }
            Err(error) => {
                dst.truncate(start);
                Err(error)
            }
        }
    }

    fn values(&mut self, scanner: &mut Scanner<'_>, dst: &mut BytesMut) -> Result<(), JsonError> {
        loop {
            // A value starts here.
            if let Some(is_map) = opening(scanner) {
                self.open.push(self.containers.len());
                self.containers.push(Container { at: dst.len(), members: 0, is_map });
                dst.put_u8(0);
                if !scanner.eat(if is_map { b'}' } else { b']' }) {
                    if is_map {
                        self.key(scanner, dst)?;
                    }
                    continue;
                }
                self.open.pop();
            } else {
                let value = scanner.value()?;
                self.scalar(value, dst);
            }
            // It has ended, and possibly the containers around it.
            loop {
                let Some(&place) = self.open.last() else { return scanner.end() };
                let container = &mut self.containers[place];
                container.members += 1;
                let is_map = container.is_map;
                if scanner.eat(b',') {
                    if is_map {
                        self.key(scanner, dst)?;
                    }
                    break;
                }
                scanner.expect(if is_map { b'}' } else { b']' })?;
                self.open.pop();
            }
        }
    }

    fn key(&mut self, scanner: &mut Scanner<'_>, dst: &mut BytesMut) -> Result<(), JsonError> {
        let key = scanner.key()?;
        self.string(key, dst);
        Ok(())
    }

    fn scalar(&mut self, value: RawValue<'_>, dst: &mut BytesMut) {
        match value.kind {
            JsonKind::String => self.string(value, dst),
            JsonKind::Number => number(value.text, dst),
            JsonKind::Bool if value.text == "true" => dst.put_u8(Marker::True.to_u8()),
            JsonKind::Bool => dst.put_u8(Marker::False.to_u8()),
            JsonKind::Null | JsonKind::Object | JsonKind::Array => dst.put_u8(Marker::Null.to_u8()),
        }
    }

    fn string(&mut self, value: RawValue<'_>, dst: &mut BytesMut) {
        let text = match value.plain_str() {
            Some(plain) => plain,
            None => {
                unescape(&value.text[1..value.text.len() - 1], &mut self.text);
                &self.text
            }
        };
        written(write_str(&mut dst.writer(), text));
    }

    /// Inserts the header of every container.
    fn write_headers(&mut self, dst: &mut BytesMut) {
        let wide = self.containers.iter().position(|container| container.members > SMALL);
        let (small, rest) = self.containers.split_at(wide.unwrap_or(self.containers.len()));
        for container in small {
            dst[container.at] = small_header(container);
        }
        let Some(first) = rest.first() else { return };
        // From here on everything moves: the longer headers need room.
        let mut from = first.at;
        let moved = dst.split_off(from);
        let offset = from;
        for container in rest {
            dst.put_slice(&moved[from - offset..container.at - offset]);
            write_header(container, dst);
            from = container.at + 1;
        }
        dst.put_slice(&moved[from - offset..]);
    }
}

/// Whether an object starts here, or a list; its bracket is consumed.
fn opening(scanner: &mut Scanner<'_>) -> Option<bool> {
    if scanner.eat(b'{') {
        Some(true)
    } else if scanner.eat(b'[') {
        Some(false)
    } else {
        None
    }
}

fn small_header(container: &Container) -> u8 {
    let kind = if container.is_map { 0x80 } else { 0x90 };
    kind | container.members as u8
}

fn write_header(container: &Container, dst: &mut BytesMut) {
    let (two, four) = if container.is_map {
        (Marker::Map16.to_u8(), Marker::Map32.to_u8())
    } else {
        (Marker::Array16.to_u8(), Marker::Array32.to_u8())
    };
    if container.members <= SMALL {
        dst.put_u8(small_header(container));
    } else if let Ok(members) = u16::try_from(container.members) {
        dst.put_u8(two);
        dst.put_u16(members);
    } else {
        dst.put_u8(four);
        dst.put_u32(container.members);
    }
}

/// A whole number of 64 bits unchanged; any other as the nearest float, which is infinite beyond the range of floats.
fn number(text: &str, dst: &mut BytesMut) {
    let mut dst = dst.writer();
    if let Ok(whole) = text.parse::<u64>() {
        written(write_uint(&mut dst, whole));
    } else if let Some(whole) = text.parse::<i64>().ok().filter(|whole| *whole != 0) {
        written(write_sint(&mut dst, whole));
    } else {
        // -0 also comes here: only a float can express it. Rust can parse any JSON number.
        written(write_f64(&mut dst, text.parse().unwrap_or(f64::NAN)));
    }
}

/// Writing to memory cannot fail, but `rmp` returns a result.
fn written<T, E: std::fmt::Debug>(result: Result<T, E>) {
    result.map(drop).expect("writing to memory");
}
