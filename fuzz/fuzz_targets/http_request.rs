//! [`http_request`](agentbench_fuzz_targets::targets::http_request), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::http_request(data));
