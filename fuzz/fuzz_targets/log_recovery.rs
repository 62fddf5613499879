//! [`log_recovery`](agentbench_fuzz_targets::targets::log_recovery), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::log_recovery(data));
