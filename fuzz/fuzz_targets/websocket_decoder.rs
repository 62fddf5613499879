//! [`websocket_decoder`](agentbench_fuzz_targets::targets::websocket_decoder), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::websocket_decoder(data));
