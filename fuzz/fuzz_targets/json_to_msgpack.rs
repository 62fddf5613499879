//! [`json_to_msgpack`](agentbench_fuzz_targets::targets::json_to_msgpack), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::json_to_msgpack(data));
