//! A small HTTP client over a plain socket: complete responses, and streams read line by line.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};

use serde_json::Value;

use super::PATIENCE;
use super::server::Answer;

/// A request that is about to be sent.
pub(crate) struct Ask {
    address: SocketAddr,
    method: String,
    target: String,
    headers: String,
    body: Vec<u8>,
}

impl Ask {
    pub(crate) fn new(address: SocketAddr, method: &str, target: &str) -> Self {
        let (method, target) = (method.to_owned(), target.to_owned());
        Self { address, method, target, headers: String::new(), body: Vec::new() }
    }

    pub(crate) fn token(self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    pub(crate) fn body(self, body: impl Into<Vec<u8>>) -> Self {
        Self { body: body.into(), ..self }
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    /// Sends it, with the connection to be closed after the answer.
    fn send(&self) -> TcpStream {
        let kind = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = kind.expect("a socket");
        // Small on this side, so that a client that does not read is soon noticed.
        socket.set_recv_buffer_size(16 * 1024).expect("a buffer size");
        socket.connect(&self.address.into()).expect("the server listens");
        let mut stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        let Self { method, target, headers, body, .. } = self;
        let length = body.len();
        let head = format!(
            "{method} {target} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).expect("the request goes out");
        // A server that refuses from the head need not take the body.
        let _ = stream.write_all(body);
        stream
    }

    /// Sends it without reading the response.
    pub(crate) fn sent(&self) -> TcpStream {
        self.send()
    }

    /// Sends it and reads the complete response, with chunks joined.
    pub(crate) fn answer(&self) -> Answer {
        let mut answer = Answer::read(self.send());
        if answer.head.contains("transfer-encoding: chunked") {
            answer.body = dechunk(&answer.body);
        }
        answer
    }

    /// Sends it and reads the head; the body is read as it arrives.
    pub(crate) fn open(&self) -> Opened {
        let mut reader = BufReader::new(self.send());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).expect("a head") > 0, "ended inside the head: {head}");
        }
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Opened { status, head: head.to_ascii_lowercase(), reader, chunk: Vec::new(), over: false }
    }
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub(crate) fn value(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }

    /// Fails unless it is the protocol's error with this status and code.
    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> Value {
        let body = self.value();
        assert_eq!((self.status, body["type"].as_str()), (status, Some("error")), "{body}");
        assert_eq!(body["data"]["code"], code, "{body}");
        body["data"].clone()
    }

    /// Each line of an NDJSON body.
    #[track_caller]
    pub(crate) fn lines(&self) -> Vec<Value> {
        self.body.lines().map(|line| serde_json::from_str(line).expect("a line is JSON")).collect()
    }
}

fn dechunk(body: &str) -> String {
    let (mut rest, mut whole) = (body, String::new());
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
        if size == 0 {
            return whole;
        }
        whole.push_str(&after[..size]);
        rest = &after[size + 2..];
    }
    panic!("the answer has no end");
}

/// A response that is read as it arrives.
pub(crate) struct Opened {
    pub(crate) status: u16,
    /// The head, in lower case.
    pub(crate) head: String,
    pub(crate) reader: BufReader<TcpStream>,
    chunk: Vec<u8>,
    over: bool,
}

/// One event of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Sse {
    pub(crate) id: Option<String>,
    pub(crate) data: Value,
}

impl Opened {
    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.chunk.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.chunk.drain(..=at).collect();
                return Some(String::from_utf8(line).expect("UTF-8").trim_end_matches('\n').to_owned());
            }
            if self.over {
                return None;
            }
            let mut size = String::new();
            if self.reader.read_line(&mut size).unwrap_or(0) == 0 {
                self.over = true;
                continue;
            }
            let size = usize::from_str_radix(size.trim(), 16).expect("a chunk has a size");
            let mut bytes = vec![0; size + 2];
            if self.reader.read_exact(&mut bytes).is_err() {
                self.over = true;
                continue;
            }
            bytes.truncate(size);
            self.over = size == 0;
            self.chunk.extend(bytes);
        }
    }

    /// The next event of the stream, without comments; `None` at its end.
    pub(crate) fn next(&mut self) -> Option<Sse> {
        let (mut id, mut data) = (None, String::new());
        loop {
            let line = self.line()?;
            if let Some(value) = line.strip_prefix("id: ") {
                id = Some(value.to_owned());
            } else if let Some(value) = line.strip_prefix("data: ") {
                data.push_str(value);
            } else if line.is_empty() && !data.is_empty() {
                return Some(Sse { id, data: serde_json::from_str(&data).expect("an event is JSON") });
            }
        }
    }

    /// The remaining raw bytes until the connection ends.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A connection that is cut ends with a reset, or without its last chunk.
        let _ = self.reader.read_to_end(&mut bytes);
        bytes
    }

    /// Whether a heartbeat comes before any further event.
    pub(crate) fn heartbeat(&mut self) -> bool {
        while let Some(line) = self.line() {
            if line.starts_with(": heartbeat ") {
                return true;
            }
            if line.starts_with("data: ") {
                return false;
            }
        }
        false
    }

    /// Entries of the log up to one with this seq; other messages are skipped.
    #[track_caller]
    pub(crate) fn events_to(&mut self, seq: u64) -> Vec<Sse> {
        let mut events: Vec<Sse> = Vec::new();
        while events.last().is_none_or(|last| last.data["seq"].as_u64() < Some(seq)) {
            let next = self.next().expect("the stream goes on");
            if next.data["seq"].is_u64() {
                events.push(next);
            }
        }
        events
    }
}
