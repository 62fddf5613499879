//! The targets: one function each, which panics only if the invariant in its documentation does not hold.

mod client;
mod exports;
mod frame;
mod http;
mod intake;
mod msgpack;
mod recovery;
#[cfg(feature = "server")]
mod server;
mod websocket;

pub use client::client_machine;
pub use exports::{audit_log, history_file, report_file};
pub use frame::log_frame;
pub use http::{http_answer, http_request};
pub use intake::client_frame;
pub use msgpack::{json_to_msgpack, msgpack_to_json};
pub use recovery::{archive_file, log_recovery};
#[cfg(feature = "server")]
pub use server::server_heads;
pub use websocket::{websocket_decoder, websocket_round_trip};

/// A file of a corpus: its name and its content.
pub type Seed = (String, Vec<u8>);

/// A target, and what its runner has to know.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of its function, its file in `fuzz/fuzz_targets` and its folder in `corpus`.
    pub name: &'static str,
    /// The function.
    pub run: fn(&[u8]),
    /// Makes the files of its corpus, with our own encoders.
    pub seeds: fn() -> Vec<Seed>,
    /// Most bytes of an input.
    pub max_len: usize,
    /// Number of generated inputs in the tests: about two seconds, not optimised.
    pub quick: u64,
}

/// Every target.
pub fn all() -> Vec<Target> {
    let target = |name, run, seeds, max_len, quick| Target { name, run, seeds, max_len, quick };
    vec![
        target("websocket_decoder", websocket_decoder, websocket::decoder_seeds, 2048, 25_000),
        target("websocket_round_trip", websocket_round_trip, websocket::round_trip_seeds, 1024, 14_000),
        target("http_request", http_request, http::request_seeds, 1024, 60_000),
        target("http_answer", http_answer, http::answer_seeds, 18 * 1024, 25_000),
        target("json_to_msgpack", json_to_msgpack, msgpack::json_seeds, 1024, 150_000),
        target("msgpack_to_json", msgpack_to_json, msgpack::msgpack_seeds, 1024, 8_000),
        target("client_frame", client_frame, intake::seeds, 2048, 100_000),
        target("client_machine", client_machine, client::seeds, 8192, 4_000),
        target("log_recovery", log_recovery, recovery::seeds, 256, 150),
        target("archive_file", archive_file, recovery::archive_seeds, 2048, 1_500),
        target("log_frame", log_frame, frame::seeds, 2048, 250_000),
        target("history_file", history_file, exports::history_seeds, 4096, 60_000),
        target("report_file", report_file, exports::report_seeds, 8192, 30_000),
        target("audit_log", audit_log, exports::audit_seeds, 4096, 20_000),
        #[cfg(feature = "server")]
        target("server_heads", server_heads, server::seeds, 1024, 12_000),
    ]
}

/// The target with this name.
pub fn named_target(name: &str) -> Option<Target> {
    all().into_iter().find(|target| target.name == name)
}

fn named(seeds: impl IntoIterator<Item = Seed>) -> Vec<Seed> {
    seeds.into_iter().collect()
}
