//! Plain WebSocket messages: any echo server, any server that sends one client's messages to all.

use anyhow::bail;

use super::dialect::{Dialect, Frames, Incoming, Job, Opening, Reply};
use super::template::{Template, body, event};

/// Start of an ack of the peers' servers (`bench/peers`).
const ACK: &str = "{\"type\":\"ack\"";

/// A message's content is text of the requested size that starts with its number.
#[derive(Debug, Clone)]
pub struct Plain {
    path: String,
    job: Job,
    template: Template,
    next: u64,
}

impl Plain {
    /// The dialect of one connection to this path (and query).
    pub fn new(path: &str, job: Job, size: usize) -> Self {
        let text = if job == Job::Publish { event(size, None, true) } else { body(size) };
        Self { path: path.to_owned(), job, template: Template::new(&text), next: 1 }
    }
}

impl Dialect for Plain {
    fn opening(&self) -> Opening {
        Opening { path: self.path.clone(), ..Opening::default() }
    }

    fn greet(&mut self, _out: &mut Frames) -> Reply {
        Reply::READY
    }

    fn receive(&mut self, message: Incoming<'_>, _out: &mut Frames) -> anyhow::Result<Reply> {
        let bytes = match message {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) => bytes,
        };
        match self.job {
            Job::Echo if self.template.is(bytes, self.next) => {
                self.next += 1;
                Ok(Reply::ONE)
            }
            Job::Echo if self.template.is_alike(bytes) => {
                bail!("message {} came back altered: this server does not echo in order", self.next)
            }
            Job::Publish if bytes.starts_with(ACK.as_bytes()) => Ok(Reply::ONE),
            // A server may wrap what it forwards, but anything shorter is another message.
            Job::Listen if bytes.len() >= self.template.len() => Ok(Reply::ONE),
            // A greeting or a notice: servers may send other messages.
            Job::Listen | Job::Echo | Job::Speak | Job::Publish => Ok(Reply::NOTHING),
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

    #[test]
    fn an_echo_is_what_was_sent_and_in_order() {
        let mut plain = Plain::new("/echo", Job::Echo, 16);
        let mut out = Frames::default();
        assert_eq!(plain.greet(&mut out), Reply::READY);
        assert_eq!(plain.receive(Incoming::Text("welcome"), &mut out).unwrap(), Reply::NOTHING);
        assert_eq!(plain.receive(Incoming::Text("000000000001All "), &mut out).unwrap(), Reply::ONE);
        assert_eq!(plain.receive(Incoming::Binary(b"000000000002All "), &mut out).unwrap(), Reply::ONE);
        plain.receive(Incoming::Text("000000000002All "), &mut out).unwrap_err();
        assert!(out.bytes().is_empty());
    }

    #[test]
    fn a_listener_counts_what_can_hold_a_message_and_a_publisher_only_acks() {
        let mut out = Frames::default();
        let mut listener = Plain::new("/fanout", Job::Listen, 16);
        assert_eq!(listener.receive(Incoming::Text("welcome"), &mut out).unwrap(), Reply::NOTHING);
        let wrapped = "{\"from\":\"a\",\"text\":\"000000000001All \"}";
        assert_eq!(listener.receive(Incoming::Text(wrapped), &mut out).unwrap(), Reply::ONE);
        let mut publisher = Plain::new("/publish", Job::Publish, 256);
        assert_eq!(publisher.receive(Incoming::Text("anything"), &mut out).unwrap(), Reply::NOTHING);
        let ack = "{\"type\":\"ack\",\"originalMessageId\":\"1\",\"seq\":1}";
        assert_eq!(publisher.receive(Incoming::Text(ack), &mut out).unwrap(), Reply::ONE);
    }
    proptest! {
        #[test]
        fn no_bytes_of_a_peer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for job in [Job::Echo, Job::Speak, Job::Listen, Job::Publish] {
                let _ = Plain::new("/", job, 20).receive(Incoming::Binary(&bytes), &mut Frames::default());
            }
        }
    }
}
