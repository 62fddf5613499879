//! The files of the former engine's folder: their names, and their contents in stretches.

use std::path::{Path, PathBuf};

use agentbench_disk::{Disk, DiskFile, Listed, Opening};

use super::batch::{FILE_HEADER, Stretch, View};
use crate::config::{Damage, OpenError};

/// Extension of the files that batches were appended to.
pub(crate) const APPENDED: &str = "raftlog";
/// Extensions of the files of both queues in the order of reading: older batches were moved to the first one.
pub(crate) const QUEUES: [&str; 2] = ["rewrite", APPENDED];

/// One file of a queue.
pub(crate) struct OldFile {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: Box<dyn DiskFile>,
    pub(crate) size: usize,
    pub(crate) has_header: bool,
    /// What is read of it, in order.
    pub(crate) stretches: Vec<Stretch>,
}

impl OldFile {
    fn open(disk: &dyn Disk, number: u64, path: PathBuf, is_newest: bool) -> Result<Self, OpenError> {
        let file = disk.open(&path, Opening::Existing).map_err(OpenError::io(&path))?;
        let scan = || {
            let mut view = View::new(&*file)?;
            Ok((view.size, view.has_file_header()?, view.stretches(number, is_newest)?))
        };
        let (size, has_header, stretches) = scan().map_err(OpenError::io(&path))?;
        Ok(Self { number, path, file, size, has_header, stretches })
    }

    /// Whether any whole batch is in it.
    pub(crate) fn has_batch(&self) -> bool {
        self.stretches.iter().any(|stretch| matches!(stretch, Stretch::Batch(_)))
    }

    /// The end of what is read of it.
    pub(crate) fn end(&self) -> usize {
        self.stretches.last().map_or(FILE_HEADER, Stretch::end)
    }

    pub(crate) fn damage(&self, at: usize, what: String) -> Damage {
        Damage { place: format!("{} at byte {at}", self.path.display()), what }
    }
}

/// The files of one queue in order. Missing ones are reported.
pub(crate) fn open(
    disk: &dyn Disk,
    dir: &Path,
    extension: &str,
    damage: &mut Vec<Damage>,
) -> Result<Vec<OldFile>, OpenError> {
    let mut paths = Vec::new();
    for Listed { path, .. } in disk.list(dir).map_err(OpenError::io(dir))? {
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(number), true) = (number, path.extension().is_some_and(|found| found == extension)) {
            paths.push((number, path));
        }
    }
    paths.sort_unstable();
    damage.extend(gaps(dir, &paths));
    let newest = paths.len().saturating_sub(1);
    let open = |(place, (number, path))| OldFile::open(disk, number, path, place == newest);
    paths.into_iter().enumerate().map(open).collect()
}

fn gaps(dir: &Path, paths: &[(u64, PathBuf)]) -> Vec<Damage> {
    let gaps = paths.windows(2).filter(|pair| pair[1].0 - pair[0].0 > 1);
    let report = |pair: &[(u64, PathBuf)]| Damage {
        place: dir.display().to_string(),
        what: format!(
            "between {} and {} files are missing, with the frames, trims and deletions in them",
            pair[0].1.display(),
            pair[1].1.display()
        ),
    };
    gaps.map(report).collect()
}
