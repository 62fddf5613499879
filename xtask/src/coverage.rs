//! `cargo xtask coverage`: the lines that the tests run, for each crate and for the two TypeScript packages.
//!
//! cargo-tarpaulin counts Rust, Vitest counts TypeScript; both write LCOV, which is summed up here.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use crate::{binary, cargo, output, root, run, target, tools, web};

/// The release of cargo-tarpaulin whose options are used here.
const TARPAULIN: &str = "0.37.5";
/// Time limit of one test binary in seconds.
const TIMEOUT: &str = "900";
/// TypeScript packages.
const WEB: [&str; 2] = ["web/client", "web/dashboard"];
/// Number of files in the list of those with most uncovered lines.
const LISTED: usize = 20;

/// Executable lines, and those that were executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Lines {
    all: u64,
    covered: u64,
}

impl Lines {
    fn uncovered(self) -> u64 {
        self.all - self.covered
    }

    fn percent(self) -> f64 {
        if self.all == 0 { 100.0 } else { self.covered as f64 * 100.0 / self.all as f64 }
    }
}

/// Measures the packages in `names` (`agentbench-session`, `web/client`), or all.
pub(crate) fn measure(names: &[&str]) -> anyhow::Result<()> {
    let (web, crates): (Vec<&str>, Vec<&str>) = names.iter().partition(|name| name.starts_with("web/"));
    for name in &web {
        ensure!(
            WEB.contains(name),
            "there is no package {name}; the TypeScript packages are {}",
            WEB.join(" and ")
        );
    }
    if names.is_empty() || !crates.is_empty() {
        // Printed at once: what follows may fail.
        print(&rust(&crates)?);
    }
    let mut files = BTreeMap::new();
    for folder in if names.is_empty() { &WEB[..] } else { &web[..] } {
        files.extend(typescript(folder)?);
    }
    if !files.is_empty() {
        print(&files);
    }
    Ok(())
}

/// Runs the tests of these crates, or of all, and returns the lines of their own files. Tarpaulin's llvm engine reads the
/// compiler's counters itself, including those of servers that tests start; it needs no llvm-tools.
fn rust(crates: &[&str]) -> anyhow::Result<BTreeMap<String, Lines>> {
    let tarpaulin = tools::installed("cargo-tarpaulin", TARPAULIN, &["--no-default-features"])?;
    let folder = target().join("coverage");
    let (report, build) = (folder.join("rust"), folder.join("build"));
    fs::create_dir_all(&report)?;
    let (report_name, build) = (report.to_string_lossy(), build.to_string_lossy());
    let mut words = vec!["tarpaulin", "--engine", "llvm", "--all-features", "--lib", "--bins", "--tests"];
    words.extend(["--skip-clean", "--no-fail-fast", "--timeout", TIMEOUT, "--out", "Lcov"]);
    words.extend(["--output-dir", &report_name, "--target-dir", &build]);
    if crates.is_empty() {
        words.push("--workspace");
    }
    words.extend(crates.iter().flat_map(|name| ["--packages", name]));
    run(&tarpaulin.to_string_lossy(), &words)?;
    let mut files = read(&report.join("lcov.info"), root())?;
    files
        .retain(|file, _| is_source(file) && (crates.is_empty() || crates.contains(&package(file).as_str())));
    Ok(files)
}

/// Runs the tests of a TypeScript package, with a server of profile `serve`. Vitest's coverage module is installed in addition to
/// the packages of the lock file. Without a browser, the tests in one are left out.
fn typescript(folder: &str) -> anyhow::Result<BTreeMap<String, Lines>> {
    cargo(&["build", "--quiet", "--profile", "serve", "-p", "agentbench-cli"])?;
    run("npm", &["--prefix", folder, "ci", "--silent", "--no-audit", "--no-fund"])?;
    run("npm", &["--prefix", folder, "run", "--silent", "build"])?;
    let vitest = root().join(folder).join("node_modules/.bin/vitest");
    let said = output(&vitest.to_string_lossy(), &["--version"]).context("Vitest is not installed")?;
    let version = said.split(['/', ' ']).nth(1).context("Vitest printed no version")?;
    let provider = format!("@vitest/coverage-v8@{version}");
    run(
        "npm",
        &["--prefix", folder, "install", "--silent", "--no-save", "--no-audit", "--no-fund", &provider],
    )?;
    let report = target().join("coverage").join(folder);
    let directory = format!("--coverage.reportsDirectory={}", report.display());
    let mut words = vec!["exec", "--prefix", folder, "--", "vitest", "run", "--root", folder];
    words.extend([
        "--coverage.enabled",
        "--coverage.include=src/**",
        "--coverage.reporter=lcovonly",
        &directory,
    ]);
    if !Path::new(web::BROWSER).is_file() {
        words.extend(["--exclude", "test/browser.test.ts"]);
    }
    let status =
        Command::new("npm").args(&words).env("AGENTBENCH_BINARY", binary()).current_dir(root()).status()?;
    ensure!(status.success(), "npm {}: {status}", words.join(" "));
    read(&report.join("lcov.info"), &root().join(folder))
}

