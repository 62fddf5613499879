//! The items of a batch's footer: which entries the batch has, and what else it changes.
//!
//! ```text
//! footer    = count · item*
//! item      = group · 1 u8 · count · (ordinal of the first · end*)     entries, one end for each
//!           | group · 2 u8 · 1 u8                                      clean: the group is removed
//!           | group · 2 u8 · 2 u8 · ordinal                            compact: the entries before are removed
//!           | group · 3 u8 · 1 u8 · length · key · length · value      put
//!           | group · 3 u8 · 2 u8 · length · key                       delete
//! ```
//! Numbers without a type have seven bits per byte, the lowest first, with the highest bit set in all but the last. Each entry
//! begins where the one before ends, across items; ends count from the first entry of the batch.

const ENTRIES: u8 = 1;
const COMMAND: u8 = 2;
const KEY_VALUE: u8 = 3;
const CLEAN: u8 = 1;
const COMPACT: u8 = 2;
const PUT: u8 = 1;
const DELETE: u8 = 2;

/// One item; of entries, one entry.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Item<'a> {
    Entry { group: u64, ordinal: u64, begin: usize, end: usize },
    Clean { group: u64 },
    Compact { group: u64, ordinal: u64 },
    Put { group: u64, key: &'a [u8], value: &'a [u8] },
    Delete { group: u64, key: &'a [u8] },
}

/// The items of a footer in order; `None` if it is not one, or if its entries exceed the `entries` bytes that the batch has.
pub(crate) fn decode(footer: &[u8], entries: usize) -> Option<Vec<Item<'_>>> {
    let mut reader = Reader { rest: footer };
    let mut items = Vec::new();
    let mut begin = 0;
    for _ in 0..reader.number()? {
        let group = reader.number()?;
        match reader.byte()? {
            ENTRIES => begin = reader.entries(group, begin, &mut items)?,
            COMMAND => items.push(reader.command(group)?),
            KEY_VALUE => items.push(reader.key_value(group)?),
            _ => return None,
        }
    }
    (begin <= entries).then_some(items)
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if bits << shift >> shift != bits {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (text, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(text)
    }

    /// Adds the entries of one item, which begin at `begin`. Returns where they end.
    fn entries(&mut self, group: u64, mut begin: usize, items: &mut Vec<Item<'a>>) -> Option<usize> {
        let count = self.number()?;
        let mut ordinal = if count > 0 { self.number()? } else { 0 };
        for _ in 0..count {
            let end = usize::try_from(self.number()?).ok().filter(|end| *end >= begin)?;
            items.push(Item::Entry { group, ordinal, begin, end });
            ordinal = ordinal.checked_add(1)?;
            begin = end;
        }
        Some(begin)
    }

    fn command(&mut self, group: u64) -> Option<Item<'a>> {
        match self.byte()? {
            CLEAN => Some(Item::Clean { group }),
            COMPACT => Some(Item::Compact { group, ordinal: self.number()? }),
            _ => None,
        }
    }

    fn key_value(&mut self, group: u64) -> Option<Item<'a>> {
        match self.byte()? {
            PUT => Some(Item::Put { group, key: self.text()?, value: self.text()? }),
            DELETE => Some(Item::Delete { group, key: self.text()? }),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOOTER: &[u8] =
        b"\x05\x80\x08\x01\x02\x07\x40\x90\x01\x81\x08\x02\x01\x80\x08\x02\x02\x07\x01\x03\x01\x01k\x02vw\x02\x03\x02\x01k";

    #[test]
    fn a_footer_has_this_form() {
        let expected = [
            Item::Entry { group: 1024, ordinal: 7, begin: 0, end: 64 },
            Item::Entry { group: 1024, ordinal: 8, begin: 64, end: 144 },
            Item::Clean { group: 1025 },
            Item::Compact { group: 1024, ordinal: 7 },
            Item::Put { group: 1, key: b"k", value: b"vw" },
            Item::Delete { group: 2, key: b"k" },
        ];
        assert_eq!(decode(FOOTER, 144).unwrap(), expected);
        assert_eq!(decode(FOOTER, 143), None, "entries past the end of the batch");
    }

    #[test]
    fn other_bytes_are_no_footer_and_do_no_harm() {
        for len in 0..FOOTER.len() {
            assert_eq!(decode(&FOOTER[..len], 144), None);
        }
        for at in 0..FOOTER.len() {
            for byte in 0..=255 {
                let mut footer = FOOTER.to_vec();
                footer[at] = byte;
                drop(decode(&footer, 144));
            }
        }
        let huge = [&[0xff; 9][..], &[1]].concat();
        assert_eq!(decode(&huge, 0), None);
        assert_eq!(decode(&[0xff; 11], 0), None, "a number over 64 bits");
    }
}
