//! Both ends over real sockets: bytes arrive whole through full buffers, strangers are refused, certificates are exchanged.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::collections::BTreeSet;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use agentbench_tls::{Acceptor, Connector, Refreshed, Stream};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpListener, TcpStream};

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/keys")
}

fn acceptor(name: &str) -> Acceptor {
    Acceptor::load(&keys().join(format!("{name}.pem")), &keys().join(format!("{name}.key"))).unwrap()
}

fn connector() -> Connector {
    Connector::with_authority_file(&keys().join("authority.pem")).unwrap()
}

/// As PEM has it, without line ends.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    // Whole groups of three are enough to tell certificates apart.
    for three in bytes.chunks_exact(3) {
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for shift in [18, 12, 6, 0] {
            text.push(char::from(DIGITS[(bits >> shift & 63) as usize]));
        }
    }
    text
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap());
    let (client, server) = tokio::join!(client, listener.accept());
    (client.unwrap(), server.unwrap().0)
}

async fn pair(acceptor: &Acceptor) -> (Stream, Stream) {
    let (client, server) = sockets().await;
    let mut server = acceptor.accept(server).unwrap();
    let connector = connector();
    let (client, shaken) = tokio::join!(connector.connect(client, "localhost"), server.handshake());
    shaken.unwrap();
    (client.unwrap(), server)
}

#[tokio::test]
async fn megabytes_pass_whole_by_writes_that_never_wait() {
    let (mut client, mut server) = pair(&acceptor("first")).await;
    let sent: Vec<u8> = (0..24_000_000_u32).map(|n| (n.wrapping_mul(7) + n / 251) as u8).collect();
    let expected = sent.clone();
    let writing = async {
        let mut at = 0;
        let mut full = 0;
        while at < sent.len() {
            match server.try_write(&sent[at..]) {
                Ok(count) => at += count,
                Err(error) => {
                    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
                    full += 1;
                    server.ready(Interest::WRITABLE).await.unwrap();
                }
            }
        }
        while let Err(error) = server.finish() {
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            server.ready(Interest::WRITABLE).await.unwrap();
        }
        assert!(full > 0, "the socket was never full, so this shows nothing");
    };
    let reading = async {
        let mut got = Vec::new();
        client.read_to_end(&mut got).await.unwrap();
        got
    };
    let ((), got) = tokio::join!(writing, reading);
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test]
async fn what_is_decrypted_and_unread_wakes_its_reader() {
    let (mut client, mut server) = pair(&acceptor("first")).await;
    server.write_all(b"0123456789").await.unwrap();
    server.flush().await.unwrap();
    let mut four = [0; 4];
    client.read_exact(&mut four).await.unwrap();
    // The socket below is empty now.
    client.ready(Interest::READABLE).await.unwrap();
    let mut rest = [0; 64];
    assert_eq!(client.try_read(&mut rest).unwrap(), 6);
}

