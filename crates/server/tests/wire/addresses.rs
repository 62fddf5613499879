//! Who calls: by PROXY header and `X-Forwarded-For`, from trusted networks only; and behind the real HAProxy and nginx, with
//! the configurations that `docs/deploy` offers.

use std::io::{BufRead, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use agentbench_server::config::{Audit, Config, Origins};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::http::Ask;
use crate::support::server::Answer;
use crate::support::tokens::evaluator;
use crate::support::{Opening, TestServer, wait_until};

struct Audited {
    server: TestServer,
    folder: TempDir,
}

impl Audited {
    fn new(trusted: &'static str, proxy_protocol: bool) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("audit.jsonl");
        let settings = move |config: &mut Config| {
            let file = file.clone();
            config.security.audit = Some(Audit {
                file,
                max_bytes: 1 << 30,
                max_age: None,
                wait_when_full: true,
                ..Audit::default()
            });
            config.security.trusted_proxies = trusted.parse().expect("networks");
            config.security.proxy_protocol = proxy_protocol;
        };
        Self { server: TestServer::with(1, settings), folder }
    }

    /// Addresses of the connections that were let in, in order.
    fn seen(mut self) -> Vec<String> {
        self.server.stop();
        let text = std::fs::read_to_string(self.folder.path().join("audit.jsonl")).expect("the log is there");
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let connects = lines.filter(|line| line["action"] == "connect" && line["outcome"] == "allowed");
        connects.map(|line| line["address"].as_str().unwrap_or("").to_owned()).collect()
    }
}

#[test]
fn x_forwarded_for_is_believed_from_trusted_networks_only() {
    let trusting = Audited::new("127.0.0.0/8", false);
    let open = |server: &TestServer, said: &str| {
        server.opening(&evaluator("ada")).header("X-Forwarded-For", said).connect();
    };
    open(&trusting.server, "203.0.113.9");
    open(&trusting.server, "198.51.100.66, 203.0.113.9, 127.0.0.7");
    open(&trusting.server, "not an address");
    trusting.server.connect("ada");
    assert_eq!(trusting.seen(), ["203.0.113.9", "203.0.113.9", "127.0.0.1", "127.0.0.1"]);
    let wary = Audited::new("10.0.0.0/8", false);
    open(&wary.server, "203.0.113.9");
    assert_eq!(wary.seen(), ["127.0.0.1"]);
}

fn request(server: &TestServer, before: &[u8]) -> String {
    let mut socket = server.socket();
    socket.write_all(before).expect("sent");
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {}\r\n\r\n",
        evaluator("ada")
    );
    // A server that has ended the connection may have reset it.
    let _ = socket.write_all(request.as_bytes());
    let mut answer = vec![0; 1024];
    let count = socket.read(&mut answer).unwrap_or(0);
    String::from_utf8_lossy(&answer[..count]).into_owned()
}

#[test]
fn a_proxy_header_is_taken_in_both_versions_and_demanded() {
    let audited = Audited::new("127.0.0.1", true);
    let line = b"PROXY TCP4 203.0.113.5 127.0.0.1 4000 3001\r\n";
    assert!(request(&audited.server, line).starts_with("HTTP/1.1 101"));
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21\x21\x00\x24".to_vec();
    binary.extend("2001:db8::9".parse::<std::net::Ipv6Addr>().expect("an address").octets());
    binary.extend([0; 16]);
    binary.extend([0x10, 0, 0x20, 0]);
    assert!(request(&audited.server, &binary).starts_with("HTTP/1.1 101"));
    assert_eq!(request(&audited.server, b""), "", "no header, no word");
    assert_eq!(request(&audited.server, b"PROXY TCP9 what\r\n"), "");
    assert_eq!(audited.seen(), ["203.0.113.5", "2001:db8::9"]);
    // Whoever is not trusted is taken for what he is, and his header for no HTTP.
    let wary = Audited::new("10.0.0.1", true);
    assert!(request(&wary.server, line).starts_with("HTTP/1.1 400"));
    wary.server.connect("ada");
    assert_eq!(wary.seen(), ["127.0.0.1"]);
}

