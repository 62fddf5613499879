//! Plain WebSocket messages: any echo server, any server that sends what one says to all.

use anyhow::bail;

use super::dialect::{Dialect, Frames, Heard, Incoming, Job, Opening};
use super::template::{Template, body, event};

/// How an ack of the peers' servers (`bench/peers`) begins.
const ACK: &str = "{\"type\":\"ack\"";

/// See the module. A message's content is text of the asked size that begins with its number.
#[derive(Debug, Clone)]
pub struct Plain {
    path: String,
    job: Job,
    template: Template,
    next: u64,
}

impl Plain {
    /// For one connection to this path (and query).
    pub fn new(path: &str, job: Job, size: usize) -> Self {
        let text = if job == Job::Publish { event(size, None, true) } else { body(size) };
        Self { path: path.to_owned(), job, template: Template::new(&text), next: 1 }
    }
}

impl Dialect for Plain {
    fn opening(&self) -> Opening {
        Opening { path: self.path.clone(), ..Opening::default() }
    }

    fn greet(&mut self, _out: &mut Frames) -> Heard {
        Heard::READY
    }

    fn hear(&mut self, message: Incoming<'_>, _out: &mut Frames) -> anyhow::Result<Heard> {
        let bytes = match message {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) => bytes,
        };
        match self.job {
            Job::Echo if self.template.is(bytes, self.next) => {
                self.next += 1;
                Ok(Heard::ONE)
            }
            Job::Echo if self.template.is_alike(bytes) => {
                bail!("message {} came back as another one: this server does not echo in order", self.next)
            }
            Job::Publish if bytes.starts_with(ACK.as_bytes()) => Ok(Heard::ONE),
            // A server may wrap what it passes on, but what is shorter is something else.
            Job::Listen if bytes.len() >= self.template.len() => Ok(Heard::ONE),
            // A greeting, a notice to all: servers may say what they like besides.
            Job::Listen | Job::Echo | Job::Speak | Job::Publish => Ok(Heard::NOTHING),
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

    #[test]
    fn an_echo_is_what_was_sent_and_in_order() {
        let mut plain = Plain::new("/echo", Job::Echo, 16);
        let mut out = Frames::default();
        assert_eq!(plain.greet(&mut out), Heard::READY);
        assert_eq!(plain.hear(Incoming::Text("welcome"), &mut out).unwrap(), Heard::NOTHING);
        assert_eq!(plain.hear(Incoming::Text("000000000001All "), &mut out).unwrap(), Heard::ONE);
        assert_eq!(plain.hear(Incoming::Binary(b"000000000002All "), &mut out).unwrap(), Heard::ONE);
        plain.hear(Incoming::Text("000000000002All "), &mut out).unwrap_err();
        assert!(out.bytes().is_empty());
    }

    #[test]
    fn a_listener_counts_what_can_hold_a_message_and_a_publisher_only_acks() {
        let mut out = Frames::default();
        let mut listener = Plain::new("/fanout", Job::Listen, 16);
        assert_eq!(listener.hear(Incoming::Text("welcome"), &mut out).unwrap(), Heard::NOTHING);
        let wrapped = "{\"from\":\"a\",\"text\":\"000000000001All \"}";
        assert_eq!(listener.hear(Incoming::Text(wrapped), &mut out).unwrap(), Heard::ONE);
        let mut publisher = Plain::new("/publish", Job::Publish, 256);
        assert_eq!(publisher.hear(Incoming::Text("anything"), &mut out).unwrap(), Heard::NOTHING);
        let ack = "{\"type\":\"ack\",\"originalMessageId\":\"1\",\"seq\":1}";
        assert_eq!(publisher.hear(Incoming::Text(ack), &mut out).unwrap(), Heard::ONE);
    }
    proptest! {
        #[test]
        fn no_bytes_of_a_peer_panic(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            for job in [Job::Echo, Job::Speak, Job::Listen, Job::Publish] {
                let _ = Plain::new("/", job, 20).hear(Incoming::Binary(&bytes), &mut Frames::default());
            }
        }
    }
}
