//! [`server_heads`](agentbench_fuzz_targets::targets::server_heads), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::server_heads(data));
