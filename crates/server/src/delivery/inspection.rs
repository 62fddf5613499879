//! A worker's part of frame inspection. Without active inspections, a message or a write costs one check of a flag.
//!
//! Incoming frames are reported after they are decoded. Outgoing frames are decoded again from the bytes written to the
//! socket: replies, acks, events and closes alike, including bytes shared among readers.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use agentbench_protocol::{SessionId, msgpack};
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Decoder, DeflatePolicy, Inflater, Input, Limits, Message, Role, negotiate};
use bytes::BytesMut;
use foldhash::{HashMap, HashMapExt};

use super::render::Form;
use crate::inspection::{Direction, InspectedFrame, Tap, Target};

/// The inspected connection.
pub(crate) struct Subject<'a> {
    pub(crate) key: ConnectionKey,
    pub(crate) client_id: &'a str,
    pub(crate) form: Form,
    pub(crate) sessions: &'a RefCell<Vec<SessionId>>,
}

/// Decodes the output of one connection, as its client does.
struct Output {
    decoder: Decoder,
    inflater: Inflater,
}

/// The inspections of this worker's connections.
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

    /// Whether any inspection is active on this worker.
    pub(crate) fn is_on(&self) -> bool {
        self.is_on.get()
    }

    fn concerns(tap: &Tap, subject: &Subject<'_>) -> bool {
        match tap.target {
            Target::Connection(key) => key == subject.key,
            Target::Session(session) => subject.sessions.borrow().contains(&session),
        }
    }

    fn is_inspected(&self, subject: &Subject<'_>) -> bool {
        self.taps.borrow().iter().any(|tap| Self::concerns(tap, subject))
    }

    fn remove(&self, is_over: impl Fn(&Tap) -> bool) {
        let mut taps = self.taps.borrow_mut();
        taps.retain(|tap| !is_over(tap));
        if taps.is_empty() {
            self.is_on.set(false);
            // The decoders are large.
            *self.outputs.borrow_mut() = HashMap::new();
        }
    }

    /// Starts an inspection.
    pub(crate) fn begin(&self, tap: Arc<Tap>) {
        self.taps.borrow_mut().push(tap);
        self.is_on.set(true);
    }

    /// Ends an inspection.
    pub(crate) fn end(&self, number: u64) {
        self.remove(|tap| tap.number == number);
    }

    /// Called when a connection has ended: ends the inspections of it.
    pub(crate) fn on_disconnect(&self, key: ConnectionKey) {
        self.outputs.borrow_mut().remove(&key);
        self.remove(|tap| tap.target == Target::Connection(key));
    }

    /// Reports an incoming message.
    pub(crate) fn record_incoming(&self, subject: &Subject<'_>, now: u64, message: &Message<'_>) {
        if self.is_inspected(subject) {
            self.record(subject, now, Direction::In, message);
        }
    }

    /// Called before a write: returns whether the written bytes have to be reported. `is_inside` if the write begins inside
    /// a frame.
    pub(crate) fn prepare_write(&self, subject: &Subject<'_>, is_inside: bool) -> bool {
        let mut outputs = self.outputs.borrow_mut();
        if !self.is_inspected(subject) {
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

    /// Reports the frames in the first `count` bytes of the slices, which were written to the socket.
    pub(crate) fn record_written<'a>(
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
                Ok(Some(message)) => self.record(subject, now, Direction::Out, &message),
                Ok(None) => return,
                Err(error) => {
                    // The server's own frames; inspection continues at the next whole one.
                    tracing::error!(%error, "cannot decode written frames for an inspection");
                    break;
                }
            }
        }
        outputs.remove(&subject.key);
    }

    fn record(&self, subject: &Subject<'_>, now: u64, direction: Direction, message: &Message<'_>) {
        let mut converted = BytesMut::new();
        let (opcode, bytes, json, code) = match message {
            Message::Text(text) => ("text", text.len(), Some(*text), None),
            Message::Binary(bytes) => {
                let is_json = !subject.form.msgpack;
                let json = if is_json {
                    std::str::from_utf8(bytes).ok()
                } else {
                    let done = msgpack::to_json(bytes, &mut converted);
                    done.ok().and_then(|()| std::str::from_utf8(&converted).ok())
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
        let frame = InspectedFrame { at: now, client, direction, opcode, bytes, json, code };
        for tap in &*self.taps.borrow() {
            if Self::concerns(tap, subject) {
                tap.offer(&frame);
            }
        }
    }
}
