//! TLS on the port: the SDK over `wss://`, plain HTTP's other half, readers that are slow, certificates that change.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use agentbench_client::{Client, Config, Data, Event, Item, NewSession, Outcome, StartAt};
use agentbench_server::config::{Config as ServerConfig, TlsFiles};
use agentbench_tls::{Connector, Stream};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::tokens::evaluator;
use crate::support::{TestServer, wait_until};

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys")
}

fn authority() -> Vec<u8> {
    std::fs::read(keys().join("authority.pem")).expect("a certificate")
}

fn encrypted(certificate: PathBuf, key: PathBuf) -> impl Fn(&mut ServerConfig) {
    move |config| {
        config.security.tls =
            Some(TlsFiles { certificate: certificate.clone(), key: key.clone(), key_log: None });
    }
}

fn server(workers: usize) -> TestServer {
    TestServer::with(workers, encrypted(keys().join("first.pem"), keys().join("first.key")))
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("a runtime").block_on(future)
}

fn sdk(server: SocketAddr, user: &str) -> Config {
    let url = format!("wss://localhost:{}", server.port());
    Config::new(url).connect_to(server).token(evaluator(user)).authority(authority())
}

async fn stream(server: &TestServer) -> Stream {
    let connector = Connector::with_authority(&authority()).expect("an authority");
    let socket = TcpStream::connect(server.address()).await.expect("the server listens");
    connector.connect(socket, "localhost").await.expect("a session")
}

async fn get(server: &TestServer, path: &str) -> String {
    let mut stream = stream(server).await;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("it listens");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    answer
}

/// Publishes large events to a follower that has room for few, so that sockets are full in both directions.
async fn publish_and_follow(server: SocketAddr, events: u64) {
    let writer = Client::connect(sdk(server, "ada")).await.expect("connected");
    let reader = Client::connect(sdk(server, "bob").follow_buffer(4)).await.expect("connected");
    let session = writer.create_session(NewSession::new("p", "t", "a")).await.expect("created").session_id;
    let mut follow = reader.follow(session, StartAt::Start).await.expect("joined");
    let mut tickets = Vec::new();
    let text = "x".repeat(20_000);
    for n in 0..events {
        let data = Data::json(&json!({"n": n, "text": text})).expect("JSON");
        tickets.push(writer.publish(session, Event::new(data)).await.expect("taken"));
    }
    for ticket in tickets {
        assert!(matches!(ticket.await, Outcome::Stored { .. }));
    }
    let mut seen = 0;
    while seen < events {
        match follow.next().await.expect("the follow goes on") {
            Item::Event(event) => {
                assert!(event.json().contains(&format!("\"n\":{seen},")), "event {seen} is next");
                seen += 1;
            }
            Item::Lifecycle(_) => {}
            other => panic!("{other:?}"),
        }
    }
    writer.close().await;
    reader.close().await;
}

#[test]
fn events_pass_whole_over_tls() {
    let server = server(2);
    run(publish_and_follow(server.address(), 600));
    run(async {
        assert!(get(&server, "/healthz").await.starts_with("HTTP/1.1 200"));
    });
}

#[test]
fn what_is_no_tls_gets_no_further() {
    use std::io::{Read, Write};
    let server = server(1);
    let mut socket = server.socket();
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").expect("it listens");
    let mut answer = Vec::new();
    // An alert at most, and the end.
    let _ = socket.read_to_end(&mut answer);
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
    let refused = run(async {
        let plain = Config::new(format!("ws://{}", server.address())).token(evaluator("ada"));
        let stranger =
            sdk(server.address(), "ada").authority(std::fs::read(keys().join("second.pem")).expect("PEM"));
        (Client::connect(plain).await.is_err(), Client::connect(stranger).await.is_err())
    });
    assert_eq!(refused, (true, true));
    let failed = "agentbench_connections_refused_total{cause=\"tls_failed\"}";
    let metrics = run(get(&server, "/metrics"));
    assert!(metrics.contains(failed), "{metrics}");
}

