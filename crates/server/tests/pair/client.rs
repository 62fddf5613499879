//! The client of a connection: reads its pipe and checks the order of the events that it follows.

use std::collections::BTreeMap;
use std::rc::Rc;

use agentbench_protocol::{Seq, SessionId};
use agentbench_session::ConnectionKey;
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role as End};
use serde_json::Value;

use crate::delivery::reader::Reader;
use crate::delivery::socket::pipe::Pipe;
use crate::letters::Requester;
use crate::simulation::Node;

/// A client and its connection.
pub(crate) struct Client {
    pub(crate) reader: Rc<Reader>,
    pub(crate) requester: Requester,
    pub(crate) pipe: Pipe,
    pub(crate) is_connected: bool,
    decoder: Decoder,
    inflater: Inflater,
    /// All received messages, in order.
    pub(crate) received: Vec<Value>,
    /// The next expected seq of each followed session.
    pub(crate) expected: BTreeMap<SessionId, Seq>,
}

impl Client {
    /// The client of a new connection of the process.
    pub(crate) fn new(node: &Node, key: ConnectionKey) -> Self {
        Self {
            reader: Rc::clone(node.reader(key)),
            requester: node.requester(key).expect("it is connected"),
            pipe: node.pipe(key).clone(),
            is_connected: true,
            decoder: Decoder::new(End::Client, Limits { max_message: 1 << 24 }, None),
            inflater: Inflater::new(),
            received: Vec::new(),
            expected: BTreeMap::new(),
        }
    }

    pub(crate) fn key(&self) -> ConnectionKey {
        self.reader.key
    }

    /// Reads all available messages. Panics if a followed session's events are out of order, or one is missing without a gap.
    pub(crate) fn receive(&mut self) {
        let mut bytes = self.pipe.read();
        let mut input = Input::new(&mut bytes);
        while let Some(message) = self.decoder.next(&mut input, &mut self.inflater).expect("sound frames") {
            let Message::Text(text) = message else { continue };
            let json: Value = serde_json::from_str(text).expect("JSON");
            check_order(&mut self.expected, &json);
            self.received.push(json);
        }
    }

    /// Removes and returns received messages of these types, except entries of logs.
    pub(crate) fn take(&mut self, kinds: &[&str]) -> Vec<Value> {
        let is_wanted = |it: &mut Value| it["seq"].is_null() && kinds.contains(&kind(it));
        self.received.extract_if(.., is_wanted).collect()
    }

    /// The received entry with this seq.
    pub(crate) fn entry(&self, seq: Seq) -> &Value {
        self.received.iter().find(|it| it["seq"] == seq).expect("it was received")
    }

    /// Seqs of the entries that were received, in order.
    pub(crate) fn seqs(&self) -> Vec<Seq> {
        self.received.iter().filter_map(|it| it["seq"].as_u64()).collect()
    }
}

/// The type of a message of the server's own, or that of the envelope.
pub(crate) fn kind(message: &Value) -> &str {
    message["data"]["type"].as_str().or_else(|| message["type"].as_str()).unwrap_or_default()
}

fn check_order(expected: &mut BTreeMap<SessionId, Seq>, message: &Value) {
    let session = |value: &Value| value.as_str().and_then(|name| name.parse::<SessionId>().ok());
    let data = &message["data"];
    if let Some(seq) = message["seq"].as_u64() {
        let id = session(&message["sessionId"]).expect("entries name their session");
        let next = expected.get_mut(&id).expect("it follows");
        assert_eq!(seq, *next, "events come in order, each once: {message}");
        *next += 1;
        return;
    }
    match kind(message) {
        "session_joined" => {
            let next = data["from"]["seq"].as_u64().expect("a position") + 1;
            expected.insert(session(&data["sessionId"]).expect("a name"), next);
        }
        "session_created" => {
            expected.insert(session(&data["sessionId"]).expect("a name"), 1);
        }
        // What the reader has and the log does not vouch for is no step forward.
        "gap" if data["cause"] == "diverged" || data["cause"] == "epoch" => {}
        "gap" => {
            let next = expected.get_mut(&session(&data["sessionId"]).expect("a name")).expect("it follows");
            assert_eq!(data["fromSeq"], *next, "a gap begins where something is missing: {message}");
            *next = data["toSeq"].as_u64().expect("a seq") + 1;
        }
        _ => {}
    }
}
