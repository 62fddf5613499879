//! A small blocking client on the product's own codec, which can also send raw bytes. It understands every form of the
//! wire and hands out messages as JSON values.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

use agentbench_protocol::{SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, msgpack};
use agentbench_websocket::handshake::{self, Offer, OpeningError};
use agentbench_websocket::{
    Decoder, DeflatePolicy, Deflater, Inflater, Input, Limits, Message, Negotiated, Opcode, Role,
    encode_deflated, encode_frame, encode_message,
};
use bytes::BytesMut;
use serde_json::{Value, json};

use super::{PATIENCE, event, expect_kind, message, numbered};

/// Loopback traffic passes no proxy that could be confused (RFC 6455 §10.3), so a constant mask is sufficient.
pub(crate) const MASK: [u8; 4] = [0x11, 0x22, 0x33, 0x44];
/// Size above which a client compresses messages, if negotiated.
const COMPRESS_FROM: usize = 256;

/// A connection that is about to be opened.
pub(crate) struct Opening {
    address: SocketAddr,
    target: String,
    headers: Vec<(String, String)>,
    protocols: Vec<String>,
    compress: bool,
    receive_buffer: Option<usize>,
}

/// The response of a server that refuses the connection.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<u64>,
    /// The answer's text.
    pub(crate) detail: String,
}

impl Opening {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            target: "/ws".to_owned(),
            headers: Vec::new(),
            protocols: Vec::new(),
            compress: false,
            receive_buffer: None,
        }
    }

    pub(crate) fn target(self, target: &str) -> Self {
        Self { target: target.to_owned(), ..self }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(crate) fn producer(self, name: &str) -> Self {
        self.header("Agentbench-Producer", name)
    }

    pub(crate) fn protocol(mut self, name: &str) -> Self {
        self.protocols.push(name.to_owned());
        self
    }

    /// Version 1 in JSON.
    pub(crate) fn v1(self) -> Self {
        self.protocol(SUBPROTOCOL_JSON)
    }

    /// Version 1 in MessagePack.
    pub(crate) fn msgpack(self) -> Self {
        self.protocol(SUBPROTOCOL_MSGPACK)
    }

    /// Offers permessage-deflate.
    pub(crate) fn deflate(self) -> Self {
        Self { compress: true, ..self }
    }

    /// Makes the client's receive buffer small, so that it fills quickly.
    pub(crate) fn receive_buffer(self, bytes: usize) -> Self {
        Self { receive_buffer: Some(bytes), ..self }
    }

    /// Opens, and reads the greeting.
    pub(crate) fn connect(self) -> Client {
        let mut client = self.open().expect("the server takes the connection");
        client.established = client.next().expect("the server says hello first");
        expect_kind(&client.established, "connection_established");
        client
    }

    /// Opens, and reads only the response head.
    pub(crate) fn open(self) -> Result<Client, Refused> {
        let mut stream = self.socket();
        let headers: Vec<_> =
            self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let protocols: Vec<_> = self.protocols.iter().map(String::as_str).collect();
        let offer = Offer {
            host: &self.address.to_string(),
            target: &self.target,
            protocols: &protocols,
            deflate: self.compress.then(DeflatePolicy::default),
            headers: &headers,
        };
        let mut out = BytesMut::new();
        let mut opening = handshake::Opening::new(&mut out, &offer, *b"a constant nonce");
        stream.write_all(&out).expect("the request goes out");
        loop {
            let mut piece = [0; 4096];
            let count = stream.read(&mut piece).expect("the server answers");
            assert!(count > 0, "the server ended the connection inside its answer");
            match opening.feed(&piece[..count]) {
                Ok(None) => {}
                Ok(Some(mut opened)) => {
                    let mut client = Client::new(stream, opened.protocol, opened.deflate);
                    client.take_in(&mut opened.rest);
                    return Ok(client);
                }
                Err(OpeningError::Refused(refusal)) => {
                    let detail = refusal.text();
                    return Err(Refused { status: refusal.status, retry_after: refusal.retry_after, detail });
                }
                Err(error) => panic!("the answer is wrong: {error}"),
            }
        }
    }

    fn socket(&self) -> TcpStream {
        let kind = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
        let socket = kind.expect("a socket");
        if let Some(bytes) = self.receive_buffer {
            socket.set_recv_buffer_size(bytes).expect("a buffer size");
        }
        socket.connect(&self.address.into()).expect("the server listens");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("a socket option");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket option");
        stream
    }
}

