//! The process's allocator, and how it is asked to give back what is free.
//!
//! `mi_collect` is the one call that has no safe wrapper. It takes no memory of ours and may be called at any time from any
//! thread; it works on the calling thread's heap.

/// Against the system's allocator: the same CPU within the noise, a third less memory for each connection (`docs/tuning.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Gives the calling thread's free memory back to the kernel now, which the allocator does otherwise when it next looks.
#[expect(unsafe_code, reason = "no memory of ours is involved")]
pub(crate) fn release_free_memory() {
    // SAFETY: the library allows the call from any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
