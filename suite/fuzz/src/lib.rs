//! Fuzz targets as plain functions, and a runner that feeds them on a stable toolchain.
//!
//! - [`targets`]: one function for each place that reads bytes of others. It panics only if the invariant in its documentation does
//!   not hold.
//! - `corpus/`: a few small files for each, made by our own encoders (`cargo xtask fuzz --write-corpus`).
//! - [`runner`]: the corpus, mutations of it ([`mutate`]) and random bytes, all from one seed ([`random`]). The tests run each
//!   target for about two seconds, `cargo xtask fuzz` for as long as one likes.
//!
//! `fuzz/` gives the same functions to libFuzzer, which needs a nightly toolchain, and finds its way by the code that an input
//! reaches. The TypeScript client's machine has the same test in `web/client/test/fuzz.test.ts`.

pub mod mutate;
pub mod random;
pub mod runner;
pub mod targets;

pub use targets::Target;
