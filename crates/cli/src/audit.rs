//! `agentbench audit verify`: checks that the audit log is unaltered.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;
use std::process::ExitCode;

use agentbench_audit::{Hash, verify};
use anyhow::Context;
use clap::Subcommand;

/// The `audit` commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Find lines that were changed, removed, reordered or truncated; exits with 1 if there are any
    Verify {
        /// Files of the log, oldest first: DATA_DIR/audit*.jsonl expands in this order
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
        /// Last line as recorded elsewhere: the log may have grown since, but must still contain this line
        #[arg(long, value_name = "NUMBER:HASH", value_parser = parse_note)]
        noted: Option<(u64, Hash)>,
    },
}

fn parse_note(text: &str) -> Result<(u64, Hash), String> {
    let wrong = || "must be a number, a colon and 64 hexadecimal digits, as verify prints them".to_owned();
    let (number, hash) = text.split_once(':').ok_or_else(wrong)?;
    Ok((number.parse().map_err(|_| wrong())?, Hash::parse(hash).ok_or_else(wrong)?))
}

/// Verifies the log and prints what was found.
///
/// # Errors
/// A file cannot be read.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    let Command::Verify { files, noted } = command;
    let open = |path: &PathBuf| {
        File::open(path).map(BufReader::new).with_context(|| format!("cannot read {}", path.display()))
    };
    let readers: Vec<_> = files.iter().map(open).collect::<Result<_, _>>()?;
    let report = verify(readers, *noted)?;
    for finding in &report.findings {
        outln!("{}: {finding}", files[finding.file].display());
    }
    if report.lost > 0 {
        outln!("{} lines were not recorded: the queue was full (AUDIT_WHEN_FULL=count)", report.lost);
    }
    if let Some(first) = report.first.filter(|first| *first > 1) {
        outln!("the log begins with line {first}: older files were not given");
    }
    let mut is_whole = report.findings.is_empty();
    if let (Some((number, _)), false) = (noted, report.has_noted) {
        outln!("the noted line, number {number}, is missing: it was removed or rewritten");
        is_whole = false;
    }
    match report.last {
        Some((number, hash)) => outln!("{} lines, the last is {number}:{hash}", report.lines),
        None => outln!("{} lines, none of them complete", report.lines),
    }
    Ok(if is_whole && report.lines > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
