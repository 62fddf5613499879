//! References generated from the code, by `xtask/codegen`.
//!
//! That is a separate package, built only when one of these is requested: it depends on the whole server, and
//! `cargo xtask serve` on a fresh checkout should build the server only once.

use std::process::{Command, Stdio};

use anyhow::Context;

use crate::{cargo, root};

const RUN: [&str; 5] = ["run", "--quiet", "--package", "xtask-codegen", "--"];

/// Writes all of them.
pub(crate) fn write() -> anyhow::Result<()> {
    cargo(&[&RUN[..], &["write"]].concat())
}

/// Reports files that do not match the code.
pub(crate) fn stale() -> anyhow::Result<Vec<String>> {
    // The user should see cargo's output of a failed build, so this does not use `output`.
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
