//! The reader of one direction: socket → units → faults → pipe.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::Link;
use super::flow::Flow;
use super::strike::Outcome;
use crate::content::{self, uncompressed};
use crate::decide::{Moment, Passing, Purpose, draw};
use crate::fault::slow_reader::{Pace, fit_buffer};
use crate::fault::{Effect, Way, swap};
use crate::opening::{Compression, Mode};
use crate::pipe::{End, Item, Then, item};
use crate::split::{Splitter, Unit};
use crate::table::Armed;

/// Most bytes of one read.
const READ: usize = 16 * 1024;
/// Reads a second while reading slowly.
const SLOW_READS: u64 = 20;

/// What came of waiting for bytes.
enum Read {
    /// There are some, or something else has changed: look again.
    Again,
    Ended,
    Failed,
}

/// A message that waits for the next one, to go after it.
struct Held {
    item: Item,
    until: Instant,
    fault: Option<Arc<Armed>>,
    message: u64,
}

struct Reader<'a> {
    link: &'a Link,
    way: Way,
    from: &'a TcpStream,
    turn: watch::Receiver<u64>,
    splitter: Splitter,
    content: Option<content::Reader>,
    /// Messages were taken away, repeated or moved: from here on the receiver's dictionary is wrong.
    is_disordered: bool,
    held: Option<Held>,
    is_slow: bool,
    messages: u64,
    bytes: u64,
    units: u64,
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
    /// Waits for bytes, for the state of the link to change, or for a held message's time.
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

    /// Reads what there is, `most` bytes of it.
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

    /// Until the link's state changes, or a time has come.
    async fn changed(&mut self, until: Option<Instant>) {
        tokio::select! {
            _ = self.turn.changed() => {}
            () = sleep_until(until) => {}
        }
    }

    /// Throws away what has been read and not passed on.
    fn vanish(&mut self) {
        if self.splitter.discard() | self.held.take().is_some() {
            self.link.lost.mark();
        }
    }

    async fn pass(&mut self, unit: Unit) {
        self.units += 1;
        let (bytes, passing) = match unit {
            Unit::Message(bytes) => return self.pass_message(bytes).await,
            Unit::Control(bytes) => return self.forward(bytes).await,
            Unit::Piece { bytes, begins } => {
                if begins {
                    self.count_message();
                    if let Some(content) = &mut self.content {
                        content.skip();
                    }
                }
                return self.forward(bytes).await;
            }
            Unit::Head(bytes) => (bytes, Passing::Head),
            Unit::Bytes(bytes) => (bytes, Passing::Bytes),
        };
        let moment = self.moment(passing);
        let content = (passing == Passing::Bytes).then_some(&bytes[..]);
        let outcome = self.link.meet(&moment, bytes.clone(), content);
        self.bytes += bytes.len() as u64;
        self.carry_out(outcome, moment.messages).await;
    }

    async fn pass_message(&mut self, bytes: Bytes) {
        let wire = bytes.clone();
        let retains = self.content().retains();
        let is_read = retains || self.link.reads_content(self.way);
        let content = if is_read { self.content().read(&wire) } else { None };
        // Where the order of messages was broken, only what stands by itself can be understood.
        let plain = match &content {
            Some(content) if retains => uncompressed(&wire, content),
            _ => None,
        };
        let bytes = if self.is_disordered { plain.clone().unwrap_or(bytes) } else { bytes };
        let moment = self.moment(Passing::Message);
        let mut outcome = self.link.meet(&moment, bytes, content.as_deref());
        self.count_message();
        self.bytes += wire.len() as u64;
        if outcome.is_disordered && !self.is_disordered {
            self.is_disordered = true;
            if let Some(plain) = plain
                && outcome.blow.bytes == wire
            {
                outcome.blow.bytes = plain;
            }
        }
        self.carry_out(outcome, moment.messages).await;
    }

    /// Puts what is left of a struck message or piece into the pipe.
    async fn carry_out(&mut self, outcome: Outcome, message: u64) {
        let Outcome { blow, swap, .. } = outcome;
        let wait = blow.held + self.latency();
        if blow.swapped && blow.copies == 1 && !blow.is_final() && self.held.is_none() {
            self.held = Some(Held {
                item: item(blow.bytes, wait),
                until: Instant::now() + swap::WAIT,
                fault: swap.flatten(),
                message,
            });
            return;
        }
        if let Some(Some(armed)) = swap {
            armed.give_back();
        }
        let last = blow.copies.max(1) - 1;
        for copy in 0..blow.copies.max(1) {
            let bytes = if blow.copies == 0 { Bytes::new() } else { blow.bytes.clone() };
            let then = if copy == last { blow.then } else { Then::Nothing };
            self.push(Item { then, ..item(bytes, wait) }).await;
        }
        if blow.copies > 0
            && let Some(held) = self.held.take()
        {
            self.link.record(held.fault.as_ref(), &Effect::Swap, self.way, Some(held.message));
            self.push(held.item).await;
        }
    }

    /// A held message whose time is up, or whose fault is gone, passes alone.
    async fn release_held(&mut self) {
        let Some(held) = &self.held else { return };
        let is_gone = held
            .fault
            .as_ref()
            .is_some_and(|fault| !self.link.proxy.table().iter().any(|armed| armed.id == fault.id));
        if is_gone || held.until <= Instant::now() {
            self.give_up_held().await;
        }
    }

    async fn give_up_held(&mut self) {
        if let Some(held) = self.held.take() {
            if let Some(armed) = &held.fault {
                armed.give_back();
            }
            self.push(held.item).await;
        }
    }

    async fn forward(&mut self, bytes: Bytes) {
        self.bytes += bytes.len() as u64;
        let wait = self.latency();
        self.push(item(bytes, wait)).await;
    }

    async fn push(&self, item: Item) {
        if item.bytes.is_empty() && item.then == Then::Nothing {
            return;
        }
        self.link.pipes[self.way.index()].push(item).await;
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
        self.push(Item { then: Then::Fin, ..item(Bytes::new(), wait) }).await;
    }

    fn fail(&self) {
        if self.link.flow(self.way, Instant::now()).black_hole {
            self.link.sender_lost();
        } else {
            // Behind what came before it, as far as the pipe lets it.
            let reset = Item { then: Then::End(End::Reset), ..item(Bytes::new(), self.latency()) };
            self.link.pipes[self.way.index()].push_now(reset);
        }
    }

    fn latency(&self) -> Duration {
        let spot = crate::decide::Spot { ordinal: self.units, ..self.moment(Passing::Bytes).spot(0) };
        self.link.latency(self.way, |fault| draw(crate::decide::Spot { fault, ..spot }, Purpose::Detail))
    }

    fn moment(&self, passing: Passing) -> Moment {
        Moment {
            seed: self.link.proxy.seed,
            link: self.link.id,
            way: self.way,
            passing,
            messages: self.messages,
            bytes: self.bytes,
            age: self.link.since.elapsed(),
        }
    }

    fn count_message(&mut self) {
        self.messages += 1;
        self.link.counts[self.way.index()].messages.fetch_add(1, Ordering::Relaxed);
    }

    /// What reads this direction's messages; there are none before the heads have passed.
    fn content(&mut self) -> &mut content::Reader {
        let (link, way) = (self.link, self.way);
        self.content.get_or_insert_with(|| {
            let compression = match link.opening.mode() {
                Mode::WebSocket(compression) => compression,
                _ => Compression::default(),
            };
            content::Reader::new(compression.is_negotiated(), compression.retains(way))
        })
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until.into()).await,
        None => std::future::pending().await,
    }
}
