//! The NATS client protocol inside binary WebSocket messages, which may split it anywhere.
//!
//! ```text
//! INFO {…}   → CONNECT {…}, SUB, PING        PONG  the subscription stands
//! MSG subject sid [reply-to] #bytes ␍␊ payload ␍␊           PING → PONG       +OK       -ERR 'why'
//! PUB subject [reply-to] #bytes ␍␊ payload ␍␊
//! ```
//! An echo is a publish to a subject that the same connection subscribes to; a publish with ack is a request to a JetStream
//! stream, whose answer has its number or an `error`. Headers (`HMSG`) are not requested, so they are not supported.

use anyhow::{bail, ensure};

use super::dialect::{Dialect, Frames, Incoming, Job, Opening, Reply};
use super::socket_io::shown;
use super::template::{Template, body, event};

/// The stream that `Publish` writes to. Its subjects are `peers.<connection>`.
const STREAM: &str = "PEERS";
/// Maximum length of a line: twice the server's own largest INFO in practice.
const MAX_LINE: usize = 64 * 1024;
/// Largest accepted payload.
const MAX_PAYLOAD: usize = 16 * 1024 * 1024;

/// The dialect of one NATS connection.
#[derive(Debug)]
pub struct Nats {
    purpose: Purpose,
    /// What this connection subscribes to, if anything.
    inbox: Option<String>,
    template: Template,
    body: Template,
    next: u64,
    /// Commands not yet in a frame: what is sent together goes in one message, as in NATS's own clients.
    pending: Vec<u8>,
    /// The incomplete rest of the last message.
    rest: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Purpose {
    Job(Job),
    /// Creates the stream, and is ready once it exists.
    MakeStream,
}

impl Nats {
    /// The dialect of connection `connection`.
    pub fn new(job: Job, connection: usize, size: usize) -> Self {
        let text = if job == Job::Publish { event(size, None, true) } else { body(size) };
        let body = Template::new(&text);
        let bytes = body.clone().fill(0).len();
        let (publish, inbox) = match job {
            Job::Echo => {
                let subject = format!("echo.{connection}");
                (format!("PUB {subject} {bytes}"), Some(subject))
            }
            Job::Speak => (format!("PUB room {bytes}"), None),
            Job::Listen => (format!("PUB room {bytes}"), Some("room".to_owned())),
            Job::Publish => {
                let inbox = format!("_INBOX.{connection}");
                (format!("PUB peers.{connection} {inbox} {bytes}"), Some(inbox))
            }
        };
        let template = Template::new(&format!("{publish}\r\n{text}\r\n"));
        Self::with(Purpose::Job(job), inbox, template, body)
    }

    /// A connection that creates the stream for `Publish` (file storage, one replica) and does nothing else.
    pub fn make_stream() -> Self {
        let none = Template::new("");
        Self::with(Purpose::MakeStream, Some("_INBOX.stream".to_owned()), none.clone(), none)
    }

    fn with(purpose: Purpose, inbox: Option<String>, template: Template, body: Template) -> Self {
        Self { purpose, inbox, template, body, next: 1, pending: Vec::new(), rest: Vec::new() }
    }

    fn connect(&self, out: &mut Frames) {
        let mut text = "CONNECT {\"verbose\":false,\"pedantic\":false,\"tls_required\":false,\"lang\":\"rust\",\"version\":\"1\",\"protocol\":1,\"echo\":true}\r\n".to_owned();
        if let Some(inbox) = &self.inbox {
            text.push_str(&format!("SUB {inbox} 1\r\n"));
        }
        text.push_str("PING\r\n");
        out.binary(text.as_bytes());
    }

    fn create(out: &mut Frames) {
        let config = serde_json::json!({"name": STREAM, "subjects": ["peers.*"], "storage": "file",
            "retention": "limits", "num_replicas": 1})
        .to_string();
        let length = config.len();
        out.binary(
            format!("PUB $JS.API.STREAM.CREATE.{STREAM} _INBOX.stream {length}\r\n{config}\r\n").as_bytes(),
        );
    }

