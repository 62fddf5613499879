//! `agentbench log salvage`.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use agentbench_event_log::Frame;
use agentbench_event_log_disk::{Damage, Finding, inspect};
use agentbench_protocol::Seq;
use anyhow::Context;
use serde_json::json;

/// Writes one file after the other.
struct Salvage<'a> {
    folder: &'a Path,
    /// The file of the current session.
    to: Option<BufWriter<File>>,
    sessions: u64,
    events: u64,
    lost: u64,
}

/// Writes all that can be read.
pub(super) fn run(dir: &Path, folder: &Path) -> anyhow::Result<ExitCode> {
    super::must_exist(dir)?;
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let is_empty =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?.next().is_none();
    anyhow::ensure!(is_empty, "{} is not empty: choose another folder", folder.display());
    let mut salvage = Salvage { folder, to: None, sessions: 0, events: 0, lost: 0 };
    let mut failure = None;
    inspect(dir, |finding| {
        // The rest is read in vain then, which is rare enough.
        if failure.is_none() {
            failure = salvage.take(finding).err();
        }
    })?;
    failure.map_or(Ok(()), Err)?;
    salvage.end_file()?;
    let Salvage { sessions, events, lost, .. } = salvage;
    outln!("{events} events of {sessions} sessions are in {}, {lost} are lost", folder.display());
    Ok(if lost == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Salvage<'_> {
    fn take(&mut self, finding: Finding<'_>) -> anyhow::Result<()> {
        match finding {
            Finding::Log { session, is_archived, .. } => {
                self.end_file()?;
                self.sessions += 1;
                // A session that was being archived is in both places.
                let suffix = if is_archived { "archived.jsonl" } else { "jsonl" };
                self.begin_file(&self.folder.join(format!("{session}.{suffix}")))?;
            }
            Finding::Frame(frame) => self.write_frame(frame)?,
            Finding::Lost { from, to, detail } => self.write_lost(from, to, &detail)?,
            Finding::Damage(Damage { place, what }) | Finding::Missing(Damage { place, what }) => {
                eprintln!("agentbench: {place}: {what}");
            }
        }
        Ok(())
    }

    fn begin_file(&mut self, path: &Path) -> anyhow::Result<()> {
        let file = File::create_new(path).with_context(|| format!("cannot create {}", path.display()))?;
        self.to = Some(BufWriter::new(file));
        Ok(())
    }

    fn end_file(&mut self) -> anyhow::Result<()> {
        if let Some(mut file) = self.to.take() {
            file.flush().context("cannot write an event")?;
        }
        Ok(())
    }

    fn write_frame(&mut self, frame: &Frame) -> anyhow::Result<()> {
        let Some(to) = &mut self.to else { return Ok(()) };
        for (_, record) in frame.records() {
            to.write_all(record.body).and_then(|()| to.write_all(b"\n")).context("cannot write an event")?;
            self.events += 1;
        }
        Ok(())
    }

    fn write_lost(&mut self, from: Seq, to: Seq, detail: &str) -> anyhow::Result<()> {
        self.lost += to - from + 1;
        let Some(file) = &mut self.to else { return Ok(()) };
        let line = json!({"lost": {"from": from, "to": to, "detail": detail}});
        writeln!(file, "{line}").context("cannot write an event")
    }
}
