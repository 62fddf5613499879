//! Verifies an audit log: whether every line is unaltered, and none is missing.

use std::fmt;
use std::io::{self, BufRead};

use crate::chain::{self, BEGINNING, Hash, Link};

/// Maximum number of findings: more would not help.
const MAX_FINDINGS: usize = 100;
/// Maximum length of a line: six texts of 512 characters, escaped, are shorter.
const MAX_LINE: u64 = 1 << 20;

/// A problem at one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The line was altered.
    Changed,
    /// The last line of the last file is incomplete.
    Truncated,
    /// Lines are missing before this one: first and last number.
    Removed(u64, u64),
    /// The line is in the wrong place: its number, and the expected one.
    Misplaced(u64, u64),
    /// Number and content are valid, but the previous line is not the one that it was written after.
    Unchained,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// Index of the reader, from 0.
    pub file: usize,
    /// Line in it, from 1.
    pub line: u64,
    /// The problem.
    pub fault: Fault,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: ", self.line)?;
        match self.fault {
            Fault::Changed => write!(f, "changed: its content was altered"),
            Fault::Truncated => write!(f, "truncated: it is incomplete"),
            Fault::Removed(from, to) if from == to => {
                write!(f, "removed: number {from} is missing before it")
            }
            Fault::Removed(from, to) => write!(f, "removed: numbers {from} to {to} are missing before it"),
            Fault::Misplaced(found, expected) => {
                write!(f, "misplaced: number {found} is in the place of {expected}")
            }
            Fault::Unchained => write!(f, "unchained: it was written after a different line"),
        }
    }
}

/// The result of a verification.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// Number of lines lost because the queue was full, as recorded by the log itself.
    pub lost: u64,
    /// Number of the first line; above 1 if older files were not given.
    pub first: Option<u64>,
    /// Number and hash of the last line: worth recording elsewhere.
    pub last: Option<(u64, Hash)>,
    /// Whether the noted line exists.
    pub has_noted: bool,
    /// The findings, in order; empty for an intact log.
    pub findings: Vec<Finding>,
}

/// Verifies the files of one log, oldest first. `noted` is a line that was recorded elsewhere, by number and hash: the report
/// states whether it exists.
///
/// # Errors
/// A file cannot be read; problems of the content are in the report.
pub fn verify<R: BufRead>(
    files: impl IntoIterator<Item = R>,
    noted: Option<(u64, Hash)>,
) -> io::Result<Report> {
    let mut check = Check { noted, ..Check::default() };
    for (index, file) in files.into_iter().enumerate() {
        check.file(index, file)?;
    }
    Ok(check.report)
}

struct Check {
    report: Report,
    /// The previous line; `None` before the first, and after an altered one, whose hash cannot be known.
    before: Option<Link>,
    /// The next number, if known.
    next: Option<u64>,
    noted: Option<(u64, Hash)>,
}

impl Default for Check {
    fn default() -> Self {
        let report =
            Report { lines: 0, lost: 0, first: None, last: None, has_noted: false, findings: Vec::new() };
        Self { report, before: None, next: None, noted: None }
    }
}

impl Check {
    fn file(&mut self, file: usize, mut reader: impl BufRead) -> io::Result<()> {
        let mut line = Vec::new();
        for number in 1_u64.. {
            line.clear();
            if io::Read::take(&mut reader, MAX_LINE).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            self.report.lines += 1;
            let Some(b'\n') = line.pop() else {
                self.find(file, number, Fault::Truncated);
                break;
            };
            self.line(file, number, &line);
        }
        Ok(())
    }

    fn line(&mut self, file: usize, number: u64, line: &[u8]) {
        let Some(read) = chain::read(line) else {
            self.find(file, number, Fault::Changed);
            // It stood for one number, whichever.
            self.next = self.next.map(|next| next.saturating_add(1));
            self.before = None;
            return;
        };
        let is_first = self.report.first.is_none();
        self.report.first.get_or_insert(read.link.number);
        self.report.lost = self.report.lost.saturating_add(read.lost);
        let found = read.link.number;
        match self.next {
            Some(next) if found > next => self.find(file, number, Fault::Removed(next, found - 1)),
            Some(next) if found < next => self.find(file, number, Fault::Misplaced(found, next)),
            _ => {
                let expected = if is_first && found == 1 { Some(BEGINNING) } else { self.before };
                if expected.is_some_and(|expected| expected.hash != read.prev) {
                    self.find(file, number, Fault::Unchained);
                }
            }
        }
        self.before = Some(read.link);
        self.next = Some(found + 1);
        self.report.has_noted |= self.noted == Some((found, read.link.hash));
        self.report.last = Some((found, read.link.hash));
    }

    fn find(&mut self, file: usize, line: u64, fault: Fault) {
        if self.report.findings.len() < MAX_FINDINGS {
            self.report.findings.push(Finding { file, line, fault });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Record;

    /// The line after number `before`, with so many lost before it.
    fn line(before: u64, lost: u64) -> Vec<u8> {
        let mut line = Vec::new();
        let before = Link { number: before, hash: chain::FIRST };
        chain::append(&mut line, before, &Record::allowed(1, "connect"), lost);
        line
    }

    #[test]
    fn a_rewritten_log_with_the_largest_numbers_is_judged() {
        let last = line(u64::MAX - 1, 0);
        let report = verify([&last[..]], None).unwrap();
        assert_eq!(report.findings[0].fault, Fault::Changed, "no line has a number without one behind it");

        let almost = line(u64::MAX - 2, u64::MAX);
        let log = [&almost[..], b"changed\n", b"changed\n", &line(7, 1)].concat();
        let report = verify([&log[..]], None).unwrap();
        assert_eq!((report.findings.len(), report.lost), (3, u64::MAX));
    }
}
