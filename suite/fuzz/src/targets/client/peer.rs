//! The server's end of the script's connection: it opens it, greets, and checks that all that it receives can be read.

use agentbench_client::Format;
use agentbench_protocol::event::write_system;
use agentbench_protocol::msgpack::{from_json, to_json};
use agentbench_protocol::{AckLevel, SystemMessage, envelope};
use agentbench_websocket::handshake::{Request, write_101};
use agentbench_websocket::{
    Decoder, DeflatePolicy, Inflater, Input, Limits, Message, Opcode, Role, encode_frame, negotiate,
};
use bytes::BytesMut;

/// A message of the client: id, type, data.
pub(super) type Sent = (String, String, serde_json::Value);

pub(super) struct Peer {
    format: Format,
    /// Whether there is a server to be reached.
    pub(super) is_reachable: bool,
    connection: Option<Connection>,
    inflater: Inflater,
    /// What the client has sent, for those who write a script.
    pub(super) sent: Vec<Sent>,
}

#[derive(Default)]
struct Connection {
    head: BytesMut,
    decoder: Option<Decoder>,
}

impl Peer {
    pub(super) fn new(format: Format) -> Self {
        Self { format, is_reachable: true, connection: None, inflater: Inflater::new(), sent: Vec::new() }
    }

    pub(super) fn accept(&mut self) {
        self.connection = Some(Connection::default());
    }

    /// Ends the connection; returns whether there was one.
    pub(super) fn cut(&mut self) -> bool {
        self.connection.take().is_some()
    }

    /// A frame with a message of the server.
    pub(super) fn frame(&self, payload: &[u8]) -> BytesMut {
        let opcode = if self.format == Format::Json { Opcode::Text } else { Opcode::Binary };
        let mut frame = BytesMut::new();
        encode_frame(&mut frame, opcode, false, payload, None);
        frame
    }

    /// Takes bytes of the client; returns the answer to its opening, once.
    pub(super) fn received(&mut self, bytes: &[u8]) -> Option<BytesMut> {
        let mut connection = self.connection.take()?;
        let answer = if connection.decoder.is_some() {
            self.read(&mut connection, bytes);
            None
        } else {
            connection.head.extend_from_slice(bytes);
            self.open(&mut connection)
        };
        self.connection = Some(connection);
        answer
    }

    fn open(&mut self, connection: &mut Connection) -> Option<BytesMut> {
        let head = std::mem::take(&mut connection.head);
        if head.is_empty() {
            return None;
        }
        let request = Request::parse(&head).expect("the client's head is HTTP").expect("it is whole");
        let upgrade = request.upgrade().expect("the client asks for a WebSocket");
        let deflate = negotiate(&upgrade.extensions, &DeflatePolicy::default());
        connection.decoder = Some(Decoder::new(Role::Server, Limits::default(), deflate.as_ref()));
        let mut answer = BytesMut::new();
        let extensions = deflate.map(|deflate| deflate.response_value());
        write_101(&mut answer, &upgrade.accept, upgrade.protocols().next(), extensions.as_deref(), &[]);
        answer.extend_from_slice(&self.greeting());
        let rest = head[request.size..].to_vec();
        self.read(connection, &rest);
        Some(answer)
    }

    fn greeting(&self) -> BytesMut {
        let greeting = SystemMessage::ConnectionEstablished {
            client_id: "c".into(),
            server: "s".into(),
            node: "n".into(),
            protocol_version: 1,
            heartbeat_interval: 20_000,
            max_payload: 64 * 1024,
            token_expires_at: None,
            ack_level: AckLevel::Logged,
        };
        let mut text = BytesMut::new();
        write_system(&mut text, 1, 1_760_000_000_000, None, &greeting);
        match self.format {
            Format::Json => self.frame(&text),
            Format::Msgpack => {
                let mut packed = BytesMut::new();
                from_json(&text, &mut packed).expect("our own JSON");
                self.frame(&packed)
            }
        }
    }

    fn read(&mut self, connection: &mut Connection, bytes: &[u8]) {
        let Some(decoder) = &mut connection.decoder else { return };
        let mut bytes = bytes.to_vec();
        let mut input = Input::new(&mut bytes);
        loop {
            let message =
                decoder.next(&mut input, &mut self.inflater).expect("the client's frames are valid");
            let mut json = BytesMut::new();
            match message {
                None => return,
                Some(Message::Text(text)) => json.extend_from_slice(text.as_bytes()),
                Some(Message::Binary(bytes)) => {
                    to_json(bytes, &mut json).expect("the client's MessagePack is valid");
                }
                Some(_) => continue,
            }
            let text = std::str::from_utf8(&json).expect("JSON is UTF-8");
            envelope::read_frame(text, |envelope| {
                let envelope = envelope.expect("the client's messages are valid");
                let kind = serde_json::to_string(&envelope.kind).unwrap_or_default();
                let data = serde_json::from_str(envelope.data).unwrap_or_default();
                self.sent.push((envelope.id.into_owned(), kind, data));
            })
            .expect("the client's frames are JSON");
        }
    }
}
