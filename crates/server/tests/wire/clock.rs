//! A wall clock that is set while the server runs: timeouts keep their length, and nothing expires because of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::support::{TestServer, expect_kind, kind_of, on_one_and_three_workers, wait_until};

const HOUR: i64 = 3_600_000;

fn server(workers: usize, skew: &Arc<AtomicI64>) -> TestServer {
    let skew = Arc::clone(skew);
    TestServer::with(workers, move |config| {
        config.clock_skew = Arc::clone(&skew);
        config.heartbeat_interval = Duration::from_millis(100);
        config.session_timeout = Duration::from_secs(120);
        config.slow_consumer_timeout = Duration::from_secs(30);
    })
}

/// Two pings that nobody answers end a connection: they have to come, whatever the wall clock does.
fn a_clock_set_back_stops_no_ping(workers: usize) {
    let skew = Arc::<AtomicI64>::default();
    let server = server(workers, &skew);
    let mut silent = server.connect("ada");
    silent.answers_pings = false;
    skew.store(-HOUR, Ordering::Relaxed);
    let said = silent.expect_close(4408);
    assert_eq!(kind_of(said.last().expect("it is told why")), "disconnecting");
}

/// An hour ahead is far more than a session may be unused; and a minute after the jump it is not a minute older than it is.
fn a_clock_set_ahead_expires_nobodys_session(workers: usize) {
    let skew = Arc::<AtomicI64>::default();
    let server = server(workers, &skew);
    let mut client = server.connect("ada");
    let in_memory = client.create("s1");
    let left = client.create("s2");
    expect_kind(&client.command(&json!({"command": "leave_session", "sessionId": left})), "session_left");
    drop(client);
    server.wait_for_quiet();
    for step in [HOUR, 0] {
        skew.store(step, Ordering::Relaxed);
        // Sessions are looked at every five seconds, which is every hundredth turn, and those in the catalog more often.
        let turns = server.metric("agentbench_worker_turns_total");
        let enough = turns + 110 * workers as i64;
        wait_until("sessions were looked at", || server.metric("agentbench_worker_turns_total") > enough);
    }
    let mut client = server.connect("ada");
    for session in [in_memory, left] {
        assert_eq!(client.info(&session)["status"], "idle", "it did not expire");
    }
}

on_one_and_three_workers!(a_clock_set_back_stops_no_ping, a_clock_set_ahead_expires_nobodys_session);
