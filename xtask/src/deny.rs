//! Licences, sources and advisories of dependencies, by cargo-deny and `deny.toml`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, bail};

use crate::{root, run, tools};

/// The release that `deny.toml` is written for.
const VERSION: &str = "0.20.2";
/// What cargo-deny says when the advisories cannot be had.
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

/// Known holes in dependencies, where the database can be reached; elsewhere that is said, and is no failure.
fn advisories(program: &Path) -> anyhow::Result<()> {
    let arguments = ["--all-features", "--workspace", "check", "advisories"];
    let done = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .output()
        .context("cannot run cargo-deny")?;
    let said = String::from_utf8_lossy(&done.stderr);
    if said.contains(OUT_OF_REACH) {
        println!("deny: the advisories cannot be reached from here, and are left out");
    } else if !done.status.success() {
        bail!("cargo-deny check advisories failed:\n{said}");
    }
    Ok(())
}
