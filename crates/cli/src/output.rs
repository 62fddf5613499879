//! Lines on standard output, for people and scripts. A closed pipe (`| head`) does not stop a command: a suite run still has
//! servers to stop and a report to write, and a server keeps serving. After any other write failure, such as a full disk, output
//! that a reader expects is missing: the command continues and exits with an error.

use std::fmt::{self, Arguments};
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Set when a line could not be written for any reason but a closed pipe.
static FAILED: AtomicBool = AtomicBool::new(false);

/// The reader closed standard output.
#[derive(Debug)]
struct OutputClosed;

impl fmt::Display for OutputClosed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("standard output is closed")
    }
}

impl std::error::Error for OutputClosed {}

/// Writes a line. The first failure is reported on standard error and recorded (see [`failed`]).
pub(crate) fn line(text: Arguments<'_>) {
    let Err(error) = writeln!(out(), "{text}") else { return };
    if !is_closed(&error) && !FAILED.swap(true, Ordering::Relaxed) {
        eprintln!("agentbench: cannot write to standard output: {error}");
    }
}

/// Whether a line was lost, except to a closed pipe.
pub(crate) fn failed() -> bool {
    FAILED.load(Ordering::Relaxed)
}

/// Whether a command ended because its standard output was closed, which is not a failure.
pub(crate) fn is_output_closed(error: &anyhow::Error) -> bool {
    error.chain().filter_map(|cause| cause.downcast_ref::<io::Error>()).any(is_closed)
}

fn is_closed(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<OutputClosed>())
}

/// Standard output, for commands that end when it is closed. A broken pipe gets its own error, to tell it from one of the
/// network.
pub(crate) struct Out(io::Stdout);

/// Opens standard output.
pub(crate) fn out() -> Out {
    Out(io::stdout())
}

fn mark_broken_pipe(error: io::Error) -> io::Error {
    if error.kind() == ErrorKind::BrokenPipe { io::Error::other(OutputClosed) } else { error }
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes).map_err(mark_broken_pipe)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush().map_err(mark_broken_pipe)
    }
}

/// Like `println!`, but does not panic if the write fails.
macro_rules! outln {
    ($($text:tt)*) => { $crate::output::line(format_args!($($text)*)) };
}
