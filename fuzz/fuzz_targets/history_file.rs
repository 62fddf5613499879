//! [`history_file`](agentbench_fuzz_targets::targets::history_file), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::history_file(data));
