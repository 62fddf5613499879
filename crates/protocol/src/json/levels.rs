//! The objects and lists that are open at a place in a text.
//!
//! A bit for each: the innermost 128 in [`Levels`], those further out in a list, 128 at a time, which is apart so that the rest
//! can be in registers.

/// The open containers: one bit each distinguishes objects from lists.
#[derive(Default)]
pub(super) struct Levels {
    /// The innermost ones, with the last in the lowest bit.
    bits: u128,
    pub(super) depth: u32,
    pub(super) deepest: u32,
}

impl Levels {
    #[inline]
    pub(super) fn push(&mut self, is_object: bool, outer: &mut Vec<u128>) {
        if self.depth > 0 && self.depth.is_multiple_of(u128::BITS) {
            outer.push(self.bits);
        }
        self.bits = (self.bits << 1) | u128::from(is_object);
        self.depth += 1;
        self.deepest = self.deepest.max(self.depth);
    }

    #[inline]
    pub(super) fn pop(&mut self, outer: &mut Vec<u128>) {
        self.depth -= 1;
        self.bits >>= 1;
        if self.depth > 0 && self.depth.is_multiple_of(u128::BITS) {
            // The value that `push` stored when the ending level began.
            self.bits = outer.pop().unwrap_or_default();
        }
    }

    #[inline]
    pub(super) fn is_object(&self) -> bool {
        self.bits & 1 == 1
    }

    #[inline]
    pub(super) fn end(&self) -> u8 {
        if self.is_object() { b'}' } else { b']' }
    }
}
