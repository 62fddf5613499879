//! `agentbench log check`.

use std::path::Path;
use std::process::ExitCode;

use agentbench_event_log_disk::{Damage, Finding, inspect};
use agentbench_protocol::SessionId;

use crate::progress::Line;

/// What was counted so far.
#[derive(Default)]
struct Counts {
    live: u64,
    archived: u64,
    events: u64,
    bytes: u64,
    lost: u64,
    damage: u64,
    session: Option<SessionId>,
}

/// Reads everything and prints what is damaged.
pub(super) fn run(dir: &Path) -> anyhow::Result<ExitCode> {
    super::must_exist(dir)?;
    let mut counts = Counts::default();
    let mut line = Line::new();
    inspect(dir, |finding| counts.take(finding, &mut line))?;
    line.clear();
    let Counts { live, archived, events, bytes, lost, damage, .. } = counts;
    let mib = bytes as f64 / f64::from(1 << 20);
    outln!("{live} live and {archived} ended sessions, {events} events, {mib:.1} MiB read");
    if lost + damage == 0 {
        outln!("all of it is as it was written");
        return Ok(ExitCode::SUCCESS);
    }
    outln!("{lost} events are lost, {damage} files or places in them are damaged");
    Ok(ExitCode::FAILURE)
}

impl Counts {
    fn take(&mut self, finding: Finding<'_>, line: &mut Line) {
        match finding {
            Finding::Log { session, is_archived, .. } => {
                self.session = Some(session);
                *(if is_archived { &mut self.archived } else { &mut self.live }) += 1;
            }
            Finding::Frame(frame) => {
                self.events += frame.count() as u64;
                self.bytes += frame.bytes().len() as u64;
                let sessions = self.live + self.archived;
                line.show(&format!("{sessions} sessions, {} MiB read", self.bytes >> 20));
            }
            Finding::Lost { from, to, detail } => {
                self.lost += to - from + 1;
                line.clear();
                let session = self.session.map(|session| session.to_string()).unwrap_or_default();
                outln!("session {session}: events {from} to {to} are lost: {detail}");
            }
            Finding::Damage(Damage { place, what }) => {
                self.damage += 1;
                line.clear();
                outln!("{place}: {what}");
            }
            Finding::Missing(Damage { place, what }) => {
                self.damage += 1;
                line.clear();
                outln!("{place}: acknowledged events are missing: {what}");
            }
        }
    }
}
