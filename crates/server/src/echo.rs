//! An echo server on the server's codec, handshake and buffers, for WebSocket conformance suites.
//!
//! It has no tokens and no protocol: it echoes every text and binary message, answers pings and returns closes.

use std::io;
use std::net::{SocketAddr, TcpListener};

use agentbench_websocket::handshake::{Offer, Opening, Request, write_101, write_response};
use agentbench_websocket::{
    Decoder, DeflatePolicy, Deflater, Inflater, Input, Limits, Message, Negotiated, Opcode, Role,
    encode_close, encode_deflated, encode_frame, negotiate,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SCRATCH: usize = 128 * 1024;
/// Bytes of output above which it is written, also in the middle of a read.
const WRITE_AT: usize = 1024 * 1024;
/// Size limit of messages, on the wire and inflated.
const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Serves echoes until the process ends.
///
/// # Errors
/// If the listener cannot be used.
pub async fn serve(listener: TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::task::spawn_local(async move {
            // A peer may break its own connection.
            if let Err(error) = accept(stream).await {
                tracing::debug!(%error, "an echo connection ended");
            }
        });
    }
}

async fn accept(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = BytesMut::with_capacity(1024);
    loop {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
        let mut answer = BytesMut::new();
        let request = match Request::parse(&head) {
            Ok(None) => continue,
            Ok(Some(request)) => request.upgrade().map(|upgrade| (upgrade, request.size)),
            Err(error) => Err(error),
        };
        let (upgrade, size) = match request {
            Ok(upgrade) => upgrade,
            Err(error) => {
                write_response(&mut answer, error.status(), "Refused", &[], &format!("{error}\n"));
                return stream.write_all(&answer).await;
            }
        };
        let agreed = negotiate(&upgrade.extensions, &DeflatePolicy::default());
        let extensions = agreed.as_ref().map(Negotiated::response_value);
        write_101(&mut answer, &upgrade.accept, None, extensions.as_deref(), &[]);
        let rest = head.split_off(size);
        return echo(stream, Role::Server, agreed, rest, answer).await.map(drop);
    }
}

/// As a client: connects to `target` at `address`, and echoes what the server sends until it closes. Returns the last text.
///
/// # Errors
/// If the server cannot be reached or does not speak WebSocket.
pub async fn connect(address: SocketAddr, target: &str) -> io::Result<Option<String>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut nonce = [0; 16];
    getrandom::fill(&mut nonce).map_err(|error| io::Error::other(error.to_string()))?;
    let host = address.to_string();
    let deflate = Some(DeflatePolicy::default());
    let offer = Offer { host: &host, target, protocols: &[], deflate, headers: &[] };
    let mut out = BytesMut::new();
    let mut opening = Opening::new(&mut out, &offer, nonce);
    stream.write_all(&out).await?;
    let mut piece = BytesMut::with_capacity(1024);
    loop {
        piece.clear();
        if stream.read_buf(&mut piece).await? == 0 {
            return Err(io::Error::other(opening.end()));
        }
        if let Some(opened) = opening.feed(&piece).map_err(io::Error::other)? {
            return echo(stream, Role::Client, opened.deflate, opened.rest, BytesMut::new()).await;
        }
    }
}

/// One echoing end of a connection.
struct Echo {
    role: Role,
    agreed: Option<Negotiated>,
    deflater: Deflater,
    out: BytesMut,
    last_text: Option<String>,
    closed: bool,
}

async fn echo(
    mut stream: TcpStream,
    role: Role,
    agreed: Option<Negotiated>,
    mut input: BytesMut,
    out: BytesMut,
) -> io::Result<Option<String>> {
    let mut decoder = Decoder::new(role, Limits { max_message: MAX_MESSAGE }, agreed.as_ref());
    let mut inflater = Inflater::new();
    let mut end = Echo { role, agreed, deflater: Deflater::new(3), out, last_text: None, closed: false };
    let mut scratch = vec![0; SCRATCH];
    let mut count = input.len();
    scratch[..count].copy_from_slice(&input.split());
    loop {
        let mut read = Input::new(&mut scratch[..count]);
        while !end.closed {
            match decoder.next(&mut read, &mut inflater) {
                Ok(None) => break,
                Ok(Some(message)) => end.answer(&message)?,
                Err(error) => {
                    let mask = end.mask()?;
                    encode_close(&mut end.out, Some((error.close_code(), &error.to_string())), mask);
                    end.closed = true;
                }
            }
            if end.out.len() > WRITE_AT {
                stream.write_all(&end.out.split()).await?;
            }
        }
        stream.write_all(&end.out.split()).await?;
        if end.closed {
            return finish(stream, role, end.last_text).await;
        }
        count = stream.read(&mut scratch).await?;
        if count == 0 {
            return Ok(end.last_text);
        }
    }
}

/// The server ends the TCP connection first (RFC 6455 §7.1.1); a client waits for that.
async fn finish(mut stream: TcpStream, role: Role, last_text: Option<String>) -> io::Result<Option<String>> {
    if role == Role::Server {
        stream.shutdown().await?;
    }
    let mut sink = [0; 1024];
    let drain = async { while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {} };
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), drain).await;
    Ok(last_text)
}

impl Echo {
    fn mask(&self) -> io::Result<Option<[u8; 4]>> {
        if self.role == Role::Server {
            return Ok(None);
        }
        let random = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Some(random.to_ne_bytes()))
    }

    fn answer(&mut self, message: &Message<'_>) -> io::Result<()> {
        let mask = self.mask()?;
        match *message {
            Message::Text(text) => {
                self.last_text = Some(text.to_owned());
                self.data(Opcode::Text, text.as_bytes(), mask);
            }
            Message::Binary(bytes) => self.data(Opcode::Binary, bytes, mask),
            Message::Ping(payload) => encode_frame(&mut self.out, Opcode::Pong, false, payload, mask),
            Message::Pong(_) => {}
            Message::Close(close) => {
                encode_close(&mut self.out, close.map(|close| (close.code, "")), mask);
                self.closed = true;
            }
        }
        Ok(())
    }

    fn data(&mut self, opcode: Opcode, payload: &[u8], mask: Option<[u8; 4]>) {
        match &self.agreed {
            Some(agreed) => {
                let bits = agreed.send_window_bits(self.role);
                encode_deflated(&mut self.out, opcode, payload, &mut self.deflater, bits, mask);
            }
            None => encode_frame(&mut self.out, opcode, false, payload, mask),
        }
    }
}
