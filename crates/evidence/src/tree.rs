//! Verifies a file in pieces: the inner hashes of its BLAKE3 tree, one for each 256 KiB, stored beside the file.
//!
//! ```text
//! HASH.tree = "agentbench-tree-1" · size u64 · (32 bytes for each group of 256 KiB, if there are two or more)
//!             · BLAKE3 of all that
//! ```
//! BLAKE3 is a tree, so these hashes combine to the one that names the file: a sidecar verifies itself (its last hash is
//! for the size, which the tree fixes only up to a group), and a damaged one is created again. A range is verified with its groups,
//! without reading the rest.

use std::io::{self, Read};

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, left_subtree_len, merge_subtrees_non_root, merge_subtrees_root,
};

use crate::hash::Hash;

/// Size of a group in bytes: a power of two, so that each is a subtree. A sidecar has an eight-thousandth of its file's size.
pub(crate) const GROUP: usize = 256 * 1024;
const MAGIC: &[u8] = b"agentbench-tree-1";

/// The size of a file and the hashes of its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tree {
    hash: Hash,
    size: u64,
    /// Empty for a file of one group, whose hash is the name.
    groups: Vec<ChainingValue>,
}

impl Tree {
    pub(crate) const fn size(&self) -> u64 {
        self.size
    }

    /// The hash of the whole file.
    pub(crate) const fn hash(&self) -> Hash {
        self.hash
    }

    /// Whether these are the bytes of the group.
    pub(crate) fn holds(&self, index: usize, bytes: &[u8]) -> bool {
        if self.groups.is_empty() {
            return index == 0 && Hash::of(bytes) == self.hash;
        }
        self.groups.get(index).is_some_and(|group| *group == group_value(index, bytes))
    }

    /// The tree of everything that a reader returns.
    pub(crate) fn of(reader: &mut impl Read) -> io::Result<Self> {
        let mut builder = Builder::default();
        let mut step = vec![0; GROUP];
        loop {
            let count = reader.read(&mut step)?;
            if count == 0 {
                return Ok(builder.finish());
            }
            builder.update(&step[..count]);
        }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&self.size.to_le_bytes());
        self.groups.iter().for_each(|group| bytes.extend_from_slice(group));
        let own = blake3::hash(&bytes);
        bytes.extend_from_slice(own.as_bytes());
        bytes
    }

    /// Parses a sidecar; `None` if it does not belong to the file with this hash.
    pub(crate) fn decode(bytes: &[u8], hash: Hash) -> Option<Self> {
        let (bytes, own) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(bytes) != blake3::Hash::from_bytes(*own) {
            return None;
        }
        let (size, groups) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<8>()?;
        let size = u64::from_le_bytes(*size);
        let (groups, rest) = groups.as_chunks::<32>();
        let count = usize::try_from(size.div_ceil(GROUP as u64)).ok()?;
        let expected = if count < 2 { 0 } else { count };
        if !rest.is_empty() || groups.len() != expected {
            return None;
        }
        // The name of a file of one group does not fix its size; its bytes do.
        let proves = groups.is_empty() || root(groups, size) == hash;
        proves.then(|| Self { hash, size, groups: groups.to_vec() })
    }
}

/// Builds a tree from bytes as they arrive.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    groups: Vec<ChainingValue>,
    /// The incomplete group, with its number of bytes.
    group: Box<blake3::Hasher>,
    filled: usize,
}

impl Builder {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.filled == GROUP {
                self.groups.push(self.group.finalize_non_root());
                *self.group = blake3::Hasher::new();
                self.group.set_input_offset((self.groups.len() * GROUP) as u64);
                self.filled = 0;
            }
            let (now, later) = bytes.split_at(bytes.len().min(GROUP - self.filled));
            self.group.update(now);
            self.filled += now.len();
            bytes = later;
        }
    }

    pub(crate) fn finish(mut self) -> Tree {
        let size = (self.groups.len() * GROUP + self.filled) as u64;
        if self.groups.is_empty() {
            return Tree { hash: Hash::from_hasher(&self.group), size, groups: Vec::new() };
        }
        self.groups.push(self.group.finalize_non_root());
        Tree { hash: root(&self.groups, size), size, groups: self.groups }
    }
}

