//! Peers for the proxy: an echo of bytes, an echo of messages, and the client of either.

use std::collections::VecDeque;
use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use agentbench_fault_proxy::{Direction, Effect, Fault, Proxy, Strike, When};
use agentbench_websocket::handshake::{Offer, Opening, Request, write_101};
use agentbench_websocket::{
    DecodeError, Decoder, DeflatePolicy, Inflater, Input, Limits, Message, Negotiated, Opcode,
    RetainingDeflater, Role, encode_close, encode_frame, negotiate,
};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// No test needs nearly so long; it only keeps a hanging one from hanging all.
const GUARD: Duration = Duration::from_secs(30);

/// Runs a test on one thread, within bounds.
pub(crate) fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(GUARD, test).await.expect("the test hangs") });
}

pub(crate) fn loopback() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An echo of bytes, which closes when its peer does.
pub(crate) async fn byte_echo() -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    address
}

/// An echo of messages: uncompressed unless `policy` is given, then compressed as agreed.
pub(crate) async fn message_echo(policy: Option<DeflatePolicy>) -> SocketAddr {
    let listener = TcpListener::bind(loopback()).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut socket = Socket::accept(stream, policy).await;
                while let Ok(Some(Got::Text(text))) = socket.next().await {
                    if socket.send(&text).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// What a WebSocket peer got.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Got {
    Text(String),
    Close(Option<u16>, String),
}

/// Why there is nothing more.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    Wire(DecodeError),
    Io(std::io::ErrorKind),
}

/// One end of a WebSocket connection.
pub(crate) struct Socket {
    pub(crate) stream: TcpStream,
    role: Role,
    input: BytesMut,
    got: VecDeque<Result<Got, Broken>>,
    decoder: Decoder,
    inflater: Inflater,
    deflater: Option<RetainingDeflater>,
    fresh: Option<agentbench_websocket::Deflater>,
}

impl Socket {
    fn new(stream: TcpStream, role: Role, input: BytesMut, negotiated: Option<Negotiated>) -> Self {
        let deflater = negotiated.and_then(|negotiated| negotiated.retaining_deflater(role, 6));
        let fresh = negotiated.map(|_| agentbench_websocket::Deflater::new(6));
        let limits = Limits::default();
        let decoder = Decoder::new(role, limits, negotiated.as_ref());
        let (got, inflater) = (VecDeque::new(), Inflater::new());
        let mut socket = Self { stream, role, input, decoder, got, inflater, deflater, fresh };
        socket.decode();
        socket
    }

    pub(crate) async fn connect(address: SocketAddr, policy: Option<DeflatePolicy>) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let offer = Offer { host: "echo", target: "/", protocols: &[], deflate: policy, headers: &[] };
        let mut head = BytesMut::new();
        let mut opening = Opening::new(&mut head, &offer, [7; 16]);
        stream.write_all(&head).await.unwrap();
        let mut piece = BytesMut::new();
        loop {
            assert!(stream.read_buf(&mut piece).await.unwrap() > 0, "no answer to the handshake");
            if let Some(opened) = opening.feed(&piece.split()).unwrap() {
                return Self::new(stream, Role::Client, opened.rest, opened.deflate);
            }
        }
    }

    pub(crate) async fn accept(mut stream: TcpStream, policy: Option<DeflatePolicy>) -> Self {
        let mut input = BytesMut::new();
        let (upgrade, size) = loop {
            assert!(stream.read_buf(&mut input).await.unwrap() > 0, "no handshake");
            if let Some(request) = Request::parse(&input).unwrap() {
                break (request.upgrade().unwrap(), request.size);
            }
        };
        let negotiated = policy.and_then(|policy| negotiate(&upgrade.extensions, &policy));
        let extensions = negotiated.map(|negotiated| negotiated.response_value());
        let mut head = BytesMut::new();
        write_101(&mut head, &upgrade.accept, None, extensions.as_deref(), &[]);
        stream.write_all(&head).await.unwrap();
        let rest = input.split_off(size);
        Self::new(stream, Role::Server, rest, negotiated)
    }

    fn mask(&self) -> Option<[u8; 4]> {
        (self.role == Role::Client).then_some([1, 2, 3, 4])
    }

    pub(crate) async fn send(&mut self, text: &str) -> std::io::Result<()> {
        let mut wire = BytesMut::new();
        let mut payload = BytesMut::new();
        match (&mut self.deflater, &mut self.fresh) {
            (Some(deflater), _) => deflater.compress(text.as_bytes(), &mut payload),
            (None, Some(fresh)) => fresh.compress(15, text.as_bytes(), &mut payload),
            (None, None) => payload.extend_from_slice(text.as_bytes()),
        }
        encode_frame(&mut wire, Opcode::Text, self.fresh.is_some(), &payload, self.mask());
        self.stream.write_all(&wire).await
    }

    /// The next message; `None` when the peer has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Got>, Broken> {
        loop {
            if let Some(got) = self.got.pop_front() {
                if let Ok(Got::Close(code, reason)) = &got {
                    let mut wire = BytesMut::new();
                    encode_close(&mut wire, code.map(|code| (code, reason.as_str())), self.mask());
                    let _ = self.stream.write_all(&wire).await;
                }
                return got.map(Some);
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(0) => return Ok(None),
                Ok(_) => self.decode(),
                Err(error) => return Err(Broken::Io(error.kind())),
            }
        }
    }

    /// Takes everything out of the input.
    fn decode(&mut self) {
        let mut input = Input::new(&mut self.input);
        loop {
            match self.decoder.next(&mut input, &mut self.inflater) {
                Ok(Some(Message::Text(text))) => self.got.push_back(Ok(Got::Text(text.to_owned()))),
                Ok(Some(Message::Close(close))) => {
                    let reason = close.map_or(String::new(), |close| close.reason.to_owned());
                    self.got.push_back(Ok(Got::Close(close.map(|close| close.code), reason)));
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) => {
                    self.got.push_back(Err(Broken::Wire(error)));
                    break;
                }
            }
        }
        self.input.clear();
    }

    pub(crate) async fn text(&mut self) -> String {
        match self.next().await.unwrap() {
            Some(Got::Text(text)) => text,
            other => panic!("{other:?} instead of a text"),
        }
    }
}

/// A fault that strikes the message that holds `text`.
pub(crate) fn at(text: &str, direction: Direction, effect: Effect) -> Fault {
    Fault {
        name: Some(format!("at {text}")),
        direction,
        when: When { contains: Some(text.to_owned()), ..When::default() },
        effect,
    }
}

pub(crate) fn kinds(strikes: &[Strike]) -> Vec<&'static str> {
    strikes.iter().map(|strike| strike.kind).collect()
}

/// Waits until something holds of the proxy; the test's own guard bounds it.
pub(crate) async fn until(proxy: &Proxy, holds: impl Fn(&Proxy) -> bool) {
    while !holds(proxy) {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
