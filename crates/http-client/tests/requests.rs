//! Requests over real sockets, to a server that answers what the test says.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agentbench_http_client::{HttpClient, Request, RequestError, Response, header};
use agentbench_tls::{Acceptor, Stream, TrustFault};
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// How long anything may take before a test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Reads a request without a body, writes this answer, and gives the request and what comes after it until the client goes.
async fn serve(mut stream: Stream, answer: String) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    // The client may go in the middle of it.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.read_to_end(&mut head).await;
    String::from_utf8(head).unwrap()
}

async fn server(answer: impl Into<String>) -> (SocketAddr, JoinHandle<String>) {
    let (listener, answer) = (TcpListener::bind("127.0.0.1:0").await.unwrap(), answer.into());
    let address = listener.local_addr().unwrap();
    (
        address,
        tokio::spawn(async move { serve(Stream::Plain(listener.accept().await.unwrap().0), answer).await }),
    )
}

fn client(url: &str) -> HttpClient {
    HttpClient::new("the address", url, None).unwrap()
}

async fn get(client: &HttpClient) -> Result<Response, RequestError> {
    let request = Request::get(client.path()).header(header::ACCEPT, "text/plain");
    tokio::time::timeout(PATIENCE, client.send(request, Bytes::new())).await.unwrap()
}

fn keys() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tls/tests/keys")
}

#[tokio::test]
async fn a_request_names_its_host_without_the_password_before_it() {
    let (address, served) = server("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let response = get(&client(&format!("http://ann:secret@{address}/x?y=1"))).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), &response.headers()["content-length"]),
        (200, &"2".parse().unwrap())
    );
    assert_eq!(response.whole(2).await.unwrap(), "ok");
    let request = served.await.unwrap();
    assert!(request.starts_with("GET /x?y=1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains(&format!("host: {address}\r\n")) && !request.contains("secret"), "{request}");
}

#[tokio::test]
async fn no_more_is_read_than_the_caller_wants() {
    let (address, _served) = server(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(100_000))).await;
    let response = get(&client(&format!("ws://{address}"))).await.unwrap();
    let error = response.whole(1_000).await.unwrap_err();
    assert_eq!(error.to_string(), "the answer has more than 1000 bytes");
}

#[tokio::test]
async fn redirections_are_not_followed() {
    let (address, _served) =
        server("HTTP/1.1 302 Found\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n").await;
    let response = get(&client(&format!("http://{address}"))).await.unwrap();
    assert_eq!(response.status().as_u16(), 302);
}

#[tokio::test]
async fn a_body_comes_in_pieces_and_one_that_breaks_off_is_an_error() {
    let (address, served) =
        server("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n9\r\nd").await;
    let mut response = get(&client(&format!("http://{address}"))).await.unwrap();
    assert_eq!(response.next().await.unwrap().unwrap(), "abc");
    served.abort();
    let rest = async {
        while response.next().await?.is_some() {}
        Ok::<_, RequestError>(())
    };
    let rest = tokio::time::timeout(PATIENCE, rest).await.unwrap();
    assert!(matches!(rest, Err(RequestError::Exchange(_))), "{rest:?}");
}

#[tokio::test]
async fn a_request_that_is_given_up_ends_its_connection() {
    let (address, served) = server("").await;
    let client = client(&format!("http://{address}"));
    let request = client.send(Request::get("/slow"), Bytes::new());
    assert!(tokio::time::timeout(Duration::from_millis(200), request).await.is_err());
    // It reads to the end of the connection.
    let request = tokio::time::timeout(PATIENCE, served).await.unwrap().unwrap();
    assert!(request.starts_with("GET /slow"), "{request}");
}

#[tokio::test]
async fn a_server_that_is_not_there_and_one_that_speaks_no_http_differ() {
    let (address, _served) = server("SSH-2.0-x\r\n").await;
    assert!(matches!(get(&client(&format!("http://{address}"))).await, Err(RequestError::Exchange(_))));
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    assert!(matches!(get(&client(&format!("http://{nobody}"))).await, Err(RequestError::Connect(_))));
}

#[tokio::test]
async fn the_authority_of_a_file_is_trusted_and_no_other() {
    let acceptor = Acceptor::load(&keys().join("first.pem"), &keys().join("first.key")).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let mut stream = acceptor.accept(listener.accept().await.unwrap().0).unwrap();
            if stream.handshake().await.is_ok() {
                serve(stream, "HTTP/1.1 204 No Content\r\n\r\n".to_owned()).await;
            }
        }
    });
    let url = format!("https://localhost:{port}");
    let trusted = HttpClient::new("x", &url, Some(&keys().join("authority.pem"))).unwrap();
    assert_eq!(get(&trusted).await.unwrap().status().as_u16(), 204);
    let stranger = keys().join("../../../cli/src/alerts/lasting.pem");
    let distrusted = HttpClient::new("x", &url, Some(&stranger)).unwrap();
    match get(&distrusted).await {
        Err(RequestError::Connect(error)) => assert_eq!(TrustFault::of(&error), Some(TrustFault::Authority)),
        other => panic!("{other:?}"),
    }
}
