//! Titles of commits: short, and each used once.

use std::collections::BTreeSet;

use crate::output;

/// Maximum number of characters in a title.
const LONGEST: usize = 72;
/// The rule applies to commits after this one.
const SINCE: &str = "cc5f3048dd15f2e314b6e70afb6f5f469749cb88";

/// Adds the faults of the titles of all commits in this checkout.
pub(crate) fn check(broken: &mut Vec<String>) {
    let Some(range) = range() else {
        eprintln!("tidy: no history after {}; titles of commits are not checked", &SINCE[..7]);
        return;
    };
    let log = output("git", &["log", "--no-merges", "--format=%s", &range]).unwrap_or_default();
    broken.extend(faults(log.lines()));
}

/// The commits to check: those after [`SINCE`]. None without it, since a shallow clone cannot tell which of its commits come
/// after it.
fn range() -> Option<String> {
    output("git", &["merge-base", "--is-ancestor", SINCE, "HEAD"])?;
    Some(format!("{SINCE}..HEAD"))
}

/// Titles that are too long, and those that an earlier commit has as well.
fn faults<'a>(titles: impl Iterator<Item = &'a str>) -> Vec<String> {
    let (mut seen, mut faults) = (BTreeSet::new(), Vec::new());
    for title in titles {
        let length = title.chars().count();
        if length > LONGEST {
            faults
                .push(format!("a commit's title has {length} characters, the maximum is {LONGEST}: {title}"));
        }
        if !seen.insert(title) {
            faults.push(format!("two commits have the title {title:?}"));
        }
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_72_characters_that_differ_are_fine() {
        let longest = "ü".repeat(LONGEST);
        assert_eq!(
            faults([longest.as_str(), "Count readers", "Count writers"].into_iter()),
            Vec::<String>::new()
        );
        assert!(faults(std::iter::empty()).is_empty());
    }

    #[test]
    fn long_titles_and_repeated_ones_are_named() {
        let long = "x".repeat(LONGEST + 1);
        let faults = faults(["Count readers", &long, "Count readers", "count readers"].into_iter());
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("has 73 characters") && faults[0].ends_with(&long), "{faults:?}");
        assert!(faults[1].contains("\"Count readers\""), "{faults:?}");
    }
}
