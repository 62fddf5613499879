//! A message in which only the number changes: rendered once, so that sending one costs a copy.

/// Digits of a message's number.
const DIGITS: usize = 12;
/// Placeholder of the number in the text of a template.
pub(super) const SERIAL: &str = "{serial}";
const FILLER: &str = "All work and no play makes a dull log. ";

/// A message template.
#[derive(Debug, Clone)]
pub struct Template {
    bytes: Vec<u8>,
    places: Vec<usize>,
}

impl Template {
    /// Creates a template from a text with `{serial}` in place of the number (12 digits).
    pub fn new(text: &str) -> Self {
        let (mut bytes, mut places) = (Vec::with_capacity(text.len()), Vec::new());
        for (index, piece) in text.split(SERIAL).enumerate() {
            if index > 0 {
                places.push(bytes.len());
                bytes.extend_from_slice(&[b'0'; DIGITS]);
            }
            bytes.extend_from_slice(piece.as_bytes());
        }
        Self { bytes, places }
    }

    /// The message with this number.
    pub fn fill(&mut self, serial: u64) -> &[u8] {
        let digits = digits(serial);
        for &place in &self.places {
            self.bytes[place..place + DIGITS].copy_from_slice(&digits);
        }
        &self.bytes
    }

    /// Size of every such message in bytes.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether `message` has the template's length; others are different messages of the server.
    pub fn is_alike(&self, message: &[u8]) -> bool {
        message.len() == self.bytes.len()
    }

    /// Whether `message` is the one with that number, by length and number.
    pub fn is(&self, message: &[u8], serial: u64) -> bool {
        let digits = digits(serial);
        self.is_alike(message) && self.places.iter().all(|&place| message[place..place + DIGITS] == digits)
    }
}

/// A text of `size` bytes (at least the size of its number) that starts with its number.
pub(super) fn body(size: usize) -> String {
    format!("{SERIAL}{}", filler(size.saturating_sub(DIGITS)))
}

/// An event's envelope of `size` bytes, or as short as possible.
pub(crate) fn event(size: usize, session: Option<&str>, ack: bool) -> String {
    let session = session.map(|session| format!("\"sessionId\":\"{session}\",")).unwrap_or_default();
    let metadata = if ack { ",\"metadata\":{\"requiresAck\":true}" } else { "" };
    let envelope = |text: &str| {
        format!(
            "{{\"id\":\"{SERIAL}\",\"type\":\"test_event\",\"timestamp\":1760000000000,{session}\"data\":{{\"eventType\":\"console_log\",\"text\":\"{text}\"}}{metadata}}}"
        )
    };
    let bare = envelope("").len() - SERIAL.len() + DIGITS;
    envelope(&filler(size.saturating_sub(bare)))
}

fn filler(size: usize) -> String {
    FILLER.chars().cycle().take(size).collect()
}

fn digits(serial: u64) -> [u8; DIGITS] {
    let (mut digits, mut rest) = ([b'0'; DIGITS], serial);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_in_every_place_and_is_found_again() {
        let mut template = Template::new("a{serial}b{serial}");
        assert_eq!(template.fill(42), b"a000000000042b000000000042");
        assert!(template.is(b"a000000000043b000000000043", 43));
        assert!(!template.is(b"a000000000043b000000000042", 43));
        assert!(!template.is(b"a000000000043b", 43) && !template.is_alike(b""));
    }

    #[test]
    fn messages_have_the_size_that_was_asked_for() {
        for size in [12, 13, 256, 4096] {
            assert_eq!(Template::new(&body(size)).fill(1).len(), size);
        }
        for (session, ack) in [(None, false), (Some("0123"), true)] {
            let mut template = Template::new(&event(512, session, ack));
            assert_eq!(template.fill(7).len(), 512);
            let value: serde_json::Value = serde_json::from_slice(template.fill(7)).unwrap();
            assert_eq!(value["id"], "000000000007");
            assert_eq!(value["metadata"]["requiresAck"] == true, ack);
        }
    }
}
