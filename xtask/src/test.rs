//! `cargo xtask test`: every test of the workspace, from one build.
//!
//! One selection of features for all, so that nothing is built twice. The tests that start the server as a process use the
//! binary of this build: cargo makes it for them, and names it in `CARGO_BIN_EXE_agentbench`.

use std::num::NonZero;
use std::thread::available_parallelism;

use anyhow::bail;

use crate::{cargo, output};

/// Features of every package, for all kinds of tests.
const FEATURES: &str = "--all-features";
/// Most of the time the tests of this package wait for sockets and clocks, so more of them run than there are cores. In a
/// run of the whole workspace, which takes its time anyway, they do not: there nothing may fail for want of a core.
const WAITING: &str = "agentbench-server";
/// Tests of [`WAITING`] for each core.
const FOR_EACH_CORE: usize = 3;

/// `rest` may begin with `-p PACKAGE`; the other words are parts of names.
pub(crate) fn run(rest: &[&str]) -> anyhow::Result<()> {
    match rest {
        ["-p"] => bail!("cargo xtask test [-p PACKAGE] [NAME]"),
        ["-p", package, names @ ..] => package_tests(package, names),
        [] => {
            tests(&["--workspace"], &[], 1)?;
            cargo(&["test", "--doc", "--workspace", FEATURES])
        }
        names => tests(&["--workspace"], names, 1),
    }
}

fn package_tests(package: &str, names: &[&str]) -> anyhow::Result<()> {
    tests(&["-p", package], names, if package == WAITING { FOR_EACH_CORE } else { 1 })
}

/// The tests of this selection, by nextest if it is there, which then runs `for_each_core` of them for each core.
fn tests(selection: &[&str], names: &[&str], for_each_core: usize) -> anyhow::Result<()> {
    let threads = available_parallelism().map_or(1, NonZero::get) * for_each_core;
    let threads = threads.to_string();
    let runner: &[&str] = if has_nextest() {
        &["nextest", "run", "--no-fail-fast", "--test-threads", &threads]
    } else {
        &["test", "--no-fail-fast", "--lib", "--bins", "--tests"]
    };
    cargo(&[runner, &[FEATURES], selection, names].concat())
}

fn has_nextest() -> bool {
    output("cargo", &["nextest", "--version"]).is_some()
}
