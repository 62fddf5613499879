//! The writer of one direction: pipe → socket, as fast as the lasting effects allow.

use std::io;
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Link;
use super::flow::Flow;
use crate::fault::{Way, bandwidth};
use crate::pipe::{Continuation, End, Item};

/// Writes until the direction ends.
pub(super) async fn run(link: &Link, way: Way, to: &TcpStream) {
    let mut turn = link.turn.subscribe();
    loop {
        let item = link.pipes[way.index()].pop().await;
        if write(link, way, to, &item, &mut turn).await.is_err() {
            link.end(End::Reset);
            return;
        }
        match item.then {
            Continuation::Nothing => {}
            Continuation::Fin if link.flow(way, Instant::now()).black_hole => return link.sender_lost(),
            Continuation::Fin => {
                // A closed socket needs no end.
                let _ = SockRef::from(to).shutdown(std::net::Shutdown::Write);
                return;
            }
            Continuation::Closed => {
                let _ = SockRef::from(to).shutdown(std::net::Shutdown::Write);
                return link.close_written();
            }
            Continuation::End(end) => {
                link.end(end);
                return;
            }
        }
    }
}

/// Writes an item, and checks the link's state after each piece.
async fn write(
    link: &Link,
    way: Way,
    to: &TcpStream,
    item: &Item,
    turn: &mut watch::Receiver<u64>,
) -> io::Result<()> {
    let mut rest = &item.bytes[..];
    while !rest.is_empty() {
        turn.mark_unchanged();
        let flow = link.flow(way, Instant::now());
        if flow.black_hole {
            link.lost.mark();
            return Ok(());
        }
        tokio::select! {
            ready = to.writable() => ready?,
            _ = turn.changed() => continue,
        }
        let (most, _) = piece(flow, rest.len());
        match to.try_write(&rest[..most.min(rest.len())]) {
            Ok(written) => {
                rest = &rest[written..];
                pause(piece(flow, written).1, turn).await;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Bytes of the next write, and the pause after `written` bytes.
fn piece(flow: Flow, written: usize) -> (usize, Duration) {
    let (mut most, mut pause) = (usize::MAX, Duration::ZERO);
    if let Some(rate) = flow.rate {
        most = bandwidth::piece(rate);
        pause = bandwidth::pause(rate, written);
    }
    if let Some(slices) = flow.slices {
        most = most.min(slices.bytes);
        pause = pause.max(slices.delay);
    }
    (most, pause)
}

/// Waits, unless the link's state changes.
async fn pause(time: Duration, turn: &mut watch::Receiver<u64>) {
    if !time.is_zero() {
        let _ = tokio::time::timeout(time, turn.changed()).await;
    }
}
