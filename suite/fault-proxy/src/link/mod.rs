//! One connection through the proxy: two readers, two writers, and its faults.
//!
//! All of a link runs in one task ([`run`]). The proxy controls it through [`Link`]: it starts and ends lasting effects,
//! and ends the link; [`Link::turn`] wakes the tasks that wait for such a change.

mod flow;
mod pass;
mod read;
mod strike;
mod write;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::fault::Effect;
use crate::fault::Way;
use crate::fault::black_hole::LossFlag;
use crate::opening::{Mode, Opening};
use crate::pipe::{End, Pipe};
use crate::proxy::Shared;
use crate::record::{LinkInfo, LinkState};
use crate::table::ActiveFault;
use flow::LastingEffect;

/// How long a link that ended with FIN waits for its peers' FINs, reading what they still send: closing with unread bytes
/// would send RST.
const LINGER: Duration = Duration::from_secs(1);

/// Time for a peer to receive its close frame.
const CLOSING: Duration = Duration::from_secs(5);

/// One connection through the proxy.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) id: u64,
    pub(crate) since: Instant,
    client: SocketAddr,
    upstream: SocketAddr,
    proxy: Arc<Shared>,
    opening: Opening,
    pipes: [Pipe; 2],
    counts: [Counts; 2],
    lost: LossFlag,
    state: Mutex<State>,
    turn: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Counts {
    bytes: AtomicU64,
    messages: AtomicU64,
}

/// The effects on a link.
#[derive(Debug, Default)]
struct State {
    lasting: Vec<LastingEffect>,
    /// Effects for the next unit that passes, in either direction.
    pending: Vec<Effect>,
    /// Faults that have struck here, among those that may do so only once.
    struck: Vec<Arc<ActiveFault>>,
    end: Option<End>,
    /// Deadline for the close frames: the link then ends even if a peer has not received its frame.
    closing: Option<Instant>,
    /// Number of close frames written.
    closed: usize,
    /// Directions whose sender has ended.
    ended: usize,
}

impl Link {
    pub(crate) fn new(id: u64, client: SocketAddr, upstream: SocketAddr, proxy: Arc<Shared>) -> Arc<Self> {
        Arc::new(Self {
            id,
            since: Instant::now(),
            client,
            upstream,
            proxy,
            opening: Opening::default(),
            pipes: Default::default(),
            counts: Default::default(),
            lost: LossFlag::default(),
            state: Mutex::default(),
            turn: watch::Sender::new(0),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes the tasks of this link that wait for time or sockets.
    fn wake(&self) {
        self.turn.send_modify(|turn| *turn = turn.wrapping_add(1));
    }

    /// Ends the link. The first call decides how.
    pub(crate) fn end(&self, end: End) {
        self.state().end.get_or_insert(end);
        self.wake();
    }

    pub(crate) fn info(&self) -> LinkInfo {
        let counted = |way: Way| {
            let counts = &self.counts[way.index()];
            (counts.bytes.load(Ordering::Relaxed), counts.messages.load(Ordering::Relaxed))
        };
        let ((bytes_up, messages_up), (bytes_down, messages_down)) = (counted(Way::Up), counted(Way::Down));
        let state = match self.opening.mode() {
            _ if self.flow(Way::Up, Instant::now()).black_hole => LinkState::BlackHole,
            Mode::Unknown | Mode::Asked(_) => LinkState::Opening,
            Mode::WebSocket(_) => LinkState::WebSocket,
            Mode::Bytes => LinkState::Bytes,
        };
        LinkInfo {
            id: self.id,
            since: self.since,
            client: self.client,
            upstream: self.upstream,
            bytes_up,
            bytes_down,
            messages_up,
            messages_down,
            state,
        }
    }

    /// A sender has ended inside a black hole; when both have, the link can end.
    fn sender_lost(&self) {
        self.lost.mark();
        let mut state = self.state();
        state.ended += 1;
        if state.ended == 2 {
            drop(state);
            self.end(End::Reset);
        }
    }

    /// A close frame was written; after both, the link ends.
    fn close_written(&self) {
        let mut state = self.state();
        state.closed += 1;
        if state.closed == Way::BOTH.len() {
            drop(state);
            self.end(End::Fin);
        }
    }

    /// Returns when the link should end, and expires the lasting effects.
    async fn watch(&self) -> End {
        let mut turn = self.turn.subscribe();
        loop {
            turn.mark_unchanged();
            let now = Instant::now();
            let expires = self.expire(now);
            let (end, closing) = {
                let state = self.state();
                (state.end, state.closing)
            };
            if let Some(end) = end {
                return end;
            }
            if closing.is_some_and(|closing| closing <= now) {
                return End::Fin;
            }
            match [expires, closing].into_iter().flatten().min() {
                Some(next) => {
                    if tokio::time::timeout_at(next.into(), turn.changed()).await.is_err() {
                        self.wake();
                    }
                }
                // `self` owns the sender.
                None => turn.changed().await.expect("a link outlives its watchers"),
            }
        }
    }
}

/// Runs a link to its end.
pub(crate) async fn run(link: &Link, client: TcpStream, server: TcpStream) {
    let pumps = async {
        tokio::join!(
            read::run(link, Way::Up, &client),
            write::run(link, Way::Up, &server),
            read::run(link, Way::Down, &server),
            write::run(link, Way::Down, &client),
        );
    };
    let end = tokio::select! {
        biased;
        end = link.watch() => Some(end),
        () = pumps => None,
    };
    match end {
        Some(End::Reset) => {
            reset(&client);
            reset(&server);
        }
        Some(End::Fin) => {
            tokio::join!(finish(client), finish(server));
        }
        None => {}
    }
}

/// Makes the socket send RST when it is closed.
pub(crate) fn reset(stream: &TcpStream) {
    // It fails only on a socket that is already closed.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// Sends FIN, then reads and discards for a limited time.
async fn finish(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let drained = async {
        let mut sink = [0; 4096];
        while stream.readable().await.is_ok() {
            match stream.try_read(&mut sink) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
        }
    };
    let _ = tokio::time::timeout(LINGER, drained).await;
}
