//! Runs one case: what happens goes to the machine, what comes out is compared with what the case says.

use std::time::Duration;

use agentbench_client::machine::{Action, Codec, FollowKey, Machine, Now};
use agentbench_client::{Data, Event, Position, SessionId, StartAt};
use agentbench_protocol::{Command, SUBPROTOCOL_JSON};
use bytes::BytesMut;
use serde_json::{Map, Value, json};

use super::compare::Bindings;
use super::settings::{ms, number, settings};
use super::socket::Socket;
use super::{Begin, Case, names, written};

type Fields = Map<String, Value>;

/// The words of a step that say what must come out; all others are inputs.
const OUTPUTS: [&str; 3] = ["actions", "sent", "told"];

/// What differs, if anything does.
pub(super) fn run(case: &Case) -> Result<(), String> {
    let mut runner = Runner::new(&case.settings);
    for step in prelude(case.begin) {
        let Value::Object(step) = step else { continue };
        runner.take(&step).map_err(|error| format!("before the first step: {error}"))?;
    }
    for (index, step) in case.steps.iter().enumerate() {
        runner.take(step).map_err(|error| format!("step {}: {error}", index + 1))?;
    }
    Ok(())
}

fn prelude(begin: Begin) -> Vec<Value> {
    let mut steps = Vec::new();
    if begin != Begin::New {
        steps.push(json!({"start": true, "actions": ["connect"]}));
        steps.push(json!({"greet": {}, "told": [{"connection": "connected"}]}));
    }
    if begin == Begin::Publisher {
        let join = json!({"command": "join_session", "sessionId": "S", "follow": false});
        steps.push(json!({"join": {"key": 0, "session": "S"}, "sent": [{"id": "$begin", "data": join}]}));
        steps.push(json!({"joined": {"originalMessageId": "$begin"},
            "told": [{"reply": 0, "data": {"type": "session_joined"}}]}));
    }
    steps
}

struct Runner {
    machine: Machine<u64>,
    codec: Codec,
    socket: Socket,
    bindings: Bindings,
    at: Duration,
    /// How much the user's clock is ahead of the server's, ms.
    clock_ahead: i64,
    messages: u64,
}

/// What came out of one step, as the cases write it.
#[derive(Default)]
struct Outputs {
    actions: Vec<Value>,
    sent: Vec<Value>,
    told: Vec<Value>,
}

impl Runner {
    fn new(change: &Fields) -> Self {
        let mut change = change.clone();
        let clock_ahead = change.remove("clockAhead").and_then(|ahead| ahead.as_i64()).unwrap_or_default();
        Self {
            machine: Machine::new(settings(&change), [7; 32]),
            codec: Codec::default(),
            socket: Socket::default(),
            bindings: Bindings::default(),
            at: Duration::ZERO,
            clock_ahead,
            messages: 0,
        }
    }

    fn now(&self) -> Now {
        // A clock that is behind cannot be before 1970 here: to be at its beginning is far enough behind.
        Now { since_start: self.at, unix_ms: self.server_time().saturating_add_signed(self.clock_ahead) }
    }

    /// The server's clock, ms since 1970.
    fn server_time(&self) -> u64 {
        u64::try_from(self.at.as_millis()).unwrap()
    }

    fn take(&mut self, step: &Fields) -> Result<(), String> {
        for (word, content) in step.iter().filter(|(word, _)| !OUTPUTS.contains(&word.as_str())) {
            let content = self.bindings.fill(content)?;
            self.put(word, &content)?;
        }
        let found = self.outputs()?;
        for (kind, found) in OUTPUTS.into_iter().zip([found.actions, found.sent, found.told]) {
            let wanted = step.get(kind).cloned().unwrap_or(Value::Array(Vec::new()));
            self.bindings.matches(&wanted, Some(&Value::Array(found)), kind)?;
        }
        Ok(())
    }

