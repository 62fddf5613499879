//! Stacks and how often each was seen, in the form that flame graph tools read: `root;…;leaf count`, a line each.

use std::collections::BTreeMap;
use std::fmt::Write;

/// Longest name that is kept, in characters; names of generic code have no bound.
const MAX_NAME: usize = 400;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Folded {
    stacks: BTreeMap<Vec<String>, u64>,
}

impl Folded {
    /// Counts a stack, root first.
    pub(crate) fn add(&mut self, stack: Vec<String>, count: u64) {
        let stack = stack.into_iter().map(|name| name_of(&name)).collect();
        *self.stacks.entry(stack).or_insert(0) += count;
    }

    /// Samples altogether.
    pub(crate) fn samples(&self) -> u64 {
        self.stacks.values().sum()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&[String], u64)> {
        self.stacks.iter().map(|(stack, count)| (stack.as_slice(), *count))
    }

    /// As text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::new();
        for (stack, count) in self.iter() {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{} {count}", stack.join(";"));
        }
        text
    }
}

/// The name without the separators of the text form.
fn name_of(name: &str) -> String {
    let plain = |char: char| match char {
        ';' => ':',
        char if char.is_control() => '?',
        char => char,
    };
    name.chars().take(MAX_NAME).map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_counted_and_names_cannot_break_lines() {
        let mut folded = Folded::default();
        let stack = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        folded.add(stack(&["worker", "main", "read"]), 2);
        folded.add(stack(&["worker", "main", "read"]), 3);
        folded.add(stack(&["worker", "a;b\nc"]), 1);
        assert_eq!(folded.samples(), 6);
        assert_eq!(folded.text(), "worker;a:b?c 1\nworker;main;read 5\n");
    }
}
