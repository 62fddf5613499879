//! [`msgpack_to_json`](agentbench_fuzz_targets::targets::msgpack_to_json), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::msgpack_to_json(data));
