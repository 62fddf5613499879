//! Masking of payloads (RFC 6455 §5.3): XOR with four repeated bytes, which is its own inverse.

/// XORs `bytes` with `mask`, starting with the mask's first byte.
///
/// Works in words of 16 bytes, which the compiler widens to the machine's vectors; needs no alignment.
/// To continue in a later piece, rotate the mask by the number of bytes before it.
pub fn apply_mask(bytes: &mut [u8], mask: [u8; 4]) {
    let word =
        u128::from_ne_bytes([mask; 4].as_flattened().try_into().expect("four masks are sixteen bytes"));
    let (words, tail) = bytes.as_chunks_mut::<16>();
    for chunk in words {
        *chunk = (u128::from_ne_bytes(*chunk) ^ word).to_ne_bytes();
    }
    let (quads, tail) = tail.as_chunks_mut::<4>();
    for chunk in quads {
        *chunk = (u32::from_ne_bytes(*chunk) ^ u32::from_ne_bytes(mask)).to_ne_bytes();
    }
    for (byte, key) in tail.iter_mut().zip(mask) {
        *byte ^= key;
    }
}

/// The mask rotated for the byte that follows `consumed` bytes.
pub(crate) fn rotated(mut mask: [u8; 4], consumed: usize) -> [u8; 4] {
    mask.rotate_left(consumed % 4);
    mask
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_plain_definition_at_every_length_offset_and_phase() {
        let mask = [0x37, 0xfa, 0x21, 0x3d];
        let plain: Vec<u8> = (0..200u16).map(|n| (n * 7 % 251) as u8).collect();
        for offset in 0..20 {
            for len in 0..plain.len() - offset {
                let expected: Vec<u8> =
                    plain[offset..offset + len].iter().enumerate().map(|(n, b)| b ^ mask[n % 4]).collect();
                let mut whole = plain.clone();
                apply_mask(&mut whole[offset..offset + len], mask);
                assert_eq!(whole[offset..offset + len], expected);

                let mut pieces = plain[offset..offset + len].to_vec();
                let (first, second) = pieces.split_at_mut(len / 3);
                apply_mask(first, mask);
                apply_mask(second, rotated(mask, len / 3));
                assert_eq!(pieces, expected);
            }
        }
    }
}
