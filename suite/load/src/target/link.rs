//! One connection of load: socket, codec, dialect. It holds no read buffer of its own.

use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use agentbench_websocket::handshake::Offer;
use agentbench_websocket::{Decoder, Inflater, Input, Limits, Message, Role};
use anyhow::{Context as _, bail};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};

use super::dialect::{Dialect, Frames, Incoming, Reply};
use super::place::Place;
use crate::connect::open;

const SCRATCH: usize = 256 * 1024;

/// State shared by all links of a thread.
pub struct Shared {
    scratch: RefCell<(Vec<u8>, Inflater)>,
    /// Writes that did not fit the socket: the server does not read fast enough.
    blocked: Cell<u64>,
    /// How long a server may be silent before it counts as dead.
    pub patience: Duration,
}

impl Shared {
    /// Creates the state with this patience.
    pub fn new(patience: Duration) -> Rc<Self> {
        let scratch = RefCell::new((vec![0; SCRATCH], Inflater::new()));
        Rc::new(Self { scratch, blocked: Cell::new(0), patience })
    }

    /// Number of writes so far that did not fit the socket.
    pub fn blocked(&self) -> u64 {
        self.blocked.get()
    }
}

/// One connection of load.
pub struct Link {
    stream: TcpStream,
    decoder: Decoder,
    dialect: Box<dyn Dialect>,
    out: Frames,
    ready: bool,
    shared: Rc<Shared>,
}

impl Link {
    /// Connects, and completes the handshake and the dialect's greeting.
    ///
    /// # Errors
    /// The server refuses at any step, ends the connection, or is silent for too long.
    pub async fn open(
        place: &Place,
        source: Option<IpAddr>,
        dialect: Box<dyn Dialect>,
        shared: &Rc<Shared>,
    ) -> anyhow::Result<Self> {
        let opened = Self::begin(place, source, dialect, Rc::clone(shared));
        tokio::time::timeout(shared.patience, opened).await.with_context(|| {
            format!("{} did not accept a connection within {:?}", place.host, shared.patience)
        })?
    }

    async fn begin(
        place: &Place,
        source: Option<IpAddr>,
        dialect: Box<dyn Dialect>,
        shared: Rc<Shared>,
    ) -> anyhow::Result<Self> {
        let mut stream = connect(place, source).await?;
        let mut head = handshake(&mut stream, place, dialect.as_ref()).await?;
        let decoder = Decoder::new(Role::Client, Limits::default(), None);
        let mut link = Self { stream, decoder, dialect, out: Frames::default(), ready: false, shared };
        link.ready = link.dialect.greet(&mut link.out).ready;
        let shared = Rc::clone(&link.shared);
        link.decode(&mut head, &mut shared.scratch.borrow_mut().1)?;
        while !link.ready {
            link.receive().await?;
        }
        link.out.shrink();
        Ok(link)
    }

    /// Adds a message of the dialect to the next write.
    pub fn send(&mut self, serial: u64) {
        self.dialect.send(serial, &mut self.out);
    }

    /// Marks the end of the messages that are sent together.
    pub fn finish(&mut self) {
        self.dialect.finish(&mut self.out);
    }

    /// Writes queued data, as much as the socket accepts, and waits for answers. Returns their number.
    ///
    /// # Errors
    /// The connection has ended, or the dialect reports an error.
    pub async fn receive(&mut self) -> anyhow::Result<u64> {
        std::future::poll_fn(|context| self.poll_receive(context)).await
    }

    /// Like [`Link::receive`], for links that are shared by tasks.
    pub(super) fn poll_receive(&mut self, context: &mut Context<'_>) -> Poll<anyhow::Result<u64>> {
        self.poll_write(context)?;
        let shared = Rc::clone(&self.shared);
        let mut scratch = shared.scratch.borrow_mut();
        let (bytes, inflater) = &mut *scratch;
        let mut buffer = ReadBuf::new(bytes);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut buffer))
            .context("the connection was lost")?;
        let count = buffer.filled().len();
        if count == 0 {
            return Poll::Ready(Err(anyhow::anyhow!("the server ended the connection")));
        }
        let answers = self.decode(&mut bytes[..count], inflater)?;
        // The dialect's own answers should not wait for the next message.
        self.poll_write(context)?;
        Poll::Ready(Ok(answers))
    }

    /// Writes as much as the socket accepts; the task is woken when it accepts more.
    fn poll_write(&mut self, context: &mut Context<'_>) -> anyhow::Result<()> {
        while !self.out.bytes().is_empty() {
            match Pin::new(&mut self.stream).poll_write(context, self.out.bytes()) {
                Poll::Ready(written) => self.out.written(written.context("the connection was lost")?),
                Poll::Pending => {
                    self.shared.blocked.set(self.shared.blocked.get() + 1);
                    break;
                }
            }
        }
        Ok(())
    }

    /// Writes as much as the socket accepts now. The rest is written by the next [`Link::receive`] or
    /// [`Link::write_now`].
    ///
    /// # Errors
    /// The connection has ended.
    pub fn write_now(&mut self) -> anyhow::Result<()> {
        while !self.out.bytes().is_empty() {
            match self.stream.try_write(self.out.bytes()) {
                Ok(written) => self.out.written(written),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    self.shared.blocked.set(self.shared.blocked.get() + 1);
                    break;
                }
                Err(error) => return Err(error).context("the connection was lost"),
            }
        }
        Ok(())
    }

    /// Whether queued data did not fit the socket.
    pub fn is_waiting(&self) -> bool {
        !self.out.bytes().is_empty()
    }

    fn decode(&mut self, bytes: &mut [u8], inflater: &mut Inflater) -> anyhow::Result<u64> {
        let (mut input, mut answers) = (Input::new(bytes), 0);
        while let Some(message) = self.decoder.next(&mut input, inflater)? {
            let reply = match message {
                Message::Text(text) => self.dialect.receive(Incoming::Text(text), &mut self.out)?,
                Message::Binary(bytes) => self.dialect.receive(Incoming::Binary(bytes), &mut self.out)?,
                Message::Ping(payload) => {
                    self.out.pong(payload);
                    Reply::NOTHING
                }
                Message::Pong(_) => Reply::NOTHING,
                Message::Close(Some(close)) => {
                    bail!("the server closed the connection: {} {}", close.code, close.reason)
                }
                Message::Close(None) => bail!("the server closed the connection"),
            };
            self.ready |= reply.ready;
            answers += reply.answers;
        }
        Ok(answers)
    }
}

async fn connect(place: &Place, source: Option<IpAddr>) -> anyhow::Result<TcpStream> {
    let socket = if place.address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() };
    let socket = socket.context("cannot create a socket (is the limit of open files too low?)")?;
    if let Some(source) = source {
        socket.bind((source, 0).into()).with_context(|| format!("no free port on {source}"))?;
    }
    let stream = socket.connect(place.address).await;
    let stream = stream.with_context(|| format!("cannot connect to {}", place.address))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Returns the bytes after the server's head.
async fn handshake(stream: &mut TcpStream, place: &Place, dialect: &dyn Dialect) -> anyhow::Result<BytesMut> {
    let opening = dialect.opening();
    let headers: Vec<(&str, &str)> =
        opening.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let offer = Offer {
        host: &place.host,
        target: &opening.path,
        protocols: &opening.protocols,
        deflate: None,
        headers: &headers,
    };
    open(stream, &offer).await
}
