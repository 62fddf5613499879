//! The TypeScript SDK and the dashboard: freshness of types, lint, build, tests in Node and in a real browser, against the build
//! of profile `serve`.

use std::path::Path;
use std::process::Command;

use crate::{binary, output, root, run};

/// Path of Debian's browser.
pub(crate) const BROWSER: &str = "/usr/bin/chromium";

pub(crate) fn check() -> anyhow::Result<()> {
    browser()?;
    run("npm", &["--prefix", "web/client", "ci", "--silent"])?;
    run("npm", &["--prefix", "web/client", "run", "--silent", "lint"])?;
    let mut words = vec!["--prefix", "web/client", "test", "--silent"];
    if !Path::new(BROWSER).is_file() {
        eprintln!("web: no Chromium at {BROWSER}; the tests in a browser are skipped");
        words.extend(["--", "--exclude", "test/browser.test.ts"]);
    }
    let status =
        Command::new("npm").args(&words).env("AGENTBENCH_BINARY", binary()).current_dir(root()).status()?;
    anyhow::ensure!(status.success(), "npm {}: {status}", words.join(" "));
    dashboard()
}

/// Tests the dashboard of the build of profile `serve`; [`crate::dashboard`] has installed what that needs.
fn dashboard() -> anyhow::Result<()> {
    for task in ["lint", "test"] {
        run("npm", &["--prefix", "web/dashboard", "run", "--silent", task])?;
    }
    if !Path::new(BROWSER).is_file() {
        eprintln!("web: no Chromium at {BROWSER}; the dashboard's tests in a browser are skipped");
        return Ok(());
    }
    let status = Command::new("npm")
        .args(["--prefix", "web/dashboard", "run", "--silent", "e2e"])
        .env("AGENTBENCH_BIN", binary())
        .current_dir(root())
        .status()?;
    anyhow::ensure!(status.success(), "the dashboard's tests in a browser: {status}");
    Ok(())
}

/// Installs the browser, where that is possible.
fn browser() -> anyhow::Result<()> {
    let is_root = output("id", &["-u"]).is_some_and(|id| id.trim() == "0");
    if Path::new(BROWSER).is_file() || !is_root || output("apt-get", &["--version"]).is_none() {
        return Ok(());
    }
    run("apt-get", &["update", "-qq"])?;
    run("apt-get", &["install", "-y", "-qq", "--no-install-recommends", "chromium"])
}