/// A proxy as a process, ended with the test.
struct Proxy {
    process: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // It is ours, and this is its end.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound")
}

fn find(program: &str) -> Option<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let known = std::env::split_paths(&folders).chain([PathBuf::from("/usr/sbin")]);
    let found = known.map(|folder| folder.join(program)).find(|path| path.is_file());
    if found.is_none() {
        eprintln!("NOT TESTED: {program} is not installed; `cargo xtask setup` installs it");
    }
    found
}

/// The configuration of `docs/deploy`, with its addresses and paths exchanged for those of the test.
fn configuration(name: &str, exchanges: &[(&str, &str)]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/deploy").join(name);
    let mut text = std::fs::read_to_string(path).expect("the sample is there");
    for (from, to) in exchanges {
        assert!(text.contains(from), "the sample has no {from:?}");
        text = text.replace(from, to);
    }
    text
}

fn start(program: &Path, arguments: &[&str], folder: TempDir, address: SocketAddr) -> Proxy {
    let log = std::fs::File::create(folder.path().join("output")).expect("a file");
    let process = Command::new(program)
        .args(arguments)
        .current_dir(folder.path())
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("it starts");
    let output = folder.path().join("output");
    let mut proxy = Proxy { process, address, _folder: folder };
    wait_until("the proxy listens", || {
        if let Ok(Some(status)) = proxy.process.try_wait() {
            panic!("it ended with {status}: {}", std::fs::read_to_string(&output).unwrap_or_default());
        }
        TcpStream::connect(address).is_ok()
    });
    proxy
}

