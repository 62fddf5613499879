//! One change of one file, as a failing disk, a crash or a restored copy makes them.

use super::folder::File;

/// In the input: file, kind, place (two bytes), length, and as many bytes.
#[derive(Debug)]
pub(super) struct Edit<'i> {
    file: u8,
    kind: u8,
    at: u16,
    length: u8,
    bytes: &'i [u8],
}

impl<'i> Edit<'i> {
    /// The edit at the start of `input`, and the rest.
    pub(super) fn read(input: &'i [u8]) -> Option<(Self, &'i [u8])> {
        let (&[file, kind, high, low, length], rest) = input.split_first_chunk()?;
        let edit = Self { file, kind: kind % 10, at: u16::from_be_bytes([high, low]), length, bytes: &[] };
        let count = if edit.has_bytes() { usize::from(length).min(rest.len()) } else { 0 };
        let (bytes, rest) = rest.split_at(count);
        Some((Self { bytes, ..edit }, rest))
    }

    /// Whether a file gets the content of another.
    pub(super) fn is_exchange(&self) -> bool {
        self.kind == 7
    }

    fn has_bytes(&self) -> bool {
        matches!(self.kind, 0 | 1 | 4 | 9)
    }

    pub(super) fn apply(&self, files: &mut Vec<File>) {
        if files.is_empty() {
            return;
        }
        let index = usize::from(self.file) % files.len();
        let other = files[usize::from(self.length) % files.len()].1.clone();
        let content = &mut files[index].1;
        let at = usize::from(self.at) % (content.len() + 1);
        let end = (at + usize::from(self.length)).min(content.len());
        match self.kind {
            0 => content[at..].iter_mut().zip(self.bytes).for_each(|(byte, flip)| *byte ^= flip),
            1 => content[at..].iter_mut().zip(self.bytes).for_each(|(byte, new)| *byte = *new),
            2 => content.truncate(at),
            3 => drop(content.drain(at..end)),
            4 => drop(content.splice(at..at, self.bytes.iter().copied())),
            5 => {
                let copy = content[at..end].to_vec();
                content.splice(end..end, copy);
            }
            6 => content[at..end].fill(0),
            7 => *content = other,
            8 => drop(files.remove(index)),
            _ => content.extend_from_slice(self.bytes),
        }
    }
}
