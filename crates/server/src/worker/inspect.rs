//! A worker's part in looking at frames. As long as nobody looks, a message and a write cost one look at a flag.
//!
//! What comes in is told when it has been decoded. What goes out is decoded again from the bytes that the socket has taken: replies,
//! acks, events and closes alike, with what was shared among readers.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use agentbench_protocol::msgpack;
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Decoder, DeflatePolicy, Inflater, Input, Limits, Message, Role, negotiate};
use bytes::BytesMut;
use foldhash::{HashMap, HashMapExt};

use super::Worker;
use crate::ops::inspection::{Direction, Met, Tap, Target};
use crate::transport::Connection;

/// What goes to one connection, read as its client reads it.
struct Output {
    decoder: Decoder,
    inflater: Inflater,
}

/// The looks at this worker's connections.
pub(crate) struct Inspection {
    is_on: Cell<bool>,
    taps: RefCell<Vec<Arc<Tap>>>,
    outputs: RefCell<HashMap<ConnectionKey, Output>>,
}

impl Inspection {
    pub(crate) fn new() -> Self {
        let (taps, outputs) = (RefCell::new(Vec::new()), RefCell::new(HashMap::new()));
        Self { is_on: Cell::new(false), taps, outputs }
    }

    /// Whether anybody looks at anything here.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    fn concerns(tap: &Tap, connection: &Connection) -> bool {
        match tap.target {
            Target::Connection(key) => key == connection.key,
            Target::Session(session) => connection.sessions.borrow().contains(&session),
        }
    }

    fn is_looked_at(&self, connection: &Connection) -> bool {
        self.taps.borrow().iter().any(|tap| Self::concerns(tap, connection))
    }

    fn remove(&self, is_over: impl Fn(&Tap) -> bool) {
        let mut taps = self.taps.borrow_mut();
        taps.retain(|tap| !is_over(tap));
        if taps.is_empty() {
            self.is_on.set(false);
            // What was kept for them is large.
            *self.outputs.borrow_mut() = HashMap::new();
        }
    }
}

impl Worker {
    /// Begins a look. One at a connection that is not there is over at once.
    pub(super) fn inspect(&self, tap: Arc<Tap>) {
        if let Target::Connection(key) = tap.target
            && self.connection(key).is_none()
        {
            return;
        }
        self.inspection.taps.borrow_mut().push(tap);
        self.inspection.is_on.set(true);
    }

    pub(super) fn end_inspection(&self, number: u64) {
        self.inspection.remove(|tap| tap.number == number);
    }

    /// A connection has ended, and looks at it with it.
    pub(super) fn inspect_gone(&self, key: ConnectionKey) {
        self.inspection.outputs.borrow_mut().remove(&key);
        self.inspection.remove(|tap| tap.target == Target::Connection(key));
    }

    /// A message came in.
    pub(crate) fn inspect_in(&self, connection: &Connection, message: &Message<'_>) {
        if self.inspection.is_looked_at(connection) {
            self.tell(connection, Direction::In, message);
        }
    }

    /// Something is about to be written. Whether what of it is taken shall be told; `is_inside` if it begins inside of a frame.
    pub(crate) fn inspect_next(&self, connection: &Connection, is_inside: bool) -> bool {
        let mut outputs = self.inspection.outputs.borrow_mut();
        if !self.inspection.is_looked_at(connection) {
            outputs.remove(&connection.key);
            return false;
        }
        if outputs.contains_key(&connection.key) {
            return true;
        }
        if is_inside {
            return false;
        }
        let offer = "permessage-deflate; server_no_context_takeover";
        let deflate = connection.wire.form.deflate;
        let agreed = deflate.then(|| negotiate(offer, &DeflatePolicy::default())).flatten();
        let limits = Limits { max_message: usize::MAX };
        let decoder = Decoder::new(Role::Client, limits, agreed.as_ref());
        outputs.insert(connection.key, Output { decoder, inflater: Inflater::new() });
        true
    }

    /// The socket has taken `count` bytes of the slices.
    pub(crate) fn inspect_out<'a>(
        &self,
        connection: &Connection,
        slices: impl Iterator<Item = &'a [u8]>,
        mut count: usize,
    ) {
        let mut bytes = Vec::with_capacity(count);
        for slice in slices {
            let part = slice.len().min(count);
            bytes.extend_from_slice(&slice[..part]);
            count -= part;
        }
        let mut outputs = self.inspection.outputs.borrow_mut();
        let Some(output) = outputs.get_mut(&connection.key) else { return };
        let mut input = Input::new(&mut bytes);
        loop {
            match output.decoder.next(&mut input, &mut output.inflater) {
                Ok(Some(message)) => self.tell(connection, Direction::Out, &message),
                Ok(None) => return,
                Err(error) => {
                    // Our own frames; the look goes on from the next whole one.
                    tracing::error!(%error, "frames that were written cannot be read");
                    break;
                }
            }
        }
        outputs.remove(&connection.key);
    }

    fn tell(&self, connection: &Connection, direction: Direction, message: &Message<'_>) {
        let mut translated = BytesMut::new();
        let (opcode, bytes, json, code) = match message {
            Message::Text(text) => ("text", text.len(), Some(*text), None),
            Message::Binary(bytes) => {
                let is_json = !connection.wire.form.msgpack;
                let json = if is_json {
                    std::str::from_utf8(bytes).ok()
                } else {
                    let done = msgpack::to_json(bytes, &mut translated);
                    done.ok().and_then(|()| std::str::from_utf8(&translated).ok())
                };
                ("binary", bytes.len(), json, None)
            }
            Message::Ping(payload) => ("ping", payload.len(), None, None),
            Message::Pong(payload) => ("pong", payload.len(), None, None),
            Message::Close(close) => {
                let size = close.map_or(0, |close| close.reason.len() + 2);
                ("close", size, None, close.map(|close| close.code))
            }
        };
        let client = connection.who.client_id.as_str();
        let met = Met { at: self.now(), client, direction, opcode, bytes, json, code };
        for tap in &*self.inspection.taps.borrow() {
            if Inspection::concerns(tap, connection) {
                tap.offer(&met);
            }
        }
    }
}