fn certificate(folder: &TempDir) -> (String, String) {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys");
    let read = |name: &str| std::fs::read_to_string(keys.join(name)).expect("a key");
    let (pem, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    // HAProxy wants both in one file; nginx does not mind.
    std::fs::write(&pem, format!("{}{}", read("first.pem"), read("first.key"))).expect("written");
    std::fs::write(&key, read("first.key")).expect("written");
    (pem.display().to_string(), key.display().to_string())
}

/// A session over `wss://` through the proxy, which ends TLS.
fn serve_through(proxy: &Proxy) {
    use agentbench_client::{Client, Config, Data, Event, NewSession, Outcome};
    let authority = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys/authority.pem");
    let config = Config::new(format!("wss://localhost:{}", proxy.address.port()))
        .connect_to(proxy.address)
        .token(evaluator("ada"))
        .authority(std::fs::read(authority).expect("a certificate"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(config).await.expect("connected through the proxy");
        let session =
            client.create_session(NewSession::new("p", "t", "a")).await.expect("created").session_id;
        let data = Data::json(&serde_json::json!({"n": 1})).expect("JSON");
        let ticket = client.publish(session, Event::new(data)).await.expect("taken");
        assert!(matches!(ticket.await, Outcome::Stored { .. }));
        client.close().await;
    });
}

#[test]
fn behind_haproxy_with_the_proxy_protocol() {
    let Some(program) = find("haproxy") else { return };
    let audited = Audited::new("127.0.0.2", true);
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let (pem, _) = certificate(&folder);
    let server = format!("{} source 127.0.0.2 ", audited.server.address());
    let text = configuration(
        "haproxy.cfg",
        &[
            ("maxconn 50000", "maxconn 100"),
            ("*:443", &address.to_string()),
            ("/etc/haproxy/agentbench.pem", &pem),
            ("10.0.0.2:3001 ", &server),
        ],
    );
    std::fs::write(folder.path().join("haproxy.cfg"), text).expect("written");
    let proxy = start(&program, &["-db", "-f", "haproxy.cfg"], folder, address);
    serve_through(&proxy);
    drop(proxy);
    assert_eq!(audited.seen(), ["127.0.0.1"], "the client, not the proxy at 127.0.0.2");
}

#[test]
fn behind_haproxy_in_http_mode() {
    let Some(program) = find("haproxy") else { return };
    let mut audited = Audited::new("127.0.0.2", false);
    let session = audited.server.connect("ada").create("proxied");
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let (pem, _) = certificate(&folder);
    let plain = free_address();
    let server = format!("{} source 127.0.0.2 ", audited.server.address());
    let text = configuration(
        "haproxy-http.cfg",
        &[
            ("maxconn 50000", "maxconn 100"),
            ("bind *:443", &format!("bind {plain}\n    bind {address}")),
            ("/etc/haproxy/agentbench.pem", &pem),
            ("10.0.0.2:3001 ", &server),
        ],
    );
    // What it is for is time, which no test measures: events of a stream would come up to 200 ms late.
    assert!(text.lines().any(|line| line.trim() == "option http-no-delay"));
    std::fs::write(folder.path().join("haproxy.cfg"), text).expect("written");
    let proxy = start(&program, &["-db", "-f", "haproxy.cfg"], folder, address);
    serve_through(&proxy);
    let stream = format!("/api/v1/sessions/{session}/stream?from=start");
    let mut stream = Ask::new(plain, "GET", &stream).token(&evaluator("ada")).open();
    assert_eq!(stream.events_to(1).len(), 1);
    drop(stream);
    audited.server.stop();
    let target = format!("/api/v1/sessions/{session}/stream");
    let away = Ask::new(plain, "GET", &target).token(&evaluator("ada")).answer();
    assert_says_unavailable(&away, "503");
    drop(proxy);
    assert_eq!(audited.seen(), ["127.0.0.1", "127.0.0.1"], "the client, not the proxy at 127.0.0.2");
}

/// What a stream gets from a load balancer while the server is away: a stream, so that an `EventSource` comes back, and why.
#[track_caller]
fn assert_says_unavailable(answer: &Answer, status: &str) {
    let (retry, event) = answer.body.split_once("\nevent: unavailable\ndata: ").expect("it says why");
    assert_eq!((answer.status, retry), (200, "retry: 5000"));
    let why: Value = serde_json::from_str(event).expect("JSON");
    assert_eq!((&why["status"], &why["retryAfterMs"]), (&status.into(), &5000.into()), "{why}");
    assert!(event.ends_with("\n\n") && why["detail"].is_string(), "{event:?}");
    assert!(answer.head.contains("content-type: text/event-stream"), "{}", answer.head);
}

/// nginx with the sample's text in its `http` block.
fn start_nginx(program: &Path, folder: TempDir, address: SocketAddr, text: &str) -> Proxy {
    let scratch = folder.path().display().to_string();
    let paths: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("{name}_temp_path {scratch}/{name};\n"))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {scratch}/pid;\nerror_log {scratch}/errors;\nevents {{}}\n\
         http {{\naccess_log off;\n{paths}{text}\n}}\n"
    );
    std::fs::write(folder.path().join("nginx.conf"), whole).expect("written");
    let prefix = format!("{scratch}/");
    start(program, &["-p", &prefix, "-c", "nginx.conf", "-e", "errors"], folder, address)
}

#[test]
fn behind_nginx_with_x_forwarded_for() {
    let Some(program) = find("nginx") else { return };
    let audited = Audited::new("127.0.0.2", false);
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let (pem, key) = certificate(&folder);
    let pass = "proxy_pass http://agentbench;";
    let text = configuration(
        "nginx.conf",
        &[
            ("listen 443 ssl;", &format!("listen {address} ssl;")),
            ("/etc/nginx/agentbench.pem", &pem),
            ("/etc/nginx/agentbench.key", &key),
            ("server 10.0.0.2:3001;", &format!("server {};", audited.server.address())),
            (pass, &format!("{pass} proxy_bind 127.0.0.2;")),
        ],
    );
    let proxy = start_nginx(&program, folder, address, &text);
    serve_through(&proxy);
    // A client that writes the header itself is not believed: nginx adds who it was called by.
    drop(proxy);
    assert_eq!(audited.seen(), ["127.0.0.1"]);
}

