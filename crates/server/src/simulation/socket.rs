//! A client's connection to a process without a runtime: bytes in both directions.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_auth::{Grant, Role};
use agentbench_protocol::event::{sender_json, write_system};
use agentbench_protocol::message::Sender;
use agentbench_protocol::{AckLevel, SUBPROTOCOL_MSGPACK, SystemMessage, msgpack};
use agentbench_session::ConnectionKey;
use agentbench_websocket::handshake::{Request, write_101};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role as End};
use bytes::BytesMut;

use super::node::Node;
use crate::delivery::reader::{Reader, Wire as Form};
use crate::delivery::render;
use crate::delivery::socket::Socket;
use crate::delivery::socket::pipe::Pipe;
use crate::letters::{Request as OwnerRequest, Requester};
use crate::names;

/// Time between pings that a client is told, ms: longer than any simulation, in which no socket is silently dead.
const HEARTBEAT_MS: u64 = 3_600_000;

/// A connection's input and its other end.
pub(super) struct Wire {
    pub(super) grant: Arc<Grant>,
    pub(super) producer: Box<str>,
    pub(super) sender: Arc<str>,
    pub(super) versioned: bool,
    pipe: Pipe,
    head: Vec<u8>,
    decoder: Option<Decoder>,
    inflater: Inflater,
}

/// Who connects, and how.
#[derive(Debug, Clone, Copy)]
pub struct Peer<'a> {
    /// The user: an evaluator.
    pub user: &'a str,
    /// Which of the user's producers.
    pub producer: &'a str,
    /// It speaks the protocol's first version: a refused event is sent again before later ones.
    pub versioned: bool,
}

fn grant_of(user: &str) -> Grant {
    Grant {
        user_id: user.to_owned(),
        username: user.to_owned(),
        role: Role::Evaluator,
        permissions: Role::Evaluator.permissions(),
        project: None,
        token_id: None,
        issued_at: None,
        expires_at: None,
    }
}

fn sender_of(key: ConnectionKey, user: &str) -> Sender {
    Sender {
        client_id: format!("c{:x}", key.0),
        user_id: user.to_owned(),
        username: user.to_owned(),
        role: Role::Evaluator.as_str().to_owned(),
    }
}

impl Node {
    /// A connection, on which JSON is spoken until its bytes ask for something else ([`Node::receive`]).
    pub fn connect(&mut self, worker: usize, peer: Peer<'_>) -> ConnectionKey {
        let key = self.new_key(worker);
        let who = Arc::new(sender_of(key, peer.user));
        let pipe = Pipe::default();
        pipe.make_room(usize::MAX);
        let wire = Wire {
            grant: Arc::new(grant_of(peer.user)),
            producer: peer.producer.into(),
            sender: sender_json(&who).into(),
            versioned: peer.versioned,
            pipe,
            head: Vec::new(),
            decoder: None,
            inflater: Inflater::new(),
        };
        self.open(key, who, &wire, false);
        self.peers.wires.insert(key, wire);
        key
    }

    fn open(&mut self, key: ConnectionKey, who: Arc<Sender>, wire: &Wire, msgpack: bool) {
        let form = render::Form { msgpack, deflate: false };
        let form = Form { form, versioned: wire.versioned };
        let reader = Reader::new(key, who, form, Socket::Pipe(wire.pipe.clone()));
        self.peers.readers.insert(key, Rc::new(reader));
    }

    /// The connection has ended: its sessions are left.
    pub fn disconnect(&mut self, connection: ConnectionKey) {
        self.peers.closing.retain(|closing| *closing != connection);
        let requester = self.requester(connection);
        self.peers.wires.remove(&connection);
        let (Some(reader), Some(requester)) = (self.peers.readers.remove(&connection), requester) else {
            return;
        };
        let worker = names::worker_of(connection);
        let sessions = std::mem::take(&mut *reader.sessions.borrow_mut());
        for session in sessions {
            self.workers[worker].audiences.remove(&reader, session);
            self.ask(&requester, session, OwnerRequest::Disconnect);
        }
    }

    /// Connections that the server wants to be closed, each once.
    pub fn take_closing(&mut self) -> Vec<ConnectionKey> {
        std::mem::take(&mut self.peers.closing)
    }

    /// Who asks, on this connection.
    pub(crate) fn requester(&self, connection: ConnectionKey) -> Option<Requester> {
        let (reader, wire) = (self.peers.readers.get(&connection)?, self.peers.wires.get(&connection)?);
        Some(Requester {
            connection,
            who: Arc::clone(&reader.who),
            grant: Arc::clone(&wire.grant),
            address: IpAddr::from([127, 0, 0, 1]),
        })
    }

