//! The end of a server's life and the beginning of the next: what was acknowledged is there, once and in order, and
//! followers go on where they were.

use std::io::{Read, Write};
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::tokens::evaluator;
use crate::support::{
    Client, TestServer, event, expect_kind, kind_of, numbered, on_one_and_three_workers, seqs, wait_until,
};

fn clients_are_told_when_to_come_back(workers: usize) {
    let mut server = TestServer::with(workers, |config| config.reconnect_spread = Duration::from_millis(900));
    let mut clients: Vec<_> = (0..9).map(|n| server.connect(&format!("u{n}"))).collect();
    let session = clients[0].create("s");
    for client in &mut clients {
        client.join(&session, &json!("live"));
    }
    let stopping = server.stop_aside();
    let mut waits = Vec::new();
    for mut client in clients {
        let said = client.expect_close(1012);
        let last = &said.last().expect("it is told why")["data"];
        assert_eq!((&last["type"], &last["reconnect"]), (&json!("disconnecting"), &json!("after")));
        waits.push(last["afterMs"].as_u64().expect("a time"));
    }
    stopping.join().expect("it stops");
    waits.sort_unstable();
    waits.dedup();
    assert!(waits.len() >= 9 / workers && waits.iter().all(|wait| *wait < 900), "spread: {waits:?}");
}

/// Publishers that never pause do not keep a server from stopping, nor from saying so; what it acknowledged is stored.
fn a_busy_server_stops_in_good_order(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut setup = server.connect("ada");
    let session = setup.create("s");
    drop(setup);
    let publishers: Vec<_> = (0..8)
        .map(|at| {
            let mut client = server.connect(&format!("u{at}"));
            client.join_as_publisher(&session);
            let session = session.clone();
            std::thread::spawn(move || publish_until_closed(&mut client, &session))
        })
        .collect();
    std::thread::sleep(Duration::from_millis(300));
    server.stop();
    let mut acked: Vec<(u64, String)> = Vec::new();
    for publisher in publishers {
        acked.extend(publisher.join().expect("a publisher comes to its end"));
    }
    assert!(acked.len() > 10);
    server.start();
    let mut reader = server.connect("ada");
    let head = reader.join(&session, &json!("start"))["data"]["headSeq"].as_u64().expect("a seq");
    let log = reader.events_to(head);
    assert_eq!(seqs(&log), (1..=head).collect::<Vec<_>>());
    for (seq, id) in &acked {
        assert_eq!(log[*seq as usize - 1]["id"], *id, "what was acknowledged is where the ack said");
    }
    assert_eq!(acked.len() as u64, head - 1, "and what was stored was acknowledged");
}

/// Publishes with 64 under way, without end. Returns what was acknowledged.
fn publish_until_closed(client: &mut Client, session: &str) -> Vec<(u64, String)> {
    let name = client.client_id().to_owned();
    let mut acked = Vec::new();
    for n in 0.. {
        let bytes = client.encode(&event(session, &format!("{name}-{n}"), &json!({"text": "x".repeat(200)})));
        if client.stream.write_all(&bytes).is_err() {
            break;
        }
        if n >= 64 {
            let Some(answer) = client.next() else { break };
            note(&answer, &mut acked);
        }
    }
    let rest = client.rest();
    rest.iter().for_each(|it| note(it, &mut acked));
    assert_eq!(client.close.as_ref().map(|close| close.0), Some(1012), "{:?}", rest.last());
    acked
}

fn note(answer: &Value, acked: &mut Vec<(u64, String)>) {
    if kind_of(answer) == "ack" {
        let id = answer["data"]["originalMessageId"].as_str().expect("a single ack");
        acked.push((answer["data"]["seq"].as_u64().expect("a seq"), id.to_owned()));
    }
}

