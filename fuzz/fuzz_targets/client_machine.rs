//! [`client_machine`](agentbench_fuzz_targets::targets::client_machine), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::client_machine(data));
