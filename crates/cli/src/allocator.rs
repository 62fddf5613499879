//! The process's allocator, and how to make it return free memory.
//!
//! `mi_collect` is the only call without a safe wrapper. It accesses none of our memory, may be called at any time from any
//! thread, and works on the calling thread's heap.

/// Compared with the system's allocator: the same CPU within the noise, a third less memory per connection (`docs/tuning.md`).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Returns the calling thread's free memory to the kernel now, rather than at the allocator's next own pass.
#[expect(unsafe_code, reason = "the call accesses none of our memory")]
pub(crate) fn release_free_memory() {
    // SAFETY: the library allows the call from any thread at any time.
    unsafe { libmimalloc_sys::mi_collect(true) }
}
