//! One bare connection: handshake, frames out, messages in.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use agentbench_protocol::message::Delivery;
use agentbench_protocol::{MessageType, SystemMessage};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Opcode, Role, encode_frame};
use anyhow::{Context, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::connect::upgrade;

/// Time limit of a handshake.
const PATIENCE: Duration = Duration::from_secs(60);
const SCRATCH: usize = 64 * 1024;
/// Load is not secret and passes no intermediary that needs protection (RFC 6455 §10.3), so a constant mask is enough.
const MASK: [u8; 4] = [0x5a, 0xa5, 0x3c, 0xc3];

/// A bare connection.
pub struct Connection {
    stream: TcpStream,
    decoder: Decoder,
    inflater: Inflater,
    scratch: Vec<u8>,
    out: BytesMut,
    next_id: u64,
}

/// What a message contains, as far as load needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Inbound {
    /// This number of events of a log, the last of them with this seq.
    Event(u64),
    /// This number of acks.
    Acks(usize),
    /// An error message.
    Error,
    /// Anything else.
    Other,
}

impl Connection {
    /// Connects and reads the first message.
    ///
    /// # Errors
    /// The server refuses, or does not answer within a minute.
    pub async fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        Self::open_from(None, address, token).await
    }

    /// Like [`Connection::open`], from this source address if one is given.
    ///
    /// # Errors
    /// As [`Connection::open`], or no port is free on `source`.
    pub async fn open_from(source: Option<IpAddr>, address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        tokio::time::timeout(PATIENCE, Self::handshake(source, address, token))
            .await
            .context("the server did not answer")?
    }

    async fn handshake(source: Option<IpAddr>, address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
        let socket = socket.context("cannot create a socket (is the limit of open files too low?)")?;
        if let Some(source) = source {
            socket.bind((source, 0).into()).with_context(|| format!("no free port on {source}"))?;
        }
        let mut stream = socket.connect(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        let mut rest = upgrade(&mut stream, address, token).await?;
        let mut connection = Self {
            stream,
            decoder: Decoder::new(Role::Client, Limits::default(), None),
            inflater: Inflater::new(),
            scratch: Vec::new(),
            out: BytesMut::new(),
            next_id: 0,
        };
        let mut established = false;
        connection.decode(&mut rest, &mut |text| established |= text.contains("connection_established"))?;
        while !established {
            let mut found = false;
            connection.read(&mut |text| found |= text.contains("connection_established")).await?;
            established = found;
        }
        Ok(connection)
    }

    /// Adds a text message to the next write.
    pub fn queue(&mut self, text: &[u8]) {
        encode_frame(&mut self.out, Opcode::Text, false, text, Some(MASK));
    }

    /// Writes the queued messages.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn write(&mut self) -> anyhow::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        Ok(())
    }

    /// Reads once and passes on each text message.
    ///
    /// # Errors
    /// The connection has ended, or the data is not valid WebSocket.
    pub async fn read(&mut self, each: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(SCRATCH, 0);
        let count = self.stream.read(&mut scratch).await?;
        if count == 0 {
            bail!("the server ended the connection");
        }
        let decoded = self.decode(&mut scratch[..count], each);
        self.scratch = scratch;
        decoded
    }

    /// Waits until there is data to read.
    ///
    /// # Errors
    /// The connection has ended.
    pub async fn readable(&self) -> std::io::Result<()> {
        self.stream.readable().await
    }

    /// Frees the read buffer, for connections that will be idle.
    pub fn shrink(&mut self) {
        self.scratch = Vec::new();
        self.out = BytesMut::new();
    }

    fn decode(&mut self, bytes: &mut [u8], each: &mut impl FnMut(&str)) -> anyhow::Result<()> {
        let mut input = Input::new(bytes);
        while let Some(message) = self.decoder.next(&mut input, &mut self.inflater)? {
            match message {
                Message::Text(text) => each(text),
                Message::Ping(payload) => {
                    encode_frame(&mut self.out, Opcode::Pong, false, payload, Some(MASK));
                }
                Message::Close(close) => bail!("the server closed the connection: {close:?}"),
                Message::Binary(_) | Message::Pong(_) => {}
            }
        }
        Ok(())
    }

    /// Sends a command and waits for its reply's `data`.
    ///
    /// # Errors
    /// The command is refused, or the connection ends.
    pub async fn command(&mut self, data: &serde_json::Value) -> anyhow::Result<serde_json::Value> {
        self.next_id += 1;
        let id = format!("{}-{}", data["command"].as_str().unwrap_or("command"), self.next_id);
        self.command_as(&id, data).await
    }

    /// Sends a command with the caller's id.
    ///
    /// # Errors
    /// As [`Connection::command`].
    pub async fn command_as(
        &mut self,
        id: &str,
        data: &serde_json::Value,
    ) -> anyhow::Result<serde_json::Value> {
        let message = serde_json::json!({"id": id, "type": "control_command", "timestamp": 1, "data": data});
        self.queue(message.to_string().as_bytes());
        self.write().await?;
        let mut reply = None;
        while reply.is_none() {
            self.read(&mut |text| {
                let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
                if value["data"]["originalMessageId"] == *id {
                    reply = Some(value);
                }
            })
            .await?;
        }
        let reply = reply.unwrap_or_default();
        if reply["type"] == "error" {
            bail!("refused: {}", reply["data"]);
        }
        Ok(reply["data"].clone())
    }

    /// Opens a session and returns its name.
    pub(super) async fn open_session(&mut self) -> anyhow::Result<String> {
        let data = serde_json::json!({"command": "create_session", "projectId": "load", "testId": "load", "agentName": "load"});
        let created = self.command(&data).await?;
        Ok(created["sessionId"].as_str().context("no sessionId in the reply")?.to_owned())
    }
}

impl Inbound {
    /// Classifies a message of the server. Events are recognized by their ending, which only they have.
    pub fn of(text: &str) -> Self {
        if let Some(at) = text.rfind(",\"seq\":").filter(|_| !text.contains("\"type\":\"ack\"")) {
            let digits = text[at + 7..].split(|c: char| !c.is_ascii_digit()).next().unwrap_or("");
            if text[at..].contains("\"receivedAt\":") {
                return Self::Event(digits.parse().unwrap_or(0));
            }
        }
        let Ok(delivery) = serde_json::from_str::<Delivery<'_>>(text) else { return Self::Other };
        if delivery.kind == MessageType::Error {
            return Self::Error;
        }
        match serde_json::from_str(delivery.data.get()) {
            Ok(SystemMessage::Ack(ack)) => Self::Acks(ack.acks.len().max(1)),
            _ => Self::Other,
        }
    }
}
