//! Splits one direction's bytes into units that faults can strike: pieces of HTTP heads, messages, or plain bytes. Nothing is
//! changed, and only an incomplete message is kept.

use agentbench_websocket::handshake::{MAX_HEAD, Request, Response, parse_response};
use agentbench_websocket::{FrameHeader, Opcode};
use bytes::{Bytes, BytesMut};

use crate::MAX_MESSAGE;
use crate::fault::Way;
use crate::opening::{Compression, Mode, Opening};

/// Start of every opening handshake; anything else is not a WebSocket.
const METHOD: &[u8] = b"GET ";

/// A unit of traffic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    /// Part of the HTTP heads.
    Head(Bytes),
    /// Part of a link that is not a WebSocket.
    Bytes(Bytes),
    /// A ping, pong or close. It may overtake the fragments of a message around it, as RFC 6455 §5.4 allows.
    Control(Bytes),
    /// A whole data message: all its frames.
    Message(Bytes),
    /// Part of a message too large to be kept. `begins` on its first piece.
    Piece { bytes: Bytes, begins: bool },
}

/// What the next bytes are.
#[derive(Debug)]
enum Stage {
    /// A head, of which this many bytes were scanned.
    Head(Vec<u8>),
    /// The client's frames, if the server grants the WebSocket.
    Asked,
    Frames,
    Bytes,
}

/// The splitter of one direction.
#[derive(Debug)]
pub(crate) struct Splitter {
    way: Way,
    /// Bytes that were read but not yet returned.
    pub(crate) input: BytesMut,
    stage: Stage,
    /// Complete frames of an incomplete message.
    fragments: BytesMut,
    large: Option<Large>,
}

/// A message that passes in pieces.
#[derive(Debug)]
struct Large {
    /// Bytes left of its current frame.
    left: u64,
    /// Whether the current frame is its last.
    ends: bool,
}

impl Splitter {
    pub(crate) fn new(way: Way) -> Self {
        Self {
            way,
            input: BytesMut::new(),
            stage: Stage::Head(Vec::new()),
            fragments: BytesMut::new(),
            large: None,
        }
    }

    /// Whether to read more: not while the client's frames wait for the server's answer.
    pub(crate) fn wants_more(&self) -> bool {
        !matches!(self.stage, Stage::Asked) || self.input.len() < MAX_HEAD
    }

    /// Discards everything incomplete, and returns whether there was any.
    pub(crate) fn discard(&mut self) -> bool {
        let any = !self.input.is_empty() || !self.fragments.is_empty();
        self.input.clear();
        self.fragments.clear();
        any
    }

    /// What is left at the end of the input.
    pub(crate) fn rest(&mut self) -> Option<Unit> {
        let mut rest = self.fragments.split();
        rest.unsplit(self.input.split());
        (!rest.is_empty()).then(|| Unit::Piece { bytes: rest.freeze(), begins: false })
    }

    /// The next complete unit.
    pub(crate) fn next(&mut self, opening: &Opening) -> Option<Unit> {
        if self.input.is_empty() {
            return None;
        }
        if let Stage::Head(seen) = &mut self.stage {
            let before = seen.len();
            seen.extend_from_slice(&self.input);
            let (head, stage) = match self.way {
                Way::Up => client_head(seen, opening),
                Way::Down => server_head(seen, opening),
            };
            if let Some(stage) = stage {
                self.stage = stage;
            }
            return match head {
                Some(end) => Some(Unit::Head(self.input.split_to(end - before).freeze())),
                None => Some(Unit::Bytes(self.input.split().freeze())),
            };
        }
        if matches!(self.stage, Stage::Asked) {
            match opening.mode() {
                Mode::WebSocket(_) => self.stage = Stage::Frames,
                Mode::Bytes => self.stage = Stage::Bytes,
                Mode::Unknown | Mode::Asked(_) => return None,
            }
        }
        match self.stage {
            // Bounded: each iteration consumes input.
            Stage::Frames => loop {
                if let Some(unit) = self.frame()? {
                    return Some(unit);
                }
            },
            _ => Some(Unit::Bytes(self.input.split().freeze())),
        }
    }

