//! Lines for people and scripts on standard output. A reader that has gone (`| head`) is no reason to stop: a run of
//! the suite still has servers to end and a report to write, and a server goes on serving.

use std::fmt::Arguments;
use std::io::Write;

/// Writes a line, if anybody reads it.
pub(crate) fn line(text: Arguments<'_>) {
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

/// As `println!`, and no panic if nobody reads it.
macro_rules! say {
    ($($text:tt)*) => { $crate::say::line(format_args!($($text)*)) };
}
