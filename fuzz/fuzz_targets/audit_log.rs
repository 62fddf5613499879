//! [`audit_log`](agentbench_fuzz_targets::targets::audit_log), by libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentbench_fuzz_targets::targets::audit_log(data));
