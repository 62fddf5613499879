//! Conversations as a page shows them, `→` what a client sends and `←` what comes back, played with a server.
//!
//! `…` at the end of a text stands for its rest: what it is when it first comes is its value from there on. `…` among fields stands for
//! fields that are not shown. Messages that are not shown may come between.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use agentbench_websocket::handshake::{Offer, Opening};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Opcode, Role, encode_frame};
use bytes::BytesMut;
use serde_json::Value;

/// How long a message may take before a test gives up; no measure of speed.
const PATIENCE: Duration = Duration::from_secs(30);
/// Loopback goes through no proxy that could be fooled, so a constant will do.
const MASK: [u8; 4] = [1, 2, 3, 4];

/// What shortened texts stand for.
pub(crate) type Names = HashMap<String, String>;

/// A WebSocket as any client has it, text frames only.
pub(crate) struct Socket {
    stream: TcpStream,
    decoder: Decoder,
    inflater: Inflater,
    bytes: BytesMut,
}

impl Socket {
    /// Connects to a target such as `/ws?token=…`.
    pub(crate) fn open(address: SocketAddr, target: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let host = &address.to_string();
        let offer = Offer { host, target, protocols: &[], deflate: None, headers: &[] };
        let mut head = BytesMut::new();
        let mut opening = Opening::new(&mut head, &offer, *b"a constant nonce");
        stream.write_all(&head).unwrap();
        let mut piece = BytesMut::new();
        let bytes = loop {
            read_more(&mut stream, &mut piece);
            if let Some(opened) = opening.feed(&piece.split()).unwrap() {
                break opened.rest;
            }
        };
        let decoder = Decoder::new(Role::Client, Limits::default(), None);
        Self { stream, decoder, inflater: Inflater::new(), bytes }
    }

    pub(crate) fn send(&mut self, message: &Value) {
        let mut frame = BytesMut::new();
        encode_frame(&mut frame, Opcode::Text, false, message.to_string().as_bytes(), Some(MASK));
        self.stream.write_all(&frame).unwrap();
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> Value {
        loop {
            let mut input = Input::new(&mut self.bytes);
            let message = match self.decoder.next(&mut input, &mut self.inflater).unwrap() {
                Some(Message::Text(text)) => Some(serde_json::from_str(text).unwrap()),
                Some(Message::Close(close)) => panic!("closed: {close:?}"),
                Some(_) => continue,
                None => None,
            };
            let used = input.remaining();
            let used = self.bytes.len() - used;
            let _ = self.bytes.split_to(used);
            match message {
                Some(message) => return message,
                None => read_more(&mut self.stream, &mut self.bytes),
            }
        }
    }
}

fn read_more(stream: &mut TcpStream, bytes: &mut BytesMut) {
    let mut piece = [0; 16 * 1024];
    let count = stream.read(&mut piece).expect("nothing came any more");
    assert!(count > 0, "the server ended the connection");
    bytes.extend_from_slice(&piece[..count]);
}

/// A shown message as JSON: fields that are left out are left out.
pub(crate) fn shown(text: &str) -> Value {
    let whole = text.replace(",…", "").replace("{…}", "{}");
    serde_json::from_str(&whole).unwrap_or_else(|error| panic!("{error} in {text}"))
}

/// The shown message with what its shortened texts stand for.
pub(crate) fn filled(shown: &Value, names: &Names) -> Value {
    match shown {
        Value::String(text) if text.ends_with('…') => {
            let meant = names.get(text).unwrap_or_else(|| panic!("{text} has not come yet"));
            Value::String(meant.clone())
        }
        Value::Object(fields) => {
            Value::Object(fields.iter().map(|(name, value)| (name.clone(), filled(value, names))).collect())
        }
        other => other.clone(),
    }
}

/// Whether a message has all that is shown. What shortened texts stand for is kept.
pub(crate) fn fits(shown: &Value, got: &Value, names: &mut Names) -> bool {
    match (shown, got) {
        (Value::String(short), Value::String(whole)) if short.ends_with('…') => {
            names.entry(short.clone()).or_insert_with(|| whole.clone()) == whole
        }
        (Value::Object(fields), Value::Object(there)) => {
            fields.iter().all(|(name, value)| there.get(name).is_some_and(|got| fits(value, got, names)))
        }
        _ => shown == got,
    }
}

/// Reads until a message fits; the others are passed over.
#[track_caller]
pub(crate) fn expect(socket: &mut Socket, wanted: &Value, names: &mut Names) -> Value {
    let mut passed = Vec::new();
    // More than any conversation has beside what it shows.
    while passed.len() < 16 {
        let got = socket.next();
        let mut tried = names.clone();
        if fits(wanted, &got, &mut tried) {
            *names = tried;
            return got;
        }
        passed.push(got.to_string());
    }
    panic!("{wanted} did not come; these did:\n{}", passed.join("\n"));
}

/// Plays a block; gives what its shortened texts stand for.
#[track_caller]
pub(crate) fn play(socket: &mut Socket, block: &str) -> Names {
    let mut names = Names::new();
    for line in block.lines() {
        match line.split_once(' ') {
            Some(("→", text)) => socket.send(&filled(&shown(text), &names)),
            Some(("←", text)) => {
                expect(socket, &shown(text), &mut names);
            }
            _ => panic!("neither → nor ←: {line}"),
        }
    }
    names
}

#[test]
fn what_is_shown_has_to_come_and_shortened_texts_stay_what_they_were() {
    let mut names = Names::new();
    let line = shown(r#"{"type":"x","data":{"id":"c2…","n":3,…},"sender":{…},…}"#);
    let got = |id: &str, n: u64| serde_json::json!({"type": "x", "data": {"id": id, "n": n, "more": 1}, "sender": {"userId": "a"}});
    assert!(fits(&line, &got("c2fd", 3), &mut names));
    assert!(!fits(&line, &got("c2aa", 3), &mut names), "another value under the same short text");
    assert!(!fits(&line, &got("c2fd", 4), &mut names));
    assert!(!fits(&line, &serde_json::json!({"type": "x", "data": {"id": "c2fd", "n": 3}}), &mut names));
    assert_eq!(filled(&shown(r#"{"sessionId":"c2…"}"#), &names)["sessionId"], "c2fd");
}
