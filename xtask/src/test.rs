//! `cargo xtask test`: every test of the workspace, from one build.
//!
//! All kinds use the same features, so that nothing is built twice. The tests that start the server as a process use the
//! binary of this build: cargo builds it for them, and provides its path in `CARGO_BIN_EXE_agentbench`.

use std::num::NonZero;
use std::thread::available_parallelism;

use anyhow::bail;

use crate::{cargo, output};

/// Features of every package, for all kinds of tests.
const FEATURES: &str = "--all-features";
/// The tests of this package mostly wait for sockets and clocks, so more of them run than there are cores. Not so in a
/// run of the whole workspace, which is slow anyway: no test should fail there for lack of a core.
const WAITING: &str = "agentbench-server";
/// Number of concurrent tests of [`WAITING`] per core.
const FOR_EACH_CORE: usize = 6;

/// `rest` may start with `-p PACKAGE`; the other words are parts of names.
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

/// Runs the tests of this selection, with nextest if it is installed, which then runs `for_each_core` of them per core.
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