    /// Parses one command at the start of `bytes` and returns its length; `None` if it is incomplete.
    fn take(&mut self, bytes: &[u8], out: &mut Frames) -> anyhow::Result<Option<(Reply, usize)>> {
        let Some(end) = bytes.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
            ensure!(bytes.len() < MAX_LINE, "this is not NATS: a line of more than {MAX_LINE} bytes");
            return Ok(None);
        };
        let line = String::from_utf8_lossy(&bytes[..end]);
        let line = line.trim_end_matches('\r');
        let (verb, words) = line.split_once(' ').unwrap_or((line, ""));
        let whole = end + 1;
        match verb {
            "MSG" => {
                let length = words.rsplit(' ').next().and_then(|word| word.parse::<usize>().ok());
                let Some(length) = length.filter(|&length| length <= MAX_PAYLOAD) else {
                    bail!("NATS announced a message of invalid length: {:?}", shown(line));
                };
                let Some(payload) = bytes.get(whole..whole + length + 2) else { return Ok(None) };
                ensure!(payload.ends_with(b"\r\n"), "a NATS message does not have the announced length");
                let reply = self.message(&payload[..length])?;
                return Ok(Some((reply, whole + length + 2)));
            }
            "INFO" => self.connect(out),
            "PING" => out.binary(b"PONG\r\n"),
            "PONG" if self.purpose == Purpose::MakeStream => Self::create(out),
            "PONG" => return Ok(Some((Reply::READY, whole))),
            "-ERR" => bail!("NATS refused: {}", shown(words)),
            "+OK" => {}
            _ => bail!("this is not a NATS command: {:?}", shown(line)),
        }
        Ok(Some((Reply::NOTHING, whole)))
    }

    fn message(&mut self, payload: &[u8]) -> anyhow::Result<Reply> {
        match self.purpose {
            Purpose::Job(Job::Echo) if self.body.is(payload, self.next) => {
                self.next += 1;
                Ok(Reply::ONE)
            }
            Purpose::Job(Job::Echo) => bail!("message {} came back altered or out of order", self.next),
            Purpose::Job(Job::Listen) => Ok(Reply::ONE),
            Purpose::Job(Job::Speak) => Ok(Reply::NOTHING),
            Purpose::Job(Job::Publish) => {
                ensure!(payload.starts_with(b"{\"stream\":"), "JetStream refused: {}", answer(payload));
                Ok(Reply::ONE)
            }
            Purpose::MakeStream => {
                let reply: serde_json::Value = serde_json::from_slice(payload).unwrap_or_default();
                ensure!(
                    reply["config"]["name"] == STREAM,
                    "JetStream did not create the stream: {}",
                    answer(payload)
                );
                Ok(Reply::READY)
            }
        }
    }
}

fn answer(payload: &[u8]) -> String {
    shown(&String::from_utf8_lossy(payload)).to_owned()
}

impl Dialect for Nats {
    fn opening(&self) -> Opening {
        Opening { path: "/".to_owned(), ..Opening::default() }
    }

    fn greet(&mut self, _out: &mut Frames) -> Reply {
        Reply::NOTHING
    }

    fn receive(&mut self, message: Incoming<'_>, out: &mut Frames) -> anyhow::Result<Reply> {
        let bytes = match message {
            Incoming::Text(text) => text.as_bytes(),
            Incoming::Binary(bytes) => bytes,
        };
        let mut kept = std::mem::take(&mut self.rest);
        let bytes = if kept.is_empty() {
            bytes
        } else {
            kept.extend_from_slice(bytes);
            &kept
        };
        let (mut at, mut all) = (0, Reply::NOTHING);
        while at < bytes.len()
            && let Some((reply, size)) = self.take(&bytes[at..], out)?
        {
            at += size;
            all = Reply { ready: all.ready || reply.ready, answers: all.answers + reply.answers };
        }
        self.rest = bytes[at..].to_vec();
        Ok(all)
    }

    fn send(&mut self, serial: u64, _out: &mut Frames) {
        self.pending.extend_from_slice(self.template.fill(serial));
    }

