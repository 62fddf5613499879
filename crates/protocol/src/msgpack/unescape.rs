//! Resolves any escapes of JSON strings.

/// Writes the content of a JSON string (RFC 8259 §7) that the scanner has validated, without its quotes, to `text`. Half a
/// surrogate pair, which text cannot contain, becomes U+FFFD.
pub(super) fn unescape(mut content: &str, text: &mut String) {
    text.clear();
    while let Some(at) = memchr::memchr(b'\\', content.as_bytes()) {
        text.push_str(&content[..at]);
        let escape = &content[at + 1..];
        let (char, size) = match escape.as_bytes().first() {
            Some(b'u') => unicode(&escape[1..]),
            Some(b'b') => ('\u{8}', 0),
            Some(b'f') => ('\u{c}', 0),
            Some(b'n') => ('\n', 0),
            Some(b'r') => ('\r', 0),
            Some(b't') => ('\t', 0),
            Some(byte) => (char::from(*byte), 0),
            None => return,
        };
        text.push(char);
        content = &escape[1 + size..];
    }
    text.push_str(content);
}

/// The character that starts with the four digits here, and its length in bytes including what may follow.
fn unicode(digits: &str) -> (char, usize) {
    let Some(unit) = hex(digits) else { return (char::REPLACEMENT_CHARACTER, digits.len().min(4)) };
    if let Some(char) = char::from_u32(u32::from(unit)) {
        return (char, 4);
    }
    let next = digits[4..].strip_prefix("\\u").and_then(hex);
    match next.and_then(|next| char::decode_utf16([unit, next]).next()) {
        Some(Ok(char)) => (char, 10),
        _ => (char::REPLACEMENT_CHARACTER, 4),
    }
}

fn hex(digits: &str) -> Option<u16> {
    u16::from_str_radix(digits.get(..4)?, 16).ok()
}
