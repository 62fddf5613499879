//! Our own protocol (`docs/protocol.md`) as a dialect, so that it is measured with the same loops as any other.

use std::cell::RefCell;
use std::rc::Rc;

use agentbench_protocol::SUBPROTOCOL_JSON;
use anyhow::{Context, bail, ensure};

use super::dialect::{Dialect, Frames, Incoming, Job, Opening, Reply};
use super::socket_io::shown;
use super::template::{Template, event};
use crate::bare::Inbound;

/// One connection. A publisher opens its own session; the speaker opens the room's, which the listeners join.
#[derive(Debug)]
pub struct AgentBench {
    job: Job,
    token: Rc<str>,
    /// Id of the command that opens the session: user and id determine the session, so no two may be the same.
    id: String,
    /// The room's session, once it is open.
    room: Rc<RefCell<Option<String>>>,
    size: usize,
    template: Template,
    is_ready: bool,
    last_seq: Option<u64>,
}

impl AgentBench {
    /// `id` must be unique to this connection, also across earlier runs against the same server.
    ///
    /// # Errors
    /// The job is echo, which our protocol does not have.
    pub fn new(
        job: Job,
        id: String,
        token: Rc<str>,
        room: Rc<RefCell<Option<String>>>,
        size: usize,
    ) -> anyhow::Result<Self> {
        ensure!(
            job != Job::Echo,
            "the protocol has no echo, only publishing with ack and broadcasting to followers"
        );
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

    /// Handles messages up to the reply to our command.
    fn greeting(&mut self, text: &str, out: &mut Frames) -> anyhow::Result<Reply> {
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
            Some("disconnecting") => {
                bail!("the server is ending the connection: {}", shown(&data.to_string()))
            }
            _ => {}
        }
        Ok(Reply { ready: self.is_ready, answers: 0 })
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

    fn greet(&mut self, _out: &mut Frames) -> Reply {
        Reply::NOTHING
    }

    fn receive(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Reply> {
        let Incoming::Text(text) = message else {
            bail!("received a binary message, although JSON was requested")
        };
        if !self.is_ready {
            return self.greeting(text, out);
        }
        match (Inbound::of(text), self.job) {
            (Inbound::Event(seq), Job::Listen) => {
                let expected = self.last_seq.map_or(seq, |last| last.saturating_add(1));
                ensure!(seq == expected, "a follower received seq {seq} instead of {expected}");
                self.last_seq = Some(seq);
                Ok(Reply::ONE)
            }
            (Inbound::Acks(count), Job::Publish) => Ok(Reply { ready: false, answers: count as u64 }),
            (Inbound::Error, _) => bail!("the server refused: {}", shown(text)),
            _ => Ok(Reply::NOTHING),
        }
    }

    fn send(&mut self, serial: u64, out: &mut Frames) {
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

    fn receive(dialect: &mut AgentBench, text: &str) -> Reply {
        dialect.receive(Incoming::Text(text), &mut Frames::default()).unwrap()
    }

    #[test]
    fn the_speaker_opens_a_session_that_a_listener_joins() {
        let room = Rc::default();
        let mut speaker = dialect(Job::Speak, &room);
        let established = r#"{"type":"system_message","data":{"type":"connection_established"}}"#;
        assert_eq!(receive(&mut speaker, established), Reply::NOTHING);
        let created = r#"{"type":"system_message","data":{"type":"session_created","sessionId":"s-1"}}"#;
        assert_eq!(receive(&mut speaker, created), Reply::READY);
        assert_eq!(room.borrow().as_deref(), Some("s-1"));

        let mut listener = dialect(Job::Listen, &room);
        receive(&mut listener, established);
        let joined = r#"{"type":"system_message","data":{"type":"session_joined"}}"#;
        assert_eq!(receive(&mut listener, joined), Reply::READY);
        let event =
            |seq| format!(r#"{{"id":"1","type":"test_event","data":{{}},"seq":{seq},"receivedAt":1}}"#);
        assert_eq!(receive(&mut listener, &event(2)), Reply::ONE);
        assert_eq!(receive(&mut listener, &event(3)), Reply::ONE);
        listener.receive(Incoming::Text(&event(5)), &mut Frames::default()).unwrap_err();
    }

    #[test]
    fn refusals_are_told_and_an_echo_is_not_to_be_had() {
        let room = Rc::default();
        let refused = r#"{"type":"error","data":{"error":"no","code":"forbidden"}}"#;
        let error = dialect(Job::Publish, &room)
            .receive(Incoming::Text(refused), &mut Frames::default())
            .unwrap_err();
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
                let _ = listener.receive(Incoming::Text(text), &mut Frames::default());
            }
        }
    }
}
