//! Licences, sources and advisories of dependencies, by cargo-deny and `deny.toml`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{root, run, tools};

/// The release that `deny.toml` is written for.
const VERSION: &str = "0.20.2";
/// The error of cargo-deny when the advisories cannot be fetched.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

pub(crate) fn check() -> anyhow::Result<()> {
    let program = tools::installed("cargo-deny", VERSION, &[])?;
    let name = program.to_string_lossy();
    run(
        &name,
        &["--all-features", "--workspace", "check", "--hide-inclusion-graph", "licenses", "sources", "bans"],
    )?;
    advisories(&program)
}

/// Checks for known vulnerabilities in dependencies if the database can be reached; if not, that is reported, but is no failure.
fn advisories(program: &Path) -> anyhow::Result<()> {
    let arguments = ["--all-features", "--workspace", "check", "advisories"];
    let done = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .context("cannot run cargo-deny")?;
    let said = String::from_utf8_lossy(&done.stderr);
    if said.contains(OUT_OF_REACH) {
        println!("deny: the advisories cannot be fetched from here and are skipped");
    } else if !done.status.success() {
        bail!("cargo-deny check advisories failed:\n{said}");
    }
    Ok(())
}
