//! The reader of one direction: socket → units → faults → pipe.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Link;
use super::flow::Flow;
use super::pass::HeldMessage;
use crate::content;
use crate::fault::Way;
use crate::fault::slow_reader::{Pace, fit_buffer};
use crate::pipe::{Continuation, End, Item, item};
use crate::split::Splitter;

/// Maximum number of bytes per read.
const READ: usize = 16 * 1024;
/// Reads per second while reading slowly.
const SLOW_READS: u64 = 20;

/// The result of waiting for bytes.
enum Read {
    /// There are some, or something else has changed: check again.
    Again,
    Ended,
    Failed,
}

/// The reader of one direction.
pub(super) struct Reader<'a> {
    pub(super) link: &'a Link,
    pub(super) way: Way,
    from: &'a TcpStream,
    turn: watch::Receiver<u64>,
    splitter: Splitter,
    pub(super) content: Option<content::Reader>,
    /// Messages were dropped, repeated or reordered, so that the receiver's dictionary is wrong from here on.
    pub(super) is_disordered: bool,
    pub(super) held: Option<HeldMessage>,
    is_slow: bool,
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) units: u64,
}

/// Reads until the sender ends.
pub(super) async fn run(link: &Link, way: Way, from: &TcpStream) {
    let mut reader = Reader {
        link,
        way,
        from,
        turn: link.turn.subscribe(),
        splitter: Splitter::new(way),
        content: None,
        is_disordered: false,
        held: None,
        is_slow: false,
        messages: 0,
        bytes: 0,
        units: 0,
    };
    loop {
        reader.turn.mark_unchanged();
        let flow = link.flow(way, Instant::now());
        if flow.black_hole {
            reader.vanish();
        }
        while let Some(unit) = reader.splitter.next(&link.opening) {
            reader.pass(unit).await;
        }
        reader.release_held().await;
        match reader.read(flow).await {
            Read::Again => {}
            Read::Ended => return reader.finish().await,
            Read::Failed => return reader.fail(),
        }
    }
}

impl Reader<'_> {
    /// Waits for bytes, for a change of the link, or for a held message's time.
    async fn read(&mut self, flow: Flow) -> Read {
        self.fit_buffer(flow.pace.is_some());
        if flow.pace == Some(Pace::Paused) {
            self.changed(None).await;
            return Read::Again;
        }
        if !self.splitter.wants_more() {
            let _ = tokio::time::timeout(Duration::from_secs(1), self.link.opening.changed()).await;
            return Read::Again;
        }
        let until = self.held.as_ref().map(|held| held.until);
        tokio::select! {
            ready = self.from.readable() => if ready.is_err() { return Read::Failed },
            () = self.link.opening.changed(), if self.way == Way::Up => return Read::Again,
            _ = self.turn.changed() => return Read::Again,
            () = sleep_until(until) => return Read::Again,
        }
        let most = match flow.pace {
            Some(Pace::BytesPerSecond(rate)) => {
                usize::try_from(rate / SLOW_READS).unwrap_or(READ).clamp(1, READ)
            }
            _ => READ,
        };
        let read = match self.take(most) {
            Ok(0) => return Read::Ended,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Read::Again,
            Err(_) => return Read::Failed,
        };
        if let Some(Pace::BytesPerSecond(rate)) = flow.pace {
            let pause = Duration::from_secs_f64(read as f64 / rate as f64);
            self.changed(Some(Instant::now() + pause)).await;
        }
        Read::Again
    }

    /// Reads the available bytes, at most `most`.
    fn take(&mut self, most: usize) -> io::Result<usize> {
        let input = &mut self.splitter.input;
        let start = input.len();
        input.resize(start + most, 0);
        let read = self.from.try_read(&mut input[start..]);
        input.truncate(start + *read.as_ref().unwrap_or(&0));
        if let Ok(read) = read {
            self.link.counts[self.way.index()].bytes.fetch_add(read as u64, Ordering::Relaxed);
        }
        read
    }

    fn fit_buffer(&mut self, is_slow: bool) {
        if self.is_slow != is_slow {
            self.is_slow = is_slow;
            fit_buffer(self.from, is_slow);
        }
    }

    /// Waits until the link's state changes, or until a time.
    async fn changed(&mut self, until: Option<Instant>) {
        tokio::select! {
            _ = self.turn.changed() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Discards what was read but not forwarded.
    fn vanish(&mut self) {
        if self.splitter.discard() | self.held.take().is_some() {
            self.link.lost.mark();
        }
    }

    async fn finish(&mut self) {
        if self.link.flow(self.way, Instant::now()).black_hole {
            return self.link.sender_lost();
        }
        self.give_up_held().await;
        if let Some(rest) = self.splitter.rest() {
            self.pass(rest).await;
        }
        let wait = self.latency();
        self.push(Item { then: Continuation::Fin, ..item(Bytes::new(), wait) }).await;
    }

    fn fail(&self) {
        if self.link.flow(self.way, Instant::now()).black_hole {
            self.link.sender_lost();
        } else {
            // After what came before it, as far as the pipe has room.
            let reset = Item { then: Continuation::End(End::Reset), ..item(Bytes::new(), self.latency()) };
            self.link.pipes[self.way.index()].push_now(reset);
        }
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
