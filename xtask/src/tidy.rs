//! House rules that no compiler checks.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};

use crate::{codegen, floors, output, root, titles};

/// Crates that decide without side effects: time, randomness and IO are arguments.
const PURE: [&str; 5] = [
    "agentbench-protocol",
    "agentbench-session",
    "agentbench-auth",
    "agentbench-websocket",
    "agentbench-history",
];

/// Crates that a pure crate must not depend on.
const IMPURE: [&str; 8] = ["tokio", "mio", "socket2", "getrandom", "rand", "hyper", "async-std", "chrono"];

/// `agentbench-auth` depends on `jsonwebtoken`, whose signing needs randomness; verifying, all that the server does, uses none.
const EXCUSED: [(&str, &[&str]); 1] = [("agentbench-auth", &["getrandom", "rand"])];

/// Folders with the output of builds and installs.
const NO_SOURCES: [&str; 3] = ["target", "node_modules", "dist"];

pub(crate) fn run() -> anyhow::Result<()> {
    let mut broken = Vec::new();
    pure_crates(&mut broken)?;
    module_docs(&mut broken);
    attacks(&mut broken)?;
    floors::check(&mut broken);
    titles::check(&mut broken);
    broken.extend(codegen::stale()?);
    if broken.is_empty() {
        println!(
            "tidy: pure crates are pure, modules say their role, attacks have tests, titles of commits are short, generated files are fresh"
        );
        return Ok(());
    }
    bail!("{} house rules are broken:\n  {}", broken.len(), broken.join("\n  "))
}

/// Checks that every test in the table of attacks exists.
fn attacks(broken: &mut Vec<String>) -> anyhow::Result<()> {
    let page = fs::read_to_string(root().join("docs/security.md"))?;
    let (_, table) =
        page.split_once("## Attacks that were tried").context("docs/security.md has no attacks")?;
    let sources: String =
        sources(&["rs", "ts"]).iter().filter_map(|file| fs::read_to_string(root().join(file)).ok()).collect();
    for row in table.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let tests = row.trim_end_matches('|').rsplit('|').next().unwrap_or("");
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        if names.is_empty() {
            broken.push(format!("docs/security.md: no test for {row}"));
        }
        let is_there = |name: &str| {
            sources.contains(&format!("fn {name}(")) || sources.contains(&format!("(\"{name}\""))
        };
        broken.extend(
            names
                .iter()
                .filter(|name| !is_there(name))
                .map(|name| format!("docs/security.md names no test: {name}")),
        );
    }
    Ok(())
}

fn pure_crates(broken: &mut Vec<String>) -> anyhow::Result<()> {
    for name in PURE {
        if !root().join("suite/history").exists() && name == "agentbench-history" {
            continue;
        }
        let tree =
            output("cargo", &["tree", "-p", name, "-e", "normal", "--prefix", "none", "--format", "{p}"])
                .with_context(|| format!("cargo tree -p {name} failed"))?;
        let below: BTreeSet<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        let excused =
            EXCUSED.iter().find(|(crate_name, _)| *crate_name == name).map_or(&[][..], |(_, list)| list);
        for impure in IMPURE.iter().filter(|impure| below.contains(*impure) && !excused.contains(impure)) {
            broken.push(format!("{name} depends on {impure}, but must have no side effects"));
        }
    }
    Ok(())
}

/// Checks that every source file starts with its role.
fn module_docs(broken: &mut Vec<String>) {
    for file in sources(&["rs"]) {
        // A deleted file that is not committed yet is still listed.
        let Ok(text) = fs::read_to_string(root().join(&file)) else { continue };
        if !text.starts_with("//!") && !text.starts_with("#![no_main]") {
            broken.push(format!("{file} does not begin with its role (//!)"));
        }
    }
}

/// Source files with these extensions: those that git lists or, in a checkout without git, those in the folders.
pub(crate) fn sources(extensions: &[&str]) -> Vec<String> {
    let patterns: Vec<String> = extensions.iter().map(|extension| format!("*.{extension}")).collect();
    let patterns: Vec<&str> = patterns.iter().map(String::as_str).collect();
    if let Some(files) =
        output("git", &[&["ls-files", "-co", "--exclude-standard", "--"], &patterns[..]].concat())
    {
        return files.lines().map(str::to_owned).collect();
    }
    let mut files = Vec::new();
    walk(root(), &mut files);
    let is_one = |file: &String| {
        Path::new(file).extension().is_some_and(|own| extensions.iter().any(|extension| own == *extension))
    };
    files.retain(is_one);
    files
}

/// Files below this folder, except in hidden folders and those of builds.
fn walk(folder: &Path, files: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if !path.is_dir() {
            files.extend(path.strip_prefix(root()).ok().map(|path| path.to_string_lossy().into_owned()));
        } else if !name.starts_with('.') && !NO_SOURCES.contains(&name.as_str()) {
            walk(&path, files);
        }
    }
}