    fn finish(&mut self, out: &mut Frames) {
        if !self.pending.is_empty() {
            out.binary(&self.pending);
            self.pending.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role};
    use proptest::prelude::*;

    use super::*;

    fn first_line(out: &Frames) -> String {
        let mut bytes = out.bytes().to_vec();
        let (mut decoder, mut inflater) =
            (Decoder::new(Role::Server, Limits::default(), None), Inflater::new());
        let (mut input, mut said) = (Input::new(&mut bytes), String::new());
        while let Some(message) = decoder.next(&mut input, &mut inflater).unwrap() {
            let Message::Binary(bytes) = message else { panic!("{message:?}") };
            said.push_str(std::str::from_utf8(bytes).unwrap());
        }
        said
    }

    fn receive(nats: &mut Nats, bytes: &[u8]) -> (Reply, String) {
        let mut out = Frames::default();
        let reply = nats.receive(Incoming::Binary(bytes), &mut out).unwrap();
        (reply, first_line(&out))
    }

    #[test]
    fn an_echo_subscribes_to_what_it_publishes() {
        let mut nats = Nats::new(Job::Echo, 3, 16);
        let (reply, answer) = receive(&mut nats, b"INFO {\"server_id\":\"x\"} \r\n");
        assert!(reply == Reply::NOTHING && answer.starts_with("CONNECT {\"verbose\":false"), "{answer}");
        assert!(answer.ends_with("}\r\nSUB echo.3 1\r\nPING\r\n"), "{answer}");
        assert_eq!(receive(&mut nats, b"PONG\r\n"), (Reply::READY, String::new()));
        let mut out = Frames::default();
        nats.send(1, &mut out);
        nats.send(2, &mut out);
        assert!(out.bytes().is_empty());
        nats.finish(&mut out);
        assert_eq!(
            first_line(&out),
            "PUB echo.3 16\r\n000000000001All \r\nPUB echo.3 16\r\n000000000002All \r\n"
        );
        let both = b"MSG echo.3 1 16\r\n000000000001All \r\nMSG echo.3 1 16\r\n000000000002All \r\nPING\r\n";
        assert_eq!(receive(&mut nats, both), (Reply { ready: false, answers: 2 }, "PONG\r\n".to_owned()));
    }

    #[test]
    fn a_publish_is_acked_by_the_stream_or_refused() {
        let mut maker = Nats::make_stream();
        let (_, create) = receive(&mut maker, b"PONG\r\n");
        assert!(create.starts_with("PUB $JS.API.STREAM.CREATE.PEERS _INBOX.stream "), "{create}");
        let reply = "{\"type\":\"x\",\"config\":{\"name\":\"PEERS\"}}";
        let made = format!("MSG _INBOX.stream 1 {}\r\n{reply}\r\n", reply.len());
        assert_eq!(receive(&mut maker, made.as_bytes()).0, Reply::READY);

        let mut nats = Nats::new(Job::Publish, 0, 200);
        assert_eq!(
            receive(&mut nats, b"MSG _INBOX.0 1 26\r\n{\"stream\":\"PEERS\",\"seq\":1}\r\n").0,
            Reply::ONE
        );
        let refusal = b"MSG _INBOX.0 1 22\r\n{\"error\":{\"code\":503}}\r\n";
        let error = nats.receive(Incoming::Binary(refusal), &mut Frames::default()).unwrap_err();
        assert!(error.to_string().contains("503"), "{error}");
    }

    #[test]
    fn what_is_no_nats_is_an_error() {
        for bytes in [
            &b"-ERR 'Authorization Violation'\r\n"[..],
            b"HELLO\r\n",
            b"MSG a 1 x\r\n",
            b"MSG a 1 99999999999\r\n",
            b"MSG a 1 2\r\nlonger\r\n",
            &[b'x'; MAX_LINE],
        ] {
            let mut nats = Nats::new(Job::Listen, 0, 16);
            nats.receive(Incoming::Binary(bytes), &mut Frames::default()).unwrap_err();
        }
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_messages_are_cut(cuts in proptest::collection::vec(1_usize..40, 1..60)) {
            let whole = b"INFO {}\r\nPONG\r\nMSG room 1 5\r\na\r\nbc\r\n+OK\r\nMSG room 1 0\r\n\r\nMSG room 1 3\r\nxyz\r\n";
            let (mut nats, mut out) = (Nats::new(Job::Listen, 0, 16), Frames::default());
            let (mut answers, mut at, mut cuts) = (0, 0, cuts.iter().cycle());
            while at < whole.len() {
                let end = whole.len().min(at + cuts.next().unwrap());
                answers += nats.receive(Incoming::Binary(&whole[at..end]), &mut out).unwrap().answers;
                at = end;
            }
            prop_assert_eq!(answers, 3);
            prop_assert!(nats.rest.is_empty());
        }

        #[test]
        fn no_bytes_of_a_peer_panic(pieces in proptest::collection::vec(
            prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                Just(b"MSG a 1 4\r\n".to_vec()), Just(b"\r\n".to_vec()), Just(b"INFO {}\r\n".to_vec()),
                Just(b"MSG \r\n".to_vec()), Just(b"MSG 18446744073709551615\r\n".to_vec()),
            ], 0..20)) {
            let (mut nats, mut out) = (Nats::new(Job::Echo, 0, 16), Frames::default());
            for piece in &pieces {
                let _ = nats.receive(Incoming::Binary(piece), &mut out);
            }
        }
    }
}