#[test]
fn behind_nginx_the_servers_own_page_connects_and_streams_outlive_the_server() {
    let Some(program) = find("nginx") else { return };
    let mut server = TestServer::with(1, |config| {
        config.allowed_origins = Origins::parse("", true).expect("production's default");
    });
    let session = server.connect("ada").create("proxied");
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let text = configuration(
        "nginx.conf",
        &[
            ("listen 443 ssl;", &format!("listen {address};")),
            ("ssl_certificate /etc/nginx/agentbench.pem;", ""),
            ("ssl_certificate_key /etc/nginx/agentbench.key;", ""),
            ("server 10.0.0.2:3001;", &format!("server {};", server.address())),
        ],
    );
    let proxy = start_nginx(&program, folder, address, &text);
    let token = evaluator("ada");
    let from = |origin: &str| {
        let opening = Opening::new(address).header("Authorization", &format!("Bearer {token}"));
        opening.header("Origin", origin).open().err().map(|refused| refused.status)
    };
    assert_eq!(from(&format!("http://{address}")), None, "the dashboard");
    assert_eq!(from("http://127.0.0.1"), Some(403), "another port is another origin");
    let large = serde_json::json!({"id": "large", "type": "test_event", "timestamp": 1,
        "data": {"eventType": "x", "text": "x".repeat(3 << 20)}});
    let events = format!("/api/v1/sessions/{session}/events");
    assert_eq!(Ask::new(address, "POST", &events).token(&token).json(&large).answer().status, 200);
    let stream = format!("/api/v1/sessions/{session}/stream");
    assert_eq!(Ask::new(address, "GET", &stream).answer().status, 401, "other refusals stay");
    server.stop();
    let waiting = Ask::new(address, "GET", &stream).token(&token).answer();
    assert_says_unavailable(&waiting, "502");
    assert_eq!(Ask::new(address, "GET", &events).token(&token).answer().status, 502, "elsewhere it is said");
    drop(proxy);
}

/// With nginx's own defaults and compression for event streams, which would otherwise be held back to their end.
#[test]
fn behind_nginx_that_compresses_events_come_as_they_happen() {
    let Some(program) = find("nginx") else { return };
    let server = TestServer::with_workers(1);
    let session = server.connect("ada").create("proxied");
    let (folder, address) = (tempfile::tempdir().expect("a folder"), free_address());
    let text = format!(
        "gzip on; gzip_types text/event-stream; gzip_proxied any; gzip_min_length 0;\n\
         server {{ listen {address}; location / {{ proxy_http_version 1.1; proxy_pass http://{}; }} }}",
        server.address()
    );
    let proxy = start_nginx(&program, folder, address, &text);
    let target = format!("/api/v1/sessions/{session}/stream");
    let ask = Ask::new(address, "GET", &target).token(&evaluator("ada")).header("Accept-Encoding", "gzip");
    // The stream goes on: what was held back to its end would never come.
    let mut stream = ask.open();
    assert!(stream.head.contains("content-encoding: gzip"), "{}", stream.head);
    assert!(!stream.reader.fill_buf().expect("the greeting").is_empty());
    drop(proxy);
}

#[test]
fn limits_count_the_client_and_not_the_proxy() {
    let server = TestServer::with(1, |config| {
        config.security.address_connection_rate = 2;
        config.security.trusted_proxies = "127.0.0.1".parse().expect("a network");
    });
    let token = evaluator("ada");
    let open = |said: &str| {
        Opening::new(server.address())
            .header("Authorization", &format!("Bearer {token}"))
            .header("X-Forwarded-For", said)
            .open()
    };
    let from_one: Vec<_> = (0..12).map(|_| open("203.0.113.9").map(|_| ()).map_err(|it| it.status)).collect();
    assert!(from_one.contains(&Err(429)), "{from_one:?}");
    for n in 1..=12 {
        assert!(open(&format!("198.51.100.{n}")).is_ok(), "another client has its own rate");
    }
}