#[test]
fn a_certificate_changes_under_open_connections() {
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let (to_certificate, to_key) = (certificate.clone(), key.clone());
    let install = move |name: &str| {
        std::fs::copy(keys().join(format!("{name}.pem")), &to_certificate).expect("copied");
        std::fs::copy(keys().join(format!("{name}.key")), &to_key).expect("copied");
    };
    install("first");
    let server = TestServer::with(1, encrypted(certificate.clone(), key));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime");
    let client = runtime.block_on(Client::connect(sdk(server.address(), "ada"))).expect("connected");
    let shown = || {
        let stream = runtime.block_on(stream(&server));
        stream.peer_certificate().expect("it is TLS").to_vec()
    };
    let first = shown();
    install("second");
    server.server().refresh_certificate();
    let second = shown();
    assert_ne!(first, second);
    // Without being told, too; and what cannot be used changes nothing.
    install("first");
    wait_until("the first one is back", || shown() == first);
    std::fs::write(&certificate, "-----BEGIN NONSENSE-----").expect("written");
    server.server().refresh_certificate();
    assert_eq!(shown(), first);
    let metrics = runtime.block_on(get(&server, "/metrics"));
    assert!(
        metrics.contains("agentbench_reloads_total{what=\"certificate\",outcome=\"refused\"} 1"),
        "{metrics}"
    );
    let created = runtime.block_on(client.create_session(NewSession::new("p", "t", "a")));
    created.expect("the connection from before is served");
    runtime.block_on(client.close());
}

#[test]
fn a_socket_that_was_full_once_is_not_held_against_its_reader() {
    let server = TestServer::with(1, |config| {
        encrypted(keys().join("first.pem"), keys().join("first.key"))(config);
        config.slow_consumer_timeout = std::time::Duration::from_millis(1500);
        config.send_buffer = 8 * 1024;
    });
    run(async {
        let writer = Client::connect(sdk(server.address(), "ada")).await.expect("connected");
        let session =
            writer.create_session(NewSession::new("p", "t", "a")).await.expect("created").session_id;
        let reader = Client::connect(sdk(server.address(), "bob").follow_buffer(1)).await.expect("connected");
        let mut follow = reader.follow(session, StartAt::Start).await.expect("joined");
        let text = "x".repeat(300_000);
        for n in 0..8 {
            let data = Data::json(&json!({"n": n, "text": text})).expect("JSON");
            let ticket = writer.publish(session, Event::new(data)).await.expect("taken");
            assert!(matches!(ticket.await, Outcome::Stored { .. }));
            // The socket fills, then everything is read: the last bytes go out when there is nothing else to write.
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            while !matches!(follow.next().await.expect("the follow goes on"), Item::Event(_)) {}
        }
        // Nothing is owed to the reader for longer than a slow one is borne.
        tokio::time::sleep(std::time::Duration::from_millis(3500)).await;
        let metrics = get(&server, "/metrics").await;
        assert!(!metrics.contains("connections_closed_total{cause=\"slow_consumer\"}"), "{metrics}");
        writer.close().await;
        reader.close().await;
    });
}

#[test]
fn events_pass_whole_while_certificates_and_keys_change() {
    use crate::support::tokens::SECRET;
    use agentbench_auth::KeyRing;
    let folder = tempfile::tempdir().expect("a folder");
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let install = |name: &str| {
        std::fs::copy(keys().join(format!("{name}.pem")), &certificate).expect("copied");
        std::fs::copy(keys().join(format!("{name}.key")), &key).expect("copied");
    };
    install("first");
    let server = TestServer::with(2, encrypted(certificate.clone(), key.clone()));
    let (port, handle) = (server.address(), server.server());
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let changes = scope.spawn(|| {
            let mut changes = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                install(if changes % 2 == 0 { "second" } else { "first" });
                handle.refresh_certificate();
                handle.set_keys(KeyRing::from_secret(SECRET.as_bytes()));
                changes += 1;
                std::thread::sleep(std::time::Duration::from_millis(20));
            }
            changes
        });
        for _ in 0..3 {
            run(publish_and_follow(port, 150));
        }
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(changes.join().expect("it does not panic") > 3);
    });
}
