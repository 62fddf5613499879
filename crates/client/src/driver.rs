//! The task of a client: moves bytes between the socket and the machine and provides its clock, without decisions of its own.

use std::cell::RefCell;
use std::future::{Future, pending};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use agentbench_tls::{Connector, Stream};
use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest, Ready};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep, timeout};

use crate::address::Address;
use crate::config::{Config, TokenFuture, TokenProvider};
use crate::machine::{Action, Codec};
use crate::shared::Shared;

/// Size of the buffer for reads from sockets, one per thread.
const READ_BYTES: usize = 64 * 1024;
/// Maximum bytes encoded for one write.
const WRITE_BYTES: usize = 256 * 1024;
/// A larger buffer is freed when it is empty.
const KEPT_BYTES: usize = 512 * 1024;
/// Consecutive reads and writes before other tasks get their turn.
const IN_A_ROW: usize = 8;
/// Time limit for a clean end of a closed connection.
const LINGER: Duration = Duration::from_secs(1);

type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

thread_local! {
    /// Buffers that all clients of a thread share, each for a moment.
    static SCRATCH: RefCell<Scratch> = RefCell::new(Scratch { read: vec![0; READ_BYTES], codec: Codec::default() });
}

struct Scratch {
    read: Vec<u8>,
    codec: Codec,
}

/// Starts a client's task on the current runtime.
pub(crate) fn spawn(shared: Arc<Shared>, address: Address, connector: Option<Connector>, config: &Config) {
    let driver = Driver {
        shared,
        address,
        connect_to: config.connect_to,
        connector,
        provider: config.token_provider.clone(),
        socket: None,
        connecting: None,
        fetching: None,
        output: BytesMut::new(),
        timer: Box::pin(sleep(Duration::ZERO)),
        armed_for: None,
        is_paused: false,
    };
    tokio::spawn(driver.run());
}

struct Driver {
    shared: Arc<Shared>,
    address: Address,
    connect_to: Option<SocketAddr>,
    /// Adds TLS to the connection, for `wss://`.
    connector: Option<Connector>,
    provider: Option<TokenProvider>,
    socket: Option<Stream>,
    connecting: Option<Connecting>,
    fetching: Option<TokenFuture>,
    /// Encoded but not yet written.
    output: BytesMut,
    timer: Pin<Box<Sleep>>,
    /// The timer's time: the machine's, or an earlier one.
    armed_for: Option<Duration>,
    /// Whether the machine knows that reading is paused.
    is_paused: bool,
}

/// The reason why the driver woke up.
enum Wake {
    Socket(io::Result<Ready>),
    Connected(io::Result<Stream>),
    Token(Result<String, String>),
    Time,
    Asked,
}

impl Driver {
    async fn run(mut self) {
        loop {
            // Checked first, since the end requires the actions below.
            let has_ended = self.shared.lock().machine.ended().is_some();
            self.write();
            self.act().await;
            if has_ended {
                break;
            }
            match self.wait().await {
                Wake::Socket(Ok(ready)) => {
                    if ready.is_readable() || ready.is_read_closed() {
                        self.read();
                    }
                }
                Wake::Socket(Err(error)) => self.lost(&error),
                Wake::Connected(result) => self.connected(result),
                Wake::Token(answer) => {
                    self.fetching = None;
                    self.shared.with(|state, now| state.machine.token(now, answer));
                }
                Wake::Time => {
                    self.armed_for = None;
                    self.shared.with(|state, now| state.machine.timeout(now));
                }
                Wake::Asked => {}
            }
        }
        // Dropping it, here or anywhere else, marks the driver as done.
    }

    async fn wait(&mut self) -> Wake {
        let (next, is_full) = {
            let state = self.shared.lock();
            (state.machine.next_timeout(), state.is_full())
        };
        if is_full != self.is_paused {
            self.is_paused = is_full;
            self.shared.with(|state, now| state.machine.set_paused(now, is_full));
        }
        self.arm(next);
        let interest = self.interest(is_full);
        let Self { socket, connecting, fetching, timer, armed_for, shared, .. } = self;
        tokio::select! {
            ready = ready(socket.as_mut(), interest) => Wake::Socket(ready),
            () = shared.wake.notified() => Wake::Asked,
            result = optional(connecting.as_mut()) => Wake::Connected(result),
            answer = optional(fetching.as_mut()) => Wake::Token(answer),
            () = timer.as_mut(), if armed_for.is_some() => Wake::Time,
        }
    }

    /// Sets the timer, unless it is set to that time or an earlier one: then it only fires too early.
    fn arm(&mut self, next: Option<Duration>) {
        if let Some(next) = next
            && self.armed_for.is_none_or(|armed| next < armed)
        {
            self.timer.as_mut().reset(self.shared.instant(next));
            self.armed_for = Some(next);
        }
    }

