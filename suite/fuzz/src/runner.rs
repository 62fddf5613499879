//! Runs a target on stable: its corpus first, then mutations and random bytes, all from one seed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use std::{fmt, fs};

use anyhow::Context;

use crate::Target;
use crate::mutate;
use crate::random::Random;

/// Most tries to make a failing input smaller.
const SHRINK_TRIES: usize = 2_000;

/// When a run ends.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// After so many inputs besides the corpus.
    Inputs(u64),
    /// After this time.
    Time(Duration),
}

/// An input for which a target's invariant does not hold.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The target.
    pub target: &'static str,
    /// The seed of the run.
    pub seed: u64,
    /// Which input it was: a file of the corpus, or the number of a generated one.
    pub origin: String,
    /// What the target said.
    pub panic: String,
    /// The input, as small as it could be made.
    pub input: Vec<u8>,
}

impl Failure {
    /// Writes the input into a folder, and returns the file.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, folder: &Path) -> anyhow::Result<PathBuf> {
        let path = folder.join(format!("{}-{:08x}", self.target, crc32c::crc32c(&self.input)));
        fs::create_dir_all(folder)
            .and_then(|()| fs::write(&path, &self.input))
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { target, seed, origin, panic, input } = self;
        writeln!(f, "{target}: {panic}")?;
        writeln!(f, "  input: {origin}, made smaller: {} bytes: {}", input.len(), input.escape_ascii())?;
        write!(f, "  the same run again: cargo xtask fuzz {target} --seed {seed}")
    }
}

/// Folder with a target's corpus.
pub fn corpus_folder(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target)
}

/// The files of a target's corpus with their names, in order.
///
/// # Errors
/// They cannot be read.
pub fn read_corpus(target: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let folder = corpus_folder(target);
    let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files = Vec::new();
    for entry in entries {
        let entry = entry?;
        files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
    }
    files.sort_unstable();
    Ok(files)
}

/// Runs a target and returns the number of inputs, or the first one that fails.
///
/// # Errors
/// The failure.
pub fn run(
    target: &Target,
    corpus: &[(String, Vec<u8>)],
    seed: u64,
    limit: Limit,
) -> Result<u64, Box<Failure>> {
    let begun = Instant::now();
    let mut inputs = 0;
    for (name, file) in corpus {
        try_one(target, seed, file, || format!("file {name} of the corpus"))?;
        inputs += 1;
    }
    let files: Vec<Vec<u8>> = corpus.iter().map(|(_, file)| file.clone()).collect();
    for number in 0.. {
        let is_over = match limit {
            Limit::Inputs(most) => number >= most,
            Limit::Time(most) => begun.elapsed() >= most,
        };
        if is_over {
            break;
        }
        let input = mutate::input(&mut Random::of_input(seed, number), &files, target.max_len);
        try_one(target, seed, &input, || format!("number {number}"))?;
        inputs += 1;
    }
    Ok(inputs)
}

/// Runs a target on one input.
///
/// # Errors
/// The failure.
pub fn try_one(
    target: &Target,
    seed: u64,
    input: &[u8],
    origin: impl FnOnce() -> String,
) -> Result<(), Box<Failure>> {
    let Err(panic) = outcome(target.run, input) else { return Ok(()) };
    let (input, panic) = shrink(target, input.to_vec(), panic);
    Err(Box::new(Failure { target: target.name, seed, origin: origin(), panic, input }))
}

/// Leaves out pieces of an input, from large to small, as long as it still fails.
fn shrink(target: &Target, mut input: Vec<u8>, mut panic: String) -> (Vec<u8>, String) {
    let mut tries = 0;
    let mut size = input.len() / 2;
    while size > 0 {
        let mut at = 0;
        while at + size <= input.len() && tries < SHRINK_TRIES {
            let shorter = [&input[..at], &input[at + size..]].concat();
            tries += 1;
            match outcome(target.run, &shorter) {
                Err(again) => (input, panic) = (shorter, again),
                Ok(()) => at += size,
            }
        }
        size /= 2;
    }
    (input, panic)
}

/// Number of targets that run now, on all threads.
static RUNNING: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// Whether a target runs on this thread, and what it last panicked with.
    static RUNS: Cell<bool> = const { Cell::new(false) };
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps the text of a target's panic instead of printing it: shrinking panics a thousand times. Those of nameless threads are of
/// libraries, which catch them.
fn listen_to_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_nameless = std::thread::current().name().is_none();
            if RUNS.get() {
                PANIC.replace(info.to_string());
            } else if !is_nameless || RUNNING.load(Ordering::Relaxed) == 0 {
                before(info);
            }
        }));
    });
}

fn outcome(run: fn(&[u8]), input: &[u8]) -> Result<(), String> {
    listen_to_panics();
    RUNS.set(true);
    RUNNING.fetch_add(1, Ordering::Relaxed);
    let caught = catch_unwind(AssertUnwindSafe(|| run(input)));
    RUNNING.fetch_sub(1, Ordering::Relaxed);
    RUNS.set(false);
    caught.map_err(|_| PANIC.take())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Holds unless there is a 7 somewhere behind a 3.
    fn defective(input: &[u8]) {
        let three = input.iter().position(|byte| *byte == b'3');
        assert!(three.is_none_or(|at| !input[at..].contains(&b'7')), "a 7 behind a 3");
    }

    fn target() -> Target {
        Target { name: "defective", run: defective, seeds: Vec::new, max_len: 64, quick: 0 }
    }

    #[test]
    fn a_defect_is_found_made_small_and_found_again_with_the_same_seed() {
        let corpus = [("a".to_owned(), b"0123456".to_vec())];
        let found = || run(&target(), &corpus, 1, Limit::Inputs(100_000)).unwrap_err();
        let failure = found();
        assert_eq!(failure.input, b"37", "{failure}");
        assert!(failure.panic.contains("a 7 behind a 3"), "{failure}");
        assert_eq!(found().origin, failure.origin);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(fs::read(failure.write(folder.path()).unwrap()).unwrap(), b"37");
        assert!(failure.to_string().contains("cargo xtask fuzz defective --seed 1"), "{failure}");
    }

    #[test]
    fn a_file_of_the_corpus_that_fails_is_named() {
        let corpus = [("a".to_owned(), b"1".to_vec()), ("b".to_owned(), b"-3-7-".to_vec())];
        let failure = run(&target(), &corpus, 1, Limit::Inputs(0)).unwrap_err();
        assert_eq!((failure.origin.as_str(), &failure.input[..]), ("file b of the corpus", &b"37"[..]));
        assert_eq!(run(&target(), &corpus[..1], 1, Limit::Inputs(5)).unwrap_or(0), 6);
    }
}
