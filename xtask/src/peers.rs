//! `cargo xtask bench peers`: installs the peers' packages, builds ours, and runs the measurement.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

use crate::{cargo, root, target};

/// Folder of the peers' servers.
const FOLDER: &str = "bench/peers";

/// `rest` is passed to the measurement (`--help`); with `--server`, only the load generator is built.
pub(crate) fn run(rest: &[&str]) -> anyhow::Result<()> {
    install();
    let has_server = rest.iter().any(|word| *word == "--server" || word.starts_with("--server="));
    let ours: &[&str] = if has_server { &[] } else { &["-p", "agentbench-cli", "--bin", "agentbench"] };
    cargo(&[&["build", "--release", "-p", "agentbench-load", "--bin", "peers"], ours].concat())?;
    let measurement = target().join("release/peers");
    eprintln!("› {} {}", measurement.display(), rest.join(" "));
    // Replaces this process, so that Ctrl-C and SIGTERM reach the program that stops the servers.
    let error = Command::new(&measurement).args(rest).current_dir(root()).exec();
    Err(error).with_context(|| format!("cannot run {}", measurement.display()))
}

/// The measurement skips missing peers and reports them; a failed installation is no reason to measure nothing.
fn install() {
    eprintln!("› npm ci (in {FOLDER})");
    let done =
        Command::new("npm").args(["ci", "--no-audit", "--no-fund"]).current_dir(root().join(FOLDER)).status();
    match done {
        Ok(status) if status.success() => {}
        Ok(status) => eprintln!("xtask: npm ci failed ({status}); peers in JavaScript may be skipped"),
        Err(error) => {
            eprintln!("xtask: cannot run npm ({error}): install Node.js 20 or newer; its peers are skipped");
        }
    }
}