    /// Something happens.
    fn put(&mut self, word: &str, content: &Value) -> Result<(), String> {
        let now = self.now();
        let given = content.as_object().cloned().unwrap_or_default();
        match word {
            "start" => self.machine.start(now),
            "greet" => {
                if !self.socket.is_open() {
                    self.open(Some(SUBPROTOCOL_JSON))?;
                }
                let mut data = greeting();
                data.extend(given);
                self.say("system_message", data);
            }
            "opened" => self.open(Some(content["protocol"].as_str().unwrap_or(SUBPROTOCOL_JSON)))?,
            "http" => {
                self.machine.connected(now);
                self.request()?;
                let status = u16::try_from(number(&content["status"])).unwrap();
                self.wire(Socket::refuse(status, content["retryAfter"].as_u64()));
            }
            "unreachable" => self.machine.unreachable(now, content.as_str().unwrap_or_default()),
            "receive" => {
                let text =
                    content.as_str().map_or_else(|| names::onto_wire(content).to_string(), str::to_owned);
                self.wire(Socket::text(&text));
            }
            "entries" => self.entries(content),
            "closed" => {
                let reason = content["reason"].as_str().unwrap_or_default();
                match content["code"].as_u64().and_then(|code| u16::try_from(code).ok()) {
                    Some(code) => self.wire(Socket::close(code, reason)),
                    None => self.machine.disconnected(now, reason),
                }
            }
            "token" => {
                let text = |name: &str| content[name].as_str().map(str::to_owned);
                self.machine.token(now, text("token").ok_or_else(|| text("error").unwrap_or_default()));
            }
            "elapse" => {
                self.at += ms(content).unwrap();
                let now = self.now();
                self.machine.timeout(now);
            }
            "say" => self.say("system_message", given),
            "heartbeat" => self.say("heartbeat", given),
            "refuse" => {
                let mut data = object(json!({"error": "no", "retryable": true}));
                data.extend(given);
                self.say("error", data);
            }
            "joined" => {
                let mut data =
                    object(json!({"type": "session_joined", "sessionId": "S", "epoch": "E", "headSeq": 0,
                    "from": {"epoch": "E", "seq": 0}, "recovered": true}));
                data.extend(given);
                self.say("system_message", data);
            }
            _ => self.ask(word, &names::onto_wire(content))?,
        }
        Ok(())
    }

    /// The user asks for something.
    fn ask(&mut self, word: &str, content: &Value) -> Result<(), String> {
        let now = self.now();
        let key = content["key"].as_u64().unwrap_or_default();
        let session: SessionId =
            content["session"].as_str().map_or(SessionId::from_u128(0), |text| text.parse().unwrap());
        let follow = FollowKey(content["follow"].as_u64().unwrap_or_default());
        let asked = match word {
            "publish" => {
                let data = content.get("data").cloned().unwrap_or(json!({})).to_string();
                let event = Event::new(Data::raw(data).unwrap()).id(content["id"].as_str().unwrap());
                if !self.machine.make_room(session, event.data.bytes().len()) {
                    return Err("there is no room in the outbox".into());
                }
                self.machine.publish(now, session, event, content["ticket"].as_u64())
            }
            "noRoom" if self.machine.make_room(session, number(&content["bytes"])) => {
                return Err("there is room in the outbox".into());
            }
            "noRoom" => Ok(()),
            "command" => {
                let command = Command::parse(&content.to_string(), None).unwrap();
                self.machine.command(now, key, &command)
            }
            "join" => self.machine.join(now, key, session),
            "leave" => self.machine.leave(now, key, session),
            "follow" => self.machine.follow(now, key, follow, session, start_at(&content["from"])),
            "replay" => {
                let (replay, from) =
                    (FollowKey(number(&content["replay"]) as u64), number(&content["fromSeq"]) as u64);
                let speed = content["speed"].as_f64().unwrap();
                self.machine.replay(now, key, replay, session, speed, from)
            }
            "stopReplay" => {
                let replay = FollowKey(number(&content["replay"]) as u64);
                let waiting = content["key"].as_u64();
                let is_asked = self.machine.stop_replay(now, waiting, session, replay);
                if is_asked == waiting.is_some() {
                    Ok(())
                } else {
                    return Err("there is nothing to stop".into());
                }
            }
            "unfollow" => {
                self.machine.unfollow(now, session, follow);
                Ok(())
            }
            "close" => {
                self.machine.close();
                Ok(())
            }
            _ => return Err(format!("no such input: {word}")),
        };
        asked.map_err(|error| format!("{word}: {error}"))
    }

