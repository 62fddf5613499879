//! `agentbench proxy` from outside: what it prints, what it passes, how it ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};

const BINARY: &str = env!("CARGO_BIN_EXE_agentbench");

#[test]
fn passes_bytes_takes_orders_and_counts_strikes_at_the_end() {
    let upstream = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut child = Command::new(BINARY)
        .args([
            "proxy",
            "--control",
            "127.0.0.1:0",
            "--upstream",
            &upstream.local_addr().unwrap().to_string(),
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().unwrap().unwrap();
    let listens = first.strip_prefix("proxy default listens on ").unwrap().split(' ').next().unwrap();
    let second = lines.next().unwrap().unwrap();
    let control = second.strip_prefix("control API on http://").unwrap();

    let mut client = TcpStream::connect(listens).unwrap();
    let mut server = upstream.accept().unwrap().0;
    client.write_all(b"hello").unwrap();
    let mut got = [0; 5];
    server.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"hello");

    let mut api = TcpStream::connect(control).unwrap();
    let order = "{\"kind\": \"reset\"}";
    let length = order.len();
    let head = "POST /proxies/default/strike HTTP/1.1\r\nHost: api\r\nConnection: close";
    write!(api, "{head}\r\nContent-Length: {length}\r\n\r\n{order}").unwrap();
    let mut answer = String::new();
    api.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("{\"links\":1}"), "{answer}");
    assert!(client.read(&mut got).is_err() && server.read(&mut got).is_err());

    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success() && child.wait().unwrap().success());
    assert_eq!(lines.map(Result::unwrap).collect::<Vec<_>>(), ["       1 reset"]);
}

#[test]
fn a_wrong_plan_is_told_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.toml");
    std::fs::write(&plan, "[[proxy]]\nname = \"a\"\nupstream = \"127.0.0.1:1\"\nport = 3\n").unwrap();
    let output = Command::new(BINARY).args(["proxy", "--plan"]).arg(&plan).output().unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(error.contains("line 4, proxy[0].port: unknown field `port`"), "{error}");
}
