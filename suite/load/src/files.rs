//! The limit of open files: each connection is one.

use anyhow::{Context, ensure};

/// Files that a process needs in addition to its connections.
const SPARE: u64 = 64;

/// Raises the limit as far as the system allows, and checks that it suffices for `connections` connections.
///
/// # Errors
/// The limit is too low; the error says what to do.
#[expect(unsafe_code, reason = "the C library has no safe wrapper for this call; the struct is ours")]
pub fn make_room(connections: usize) -> anyhow::Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: both calls read or write one struct, which is ours and of the right type.
    let (got, set) = unsafe {
        let got = libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur = limit.rlim_max;
        (got, libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit))
    };
    ensure!(got == 0 && set == 0, "cannot read or raise the limit of open files");
    let wanted = u64::try_from(connections).context("too many connections")? + SPARE;
    ensure!(
        limit.rlim_cur >= wanted,
        "{connections} connections need {wanted} open files, but this process is limited to {}: raise the limit with `ulimit -Hn`, or use several processes",
        limit.rlim_cur
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_connections_fit_and_all_of_them_do_not() {
        make_room(1).unwrap();
        let error = make_room(usize::MAX / 2).unwrap_err();
        assert!(error.to_string().contains("ulimit"), "{error}");
    }
}
