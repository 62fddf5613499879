//! Socket.IO 4 over WebSocket alone: Engine.IO protocol 4 around Socket.IO protocol 5.
//!
//! ```text
//! 0{…}  open         2  ping → 3  pong          40  connect, 40{…}  connected, 44{…}  refused
//! 42["event",…]  event   42<n>["event",…]  event to be acked   43<n>[…]  its ack   41 / 1  the end
//! ```
//! Packets with binary attachments (45, 46) are not part of any job here.

use anyhow::bail;

use super::dialect::{Dialect, Frames, Incoming, Job, Opening, Reply};
use super::template::{SERIAL, Template, body, event};

/// The dialect of one Socket.IO connection.
#[derive(Debug, Clone)]
pub struct SocketIo {
    job: Job,
    template: Template,
    next: u64,
    joined: bool,
}

impl SocketIo {
    /// The dialect of one connection, with the events of `bench/peers/socket-io.mjs`.
    pub fn new(job: Job, size: usize) -> Self {
        let text = match job {
            Job::Echo => format!("42[\"echo\",\"{}\"]", body(size)),
            Job::Speak | Job::Listen => format!("42[\"fanout\",\"{}\"]", body(size)),
            Job::Publish => format!("42{SERIAL}[\"publish\",{}]", event(size, None, true)),
        };
        Self { job, template: Template::new(&text), next: 1, joined: false }
    }

    /// Connected to the namespace: a listener must join the room, the others can start.
    fn connected(&self, out: &mut Frames) -> Reply {
        if self.job == Job::Listen {
            out.text(b"420[\"join\"]");
            return Reply::NOTHING;
        }
        Reply::READY
    }

    fn event(&mut self, packet: &str) -> anyhow::Result<Reply> {
        match self.job {
            Job::Echo if self.template.is(packet.as_bytes(), self.next) => {
                self.next += 1;
                Ok(Reply::ONE)
            }
            Job::Echo if self.template.is_alike(packet.as_bytes()) => {
                bail!("message {} came back altered: this server does not echo in order", self.next)
            }
            Job::Listen => Ok(Reply::ONE),
            Job::Echo | Job::Speak | Job::Publish => Ok(Reply::NOTHING),
        }
    }

    fn ack(&mut self) -> Reply {
        match self.job {
            Job::Listen if !self.joined => {
                self.joined = true;
                Reply::READY
            }
            Job::Publish => Reply::ONE,
            Job::Echo | Job::Speak | Job::Listen => Reply::NOTHING,
        }
    }
}

impl Dialect for SocketIo {
    fn opening(&self) -> Opening {
        Opening { path: "/socket.io/?EIO=4&transport=websocket".to_owned(), ..Opening::default() }
    }

    fn greet(&mut self, _out: &mut Frames) -> Reply {
        Reply::NOTHING
    }

    fn receive(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Reply> {
        let Incoming::Text(packet) = message else {
            bail!("Socket.IO sent a binary message, which no job here uses");
        };
        let mut kinds = packet.bytes();
        match (kinds.next(), kinds.next()) {
            (Some(b'0'), _) => out.text(b"40"),
            (Some(b'2'), _) => out.text(b"3"),
            (Some(b'4'), Some(b'0')) => return Ok(self.connected(out)),
            (Some(b'4'), Some(b'2')) => return self.event(packet),
            (Some(b'4'), Some(b'3')) => return Ok(self.ack()),
            (Some(b'4'), Some(b'4')) => bail!("Socket.IO refused the connection: {}", shown(packet)),
            (Some(b'4'), Some(b'1')) | (Some(b'1'), _) => bail!("Socket.IO ended the connection"),
            // A noop.
            (Some(b'6'), _) => {}
            _ => bail!("this is not a packet of Socket.IO 4: {:?}", shown(packet)),
        }
        Ok(Reply::NOTHING)
    }

    fn send(&mut self, serial: u64, out: &mut Frames) {
        out.text(self.template.fill(serial));
    }
}

/// The start of what a peer sent, for an error text.
pub(super) fn shown(text: &str) -> &str {
    &text[..text.floor_char_boundary(120)]
}

#[cfg(test)]
mod tests {
    use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role};
    use proptest::prelude::*;

