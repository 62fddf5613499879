//! Checks the flags of `agentbench serve` before a build that takes minutes, so that a mistake is reported at once.

use anyhow::bail;

/// Flags of `serve` that are not settings.
const OTHERS: [&str; 5] = ["--config", "--print-config", "--demo", "--help", "--version"];

/// Refuses unknown flags, which `serve` would refuse only after the build. `page` is docs/settings.md, whose
/// table is generated from the same settings as the flags.
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
