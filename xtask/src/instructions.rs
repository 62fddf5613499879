//! `cargo xtask bench --instructions`: instructions per event, counted by callgrind, here and at another commit.
//!
//! Counts do not depend on the load of the machine, so they show differences of a percent where times show none. Each
//! program runs twice, with different numbers of events; the difference gives the cost per event, without start and end.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::{output, root, run, target};

/// Package and example of each program.
const PROGRAMS: [(&str, &str); 2] =
    [("agentbench-protocol", "count_envelopes"), ("agentbench-session", "count_steps")];
const FEW: u64 = 4_000;
const MANY: u64 = 12_000;

/// `rest` may contain `--against COMMIT`.
pub(crate) fn count(rest: &[&str]) -> anyhow::Result<()> {
    if output("valgrind", &["--version"]).is_none() {
        bail!("valgrind is missing: apt-get install valgrind");
    }
    let commit = match rest {
        [] => None,
        ["--against", commit] => Some(*commit),
        _ => bail!("cargo xtask bench --instructions [--against COMMIT]"),
    };
    let new = count_in(root(), &target())?;
    let Some(commit) = commit else {
        println!("| what | instructions per event |\n|---|---|");
        for ((_, program), count) in PROGRAMS.iter().zip(new) {
            println!("| {program} | {count:.1} |");
        }
        return Ok(());
    };
    let folder = target().join("against");
    let tree = checkout(commit, &folder)?;
    let old = count_in(&tree, &folder.join("target"))?;
    println!("| what | at {commit} | here | ratio |\n|---|---|---|---|");
    for (((_, program), old), new) in PROGRAMS.iter().zip(old).zip(new) {
        println!("| {program}, instructions per event | {old:.1} | {new:.1} | {:.4} |", new / old);
    }
    Ok(())
}

/// A checkout of the commit with the programs of the current one, which use nothing that older commits lack.
fn checkout(commit: &str, folder: &Path) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(folder)?;
    let tree = folder.join("tree");
    if !tree.exists() {
        run("git", &["worktree", "prune"])?;
        run("git", &["worktree", "add", "--detach", &tree.to_string_lossy(), commit])?;
    }
    let done =
        Command::new("git").args(["checkout", "--quiet", "--detach", commit]).current_dir(&tree).status()?;
    ensure!(done.success(), "git checkout {commit} in {} failed", tree.display());
    for (package, program) in PROGRAMS {
        let place = format!("crates/{}/examples", package.trim_start_matches("agentbench-"));
        std::fs::create_dir_all(tree.join(&place))?;
        let file = format!("{place}/{program}.rs");
        std::fs::copy(root().join(&file), tree.join(&file)).with_context(|| format!("cannot copy {file}"))?;
    }
    Ok(tree)
}

fn count_in(tree: &Path, target: &Path) -> anyhow::Result<Vec<f64>> {
    let mut counts = Vec::new();
    for (package, program) in PROGRAMS {
        eprintln!("› cargo build --release -p {package} --example {program} (in {})", tree.display());
        let done = Command::new("cargo")
            .args(["build", "--quiet", "--release", "-p", package, "--example", program, "--target-dir"])
            .arg(target)
            .current_dir(tree)
            .status()?;
        ensure!(done.success(), "the build of {program} failed");
        let binary = target.join("release/examples").join(program);
        let (few, many) = (instructions(&binary, FEW)?, instructions(&binary, MANY)?);
        counts.push((many - few) as f64 / (MANY - FEW) as f64);
    }
    Ok(counts)
}

/// Callgrind's count for one run.
fn instructions(binary: &Path, events: u64) -> anyhow::Result<u64> {
    let done = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(binary)
        .arg(events.to_string())
        .output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{} failed: {said}", binary.display());
    let line = said.lines().find_map(|line| line.split_once("Collected : "));
    let count = line.and_then(|(_, count)| count.trim().parse().ok());
    count.with_context(|| format!("callgrind printed no count: {said}"))
}
