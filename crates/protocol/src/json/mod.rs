//! JSON on the wire: parsed by scanning, written without building values, compared in one spelling.

mod levels;
mod plain;
mod scan;
mod spelling;

use bytes::{BufMut, BytesMut};

pub use scan::{JsonError, JsonKind, RawValue, Scanner};
pub use spelling::{Spelling, respell};

/// Appends `text` as a JSON string, escaped according to RFC 8259 §7.
pub fn write_str(dst: &mut BytesMut, text: &str) {
    let plain = |b: &u8| *b >= 0x20 && *b != b'"' && *b != b'\\';
    if text.as_bytes().iter().all(plain) {
        dst.put_u8(b'"');
        dst.put_slice(text.as_bytes());
        dst.put_u8(b'"');
    } else {
        // Neither writing to memory nor serialising a str can fail.
        let _ = serde_json::to_writer(dst.writer(), text);
    }
}

/// Appends a whole number.
pub fn write_u64(dst: &mut BytesMut, number: u64) {
    dst.put_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a value that serde can serialize.
pub fn write_value(dst: &mut BytesMut, value: &impl serde::Serialize) {
    // Our own types have string keys and finite numbers only, which always serialise.
    serde_json::to_writer(dst.writer(), value).expect("own types serialise");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn strings_are_escaped_as_serde_json_does(text in ".{0,40}|[\u{0}-\u{7f}]{0,20}") {
            let mut dst = BytesMut::new();
            write_str(&mut dst, &text);
            let reference = serde_json::to_string(&text).unwrap();
            prop_assert_eq!(&dst[..], reference.as_bytes());
        }
    }
}
