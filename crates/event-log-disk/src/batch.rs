//! Lets the log's thread gather work where it shares a processor with those that give it work.
//!
//! By default a thread that is woken may interrupt the one that woke it. Then the log's thread commits the first event of a
//! worker's turn alone, and the next one again, and two changes of threads are paid for each event. `SCHED_BATCH` (sched(7)) says
//! that it need not interrupt: it runs when the worker has nothing more to do, or at once where another processor is free. It is not
//! run any later than others by that, and no privilege is needed.
//!
//! The call has no safe wrapper in the standard library; it changes the calling thread's policy, and reads a structure that is ours
//! for the time of the call, which is why `unsafe` is allowed here.
#![expect(unsafe_code, reason = "see the module's documentation")]

/// For the calling thread. Where it is not allowed, everything works, with more changes of threads.
pub(crate) fn gather_work() {
    let parameter = libc::sched_param { sched_priority: 0 };
    // SAFETY: pid 0 is the calling thread, and the kernel reads `parameter` only during the call.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &raw const parameter) };
    if done != 0 {
        tracing::debug!(error = %std::io::Error::last_os_error(), "the log's thread cannot be set to gather work");
    }
}
