//! How far a string is plain: without quote, backslash or control character.
//!
//! Keys and most values end within the first 16 bytes, which are compared at once; long strings are checked in blocks.
//!
//! Where in 16 bytes a comparison holds takes an instruction for which Rust has no safe form: it needs SSE2, which is part
//! of every x86-64. It reads registers only, so `unsafe` is allowed here. Other processors compare by words.

/// Bytes that are compared at once.
const STEP: usize = 16;
/// Bytes of a string that are checked together once it has proved to be long.
const BLOCK: usize = 64;

/// How many bytes from the start are plain inside a string.
#[inline(always)]
pub(super) fn plain_run(bytes: &[u8]) -> usize {
    let Some(first) = bytes.first_chunk() else { return tail_run(bytes) };
    let run = step_run(first);
    if run < STEP { run } else { STEP + long_run(&bytes[STEP..]) }
}

fn long_run(bytes: &[u8]) -> usize {
    let (blocks, _) = bytes.as_chunks::<BLOCK>();
    let plain = blocks.iter().take_while(|block| is_plain(block)).count() * BLOCK;
    let (steps, tail) = bytes[plain..].as_chunks::<STEP>();
    for (index, step) in steps.iter().enumerate() {
        let run = step_run(step);
        if run < STEP {
            return plain + index * STEP + run;
        }
    }
    plain + steps.len() * STEP + tail_run(tail)
}

/// Without branches and with one combined result, which compilers turn into vector instructions.
#[inline]
fn is_plain(block: &[u8; BLOCK]) -> bool {
    block.iter().fold(0, |found, b| found | u8::from(is_special(*b))) == 0
}

fn is_special(b: u8) -> bool {
    (b == b'"') | (b == b'\\') | (b < 0x20)
}

fn tail_run(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| is_special(*b)).unwrap_or(bytes.len())
}

/// How many bytes of a step are plain.
#[cfg(target_arch = "x86_64")]
#[expect(unsafe_code, reason = "see the module's documentation")]
#[inline]
fn step_run(bytes: &[u8; STEP]) -> usize {
    use std::arch::x86_64::{
        _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set_epi64x, _mm_set1_epi8,
    };
    let number = u128::from_le_bytes(*bytes);
    // SAFETY: these are SSE2, which every x86-64 has, and take values, not addresses.
    let special = unsafe {
        let bytes = _mm_set_epi64x((number >> 64) as i64, number as i64);
        let quote = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'"' as i8));
        let backslash = _mm_cmpeq_epi8(bytes, _mm_set1_epi8(b'\\' as i8));
        let control = _mm_cmpeq_epi8(bytes, _mm_min_epu8(bytes, _mm_set1_epi8(0x1f)));
        _mm_movemask_epi8(_mm_or_si128(_mm_or_si128(quote, backslash), control))
    };
    (special | 1 << STEP).trailing_zeros() as usize
}

#[cfg(not(target_arch = "x86_64"))]
#[inline]
fn step_run(bytes: &[u8; STEP]) -> usize {
    by_words(bytes)
}

/// Eight bytes per step; the tests for "less than" and "equal" on all bytes of a word are those of
/// <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn by_words(bytes: &[u8; STEP]) -> usize {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let has_zero = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quote = has_zero(word ^ (ONES * u64::from(b'"')));
        let backslash = has_zero(word ^ (ONES * u64::from(b'\\')));
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGHS;
        let found = quote | backslash | control;
        if found != 0 {
            // A borrow can mark bytes after the first hit wrongly, never before it: the lowest mark is right.
            return index * 8 + (found.trailing_zeros() / 8) as usize;
        }
    }
    STEP
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn plain_runs_end_at_the_first_special_byte(bytes in proptest::collection::vec(any::<u8>(), 0..40), plain in 0..200_usize) {
            let bytes = [vec![b'x'; plain], bytes].concat();
            prop_assert_eq!(plain_run(&bytes), tail_run(&bytes));
        }

        #[test]
        fn a_step_is_the_same_on_every_processor(plain in 0..STEP, bytes in any::<[u8; STEP]>()) {
            let mut step = [b'\x7f'; STEP];
            step[plain..].copy_from_slice(&bytes[plain..]);
            prop_assert_eq!(step_run(&step), tail_run(&step));
            prop_assert_eq!(by_words(&step), tail_run(&step));
        }
    }
}