    use super::*;

    fn texts(out: &Frames) -> Vec<String> {
        let mut bytes = out.bytes().to_vec();
        let (mut decoder, mut inflater) =
            (Decoder::new(Role::Server, Limits::default(), None), Inflater::new());
        let (mut input, mut texts) = (Input::new(&mut bytes), Vec::new());
        while let Some(message) = decoder.next(&mut input, &mut inflater).unwrap() {
            match message {
                Message::Text(text) => texts.push(text.to_owned()),
                other => panic!("{other:?}"),
            }
        }
        texts
    }

    #[test]
    fn a_listener_opens_connects_joins_and_counts() {
        let (mut peer, mut out) = (SocketIo::new(Job::Listen, 16), Frames::default());
        assert_eq!(peer.greet(&mut out), Reply::NOTHING);
        for (packet, reply) in [
            ("0{\"sid\":\"x\",\"upgrades\":[],\"pingInterval\":25000}", Reply::NOTHING),
            ("40{\"sid\":\"y\"}", Reply::NOTHING),
            ("430[]", Reply::READY),
            ("2", Reply::NOTHING),
            ("42[\"fanout\",\"text\"]", Reply::ONE),
            ("6", Reply::NOTHING),
        ] {
            assert_eq!(peer.receive(Incoming::Text(packet), &mut out).unwrap(), reply, "{packet}");
        }
        assert_eq!(texts(&out), ["40", "420[\"join\"]", "3"]);
    }

    #[test]
    fn an_echo_comes_back_as_it_was_said_and_a_publish_is_acked() {
        let (mut peer, mut out) = (SocketIo::new(Job::Echo, 16), Frames::default());
        assert_eq!(peer.receive(Incoming::Text("40{\"sid\":\"y\"}"), &mut out).unwrap(), Reply::READY);
        peer.send(1, &mut out);
        let said = texts(&out).pop().unwrap();
        assert_eq!(said, "42[\"echo\",\"000000000001All \"]");
        assert_eq!(peer.receive(Incoming::Text(&said), &mut out).unwrap(), Reply::ONE);
        peer.receive(Incoming::Text(&said), &mut out).unwrap_err();

        let (mut peer, mut out) = (SocketIo::new(Job::Publish, 200), Frames::default());
        peer.send(9, &mut out);
        assert!(texts(&out)[0].starts_with("42000000000009[\"publish\",{\"id\":\"000000000009\","));
        assert_eq!(peer.receive(Incoming::Text("439[{\"seq\":1}]"), &mut out).unwrap(), Reply::ONE);
    }

    #[test]
    fn a_refusal_says_why() {
        let (mut peer, mut out) = (SocketIo::new(Job::Echo, 16), Frames::default());
        for packet in ["44{\"message\":\"not today\"}", "41", "1", "", "9", "4", "451-[\"binary\"]"] {
            peer.receive(Incoming::Text(packet), &mut out).unwrap_err();
        }
        let refused = peer.receive(Incoming::Text("44{\"message\":\"not today\"}"), &mut out).unwrap_err();
        assert!(refused.to_string().contains("not today"), "{refused}");
        peer.receive(Incoming::Binary(b"2"), &mut out).unwrap_err();
    }

    proptest! {
        #[test]
        fn no_text_of_a_peer_panics(packets in proptest::collection::vec("[0-6]?[0-9]?.{0,40}|.{0,300}", 0..20), listens: bool) {
            let job = if listens { Job::Listen } else { Job::Echo };
            let (mut peer, mut out) = (SocketIo::new(job, 20), Frames::default());
            for packet in &packets {
                let _ = peer.receive(Incoming::Text(packet), &mut out);
            }
        }
    }
}