/// An open connection.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    decoder: Decoder,
    inflater: Inflater,
    deflater: Deflater,
    deflate: Option<Negotiated>,
    /// The subprotocol that the server chose.
    pub(crate) protocol: Option<String>,
    /// The greeting.
    pub(crate) established: Value,
    inbox: VecDeque<Value>,
    /// The last text frames as they came.
    texts: VecDeque<String>,
    /// The server's close frame.
    pub(crate) close: Option<(u16, String)>,
    /// The socket has ended.
    pub(crate) ended: bool,
    /// Whether pings are answered, as by a well-behaved client.
    pub(crate) answers_pings: bool,
    pub(crate) pongs: usize,
    /// Bytes read from the socket.
    pub(crate) bytes_read: usize,
    /// Messages that came in an array, and in frames of their own.
    pub(crate) in_arrays: usize,
    next_id: u64,
}

impl Client {
    fn new(stream: TcpStream, protocol: Option<String>, deflate: Option<Negotiated>) -> Self {
        Self {
            stream,
            decoder: Decoder::new(Role::Client, Limits { max_message: 256 << 20 }, deflate.as_ref()),
            inflater: Inflater::new(),
            deflater: Deflater::new(6),
            deflate,
            protocol,
            established: Value::Null,
            inbox: VecDeque::new(),
            texts: VecDeque::new(),
            close: None,
            ended: false,
            answers_pings: true,
            pongs: 0,
            bytes_read: 0,
            in_arrays: 0,
            next_id: 0,
        }
    }

    /// Whether compression was negotiated.
    pub(crate) fn compresses(&self) -> bool {
        self.deflate.is_some()
    }

    fn is_msgpack(&self) -> bool {
        self.protocol.as_deref() == Some(SUBPROTOCOL_MSGPACK)
    }

    /// The name that the server gave to this connection.
    pub(crate) fn client_id(&self) -> &str {
        self.established["data"]["clientId"].as_str().expect("the greeting names the connection")
    }