fn a_stopping_server_says_so_until_it_has_stopped(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    // Clients that do not go keep the server stopping for a while.
    let lingering: Vec<_> = (0..workers).map(|_| server.connect("ada")).collect();
    let address = server.address();
    let mut probe = std::net::TcpStream::connect(address).expect("it listens");
    let mut ask = |path: &str| {
        write!(probe, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it is open");
        let mut answer = [0; 1024];
        let count = probe.read(&mut answer).expect("an answer");
        String::from_utf8_lossy(&answer[..count]).into_owned()
    };
    assert!(ask("/readyz").starts_with("HTTP/1.1 200"));
    let stopping = server.stop_aside();
    wait_until("it says that it stops", || {
        let answer = ask("/readyz");
        answer.starts_with("HTTP/1.1 503") && answer.contains("draining")
    });
    drop(lingering);
    stopping.join().expect("it stops");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}

/// A reader with its place in one session, as a client keeps it.
struct Reader {
    session: String,
    epoch: Value,
    seen: Vec<Value>,
}

impl Reader {
    fn place(&self) -> Value {
        let last = self.seen.last();
        let seq = last.map_or(0, |last| last["seq"].as_u64().expect("a seq"));
        last.map_or_else(
            || json!({"epoch": self.epoch, "seq": 0}),
            |last| json!({"epoch": self.epoch, "seq": seq, "lastId": last["id"]}),
        )
    }

    /// Follows from its place up to a seq, on a connection of its own.
    fn read_to(&mut self, server: &TestServer, seq: u64) {
        let mut client = server.connect("bob");
        let joined = client.join(&self.session, &self.place());
        assert_eq!(joined["data"]["recovered"], true, "{joined}");
        if self.seen.last().and_then(|last| last["seq"].as_u64()) < Some(seq) {
            self.seen.extend(client.events_to(seq));
        }
    }
}

/// Three lives: each adds to the log, readers come at different times, one session ends and is archived on the way.
fn followers_go_on_where_they_were(workers: usize) {
    let mut server = TestServer::with_workers(workers);
    let mut client = server.connect("ada");
    let mut readers = Vec::new();
    for n in 0..6 {
        let session = client.create(&format!("s{n}"));
        let epoch = client.info(&session)["epoch"].clone();
        readers.push(Reader { session, epoch, seen: Vec::new() });
    }
    drop(client);
    for life in 0..3_u64 {
        let mut client = server.connect("ada");
        for (n, reader) in readers.iter_mut().enumerate() {
            client.join_as_publisher(&reader.session);
            client.publish_numbers(&reader.session, life * 10 + 1..=life * 10 + 10);
            if n % 2 == 0 {
                // In the middle of what there is.
                reader.read_to(&server, life * 10 + 6);
            }
        }
        drop(client);
        server.restart();
    }
    let mut client = server.connect("ada");
    for reader in &mut readers[..3] {
        let stop = json!({"command": "stop_test", "sessionId": reader.session, "outcome": "error"});
        expect_kind(&client.command(&stop), "session_stopped");
    }
    drop(client);
    server.restart();
    for (n, reader) in readers.iter_mut().enumerate() {
        let head = if n < 3 { 32 } else { 31 };
        reader.read_to(&server, head);
        assert_eq!(seqs(&reader.seen), (1..=head).collect::<Vec<_>>(), "without hole or repeat");
        for (at, seen) in reader.seen[1..31].iter().enumerate() {
            assert_eq!(seen["id"], numbered("", at as u64 + 1)["id"]);
        }
    }
    let mut client = server.connect("ada");
    let list = client.command(&json!({"command": "get_session_list", "status": "error"}));
    assert_eq!(list["data"]["sessions"].as_array().map(Vec::len), Some(3));
}

/// Nothing of the earlier life holds on to the folder, even when there is much to tidy up.
fn a_server_starts_where_another_has_just_stopped(workers: usize) {
    let mut server = TestServer::with(workers, |config| {
        config.retention_age = Some(Duration::from_secs(3600));
    });
    for life in 0..8 {
        let mut client = server.connect("ada");
        for n in 0..10 {
            let session = client.create(&format!("{life}-{n}"));
            client.publish(&session, "e", &json!({"text": "x".repeat(100_000)}));
            client.send_command(&json!({"command": "stop_test", "sessionId": session, "outcome": "error"}));
            client.send_command(&json!({"command": "get_history", "sessionId": session}));
        }
        let last = client.send_command(&json!({"command": "get_session_list"}));
        client.reply_to(&last);
        drop(client);
        server.restart();
    }
    let mut client = server.opening(&evaluator("ada")).connect();
    let list = client.command(&json!({"command": "get_session_list", "limit": 500}));
    assert_eq!(list["data"]["sessions"].as_array().map(Vec::len), Some(80));
}

on_one_and_three_workers!(
    clients_are_told_when_to_come_back,
    a_busy_server_stops_in_good_order,
    a_stopping_server_says_so_until_it_has_stopped,
    followers_go_on_where_they_were,
    a_server_starts_where_another_has_just_stopped,
);
