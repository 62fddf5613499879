//! [`http_answer`](agentbench_fuzz_targets::targets::http_answer), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::http_answer(data));
