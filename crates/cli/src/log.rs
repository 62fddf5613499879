//! `agentbench log`: checks, saves and migrates the log of a stopped server.

mod check;
mod salvage;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use agentbench_event_log_disk::{Damage, DiskConfig, Migration, migrate};
use clap::Subcommand;

/// The `log` commands.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Read every event in the data folder of a stopped server, and say what is damaged; exits with 1 if anything is
    Check {
        /// The data folder
        #[arg(value_name = "DATA_DIR")]
        data_dir: PathBuf,
    },
    /// Write all events that can be read as JSON Lines, a file for each session
    ///
    /// A line is an event as readers received it, or {"lost": {"from": 3, "to": 4, "detail": "…"}} in the place of those that cannot
    /// be read. Exits with 1 if there are any.
    Salvage {
        /// The data folder
        #[arg(value_name = "DATA_DIR")]
        data_dir: PathBuf,
        /// A folder for the files; it is created, and must be empty
        #[arg(long, value_name = "FOLDER")]
        to: PathBuf,
    },
    /// Move the logs of an older version's folder (hot/) into segments, as the first start does by itself
    Migrate {
        /// The data folder
        #[arg(value_name = "DATA_DIR")]
        data_dir: PathBuf,
        /// Only say what would be done, and whether there is room
        #[arg(long)]
        dry_run: bool,
    },
}

/// Runs a command.
///
/// # Errors
/// The folder is in use, or cannot be read.
pub(crate) fn run(command: &Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check { data_dir } => check::run(data_dir),
        Command::Salvage { data_dir, to } => salvage::run(data_dir, to),
        Command::Migrate { data_dir, dry_run } => run_migration(data_dir, *dry_run),
    }
}

fn run_migration(dir: &Path, dry_run: bool) -> anyhow::Result<ExitCode> {
    must_exist(dir)?;
    let Some(migration) = migrate(&DiskConfig::new(dir), dry_run)? else {
        outln!("{}: nothing to migrate", dir.display());
        return Ok(ExitCode::SUCCESS);
    };
    let Migration { sessions, frames, bytes, free_bytes, damage, missing, took } = &migration;
    for Damage { place, what } in damage.iter().chain(missing) {
        outln!("{place}: {what}");
    }
    let mib = |bytes: &u64| bytes.div_ceil(1 << 20);
    if dry_run {
        outln!(
            "{sessions} live sessions with {frames} frames would be moved; that needs {} MiB, and {} MiB are free",
            mib(bytes),
            mib(free_bytes)
        );
        return Ok(if migration.fits() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
    }
    outln!("{sessions} live sessions with {frames} frames were moved in {:.1} s", took.as_secs_f64());
    Ok(ExitCode::SUCCESS)
}

/// A lock file would be created in any folder.
fn must_exist(dir: &Path) -> anyhow::Result<()> {
    let is_data = ["segments", "hot", "archive"].iter().any(|name| dir.join(name).is_dir());
    anyhow::ensure!(is_data, "{} is no data folder: it has neither segments/ nor archive/", dir.display());
    Ok(())
}