    /// The next frame: `None` if it is incomplete, `Some(None)` if it was a fragment.
    fn frame(&mut self) -> Option<Option<Unit>> {
        if let Some(large) = &mut self.large
            && large.left > 0
        {
            let size = usize::try_from(large.left).unwrap_or(usize::MAX).min(self.input.len());
            large.left -= size as u64;
            if large.left == 0 && large.ends {
                self.large = None;
            }
            return Some(Some(Unit::Piece { bytes: self.input.split_to(size).freeze(), begins: false }));
        }
        let (head, head_size) = match FrameHeader::parse(&self.input) {
            Ok(None) => return None,
            Ok(Some(parsed)) => parsed,
            Err(_) => {
                // Not a WebSocket after all, or damaged on purpose: from here on it is treated as bytes.
                self.stage = Stage::Bytes;
                let mut rest = self.fragments.split();
                rest.unsplit(self.input.split());
                return Some(Some(Unit::Bytes(rest.freeze())));
            }
        };
        let size = head.payload.saturating_add(head_size as u64);
        if !head.opcode.is_control()
            && (self.large.is_some() || size.saturating_add(self.fragments.len() as u64) > MAX_MESSAGE as u64)
        {
            return Some(Some(self.begin_large(size, head.fin)));
        }
        let size = usize::try_from(size).ok()?;
        if self.input.len() < size {
            self.input.reserve((size - self.input.len()).min(256 * 1024));
            return None;
        }
        if head.opcode == Opcode::Close && !self.fragments.is_empty() {
            // Nothing may follow a close, so the fragments go first.
            return Some(Some(Unit::Piece { bytes: self.fragments.split().freeze(), begins: false }));
        }
        let frame = self.input.split_to(size);
        if head.opcode.is_control() {
            return Some(Some(Unit::Control(frame.freeze())));
        }
        if self.fragments.is_empty() && head.fin {
            return Some(Some(Unit::Message(frame.freeze())));
        }
        self.fragments.extend_from_slice(&frame);
        Some(head.fin.then(|| Unit::Message(self.fragments.split().freeze())))
    }

    fn begin_large(&mut self, size: u64, ends: bool) -> Unit {
        let begins = self.large.is_none();
        let now = usize::try_from(size).unwrap_or(usize::MAX).min(self.input.len());
        let left = size - now as u64;
        let mut bytes = self.fragments.split();
        bytes.unsplit(self.input.split_to(now));
        self.large = if left == 0 && ends { None } else { Some(Large { left, ends }) };
        Unit::Piece { bytes: bytes.freeze(), begins }
    }
}

/// Scans the client's head: where it ends in `seen` (`None`: it is not a head), and what follows (`None`: more of it).
fn client_head(seen: &[u8], opening: &Opening) -> (Option<usize>, Option<Stage>) {
    if opening.mode() == Mode::Bytes {
        return (None, Some(Stage::Bytes));
    }
    let compared = seen.len().min(METHOD.len());
    let parsed = if seen[..compared] == METHOD[..compared] { Request::parse(seen).ok() } else { None };
    match parsed {
        Some(None) => (Some(seen.len()), None),
        Some(Some(request)) => match request.upgrade() {
            Ok(upgrade) => {
                opening.set(Mode::Asked(upgrade.accept));
                (Some(request.size), Some(Stage::Asked))
            }
            Err(_) => {
                opening.set(Mode::Bytes);
                (Some(request.size), Some(Stage::Bytes))
            }
        },
        None => {
            opening.set(Mode::Bytes);
            (None, Some(Stage::Bytes))
        }
    }
}

/// Scans the server's head in the same way.
fn server_head(seen: &[u8], opening: &Opening) -> (Option<usize>, Option<Stage>) {
    let Mode::Asked(accept) = opening.mode() else {
        // A peer that sends before any request is not an HTTP server.
        opening.set(Mode::Bytes);
        return (None, Some(Stage::Bytes));
    };
    match parse_response(seen, &accept) {
        Ok(Response::Incomplete) => (Some(seen.len()), None),
        Ok(Response::Accepted { extensions, consumed, .. }) => {
            opening.set(Mode::WebSocket(Compression::parse(&extensions)));
            (Some(consumed), Some(Stage::Frames))
        }
        Ok(Response::Rejected { .. }) | Err(_) => {
            opening.set(Mode::Bytes);
            (None, Some(Stage::Bytes))
        }
    }
}

#[cfg(test)]
mod tests;
