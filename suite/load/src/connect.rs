//! One connection to a server, with the time of each step.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use agentbench_protocol::SUBPROTOCOL_JSON;
use agentbench_websocket::handshake::{Response, accept_key, key, parse_response, write_request};
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role};
use anyhow::{Context, bail};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// Returns the bytes after the answer's head.
async fn upgrade(stream: &mut TcpStream, address: SocketAddr, token: &str) -> anyhow::Result<BytesMut> {
    let key = key(*b"a constant nonce");
    let (host, bearer) = (address.to_string(), format!("Bearer {token}"));
    let mut out = BytesMut::new();
    let headers = [("Authorization", bearer.as_str())];
    write_request(&mut out, &host, "/ws", &key, &[SUBPROTOCOL_JSON], None, &headers);
    stream.write_all(&out).await?;
    let mut head = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            bail!("the server ended the connection during the handshake");
        }
        match parse_response(&head, &accept_key(&key))? {
            Response::Incomplete => {}
            Response::Accepted { consumed, .. } => return Ok(head.split_off(consumed)),
            Response::Rejected { status, .. } => bail!("the server refused the connection: {status}"),
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
