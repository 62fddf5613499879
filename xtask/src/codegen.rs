//! References that are made from the code, by `xtask/codegen`.
//!
//! That is a package of its own, built when one of these is asked for: it has the whole server below it, and whoever runs
//! `cargo xtask serve` on a fresh checkout should wait for one build of the server, not for two.

use std::process::{Command, Stdio};

use anyhow::Context;

use crate::{cargo, root};

const RUN: [&str; 5] = ["run", "--quiet", "--package", "xtask-codegen", "--"];

/// Writes all of them.
pub(crate) fn write() -> anyhow::Result<()> {
    cargo(&[&RUN[..], &["write"]].concat())
}

/// Those that are not what the code says now.
pub(crate) fn stale() -> anyhow::Result<Vec<String>> {
    // What cargo says of a build that fails goes to who reads, so this is not `output`.
    let done = Command::new("cargo")
        .args(RUN)
        .arg("stale")
        .current_dir(root())
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run cargo")?;
    anyhow::ensure!(done.status.success(), "xtask-codegen stale failed ({})", done.status);
    Ok(String::from_utf8(done.stdout)?.lines().map(str::to_owned).collect())
}