    fn interest(&self, is_full: bool) -> Option<Interest> {
        match (is_full, self.output.is_empty()) {
            (false, true) => Some(Interest::READABLE),
            (false, false) => Some(Interest::READABLE | Interest::WRITABLE),
            (true, false) => Some(Interest::WRITABLE),
            (true, true) => None,
        }
    }

    /// Carries out the machine's actions.
    async fn act(&mut self) {
        loop {
            let action = self.shared.lock().machine.poll_action();
            match action {
                None => return,
                Some(Action::Connect) => {
                    self.output.clear();
                    self.connecting =
                        Some(connect(self.address.clone(), self.connect_to, self.connector.clone()));
                }
                Some(Action::Disconnect) => self.disconnect().await,
                Some(Action::FetchToken) => {
                    self.fetching = self.provider.as_ref().map(|provider| provider());
                }
            }
        }
    }

    /// Closes the connection cleanly: writes what is queued, and reads the server's last bytes, so that ours are
    /// not discarded.
    async fn disconnect(&mut self) {
        self.connecting = None;
        self.fill();
        let output = self.output.split();
        let Some(socket) = self.socket.take() else { return };
        let linger = async move {
            let _ = timeout(LINGER, shut_down(socket, output)).await;
        };
        if self.shared.lock().machine.ended().is_some() {
            linger.await;
        } else {
            tokio::spawn(linger);
        }
    }

    fn connected(&mut self, result: io::Result<Stream>) {
        self.connecting = None;
        match result {
            Ok(socket) => {
                // The client makes its own batches; waiting for more data would only delay acks.
                let _ = socket.socket().set_nodelay(true);
                self.socket = Some(socket);
                self.shared.with(|state, now| state.machine.connected(now));
            }
            Err(error) => {
                let why = format!("{}: {error}", self.address.host);
                self.shared.with(|state, now| state.machine.unreachable(now, why));
            }
        }
    }

    fn lost(&mut self, error: &io::Error) {
        self.shared.with(|state, now| state.machine.disconnected(now, error.to_string()));
        self.socket = None;
        self.output.clear();
    }

    fn read(&mut self) {
        for _ in 0..IN_A_ROW {
            let Some(socket) = &mut self.socket else { return };
            let read = SCRATCH.with_borrow_mut(|Scratch { read, codec }| {
                let size = socket.try_read(read)?;
                if size == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        "the server ended the connection",
                    ));
                }
                let is_full = self.shared.with(|state, now| {
                    state.machine.received(now, &mut read[..size], codec);
                    state.is_full()
                });
                // Less than the buffer: there was no more.
                Ok(is_full || size < read.len())
            });
            match read {
                Ok(false) => {}
                Ok(true) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.lost(&error),
            }
        }
    }

    fn fill(&mut self) {
        SCRATCH.with_borrow_mut(|Scratch { codec, .. }| {
            let output = &mut self.output;
            self.shared.with(|state, now| state.machine.transmit(now, codec, output, WRITE_BYTES));
        });
    }

    /// Writes as much as the socket accepts.
    fn write(&mut self) {
        for _ in 0..IN_A_ROW {
            if self.output.is_empty() {
                self.fill();
            }
            let Some(socket) = &mut self.socket else { return };
            if self.output.is_empty() {
                match socket.push() {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => return self.lost(&error),
                    _ => {}
                }
                if self.output.capacity() > KEPT_BYTES {
                    self.output = BytesMut::new();
                }
                return;
            }
            match socket.try_write(&self.output) {
                Ok(size) => self.output.advance(size),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => return self.lost(&error),
            }
        }
    }
}

impl Drop for Driver {
    /// Wakes all waiters, however the task ends.
    fn drop(&mut self) {
        self.shared.with(|state, _| state.machine.close());
        self.shared.done.send_replace(true);
    }
}

fn connect(address: Address, connect_to: Option<SocketAddr>, connector: Option<Connector>) -> Connecting {
    Box::pin(async move {
        let socket = match connect_to {
            Some(address) => TcpStream::connect(address).await?,
            None => TcpStream::connect((&*address.name, address.port)).await?,
        };
        match connector {
            Some(connector) => connector.connect(socket, &address.name).await,
            None => Ok(Stream::Plain(socket)),
        }
    })
}

async fn ready(socket: Option<&mut Stream>, interest: Option<Interest>) -> io::Result<Ready> {
    match (socket, interest) {
        (Some(socket), Some(interest)) => socket.ready(interest).await,
        _ => pending().await,
    }
}

async fn optional<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => pending().await,
    }
}

async fn shut_down(mut socket: Stream, output: BytesMut) -> io::Result<()> {
    socket.write_all(&output).await?;
    socket.shutdown().await?;
    let mut sink = [0; 1024];
    while socket.read(&mut sink).await? > 0 {}
    Ok(())
}
