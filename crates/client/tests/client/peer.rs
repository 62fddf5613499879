//! The server in memory behind a TCP socket, which may cut its connections; and peers that are no servers at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use agentbench_client::{Backoff, Config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::server::Server;

#[derive(Clone)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    server: Arc<Mutex<Server>>,
}

impl Peer {
    /// Serves one connection after the other. The n-th one is cut after `cuts[n]` bytes to the client.
    pub(crate) async fn start(cuts: Vec<usize>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = Self { address: listener.local_addr().unwrap(), server: Arc::default() };
        let serving = peer.clone();
        tokio::spawn(async move {
            let mut cuts = cuts.into_iter();
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                serving.server().accept();
                serving.serve(socket, cuts.next().unwrap_or(usize::MAX)).await;
                serving.server().cut();
            }
        });
        peer
    }

    pub(crate) fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap()
    }

    async fn serve(&self, mut socket: TcpStream, mut left: usize) {
        let mut bytes = vec![0; 16 * 1024];
        loop {
            // The test speaks through the server now and then, so its output is looked for now and then.
            match timeout(Duration::from_millis(2), socket.read(&mut bytes)).await {
                Ok(Ok(0) | Err(_)) => return,
                Ok(Ok(size)) => self.server().received(&bytes[..size]),
                Err(_) => {}
            }
            let mut output = self.server().take_output();
            output.truncate(left);
            left -= output.len();
            if socket.write_all(&output).await.is_err() || left == 0 {
                return;
            }
        }
    }

    /// Of a client that comes back quickly.
    pub(crate) fn config(&self) -> Config {
        config(self.address)
    }
}

pub(crate) fn config(address: SocketAddr) -> Config {
    let backoff = Backoff { base: Duration::from_millis(5), max: Duration::from_millis(50), attempts: None };
    Config::new("ws://model.test/ws").connect_to(address).token("t").backoff(backoff)
}

/// A peer that says `words` to everybody, reads what comes, and keeps the connection open.
pub(crate) async fn start_stranger(words: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = socket.write_all(words).await;
                let mut sink = [0; 1024];
                while matches!(socket.read(&mut sink).await, Ok(size) if size > 0) {}
            });
        }
    });
    address
}
