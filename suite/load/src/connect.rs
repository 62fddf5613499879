//! One connection to a server, with the time of each step.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agentbench_protocol::SUBPROTOCOL_JSON;
use agentbench_websocket::handshake::{Offer, Opening, OpeningError};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role};
use anyhow::{Context, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// It only has to be 16 bytes: nothing here could be fooled.
const NONCE: [u8; 16] = *b"a constant nonce";

/// The times of a successful connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Steps {
    /// TCP connect.
    pub tcp: Duration,
    /// The WebSocket upgrade.
    pub upgrade: Duration,
    /// From the upgrade to the server's first message.
    pub first_message: Duration,
}

impl Steps {
    /// The sum of all steps.
    pub fn whole(&self) -> Duration {
        self.tcp + self.upgrade + self.first_message
    }
}

/// Connects, waits for the server's first message, and disconnects.
///
/// # Errors
/// The server refuses or ends the connection, or takes longer than `patience`.
pub async fn connect(address: SocketAddr, token: &str, patience: Duration) -> anyhow::Result<Steps> {
    let connected = tokio::time::timeout(patience, step_by_step(address, token)).await;
    connected.with_context(|| format!("the server did not answer within {patience:?}"))?
}

async fn step_by_step(address: SocketAddr, token: &str) -> anyhow::Result<Steps> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let tcp = begun.elapsed();
    let mut bytes = upgrade(&mut stream, address, token).await?;
    let upgraded = begun.elapsed();
    first_message(&mut stream, &mut bytes).await?;
    Ok(Steps { tcp, upgrade: upgraded - tcp, first_message: begun.elapsed() - upgraded })
}

/// Asks our own server for a WebSocket in JSON. Gives what came behind the answer's head.
pub(crate) async fn upgrade(
    stream: &mut TcpStream,
    address: SocketAddr,
    token: &str,
) -> anyhow::Result<BytesMut> {
    let (host, bearer) = (address.to_string(), format!("Bearer {token}"));
    let headers = [("Authorization", bearer.as_str())];
    let protocols = [SUBPROTOCOL_JSON];
    open(
        stream,
        &Offer { host: &host, target: "/ws", protocols: &protocols, deflate: None, headers: &headers },
    )
    .await
}

/// Goes through the opening handshake. Gives what came behind the answer's head.
pub(crate) async fn open(stream: &mut TcpStream, offer: &Offer<'_>) -> anyhow::Result<BytesMut> {
    let mut bytes = BytesMut::with_capacity(1024);
    let mut opening = Opening::new(&mut bytes, offer, NONCE);
    stream.write_all(&bytes).await.context("the connection broke during the handshake")?;
    loop {
        bytes.clear();
        let count = stream.read_buf(&mut bytes).await.context("the connection broke during the handshake")?;
        if count == 0 {
            return Err(opening.end().into());
        }
        match opening.feed(&bytes) {
            Ok(None) => {}
            Ok(Some(opened)) => return Ok(opened.rest),
            Err(refused @ OpeningError::Refused(_)) => return Err(refused.into()),
            Err(error) => return Err(error).context("this is not a WebSocket server"),
        }
    }
}

async fn first_message(stream: &mut TcpStream, bytes: &mut BytesMut) -> anyhow::Result<()> {
    let mut decoder = Decoder::new(Role::Client, Limits::default(), None);
    let mut inflater = Inflater::new();
    loop {
        let mut input = Input::new(bytes);
        while let Some(message) = decoder.next(&mut input, &mut inflater)? {
            match message {
                Message::Text(_) | Message::Binary(_) => return Ok(()),
                Message::Close(close) => bail!("the server closed the connection: {close:?}"),
                Message::Ping(_) | Message::Pong(_) => {}
            }
        }
        let rest = input.remaining();
        let used = bytes.len() - rest;
        let _ = bytes.split_to(used);
        if stream.read_buf(bytes).await? == 0 {
            bail!("the server ended the connection before its first message");
        }
    }
}