    #[cfg(test)]
    pub(crate) fn reader(&self, connection: ConnectionKey) -> &Rc<Reader> {
        &self.peers.readers[&connection]
    }

    #[cfg(test)]
    pub(crate) fn pipe(&self, connection: ConnectionKey) -> &Pipe {
        &self.peers.wires[&connection].pipe
    }

    /// Lets the client's socket accept `bytes` more, and flushes it.
    pub fn make_room(&mut self, connection: ConnectionKey, bytes: usize) {
        let (Some(wire), Some(reader)) =
            (self.peers.wires.get(&connection), self.peers.readers.get(&connection))
        else {
            return;
        };
        wire.pipe.make_room(bytes);
        reader.outbox.borrow_mut().unblock();
        self.flush(names::worker_of(connection), reader);
    }

    /// The bytes written to the client's socket since the last call.
    pub fn take_output(&mut self, connection: ConnectionKey) -> Vec<u8> {
        self.peers.wires.get(&connection).map(|wire| wire.pipe.read()).unwrap_or_default()
    }

    /// Bytes from the client: the head of its upgrade, then its messages.
    pub fn receive(&mut self, connection: ConnectionKey, bytes: &[u8]) {
        let Some(wire) = self.peers.wires.get_mut(&connection) else { return };
        let mut bytes = bytes.to_vec();
        if wire.decoder.is_none() {
            wire.head.extend_from_slice(&bytes);
            let Some(rest) = self.upgrade(connection) else { return };
            bytes = rest;
        }
        for text in self.decode(connection, &mut bytes) {
            self.take_message(connection, &text);
        }
    }

    /// Answers the upgrade once it is whole. Returns the bytes after it.
    fn upgrade(&mut self, connection: ConnectionKey) -> Option<Vec<u8>> {
        let mut wire = self.peers.wires.remove(&connection)?;
        let head = std::mem::take(&mut wire.head);
        let request = Request::parse(&head).expect("the product's client writes heads that can be read");
        let Some(request) = request else {
            wire.head = head;
            self.peers.wires.insert(connection, wire);
            return None;
        };
        let upgrade = request.upgrade().expect("the product's client asks for an upgrade");
        let protocol = upgrade.protocols().next().unwrap_or_default().to_owned();
        wire.decoder = Some(Decoder::new(End::Server, Limits::default(), None));
        let who = Arc::clone(&self.peers.readers[&connection].who);
        self.open(connection, Arc::clone(&who), &wire, protocol == SUBPROTOCOL_MSGPACK);
        self.peers.wires.insert(connection, wire);
        let reader = Rc::clone(&self.peers.readers[&connection]);
        write_101(reader.outbox.borrow_mut().control(), &upgrade.accept, Some(&protocol), None, &[]);
        self.greet(connection, &reader);
        Some(head[request.size..].to_vec())
    }

    fn greet(&self, connection: ConnectionKey, reader: &Rc<Reader>) {
        let worker = names::worker_of(connection);
        let delivery = &self.workers[worker].delivery;
        let established = SystemMessage::ConnectionEstablished {
            client_id: reader.who.client_id.clone(),
            server: "simulation".to_owned(),
            node: "simulation".to_owned(),
            protocol_version: 1,
            heartbeat_interval: HEARTBEAT_MS,
            max_payload: 1 << 20,
            token_expires_at: None,
            ack_level: AckLevel::Logged,
        };
        let mut json = BytesMut::new();
        write_system(&mut json, delivery.numbers.next(), self.now(), None, &established);
        delivery.send_json(reader, &json);
        self.flush(worker, reader);
    }

    fn decode(&mut self, connection: ConnectionKey, bytes: &mut [u8]) -> Vec<String> {
        let mut messages = Vec::new();
        let Some(wire) = self.peers.wires.get_mut(&connection) else { return messages };
        let Some(decoder) = &mut wire.decoder else { return messages };
        let mut input = Input::new(bytes);
        let next = |decoder: &mut Decoder, input: &mut Input<'_>, inflater: &mut Inflater| {
            let message = decoder.next(input, inflater).expect("the product's client keeps to RFC 6455")?;
            Some(match message {
                Message::Text(text) => text.to_owned(),
                Message::Binary(bytes) => {
                    let mut json = BytesMut::new();
                    msgpack::to_json(bytes, &mut json).expect("the product's client writes MessagePack");
                    String::from_utf8(json.to_vec()).expect("JSON is UTF-8")
                }
                Message::Ping(_) | Message::Pong(_) | Message::Close(_) => String::new(),
            })
        };
        while let Some(text) = next(decoder, &mut input, &mut wire.inflater) {
            if !text.is_empty() {
                messages.push(text);
            }
        }
        messages
    }
}
