//! [`websocket_round_trip`](agentbench_fuzz_targets::targets::websocket_round_trip), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::websocket_round_trip(data));
