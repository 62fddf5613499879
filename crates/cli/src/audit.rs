//! `agentbench audit verify`: is the audit log as it was written?

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use agentbench_audit::{Hash, verify};
use anyhow::Context;
use clap::Subcommand;

/// What can be done with an audit log.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Find lines that were changed, removed, swapped or cut. Exit code 1 if there are any
    Verify {
        /// The log's files, oldest first: DATA_DIR/audit*.jsonl is the right order
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// The last line as it was noted elsewhere: a later end is fine, an earlier or other one is not
        #[arg(long, value_name = "NUMBER:HASH", value_parser = parse_note)]
        noted: Option<(u64, Hash)>,
    },
}

fn parse_note(text: &str) -> Result<(u64, Hash), String> {
    let wrong = || "must be a number, a colon and 64 hexadecimal digits, as verify prints them".to_owned();
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok((number.parse().map_err(|_| wrong())?, Hash::parse(hash).ok_or_else(wrong)?))
}

/// Does it.
///
/// # Errors
/// If a file cannot be read.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { files, noted } = command;
    let open = |path: &PathBuf| {
        File::open(path).map(BufReader::new).with_context(|| format!("cannot read {}", path.display()))
    };
    let readers: Vec<_> = files.iter().map(open).collect::<Result<_, _>>()?;
    let report = verify(readers, *noted)?;
    for finding in &report.findings {
        say!("{}: {finding}", files[finding.file].display());
    }
    if report.lost > 0 {
        say!("{} lines were not taken: the queue was full (AUDIT_WHEN_FULL=count)", report.lost);
    }
    if let Some(first) = report.first.filter(|first| *first > 1) {
        say!("begins with line number {first}: older files were not given");
    }
    let mut is_whole = report.findings.is_empty();
    if let (Some((number, _)), false) = (noted, report.has_noted) {
        say!("the noted line, number {number}, is not in it: removed, or made anew");
        is_whole = false;
    }
    match report.last {
        Some((number, hash)) => say!("{} lines, the last is {number}:{hash}", report.lines),
        None => say!("{} lines, none of them whole", report.lines),
    }
    Ok(if is_whole && report.lines > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