    // What goes out.

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the socket takes it");
    }

    /// Sends a text that need not be JSON.
    pub(crate) fn send_text(&mut self, text: &str) {
        let frame = frame(Opcode::Text, text.as_bytes());
        self.send_raw(&frame);
    }

    /// Sends a message, or an array of them, in the connection's own form.
    pub(crate) fn send(&mut self, value: &Value) {
        let frame = self.encode(value);
        self.send_raw(&frame);
    }

    /// The frame that `send` would write.
    pub(crate) fn encode(&mut self, value: &Value) -> BytesMut {
        let text = value.to_string();
        let (opcode, payload) = if self.is_msgpack() {
            let mut packed = BytesMut::new();
            msgpack::from_json(text.as_bytes(), &mut packed).expect("a value is JSON");
            (Opcode::Binary, packed)
        } else {
            (Opcode::Text, BytesMut::from(text.as_bytes()))
        };
        match &self.deflate {
            Some(agreed) if payload.len() >= COMPRESS_FROM => {
                let mut out = BytesMut::new();
                let bits = agreed.send_window_bits(Role::Client);
                encode_deflated(&mut out, opcode, &payload, &mut self.deflater, bits, Some(MASK));
                out
            }
            _ => frame(opcode, &payload),
        }
    }

    /// An id that this connection has not used.
    pub(crate) fn fresh_id(&mut self) -> String {
        self.next_id += 1;
        format!("m{}", self.next_id)
    }

    /// Sends a command; returns its id.
    pub(crate) fn send_command(&mut self, data: &Value) -> String {
        let id = format!("{}-{}", self.client_id().to_owned(), self.fresh_id());
        self.send(&message("control_command", &id, data));
        id
    }

    /// Sends a command, and waits for its reply.
    pub(crate) fn command(&mut self, data: &Value) -> Value {
        let id = self.send_command(data);
        self.reply_to(&id)
    }

    /// The same, under an id of the caller's choice.
    pub(crate) fn command_as(&mut self, id: &str, data: &Value) -> Value {
        self.send(&message("control_command", id, data));
        self.reply_to(id)
    }

    /// Creates a session under the command's id, and returns its name.
    pub(crate) fn create(&mut self, id: &str) -> String {
        self.create_with(id, &json!({}))
    }

    pub(crate) fn create_following(&mut self, id: &str) -> String {
        self.create_with(id, &json!({"follow": true}))
    }

    pub(crate) fn create_with(&mut self, id: &str, more: &Value) -> String {
        let created = self.command_as(id, &create_session(more));
        expect_kind(&created, "session_created");
        created["data"]["sessionId"].as_str().expect("a session has a name").to_owned()
    }

    pub(crate) fn join(&mut self, session: &str, from: &Value) -> Value {
        let joined = self.command(&json!({"command": "join_session", "sessionId": session, "from": from}));
        expect_kind(&joined, "session_joined");
        joined
    }

    /// Joins to publish only.
    pub(crate) fn join_as_publisher(&mut self, session: &str) {
        let joined = self.command(&json!({"command": "join_session", "sessionId": session, "follow": false}));
        expect_kind(&joined, "session_joined");
    }

    /// Publishes, and waits for the ack or the refusal.
    pub(crate) fn publish(&mut self, session: &str, id: &str, data: &Value) -> Value {
        self.send(&event(session, id, data));
        self.reply_to(id)
    }

    /// Publishes numbered events one by one, each acknowledged.
    pub(crate) fn publish_numbers(&mut self, session: &str, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            self.send(&numbered(session, n));
            expect_kind(&self.reply_to(&format!("e{n}")), "ack");
        }
    }

    pub(crate) fn info(&mut self, session: &str) -> Value {
        let info = self.command(&json!({"command": "get_session_info", "sessionId": session}));
        expect_kind(&info, "session_info");
        info["data"]["session"].clone()
    }

    // What comes in.

    /// The next message; `None` when the server has closed or the socket has ended.
    pub(crate) fn next(&mut self) -> Option<Value> {
        while self.inbox.is_empty() && self.close.is_none() && !self.ended {
            self.read_more();
        }
        self.inbox.pop_front()
    }

    /// The first message for which `wanted` returns true; others stay queued.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let mut seen = 0;
        loop {
            if let Some(at) = self.inbox.iter().skip(seen).position(&wanted) {
                return self.inbox.remove(seen + at).expect("it was just found");
            }
            seen = self.inbox.len();
            let over = self.close.is_some() || self.ended;
            assert!(!over, "closed before {what}: {:?}, {:?}", self.close, self.inbox);
            self.read_more();
        }
    }

    /// The message that answers the one with this id.
    #[track_caller]
    pub(crate) fn reply_to(&mut self, id: &str) -> Value {
        self.wait_for(&format!("a reply to {id}"), |it| it["data"]["originalMessageId"] == id)
    }

    /// The next system message of this type.
    #[track_caller]
    pub(crate) fn wait_for_kind(&mut self, kind: &str) -> Value {
        self.wait_for(kind, |it| it["data"]["type"] == kind)
    }

    /// Entries of logs up to one with this seq, in the order of arrival; other messages stay.
    #[track_caller]
    pub(crate) fn events_to(&mut self, seq: u64) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        while events.last().is_none_or(|last| last["seq"].as_u64() < Some(seq)) {
            events.push(self.wait_for(&format!("the entry {seq}"), |it| it["seq"].is_u64()));
        }
        events
    }

    /// All messages about a session that were sent to this connection before the reply to a request to its owner.
    pub(crate) fn settle(&mut self, session: &str) -> Vec<Value> {
        self.info(session);
        self.inbox.drain(..).collect()
    }

    /// The raw text of the last delivery of an event, found by a part of it.
    pub(crate) fn last_text_with(&self, part: &str) -> &str {
        let found =
            self.texts.iter().rev().find(|text| text.contains(part) && text.contains("\"receivedAt\""));
        found.expect("it came")
    }

    /// Everything until the end of the connection.
    pub(crate) fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.next()).collect()
    }

    /// Reads to the end, and checks that the server closed with this code. Returns the messages before it.
    #[track_caller]
    pub(crate) fn expect_close(&mut self, code: u16) -> Vec<Value> {
        let rest = self.rest();
        assert_eq!(self.close.as_ref().map(|close| close.0), Some(code), "{rest:?}");
        rest
    }

    /// Reads once from the socket.
    pub(crate) fn read_more(&mut self) {
        let mut buffer = vec![0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => self.ended = true,
            Ok(count) => {
                self.bytes_read += count;
                self.take_in(&mut buffer[..count]);
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                panic!("nothing arrived any more; so far: {:?}", self.inbox);
            }
            Err(_) => self.ended = true,
        }
    }

    fn take_in(&mut self, bytes: &mut [u8]) {
        let mut input = Input::new(bytes);
        let mut answers = BytesMut::new();
        while let Some(message) =
            self.decoder.next(&mut input, &mut self.inflater).expect("a server sends no broken frames")
        {
            let value = match message {
                Message::Text(text) => {
                    self.texts.push_back(text.to_owned());
                    self.texts.drain(..self.texts.len().saturating_sub(16));
                    value_of(text)
                }
                Message::Binary(packed) => {
                    let mut json = BytesMut::new();
                    msgpack::to_json(packed, &mut json).expect("a server sends MessagePack");
                    value_of(std::str::from_utf8(&json).expect("JSON is UTF-8"))
                }
                Message::Ping(payload) if self.answers_pings => {
                    encode_message(&mut answers, &Message::Pong(payload), Some(MASK));
                    continue;
                }
                Message::Ping(_) => continue,
                Message::Pong(_) => {
                    self.pongs += 1;
                    continue;
                }
                Message::Close(close) => {
                    self.close = Some(close.map_or((1005, String::new()), |it| (it.code, it.reason.into())));
                    continue;
                }
            };
            match value {
                Value::Array(several) => {
                    self.in_arrays += several.len();
                    self.inbox.extend(several);
                }
                one => self.inbox.push_back(one),
            }
        }
        // A server that has gone does not want the answers any more.
        let _ = self.stream.write_all(&answers);
    }

    // The end.

    /// Ends the socket with a reset instead of a close.
    pub(crate) fn reset(self) {
        let socket = socket2::SockRef::from(&self.stream);
        socket.set_linger(Some(Duration::ZERO)).expect("a socket option");
    }

    /// Shuts down the sending side, without a close frame.
    pub(crate) fn finish_sending(&self) {
        self.stream.shutdown(Shutdown::Write).expect("the socket is open");
    }

    /// Closes as RFC 6455 requires, and waits for the server's close.
    pub(crate) fn say_goodbye(mut self, code: u16) -> (u16, String) {
        let mut out = BytesMut::new();
        agentbench_websocket::encode_close(&mut out, Some((code, "bye")), Some(MASK));
        self.send_raw(&out);
        self.rest();
        self.close.expect("a close is answered")
    }
}

/// Parses a text. Values that this parser rejects become those of `JSON.parse`: lone surrogates are U+FFFD, numbers beyond
/// the range of floats the text "Infinity".
pub(crate) fn value_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| {
        let (mut packed, mut json) = (BytesMut::new(), BytesMut::new());
        msgpack::from_json(text.as_bytes(), &mut packed).expect("a server sends JSON");
        msgpack::to_json(&packed, &mut json).expect("which has a form");
        let text = String::from_utf8_lossy(&json).replace("1e999", "\"Infinity\"");
        serde_json::from_str(&text).expect("which any parser reads")
    })
}

/// One whole masked frame.
pub(crate) fn frame(opcode: Opcode, payload: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    encode_frame(&mut out, opcode, false, payload, Some(MASK));
    out
}

/// The `data` of a `create_session`, with more fields.
pub(crate) fn create_session(more: &Value) -> Value {
    let mut data =
        json!({"command": "create_session", "projectId": "p1", "testId": "t1", "agentName": "agent"});
    for (name, value) in more.as_object().expect("fields") {
        data[name] = value.clone();
    }
    data
}
