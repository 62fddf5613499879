//! Lines for people and scripts on standard output. A reader that has gone (`| head`) is no reason to stop: a run of the suite
//! still has servers to end and a report to write, and a server goes on serving. Any other failure, such as a full disk, means
//! that somebody waits for what was not written: the command goes on and ends with an error.

use std::fmt::{self, Arguments};
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// A line could not be written although somebody wants it.
static FAILED: AtomicBool = AtomicBool::new(false);

/// The reader of standard output has gone.
#[derive(Debug)]
struct NoReader;

impl fmt::Display for NoReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("nobody reads the output")
    }
}

impl std::error::Error for NoReader {}

/// Writes a line. A failure is told once on standard error and counted ([`failed`]).
pub(crate) fn line(text: Arguments<'_>) {
    let Err(error) = writeln!(out(), "{text}") else { return };
    if !is_no_reader(&error) && !FAILED.swap(true, Ordering::Relaxed) {
        eprintln!("agentbench: cannot write to standard output: {error}");
    }
}

/// Whether a line was lost that somebody waits for.
pub(crate) fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Whether a command ended because the reader of its output has gone: no failure.
pub(crate) fn nobody_reads(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_no_reader)
}

fn is_no_reader(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NoReader>())
}

/// Standard output for commands that end with it. A broken pipe is an error of its own, so that it is not mixed up with one
/// of the network.
pub(crate) struct Out(io::Stdout);

/// See [`Out`].
pub(crate) fn out() -> Out {
    Out(io::stdout())
}

fn told_apart(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::BrokenPipe { io::Error::other(NoReader) } else { error }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(told_apart)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(told_apart)
    }
}

/// As `println!`, and no panic if it cannot be written.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
