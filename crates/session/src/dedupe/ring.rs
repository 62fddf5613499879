//! The window's events in the order of their seqs.
//!
//! A queue in pieces: a window grows to a megabyte, and a queue in one piece would be copied, and its new memory zeroed by
//! the kernel, each time that it doubles. The first piece grows like any list, since most sessions have few events.

use std::collections::VecDeque;

use super::EventKey;

/// Events in a piece.
const PIECE: usize = 256;

/// Key and digest of an event.
pub(super) type Event = (EventKey, u64);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ring {
    /// Each but the last is full.
    pieces: VecDeque<Vec<Event>>,
    /// Events of the first piece that have left.
    left: usize,
    len: usize,
    /// An empty piece, used again for the next one.
    spare: Option<Vec<Event>>,
}

impl Ring {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, index: usize) -> Option<&Event> {
        let at = self.left + index;
        self.pieces.get(at / PIECE)?.get(at % PIECE)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Event> {
        self.pieces.iter().flatten().skip(self.left)
    }

    pub(super) fn push_back(&mut self, event: Event) {
        self.len += 1;
        if let Some(last) = self.pieces.back_mut()
            && last.len() < PIECE
        {
            return last.push(event);
        }
        let is_first = self.pieces.is_empty();
        let new = || if is_first { Vec::new() } else { Vec::with_capacity(PIECE) };
        let mut piece = self.spare.take().unwrap_or_else(new);
        piece.push(event);
        self.pieces.push_back(piece);
    }

    pub(super) fn pop_front(&mut self) -> Option<Event> {
        let event = *self.get(0)?;
        self.left += 1;
        self.len -= 1;
        if self.left == PIECE || self.len == 0 {
            let piece = self.pieces.pop_front();
            self.put_aside(piece);
            self.left = 0;
        }
        Some(event)
    }

    pub(super) fn pop_back(&mut self) -> Option<Event> {
        let event = self.pieces.back_mut()?.pop()?;
        self.len -= 1;
        if self.len == 0 || self.pieces.back().is_some_and(Vec::is_empty) {
            let piece = self.pieces.pop_back();
            self.put_aside(piece);
        }
        if self.len == 0 {
            self.left = 0;
        }
        Some(event)
    }

    fn put_aside(&mut self, piece: Option<Vec<Event>>) {
        self.spare = piece.map(|mut piece| {
            piece.clear();
            piece
        });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn behaves_like_a_queue_in_one_piece(steps in proptest::collection::vec((0..3_u8, 1..700_usize), 0..30)) {
            let (mut ring, mut plain) = (Ring::default(), VecDeque::new());
            let mut count = 0;
            for (kind, times) in steps {
                for _ in 0..times {
                    match kind {
                        0 => {
                            count += 1;
                            ring.push_back((EventKey(count), count));
                            plain.push_back((EventKey(count), count));
                        }
                        1 => prop_assert_eq!(ring.pop_front(), plain.pop_front()),
                        _ => prop_assert_eq!(ring.pop_back(), plain.pop_back()),
                    }
                }
                prop_assert_eq!(ring.len(), plain.len());
                prop_assert!(ring.iter().eq(plain.iter()));
                for index in [0, 1, plain.len() / 2, plain.len().saturating_sub(1), plain.len()] {
                    prop_assert_eq!(ring.get(index), plain.get(index));
                }
            }
        }
    }
}