    /// The server answers the upgrade.
    fn open(&mut self, protocol: Option<&str>) -> Result<(), String> {
        let now = self.now();
        self.machine.connected(now);
        let request = self.request()?;
        let answer = self.socket.upgrade(&request, protocol);
        self.wire(answer);
        Ok(())
    }

    /// What the client sends to be upgraded.
    fn request(&mut self) -> Result<BytesMut, String> {
        let mut request = BytesMut::new();
        let now = self.now();
        self.machine.transmit(now, &mut self.codec, &mut request, usize::MAX);
        if request.is_empty() { Err("the client does not connect".into()) } else { Ok(request) }
    }

    fn wire(&mut self, mut bytes: BytesMut) {
        let now = self.now();
        self.machine.received(now, &mut bytes, &mut self.codec);
    }

    fn say(&mut self, kind: &str, mut data: Fields) {
        self.messages += 1;
        if kind == "system_message" {
            names::complete(&mut data);
        }
        let message = json!({"id": format!("m{}", self.messages), "type": kind, "timestamp": self.server_time(), "data": data});
        self.wire(Socket::text(&names::onto_wire(&message).to_string()));
    }

    fn entries(&mut self, content: &Value) {
        let frame: Vec<Value> = content
            .as_array()
            .unwrap()
            .iter()
            .map(|given| {
                let mut entry =
                    object(json!({"type": "test_event", "timestamp": 1, "sessionId": "S", "data": {},
                    "id": format!("p{}", given["seq"])}));
                entry.extend(given.as_object().cloned().unwrap_or_default());
                if let Some(Value::Object(data)) = entry.get_mut("data") {
                    names::complete(data);
                }
                names::onto_wire(&Value::Object(entry))
            })
            .collect();
        self.wire(Socket::text(&Value::Array(frame).to_string()));
    }

    fn outputs(&mut self) -> Result<Outputs, String> {
        let mut found = Outputs::default();
        loop {
            let (mut bytes, now) = (BytesMut::new(), self.now());
            self.machine.transmit(now, &mut self.codec, &mut bytes, usize::MAX);
            let is_quiet = bytes.is_empty();
            found.sent.extend(self.socket.read(bytes)?.iter().map(names::from_wire));
            while let Some(told) = self.machine.poll_event() {
                found.told.push(names::from_wire(&written::told(told)));
            }
            match self.machine.poll_action() {
                Some(Action::Connect) => found.actions.push("connect".into()),
                Some(Action::FetchToken) => found.actions.push("fetchToken".into()),
                Some(Action::Disconnect) => {
                    found.actions.push("disconnect".into());
                    self.socket.gone();
                }
                None if is_quiet => return Ok(found),
                None => {}
            }
        }
    }
}

fn object(value: Value) -> Fields {
    if let Value::Object(fields) = value { fields } else { Fields::new() }
}

fn greeting() -> Fields {
    object(json!({"type": "connection_established", "clientId": "c1", "server": "case", "node": "n1",
        "protocolVersion": 1, "heartbeatInterval": 30_000, "maxPayload": 100_000, "ackLevel": "logged"}))
}

fn start_at(from: &Value) -> StartAt {
    match from.as_str() {
        Some("live") => StartAt::Live,
        Some(_) => StartAt::Start,
        None => StartAt::After(serde_json::from_value::<Position>(from.clone()).unwrap()),
    }
}
