//! New inputs from old ones: a few small changes of a file of the corpus, or random bytes.

use std::ops::Range;

use crate::random::Random;

/// Sizes, counts and characters at which formats change their form.
const NUMBERS: [u64; 18] = [
    0,
    1,
    15,
    16,
    31,
    32,
    125,
    126,
    127,
    128,
    255,
    256,
    u16::MAX as u64,
    1 << 16,
    i32::MAX as u64,
    u32::MAX as u64,
    i64::MAX as u64,
    u64::MAX,
];
/// Most changes of one input: many of them leave nothing of its form.
const MAX_CHANGES: usize = 6;

/// One input of at most `max_len` bytes.
pub fn input(random: &mut Random, corpus: &[Vec<u8>], max_len: usize) -> Vec<u8> {
    let mut input = match random.one_of(corpus) {
        Some(file) if random.below(10) > 0 => file.clone(),
        _ => return noise(random, max_len),
    };
    for _ in 0..=random.small(MAX_CHANGES) {
        change(random, &mut input, corpus);
    }
    input.truncate(max_len);
    input
}

fn noise(random: &mut Random, max_len: usize) -> Vec<u8> {
    let length = random.small(max_len.min(512));
    (0..length).map(|_| random.byte()).collect()
}

fn change(random: &mut Random, input: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    let at = random.below(input.len());
    match random.below(11) {
        0 | 1 if !input.is_empty() => input[at] ^= 1 << random.below(8),
        2 | 3 if !input.is_empty() => input[at] = random.byte(),
        4 if !input.is_empty() => {
            input[at] = input[at].wrapping_add(if random.below(2) == 0 { 1 } else { 255 });
        }
        5 => overwrite(input, at, &number(random)),
        6 => input.truncate(at),
        7 => {
            let piece = piece(random, input.len());
            input.drain(piece);
        }
        8 => {
            let copy = input[piece(random, input.len())].to_vec();
            insert(input, at, &copy);
        }
        9 => {
            let other = random.one_of(corpus).map_or(&[][..], Vec::as_slice);
            let copy = other[piece(random, other.len())].to_vec();
            insert(input, at, &copy);
        }
        _ => {
            let bytes: Vec<u8> = (0..=random.small(8)).map(|_| random.byte()).collect();
            insert(input, at, &bytes);
        }
    }
}

/// A piece of something with this length, most often a short one.
fn piece(random: &mut Random, length: usize) -> Range<usize> {
    let from = random.below(length);
    from..from + random.small(length - from + 1).min(length - from)
}

fn insert(input: &mut Vec<u8>, at: usize, bytes: &[u8]) {
    input.splice(at..at, bytes.iter().copied());
}

fn overwrite(input: &mut [u8], at: usize, bytes: &[u8]) {
    let count = bytes.len().min(input.len() - at);
    input[at..at + count].copy_from_slice(&bytes[..count]);
}

/// A number of 1 to 8 bytes in either order, or in digits.
fn number(random: &mut Random) -> Vec<u8> {
    let number = NUMBERS[random.below(NUMBERS.len())];
    let size = 1 << random.below(4);
    match random.below(3) {
        0 => number.to_le_bytes()[..size].to_vec(),
        1 => number.to_be_bytes()[8 - size..].to_vec(),
        _ => number.to_string().into_bytes(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs_and_others_differ() {
        let corpus = [b"some text".to_vec(), vec![0; 100]];
        let inputs = |seed| -> Vec<Vec<u8>> {
            (0..200).map(|number| input(&mut Random::of_input(seed, number), &corpus, 150)).collect()
        };
        assert_eq!(inputs(7), inputs(7));
        assert_ne!(inputs(7), inputs(8));
        assert!(inputs(7).iter().all(|input| input.len() <= 150));
        assert!(inputs(7).iter().collect::<std::collections::BTreeSet<_>>().len() > 150);
    }

    #[test]
    fn an_empty_corpus_and_empty_files_give_inputs() {
        for corpus in [vec![], vec![vec![]]] {
            for number in 0..500 {
                input(&mut Random::of_input(1, number), &corpus, 64);
            }
        }
    }
}