/// The lines of each file in an LCOV report, by the file's path in the workspace.
fn read(report: &Path, folder: &Path) -> anyhow::Result<BTreeMap<String, Lines>> {
    let text = fs::read_to_string(report).with_context(|| format!("no report {}", report.display()))?;
    let files = parse(&text).into_iter();
    Ok(files.map(|(file, lines)| (in_workspace(&folder.join(file)), lines)).collect())
}

fn in_workspace(file: &Path) -> String {
    file.strip_prefix(root()).unwrap_or(file).to_string_lossy().into_owned()
}

/// Files of an LCOV report and their lines; each `DA` is an executable line with its count.
fn parse(text: &str) -> BTreeMap<PathBuf, Lines> {
    let (mut files, mut file) = (BTreeMap::<PathBuf, Lines>::new(), PathBuf::new());
    for line in text.lines() {
        if let Some(path) = line.strip_prefix("SF:") {
            file = PathBuf::from(path);
            files.entry(file.clone()).or_default();
        } else if let Some((_, hits)) = line.strip_prefix("DA:").and_then(|entry| entry.split_once(',')) {
            let lines = files.entry(file.clone()).or_default();
            lines.all += 1;
            lines.covered += u64::from(hits.trim() != "0");
        }
    }
    files
}

/// Tests, examples and benchmarks are not measured.
fn is_source(file: &str) -> bool {
    file.contains("/src/")
}

/// The package of a file: `crates/session/src/lib.rs` belongs to `agentbench-session`.
fn package(file: &str) -> String {
    let mut parts = file.split('/');
    match (parts.next(), parts.next()) {
        (Some("crates" | "suite"), Some(name)) => format!("agentbench-{name}"),
        (Some("xtask"), Some("codegen")) => "xtask-codegen".to_owned(),
        (Some("web"), Some(name)) => format!("web/{name}"),
        (first, _) => first.unwrap_or_default().to_owned(),
    }
}

/// Prints a table of packages, and the files with most uncovered lines.
fn print(files: &BTreeMap<String, Lines>) {
    let mut packages = BTreeMap::<String, Lines>::new();
    for (file, lines) in files {
        let sum = packages.entry(package(file)).or_default();
        *sum = Lines { all: sum.all + lines.all, covered: sum.covered + lines.covered };
    }
    println!("\n| package | lines | covered | % |\n|---|---|---|---|");
    for (name, lines) in &packages {
        println!("| {name} | {} | {} | {:.1} |", lines.all, lines.covered, lines.percent());
    }
    let mut worst: Vec<_> = files.iter().filter(|(_, lines)| lines.uncovered() > 0).collect();
    worst.sort_by_key(|(_, lines)| std::cmp::Reverse(lines.uncovered()));
    println!("\n| file | uncovered lines | % covered |\n|---|---|---|");
    for (file, lines) in worst.iter().take(LISTED) {
        println!("| {file} | {} | {:.1} |", lines.uncovered(), lines.percent());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_a_report_are_counted_for_each_file() {
        let text = "TN:\nSF:src/a.rs\nFN:1,a\nDA:1,5\nDA:2,0\nDA:3,1\nLF:3\nLH:2\nend_of_record\nSF:src/b.rs\nend_of_record\n";
        let files = parse(text);
        assert_eq!(files[Path::new("src/a.rs")], Lines { all: 3, covered: 2 });
        assert_eq!(files[Path::new("src/b.rs")], Lines::default());
    }

    #[test]
    fn files_belong_to_packages() {
        for (file, name) in [
            ("crates/session/src/lib.rs", "agentbench-session"),
            ("suite/load/src/bin/budgets.rs", "agentbench-load"),
            ("xtask/src/main.rs", "xtask"),
            ("xtask/codegen/src/main.rs", "xtask-codegen"),
            ("web/client/src/index.ts", "web/client"),
        ] {
            assert_eq!(package(file), name);
        }
    }
}
