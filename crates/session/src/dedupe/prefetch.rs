//! A hint to the processor that some memory will be read soon.
//!
//! The instruction has no safe wrapper in the standard library. It accesses nothing: it cannot fault, whatever the address,
//! and changes no value, only how long a later access takes. So `unsafe` is allowed here. Other processors get no hint.
#![expect(unsafe_code, reason = "see the module's documentation")]

/// Starts to load the cache line of `place`.
#[inline]
pub(super) fn prefetch<T>(place: &T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of every x86-64, and a hint may name any address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(place).cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}
