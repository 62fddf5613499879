//! A worker's part in looking at frames. As long as nobody looks, a message and a write cost one look at a flag.
//!
//! What comes in is told when it has been decoded. What goes out is decoded again from the bytes that the socket has taken: replies,
//! acks, events and closes alike, with what was shared among readers.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use agentbench_protocol::{SessionId, msgpack};
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Decoder, DeflatePolicy, Inflater, Input, Limits, Message, Role, negotiate};
use bytes::BytesMut;
use foldhash::{HashMap, HashMapExt};

use super::render::Form;
use crate::inspection::{Direction, Met, Tap, Target};

/// A connection as it is looked at.
pub(crate) struct Subject<'a> {
    pub(crate) key: ConnectionKey,
    pub(crate) client_id: &'a str,
    pub(crate) form: Form,
    pub(crate) sessions: &'a RefCell<Vec<SessionId>>,
}

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

    fn concerns(tap: &Tap, subject: &Subject<'_>) -> bool {
        match tap.target {
            Target::Connection(key) => key == subject.key,
            Target::Session(session) => subject.sessions.borrow().contains(&session),
        }
    }

    fn is_looked_at(&self, subject: &Subject<'_>) -> bool {
        self.taps.borrow().iter().any(|tap| Self::concerns(tap, subject))
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

    /// Begins a look.
    pub(crate) fn begin(&self, tap: Arc<Tap>) {
        self.taps.borrow_mut().push(tap);
        self.is_on.set(true);
    }

    /// Ends a look.
    pub(crate) fn end(&self, number: u64) {
        self.remove(|tap| tap.number == number);
    }

    /// A connection has ended, and looks at it with it.
    pub(crate) fn gone(&self, key: ConnectionKey) {
        self.outputs.borrow_mut().remove(&key);
        self.remove(|tap| tap.target == Target::Connection(key));
    }

    /// A message came in.
    pub(crate) fn take_in(&self, subject: &Subject<'_>, now: u64, message: &Message<'_>) {
        if self.is_looked_at(subject) {
            self.tell(subject, now, Direction::In, message);
        }
    }

    /// Something is about to be written. Whether what of it is taken shall be told; `is_inside` if it begins inside of a frame.
    pub(crate) fn next(&self, subject: &Subject<'_>, is_inside: bool) -> bool {
        let mut outputs = self.outputs.borrow_mut();
        if !self.is_looked_at(subject) {
            outputs.remove(&subject.key);
            return false;
        }
        if outputs.contains_key(&subject.key) {
            return true;
        }
        if is_inside {
            return false;
        }
        let offer = "permessage-deflate; server_no_context_takeover";
        let deflate = subject.form.deflate;
        let agreed = deflate.then(|| negotiate(offer, &DeflatePolicy::default())).flatten();
        let limits = Limits { max_message: usize::MAX };
        let decoder = Decoder::new(Role::Client, limits, agreed.as_ref());
        outputs.insert(subject.key, Output { decoder, inflater: Inflater::new() });
        true
    }

    /// The socket has taken `count` bytes of the slices.
    pub(crate) fn out<'a>(
        &self,
        subject: &Subject<'_>,
        now: u64,
        slices: impl Iterator<Item = &'a [u8]>,
        mut count: usize,
    ) {
        let mut bytes = Vec::with_capacity(count);
        for slice in slices {
            let part = slice.len().min(count);
            bytes.extend_from_slice(&slice[..part]);
            count -= part;
        }
        let mut outputs = self.outputs.borrow_mut();
        let Some(output) = outputs.get_mut(&subject.key) else { return };
        let mut input = Input::new(&mut bytes);
        loop {
            match output.decoder.next(&mut input, &mut output.inflater) {
                Ok(Some(message)) => self.tell(subject, now, Direction::Out, &message),
                Ok(None) => return,
                Err(error) => {
                    // Our own frames; the look goes on from the next whole one.
                    tracing::error!(%error, "frames that were written cannot be read");
                    break;
                }
            }
        }
        outputs.remove(&subject.key);
    }

    fn tell(&self, subject: &Subject<'_>, now: u64, direction: Direction, message: &Message<'_>) {
        let mut translated = BytesMut::new();
        let (opcode, bytes, json, code) = match message {
            Message::Text(text) => ("text", text.len(), Some(*text), None),
            Message::Binary(bytes) => {
                let is_json = !subject.form.msgpack;
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
        let client = subject.client_id;
        let met = Met { at: now, client, direction, opcode, bytes, json, code };
        for tap in &*self.taps.borrow() {
            if Self::concerns(tap, subject) {
                tap.offer(&met);
            }
        }
    }
}
