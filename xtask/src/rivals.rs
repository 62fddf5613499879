//! `cargo xtask bench rivals`: builds a server of crates.io in the target folder, once, and measures ours beside it. Not part of ci.

use anyhow::bail;

use crate::{cargo, measured_by, output, target};

const SOCKUDO: &str = "5.2.0";

/// `rest` is passed to the measurement (`--help`).
pub(crate) fn run(rest: &[&str]) -> anyhow::Result<()> {
    sockudo()?;
    measured_by("rivals", rest)
}

/// Builds Sockudo as it is released, with what the jobs use of it: one node, everything in memory.
fn sockudo() -> anyhow::Result<()> {
    let tools = target().join("tools");
    let program = tools.join("bin/sockudo");
    if output(&program.to_string_lossy(), &["--version"]).is_some_and(|text| text.contains(SOCKUDO)) {
        return Ok(());
    }
    if output("protoc", &["--version"]).is_none() {
        bail!("protoc is missing, which Sockudo's build needs: `apt-get install protobuf-compiler`");
    }
    let (root, build) = (tools.to_string_lossy(), target().join("tools-build"));
    let build = build.to_string_lossy();
    cargo(&[
        "install",
        "sockudo",
        "--version",
        SOCKUDO,
        "--locked",
        "--no-default-features",
        "--features",
        "local",
        "--root",
        &root,
        "--target-dir",
        &build,
    ])
}
