//! The control API, end to end.

use std::net::SocketAddr;
use std::sync::Arc;

use agentbench_fault_proxy::{ProxySet, control};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{Broken, Socket, loopback, message_echo, run};

async fn api() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    let api = axum::serve(listener, control::router(Arc::new(ProxySet::new(1))));
    tokio::spawn(async move { api.await });
    address
}

/// One request; its status and body.
async fn ask(api: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, Value) {
    let mut stream = TcpStream::connect(api).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: api\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, if body.is_empty() { Value::Null } else { serde_json::from_str(body).unwrap() })
}

async fn tell(api: SocketAddr, request: &str, body: Value) -> (u16, Value) {
    ask(api, request, "", &body.to_string()).await
}

async fn see(api: SocketAddr, path: &str) -> Value {
    let (status, body) = ask(api, &format!("GET {path}"), "", "").await;
    assert_eq!(status, 200, "{body}");
    body
}

#[test]
fn a_proxys_whole_life() {
    run(async {
        let api = api().await;
        let upstream = message_echo(None).await;
        let (status, made) = tell(api, "POST /proxies", json!({"name": "echo", "upstream": upstream})).await;
        assert_eq!((status, &made["enabled"]), (201, &json!(true)));
        let address: SocketAddr = made["listen"].as_str().unwrap().parse().unwrap();

        let fault = json!({"name": "lost", "when": {"contains": "two"}, "effect": {"kind": "drop"}});
        assert_eq!(tell(api, "POST /proxies/echo/faults", fault).await, (201, json!({"id": 1})));
        let mut socket = Socket::connect(address, None).await;
        for text in ["one", "two", "three"] {
            socket.send(text).await.unwrap();
        }
        assert_eq!((socket.text().await, socket.text().await), ("one".to_owned(), "three".to_owned()));

        let links = see(api, "/proxies/echo/links").await;
        assert_eq!((&links[0]["state"], &links[0]["messages_up"]), (&json!("websocket"), &json!(3)));
        let strikes = see(api, "/proxies/echo/strikes").await;
        assert_eq!(
            (&strikes[0]["kind"], &strikes[0]["name"], &strikes[0]["message"]),
            (&json!("drop"), &json!("lost"), &json!(1))
        );
        assert_eq!(see(api, "/proxies/echo/strikes").await, json!([]));
        assert_eq!(see(api, "/proxies/echo/faults").await[0]["strikes"], 1);

        assert_eq!(tell(api, "DELETE /proxies/echo/faults/1", Value::Null).await.0, 204);
        assert_eq!(tell(api, "DELETE /proxies/echo/faults/1", Value::Null).await.0, 404);
        assert_eq!(
            tell(api, "POST /proxies/echo/strike", json!({"kind": "reset"})).await,
            (200, json!({"links": 1}))
        );
        assert_eq!(socket.next().await, Err(Broken::Io(std::io::ErrorKind::ConnectionReset)));

        let (status, changed) = tell(api, "POST /proxies/echo", json!({"enabled": false})).await;
        assert_eq!((status, &changed["enabled"]), (200, &json!(false)));
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(stream.read_u8().await.is_err());
        tell(api, "POST /proxies/echo", json!({"enabled": true, "upstream": message_echo(None).await})).await;
        let mut socket = Socket::connect(address, None).await;
        socket.send("back").await.unwrap();
        assert_eq!(socket.text().await, "back");

        tell(api, "POST /proxies/echo/faults", json!({"effect": {"kind": "latency", "ms": 1}})).await;
        assert_eq!(tell(api, "POST /reset", Value::Null).await.0, 204);
        assert_eq!(see(api, "/proxies").await[0]["faults"], json!([]));
        assert_eq!(tell(api, "DELETE /proxies/echo", Value::Null).await.0, 204);
        assert_eq!(see(api, "/proxies").await, json!([]));
    });
}

#[test]
fn refusals_have_a_status_a_code_and_a_reason() {
    run(async {
        let api = api().await;
        tell(api, "POST /proxies", json!({"name": "a", "upstream": "127.0.0.1:1"})).await;
        let big = " ".repeat(300 * 1024);
        for (request, body, status, code, words) in [
            ("GET /nothing", "", 404, "not_found", "docs/fault-proxy.md"),
            ("PUT /proxies", "", 405, "method_not_allowed", "method"),
            ("GET /proxies/b", "", 404, "not_found", "\"b\""),
            (
                "POST /proxies",
                r#"{"name": "a", "upstream": "127.0.0.1:1"}"#,
                409,
                "proxy_exists",
                "delete it",
            ),
            (
                "POST /proxies",
                r#"{"name": "a/b", "upstream": "127.0.0.1:1"}"#,
                400,
                "invalid_proxy",
                "letters",
            ),
            ("POST /proxies", r#"{"name": "c"}"#, 400, "malformed_body", "upstream"),
            ("POST /proxies", &big, 413, "body_too_large", "length limit"),
            ("POST /proxies/a/faults", r#"{"effect": {"kind": "latency"}}"#, 400, "malformed_body", "`ms`"),
            ("POST /proxies/a/faults", "{", 400, "malformed_body", "EOF"),
            ("POST /proxies/a/strike", r#"{"kind": "close", "code": 1006}"#, 400, "invalid_fault", "1006"),
            ("POST /proxies/a", r#"{"up": 1}"#, 400, "malformed_body", "`upstream`"),
        ] {
            let (got, answer) = ask(api, request, "", body).await;
            assert_eq!((got, answer["code"].as_str()), (status, Some(code)), "{request} {answer}");
            assert!(answer["error"].as_str().unwrap().contains(words), "{request} {answer}");
        }
        let (status, answer) = ask(api, "POST /reset", "Origin: http://evil.example\r\n", "").await;
        assert_eq!((status, answer["code"].as_str()), (403, Some("from_a_page")));
    });
}
