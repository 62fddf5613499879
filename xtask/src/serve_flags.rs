//! The flags of `agentbench serve`, looked at before a build that takes minutes: a slip is told first.

use anyhow::bail;

/// Flags of `serve` that are no settings.
const OTHERS: [&str; 5] = ["--config", "--print-config", "--demo", "--help", "--version"];

/// Refuses what `serve` would refuse after the build: words that are none of its flags. `page` is docs/settings.md, whose
/// table is made from the same settings as the flags.
pub(crate) fn check(page: &str, words: &[&str]) -> anyhow::Result<()> {
    let settings: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    for word in words.iter().filter(|word| word.starts_with("--")) {
        let flag = word.split('=').next().unwrap_or(word);
        if !settings.contains(&flag) && !OTHERS.contains(&flag) {
            bail!("serve has no flag {flag}; docs/settings.md lists them");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_in_a_flag_is_found_without_a_build() {
        let page = include_str!("../../docs/settings.md");
        for fine in [&["--demo", "--port", "0"][..], &["--data-dir=x"], &["--config", "a.toml"], &["-h"], &[]]
        {
            assert!(check(page, fine).is_ok(), "{fine:?}");
        }
        for slip in [&["--prot", "0"][..], &["--demo", "--no-such"], &["--Port=1"], &["--"]] {
            assert!(check(page, slip).is_err(), "{slip:?}");
        }
    }
}
