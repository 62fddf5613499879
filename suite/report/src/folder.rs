//! The report as files: `report.json`, `report.html`, `report.md`, `junit.xml`, and each scenario's histories, one
//! JSONL file per client. Also reads reports back, for comparison.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use agentbench_history::{ClientHistory, jsonl};
use anyhow::{Context, bail};
use serde::Deserialize;

use crate::fail_on::Breach;
use crate::schema::{Category, REPORT_VERSION, Report};
use crate::{Comparison, html, junit, markdown};

/// The paths of a report's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// `report.json`: the data.
    pub json: PathBuf,
    /// `report.html`: for people.
    pub html: PathBuf,
    /// `report.md`: for a pull request.
    pub markdown: PathBuf,
    /// `junit.xml`: for CI.
    pub junit: PathBuf,
}

/// What a report's files need besides the report.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside<'a> {
    /// The comparison with a baseline, if there is one.
    pub comparison: Option<&'a Comparison>,
    /// The planned scenarios: those missing from the report are skipped cases in `junit.xml`.
    pub planned: &'a [(Category, String)],
    /// The thresholds that the run exceeded.
    pub breaches: &'a [Breach],
}

/// Writes all files of a report and returns their paths.
///
/// # Errors
/// A file cannot be written, because of a full disk or missing permission; the error names it.
pub fn write_all(folder: &Path, report: &Report, beside: Beside<'_>) -> anyhow::Result<Paths> {
    // The data first: the other files can be made from it.
    let json = write_report(folder, report)?;
    let html = write_file(folder, "report.html", &html::render(report, beside.comparison))?;
    let markdown = write_file(folder, "report.md", &markdown::render(report, beside.comparison))?;
    let junit = write_file(folder, "junit.xml", &junit::render(report, beside.planned, beside.breaches))?;
    Ok(Paths { json, html, markdown, junit })
}

fn write_file(folder: &Path, name: &str, text: &str) -> anyhow::Result<PathBuf> {
    fs::create_dir_all(folder).with_context(|| hint("create the folder", folder))?;
    let path = folder.join(name);
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&path)?;
        file.write_all(text.as_bytes())?;
        // A network file system may report a full disk only now.
        file.sync_all()
    };
    write().with_context(|| hint("write", &path))?;
    Ok(path)
}

fn hint(what: &str, path: &Path) -> String {
    format!("cannot {what} {}: choose another folder with --output, or free some space", path.display())
}

/// Reads a `report.json`.
///
/// # Errors
/// The file cannot be read, is not a report, or has a version that cannot be compared with this one.
pub fn read_report(path: &Path) -> anyhow::Result<Report> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse_report(&text, &path.display().to_string())
}

/// Parses the text of a `report.json`; `place` is where it was found.
///
/// # Errors
/// It is not a report, or has a version that cannot be compared with this one.
pub fn parse_report(text: &str, place: &str) -> anyhow::Result<Report> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let Version { version } = serde_json::from_str(text)
        .with_context(|| format!("{place} is not a report: give the report.json of a run"))?;
    match version {
        REPORT_VERSION => {}
        older if older < REPORT_VERSION => bail!(
            "{place} is a report of version {older}, and this suite reads version {REPORT_VERSION}: run the baseline again with this suite"
        ),
        newer => bail!(
            "{place} is a report of version {newer}, made by a newer suite; this one reads version {REPORT_VERSION}: use the newer suite"
        ),
    }
    serde_json::from_str(text).with_context(|| format!("{place} is a damaged report"))
}

/// Writes a scenario's histories and returns their folder.
///
/// # Errors
/// The files cannot be written.
pub fn write_histories(
    folder: &Path,
    scenario: &str,
    histories: &[ClientHistory],
) -> anyhow::Result<PathBuf> {
    let folder = folder.join("history").join(slug(scenario));
    fs::create_dir_all(&folder).with_context(|| hint("create the folder", &folder))?;
    for history in histories {
        let path = folder.join(format!("{}.jsonl", history.client));
        let file = File::create(&path).with_context(|| hint("write", &path))?;
        let mut out = BufWriter::new(file);
        jsonl::write(history, &mut out).with_context(|| hint("write", &path))?;
        out.flush().with_context(|| hint("write", &path))?;
    }
    Ok(folder)
}

/// Writes `report.json` and returns its path.
///
/// # Errors
/// The file cannot be written.
pub fn write_report(folder: &Path, report: &Report) -> anyhow::Result<PathBuf> {
    let text = serde_json::to_string_pretty(report)?;
    write_file(folder, "report.json", &(text + "\n"))
}

/// Turns a name into a file name: `Small Load Test` becomes `small-load-test`.
pub fn slug(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' };
    name.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample::sample;

    #[test]
    fn names_become_files() {
        assert_eq!(slug("Small Load Test"), "small-load-test");
        assert_eq!(slug("../x"), "---x");
    }

    /// The files stay in `target/report-sample`, to look at.
    #[test]
    fn everything_is_written_and_the_data_read_back() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/report-sample");
        let mut newer = sample();
        newer.scenarios[0].figures.delivery.corrected.p99 *= 2;
        let comparison = crate::baseline::compare(&vec![sample(); 6], &vec![newer; 6]);
        let beside = Beside { comparison: Some(&comparison), ..Beside::default() };
        let paths = write_all(&folder, &sample(), beside).unwrap();
        assert_eq!(read_report(&paths.json).unwrap(), sample());
        for path in [paths.html, paths.markdown, paths.junit] {
            assert!(fs::metadata(path).unwrap().len() > 1_000);
        }
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_said_with_what_to_do() {
        let scratch = tempfile::tempdir().unwrap();
        let file = scratch.path().join("file");
        fs::write(&file, "").unwrap();
        let error = write_all(&file.join("inside"), &sample(), Beside::default()).unwrap_err();
        assert!(error.to_string().contains("choose another folder with --output"), "{error}");
    }

    #[test]
    fn a_full_disk_is_said() {
        // Linux's device that is always full.
        let full = Path::new("/dev/full");
        if full.exists() {
            let scratch = tempfile::tempdir().unwrap();
            std::os::unix::fs::symlink(full, scratch.path().join("report.json")).unwrap();
            let error = write_report(scratch.path(), &sample()).unwrap_err();
            assert!(format!("{error:#}").contains("No space left"), "{error:#}");
        }
    }

    #[test]
    fn a_report_of_version_1_is_refused_in_a_sentence() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-1.json");
        let error = read_report(&path).unwrap_err().to_string();
        assert!(
            error.contains("is a report of version 1") && error.contains("run the baseline again"),
            "{error}"
        );
    }

    #[test]
    fn a_report_of_version_2_without_newer_fields_is_read() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/version-2-bare.json");
        let report = read_report(&path).unwrap();
        assert!(report.scenarios[0].events.is_empty() && report.scenarios[0].figures.server.is_none());
        assert!(write_all(tempfile::tempdir().unwrap().path(), &report, Beside::default()).is_ok());
    }

    #[test]
    fn other_files_are_no_reports() {
        let scratch = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("{}", "is not a report"),
            ("x", "is not a report"),
            ("{\"version\":9}", "newer suite"),
            ("{\"version\":2}", "damaged"),
        ] {
            let path = scratch.path().join("report.json");
            fs::write(&path, text).unwrap();
            let error = read_report(&path).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
        assert!(read_report(&scratch.path().join("none")).unwrap_err().to_string().contains("cannot read"));
    }
}
