//! [`client_frame`](agentbench_fuzz_targets::targets::client_frame), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::client_frame(data));
