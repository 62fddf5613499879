//! Our own protocol (`docs/protocol.md`) as a dialect, so that it is measured by the same loops as any other.

use std::cell::RefCell;
use std::rc::Rc;

use agentbench_protocol::SUBPROTOCOL_JSON;
use anyhow::{Context, bail, ensure};

use super::dialect::{Dialect, Frames, Heard, Incoming, Job, Opening};
use super::socket_io::shown;
use super::template::{Template, event};
use crate::bare::Inbound;

/// One connection. A publisher opens a session of its own; the one that speaks opens the room's, which the listeners join.
#[derive(Debug)]
pub struct AgentBench {
    job: Job,
    token: Rc<str>,
    /// Id of the command that opens the session: a session follows from user and id, so no two may have the same.
    id: String,
    /// The room's session, once it is open.
    room: Rc<RefCell<Option<String>>>,
    size: usize,
    template: Template,
    is_ready: bool,
    last_seq: Option<u64>,
}

impl AgentBench {
    /// `id` is this connection's own, also among earlier runs against the same server.
    ///
    /// # Errors
    /// Our protocol has no echo.
    pub fn new(
        job: Job,
        id: String,
        token: Rc<str>,
        room: Rc<RefCell<Option<String>>>,
        size: usize,
    ) -> anyhow::Result<Self> {
        ensure!(job != Job::Echo, "the protocol has no echo; it publishes, or speaks to followers");
        Ok(Self { job, token, id, room, size, template: Template::new(""), is_ready: false, last_seq: None })
    }

    fn command(&self, data: &serde_json::Value, out: &mut Frames) {
        let message =
            serde_json::json!({"id": self.id, "type": "control_command", "timestamp": 1, "data": data});
        out.text(message.to_string().as_bytes());
    }

    fn begin(&self, out: &mut Frames) -> anyhow::Result<()> {
        let data = if self.job == Job::Listen {
            let room = self.room.borrow();
            let session = room.as_deref().context("the room's session is not open yet")?;
            serde_json::json!({"command": "join_session", "sessionId": session, "from": "live"})
        } else {
            serde_json::json!({"command": "create_session", "projectId": "load", "testId": "load", "agentName": "load"})
        };
        self.command(&data, out);
        Ok(())
    }

    /// Everything up to the reply to our command.
    fn greeting(&mut self, text: &str, out: &mut Frames) -> anyhow::Result<Heard> {
        let message: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
        let data = &message["data"];
        ensure!(message["type"] != "error", "the server refused: {}", shown(&data.to_string()));
        match data["type"].as_str() {
            Some("connection_established") => self.begin(out)?,
            Some("session_created") => {
                let session = data["sessionId"].as_str().context("the reply lacks a sessionId")?;
                let ack = self.job == Job::Publish;
                self.template = Template::new(&event(self.size, Some(session), ack));
                if self.job == Job::Speak {
                    self.room.replace(Some(session.to_owned()));
                }
                self.is_ready = true;
            }
            Some("session_joined") => self.is_ready = true,
            Some("disconnecting") => bail!("the server ends the connection: {}", shown(&data.to_string())),
            _ => {}
        }
        Ok(Heard { ready: self.is_ready, answers: 0 })
    }
}

impl Dialect for AgentBench {
    fn opening(&self) -> Opening {
        let bearer = format!("Bearer {}", self.token);
        Opening {
            path: "/ws".to_owned(),
            protocols: vec![SUBPROTOCOL_JSON],
            headers: vec![("Authorization", bearer)],
        }
    }

    fn greet(&mut self, _out: &mut Frames) -> Heard {
        Heard::NOTHING
    }

    fn hear(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Heard> {
        let Incoming::Text(text) = message else { bail!("a binary message, though JSON was asked for") };
        if !self.is_ready {
            return self.greeting(text, out);
        }
        match (Inbound::of(text), self.job) {
            (Inbound::Event(seq), Job::Listen) => {
                let expected = self.last_seq.map_or(seq, |last| last.saturating_add(1));
                ensure!(seq == expected, "a follower got seq {seq} instead of {expected}");
                self.last_seq = Some(seq);
                Ok(Heard::ONE)
            }
            (Inbound::Acks(count), Job::Publish) => Ok(Heard { ready: false, answers: count as u64 }),
            (Inbound::Error, _) => bail!("the server refused: {}", shown(text)),
            _ => Ok(Heard::NOTHING),
        }
    }

    fn say(&mut self, serial: u64, out: &mut Frames) {
        out.text(self.template.fill(serial));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn dialect(job: Job, room: &Rc<RefCell<Option<String>>>) -> AgentBench {
        AgentBench::new(job, "c-1".to_owned(), "token".into(), Rc::clone(room), 300).unwrap()
    }

    fn hear(dialect: &mut AgentBench, text: &str) -> Heard {
        dialect.hear(Incoming::Text(text), &mut Frames::default()).unwrap()
    }

    #[test]
    fn the_speaker_opens_a_session_that_a_listener_joins() {
        let room = Rc::default();
        let mut speaker = dialect(Job::Speak, &room);
        let established = r#"{"type":"system_message","data":{"type":"connection_established"}}"#;
        assert_eq!(hear(&mut speaker, established), Heard::NOTHING);
        let created = r#"{"type":"system_message","data":{"type":"session_created","sessionId":"s-1"}}"#;
        assert_eq!(hear(&mut speaker, created), Heard::READY);
        assert_eq!(room.borrow().as_deref(), Some("s-1"));

        let mut listener = dialect(Job::Listen, &room);
        hear(&mut listener, established);
        let joined = r#"{"type":"system_message","data":{"type":"session_joined"}}"#;
        assert_eq!(hear(&mut listener, joined), Heard::READY);
        let event =
            |seq| format!(r#"{{"id":"1","type":"test_event","data":{{}},"seq":{seq},"receivedAt":1}}"#);
        assert_eq!(hear(&mut listener, &event(2)), Heard::ONE);
        assert_eq!(hear(&mut listener, &event(3)), Heard::ONE);
        listener.hear(Incoming::Text(&event(5)), &mut Frames::default()).unwrap_err();
    }

    #[test]
    fn refusals_are_told_and_an_echo_is_not_to_be_had() {
        let room = Rc::default();
        let refused = r#"{"type":"error","data":{"error":"no","code":"forbidden"}}"#;
        let error =
            dialect(Job::Publish, &room).hear(Incoming::Text(refused), &mut Frames::default()).unwrap_err();
        assert!(error.to_string().contains("forbidden"), "{error}");
        AgentBench::new(Job::Echo, String::new(), "".into(), room, 1).unwrap_err();
    }
    proptest! {
        #[test]
        fn no_text_of_a_server_panics(
            texts in proptest::collection::vec(
                prop_oneof![
                    ".{0,80}",
                    "\\{\"data\":\\{\"type\":\"(session_created|session_joined|connection_established|ack)\"\\}\\}",
                    any::<u64>().prop_map(|seq| format!("{{}},\"seq\":{seq},\"receivedAt\":1")),
                ],
                0..12,
            ),
            is_ready: bool,
        ) {
            let mut listener = dialect(Job::Listen, &Rc::default());
            listener.is_ready = is_ready;
            for text in &texts {
                let _ = listener.hear(Incoming::Text(text), &mut Frames::default());
            }
        }
    }
}
