//! The report as files: `report.json`, and each scenario's histories, one JSONL file a client.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use agentbench_history::{ClientHistory, jsonl};
use anyhow::Context;

use crate::schema::Report;

/// Writes a scenario's histories and gives their folder.
///
/// # Errors
/// If the files cannot be written.
pub fn write_histories(
    folder: &Path,
    scenario: &str,
    histories: &[ClientHistory],
) -> anyhow::Result<PathBuf> {
    let folder = folder.join("history").join(slug(scenario));
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    for history in histories {
        let path = folder.join(format!("{}.jsonl", history.client));
        let file = File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
        let mut out = BufWriter::new(file);
        jsonl::write(history, &mut out)?;
        out.flush().with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(folder)
}

/// Writes `report.json` and gives its path.
///
/// # Errors
/// If it cannot be written.
pub fn write_report(folder: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let path = folder.join("report.json");
    let text = serde_json::to_string_pretty(report)?;
    fs::write(&path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// A name as a file's: `Small Load Test` is `small-load-test`.
pub fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_become_files() {
        assert_eq!(super::slug("Small Load Test"), "small-load-test");
        assert_eq!(super::slug("../x"), "---x");
    }
}