fn group_value(index: usize, bytes: &[u8]) -> ChainingValue {
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset((index * GROUP) as u64);
    // An empty group does not count, and has no value of its own.
    if bytes.is_empty() || bytes.len() > GROUP {
        return [0; 32];
    }
    hasher.update(bytes);
    hasher.finalize_non_root()
}

/// The hash of the whole, for two groups or more.
fn root(groups: &[ChainingValue], size: u64) -> Hash {
    let (left, right) = halves(groups, size);
    Hash::from_bytes(*merge_subtrees_root(&left, &right, Mode::Hash).as_bytes())
}

fn inner(groups: &[ChainingValue], size: u64) -> ChainingValue {
    match groups {
        [only] => *only,
        _ => {
            let (left, right) = halves(groups, size);
            merge_subtrees_non_root(&left, &right, Mode::Hash)
        }
    }
}

fn halves(groups: &[ChainingValue], size: u64) -> (ChainingValue, ChainingValue) {
    let left_size = left_subtree_len(size);
    let (left, right) = groups.split_at((left_size / GROUP as u64) as usize);
    (inner(left, left_size), inner(right, size - left_size))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|n| (n * 31 + n / 251) as u8).collect()
    }

    fn sizes() -> impl Iterator<Item = usize> {
        let around =
            (0..6).flat_map(|groups| [0, 1, 1023, 1024, 1025].map(move |more| groups * GROUP + more));
        around.chain((1..6).map(|groups| groups * GROUP - 1))
    }

    #[test]
    fn the_tree_has_the_files_hash_at_every_size_and_each_group_is_held_by_its_bytes_alone() {
        for size in sizes() {
            let all = bytes(size);
            let tree = Tree::of(&mut all.as_slice()).unwrap();
            assert_eq!((tree.hash(), tree.size()), (Hash::of(&all), size as u64), "{size}");
            for (index, group) in all.chunks(GROUP).enumerate() {
                assert!(tree.holds(index, group), "{size}: {index}");
                let mut wrong = group.to_vec();
                wrong[group.len() / 2] ^= 4;
                assert!(!tree.holds(index, &wrong) && !tree.holds(index, &group[1..]), "{size}: {index}");
                assert!(!tree.holds(index + 1, group), "{size}: {index}");
            }
        }
    }

    #[test]
    fn a_sidecar_proves_itself() {
        for size in sizes() {
            let tree = Tree::of(&mut bytes(size).as_slice()).unwrap();
            let encoded = tree.encode();
            assert_eq!(Tree::decode(&encoded, tree.hash()), Some(tree.clone()), "{size}");
            assert_eq!(Tree::decode(&encoded[1..], tree.hash()), None);
            assert_eq!(Tree::decode(&[&encoded[..], &[0]].concat(), tree.hash()), None);
            if size > GROUP {
                for at in [17, encoded.len() - 1, encoded.len() / 2] {
                    let mut wrong = encoded.clone();
                    wrong[at] ^= 1;
                    assert_eq!(Tree::decode(&wrong, tree.hash()), None, "{size}: byte {at}");
                }
                assert_eq!(Tree::decode(&encoded, Hash::of(b"another")), None);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 32, ..ProptestConfig::default() })]

        /// However the bytes come, the tree is the same.
        #[test]
        fn steps_do_not_matter(size in 0_usize..3 * GROUP, steps in prop::collection::vec(1_usize..GROUP * 2, 1..20)) {
            let all = bytes(size);
            let (mut builder, mut rest) = (Builder::default(), all.as_slice());
            for step in steps.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (now, later) = rest.split_at(rest.len().min(*step));
                builder.update(now);
                rest = later;
            }
            prop_assert_eq!(builder.finish(), Tree::of(&mut all.as_slice()).unwrap());
        }

        #[test]
        fn no_sidecar_panics(bytes in prop::collection::vec(any::<u8>(), 0..200), size in any::<u64>()) {
            let _ = Tree::decode(&bytes, Hash::of(b""));
            let mut crafted = [MAGIC, &size.to_le_bytes(), &bytes].concat();
            let own = blake3::hash(&crafted);
            crafted.extend_from_slice(own.as_bytes());
            let _ = Tree::decode(&crafted, Hash::of(b""));
        }
    }
}