#[tokio::test]
async fn strangers_are_refused() {
    let (client, server) = sockets().await;
    let acceptor = acceptor("first");
    let mut server = acceptor.accept(server).unwrap();
    let connector = connector();
    let (wrong_name, _) = tokio::join!(connector.connect(client, "example.org"), server.handshake());
    assert!(wrong_name.unwrap_err().to_string().contains("certificate"));

    let (client, server) = sockets().await;
    let mut server = acceptor.accept(server).unwrap();
    // Trusts somebody, but not who signed this.
    let stranger = Connector::with_authority_file(&keys().join("second.pem")).unwrap();
    let (refused, told) = tokio::join!(stranger.connect(client, "localhost"), server.handshake());
    assert!(refused.is_err());
    assert!(told.is_err(), "the server hears the alert");

    let (mut client, server) = sockets().await;
    let mut server = acceptor.accept(server).unwrap();
    client.write_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
    let error = server.handshake().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn new_files_are_taken_and_bad_ones_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("tls.pem"), folder.path().join("tls.key"));
    let install = |name: &str| {
        std::fs::copy(keys().join(format!("{name}.pem")), &certificate).unwrap();
        std::fs::copy(keys().join(format!("{name}.key")), &key).unwrap();
    };
    install("first");
    let acceptor = Acceptor::load(&certificate, &key).unwrap();
    assert_eq!(acceptor.refresh().unwrap(), Refreshed::Same);
    install("second");
    assert_eq!(acceptor.refresh().unwrap(), Refreshed::Changed);
    std::fs::copy(keys().join("first.key"), &key).unwrap();
    assert!(acceptor.refresh().unwrap_err().to_string().contains("cannot be used"));
    assert_eq!(acceptor.refresh().unwrap(), Refreshed::Same, "complained about once");
    std::fs::write(&certificate, "nothing").unwrap();
    assert!(acceptor.refresh().unwrap_err().to_string().contains("tls.pem contains no certificate"));
    std::fs::remove_file(&key).unwrap();
    assert!(acceptor.refresh().is_err());
    let (mut client, mut server) = pair(&acceptor).await;
    let second = std::fs::read_to_string(keys().join("second.pem")).unwrap();
    let shown: Vec<u8> = client.peer_certificate().unwrap().to_vec();
    assert!(second.replace('\n', "").contains(&base64(&shown)), "the last good certificate is in use");
    client.write_all(b"still").await.unwrap();
    let mut got = [0; 5];
    server.read_exact(&mut got).await.unwrap();
}

/// What a client knows of its session's secrets, as lines of a key log.
#[derive(Debug, Default)]
struct Recorder(Mutex<BTreeSet<String>>);

impl rustls::KeyLog for Recorder {
    fn log(&self, label: &str, client_random: &[u8], secret: &[u8]) {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        self.0.lock().unwrap().insert(format!("{label} {} {}", hex(client_random), hex(secret)));
    }
}

/// A session of a client that records its secrets.
fn record_session(
    socket: std::net::TcpStream,
    version: &'static rustls::SupportedProtocolVersion,
) -> BTreeSet<String> {
    let mut roots = rustls::RootCertStore::empty();
    let authority = CertificateDer::from_pem_file(keys().join("authority.pem")).unwrap();
    roots.add(authority).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_protocol_versions(&[version]).unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    let recorder = Arc::new(Recorder::default());
    config.key_log = Arc::clone(&recorder) as Arc<dyn rustls::KeyLog>;
    let session = rustls::ClientConnection::new(Arc::new(config), "localhost".try_into().unwrap()).unwrap();
    let mut stream = rustls::StreamOwned::new(session, socket);
    stream.write_all(b"hello").unwrap();
    drop(stream);
    recorder.0.lock().unwrap().clone()
}

#[tokio::test]
async fn a_key_log_holds_the_secrets_that_the_client_has_and_is_its_owners_alone() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("keys.log");
        let acceptor = acceptor("first").with_key_log(&file).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let client = std::thread::spawn(move || record_session(client, version));
        let socket = listener.accept().unwrap().0;
        socket.set_nonblocking(true).unwrap();
        let mut server = acceptor.accept(TcpStream::from_std(socket).unwrap()).unwrap();
        server.handshake().await.unwrap();
        server.read_exact(&mut [0; 5]).await.unwrap();
        let expected = client.join().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let logged: BTreeSet<String> = text.lines().map(str::to_owned).collect();
        assert!(!expected.is_empty() && expected.is_subset(&logged), "{version:?}: {expected:?} {logged:?}");
        assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    }
    let error = acceptor("first").with_key_log(Path::new("/nowhere/keys.log")).unwrap_err();
    assert!(error.to_string().starts_with("cannot write /nowhere/keys.log"), "{error}");
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let missing = Acceptor::load(Path::new("/nowhere/a.pem"), Path::new("/nowhere/a.key")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/a.pem"));
    assert!(Connector::with_authority(b"nothing").is_err());
}
