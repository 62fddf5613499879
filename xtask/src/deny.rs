//! Licences, sources and advisories of dependencies, by cargo-deny and `deny.toml`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::{cargo, output, root, run, target};

/// The release that `deny.toml` is written for.
const VERSION: &str = "0.20.2";
/// What cargo-deny says when the advisories cannot be had.
const OUT_OF_REACH: &str = "failed to fetch advisory database";

pub(crate) fn check() -> anyhow::Result<()> {
    let program = install()?;
    let name = program.to_string_lossy();
    run(
        &name,
        &["--all-features", "--workspace", "check", "--hide-inclusion-graph", "licenses", "sources", "bans"],
    )?;
    advisories(&program)
}

/// cargo-deny in the target folder, built without optimisation if it is not there yet: that is quicker than what it saves.
fn install() -> anyhow::Result<PathBuf> {
    let tools = target().join("tools");
    let program = tools.join("bin/cargo-deny");
    let is_it = |name: &Path| {
        output(&name.to_string_lossy(), &["--version"]).is_some_and(|text| text.contains(VERSION))
    };
    for there in [program.as_path(), Path::new("cargo-deny")] {
        if is_it(there) {
            return Ok(there.to_owned());
        }
    }
    let (root, build) = (tools.to_string_lossy(), target().join("tools-build"));
    let build = build.to_string_lossy();
    cargo(&[
        "install",
        "cargo-deny",
        "--version",
        VERSION,
        "--locked",
        "--profile",
        "dev",
        "--root",
        &root,
        "--target-dir",
        &build,
    ])?;
    Ok(program)
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
