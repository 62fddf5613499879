//! What operators look through: CPU profiles.

use std::io::{Read, Write};

use agentbench_auth::Role;

use super::support::tokens::{claims, evaluator, mint};
use super::support::{Client, TestServer};

fn admin() -> String {
    mint(&claims("root", Role::Admin))
}

/// Work for the server, until it is told to stop.
fn keep_busy(mut client: Client, session: &str, stop: &std::sync::atomic::AtomicBool) {
    for n in 0.. {
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        client.publish(session, &format!("busy{n}"), &serde_json::json!({"n": n}));
    }
}

#[test]
fn a_profile_is_for_administrators_where_it_is_turned_on() {
    let off = TestServer::with_workers(1);
    let refused = off.ask("POST", "/api/v1/profile").token(&admin()).answer();
    refused.refused(404, "not_found");
    let server = TestServer::with(1, |config| config.operations.enable_profiling = true);
    server.ask("POST", "/api/v1/profile").token(&evaluator("eve")).answer().refused(403, "forbidden");
    for wrong in ["0", "61", "x"] {
        let asked = server.ask("POST", &format!("/api/v1/profile?seconds={wrong}")).token(&admin());
        asked.answer().refused(400, "invalid_message");
    }
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut client = server.connect("ada");
    let session = client.create_following("s");
    std::thread::scope(|scope| {
        scope.spawn(|| keep_busy(client, &session, &stop));
        let first = server.ask("POST", "/api/v1/profile?seconds=2").token(&admin());
        let first = scope.spawn(move || first.answer());
        // One at a time: whichever comes second is told to come back.
        std::thread::sleep(std::time::Duration::from_millis(500));
        let second = server.ask("POST", "/api/v1/profile?seconds=1").token(&admin()).answer();
        second.refused(503, "overloaded");
        let svg = first.join().expect("an answer");
        assert_eq!(svg.status, 200, "{}", svg.body);
        assert!(svg.head.contains("content-type: image/svg+xml"), "{}", svg.head);
        let document = roxmltree::Document::parse(&svg.body).expect("it is XML");
        assert!(document.descendants().any(|node| node.has_tag_name("rect")));
        let folded = server.ask("POST", "/api/v1/profile?seconds=1").token(&admin());
        let folded = folded.header("Accept", "text/plain").answer();
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let lines: Vec<_> = folded.body.lines().collect();
        assert!(!lines.is_empty(), "a busy server has samples");
        for line in lines {
            let (stack, count) = line.rsplit_once(' ').expect("a stack and a count");
            assert!(!stack.is_empty() && count.parse::<u64>().is_ok(), "{line}");
        }
    });
    who_goes_away_takes_the_profile_along(&server);
}

/// The timer is the process's, and so are these tests: one after the other.
fn who_goes_away_takes_the_profile_along(server: &TestServer) {
    let mut socket = server.socket();
    let token = admin();
    write!(socket, "POST /api/v1/profile?seconds=60 HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {token}\r\nContent-Length: 0\r\n\r\n")
        .expect("it listens");
    socket.set_nonblocking(true).expect("a socket option");
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(socket.read(&mut [0; 1]).is_err(), "nothing is answered yet");
    drop(socket);
    super::support::wait_until("somebody else may take one", || {
        server.ask("POST", "/api/v1/profile?seconds=1").token(&admin()).answer().status == 200
    });
}
