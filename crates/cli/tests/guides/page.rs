//! Pages of the repository and the fenced blocks in them.

use std::path::{Path, PathBuf};

/// The repository's folder.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A page, by its path in the repository.
pub(crate) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

/// The text below a heading (`## Backup and restore`) up to the next one of its level or above.
pub(crate) fn section<'a>(page: &'a str, heading: &str) -> &'a str {
    let line = format!("\n{heading}\n");
    let (_, below) = page.split_once(&line).unwrap_or_else(|| panic!("the page has no {heading:?}"));
    let level = |line: &str| line.bytes().take_while(|byte| *byte == b'#').count();
    let (mut at, mut in_fence) = (0, false);
    for line in below.split_inclusive('\n') {
        in_fence ^= line.trim_start().starts_with("```");
        // A comment of a shell looks like a heading.
        if !in_fence && (1..=level(heading)).contains(&level(line)) {
            break;
        }
        at += line.len();
    }
    &below[..at]
}

/// The fenced blocks of a language, in their order, list items' indentation taken off.
pub(crate) fn blocks(section: &str, language: &str) -> Vec<String> {
    let (mut blocks, mut open): (Vec<String>, Option<(usize, String)>) = (Vec::new(), None);
    let fence = format!("```{language}");
    for line in section.lines() {
        let indent = line.len() - line.trim_start().len();
        match &mut open {
            None if line.trim() == fence => open = Some((indent, String::new())),
            None => {}
            Some(_) if line.trim() == "```" => blocks.extend(open.take().map(|(_, text)| text)),
            Some((by, text)) => {
                text.push_str(line.get((*by).min(indent)..).unwrap_or(""));
                text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a fence without end");
    blocks
}

#[test]
fn blocks_are_found_below_their_heading_by_language() {
    let page = "# P\n## A\n```sh\nno\n```\n\n## B\n1. x\n   ```sh\n   # c\n   one\n     two\n   ```\n### C\n```text\nt\n```\n## D\n```sh\nno\n```\n";
    let section = section(page, "## B");
    assert_eq!(blocks(section, "sh"), ["# c\none\n  two\n"]);
    assert_eq!(blocks(section, "text"), ["t\n"]);
}
