//! What goes into a session and comes out of it, as values.

use agentbench_event_log::Frame;
use agentbench_protocol::event::EventBody;
use agentbench_protocol::message::Transition;
use agentbench_protocol::{Head, Refusal, Seq};
use bytes::Bytes;

use crate::ConnectionKey;

/// An event that somebody wants to have in the log.
#[derive(Debug, Clone, Copy)]
pub struct Publish<'a> {
    /// From whom; `None` for a publish that nobody waits for.
    pub connection: Option<ConnectionKey>,
    /// The user.
    pub user: &'a str,
    /// Which of the user's producers.
    pub producer: &'a str,
    /// What readers will get.
    pub body: EventBody<'a>,
    /// Time to live, ms; 0 for ever.
    pub ttl_ms: u32,
    /// Whether an ack is wanted.
    pub requires_ack: bool,
    /// The publisher sends an event that was refused for now again before later ones (clients of version 1 do): later ones
    /// are not taken before it, so that its order holds in the log, too.
    pub in_order: bool,
}

/// What became of a publish for the time being.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// It has this seq and waits for the log. The ack comes out of [`Session::settle`].
    Queued(Seq),
    /// The log has it already, under this seq.
    Repeat(Seq),
    /// The same event waits for the log already; this repeat is acked together with it.
    RepeatQueued(Seq),
}

/// Who waits for the outcome of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Waiter {
    /// Nobody.
    Nobody,
    /// A publisher who wants an ack.
    Ack(ConnectionKey),
    /// A publisher who wants no ack; it is told only of a refusal.
    Unacked(ConnectionKey),
    /// The sender of a command.
    Command(ConnectionKey),
}

impl Waiter {
    /// The connection to be told, if any.
    pub fn connection(self) -> Option<ConnectionKey> {
        match self {
            Self::Nobody => None,
            Self::Ack(key) | Self::Unacked(key) | Self::Command(key) => Some(key),
        }
    }
}

/// A frame for the log.
#[derive(Debug, Clone)]
pub struct Batch {
    /// The head that it follows.
    pub expected: Head,
    /// The entries.
    pub frame: Frame,
    /// The new summary, if the lifecycle moved.
    pub summary: Option<Bytes>,
}

/// An answer that is due to one connection.
#[derive(Debug, Clone)]
pub struct Answer {
    /// To whom.
    pub waiter: Waiter,
    /// Id of the message that is answered.
    pub id: String,
    /// The entry's seq.
    pub seq: Seq,
}

/// What follows from the log's word on the frame in flight.
#[derive(Debug)]
pub enum Settled {
    /// The frame is in the log.
    Committed {
        /// The frame, for readers.
        frame: Frame,
        /// Who waits for each of its entries, in order.
        waiters: Vec<Waiter>,
        /// Repeats of its entries that arrived meanwhile.
        repeats: Vec<Answer>,
        /// Steps of the lifecycle in it.
        transitions: Vec<Transition>,
    },
    /// The frame may be in the log. It stays in flight, and the next [`Session::take_batch`](super::Session::take_batch)
    /// gives it once more, to the byte.
    InDoubt,
    /// Another writer was first. Nothing is lost and nobody is told: what waits is sequenced anew behind the frames of that
    /// writer, as soon as the session has them ([`Session::advance`](super::Session::advance)).
    Behind,
    /// The frame and all that queued behind it are not in the log, as far as can be told.
    Refused {
        /// Everybody who has to be told.
        answers: Vec<Answer>,
        /// What they are told.
        refusal: Refusal,
    },
    /// There is no such log any more: it was removed, or another one is in its place. This session ends.
    Lost {
        /// Everybody who has to be told.
        answers: Vec<Answer>,
        /// What they are told.
        refusal: Refusal,
        /// The head of the log that is in its place.
        head: Option<Head>,
    },
}

/// What follows from frames of other writers.
#[derive(Debug, Default)]
pub struct Advanced {
    /// Steps of the lifecycle in these frames.
    pub transitions: Vec<Transition>,
    /// Seqs of waiting entries before, and now; in order.
    pub moved: Vec<(Seq, Seq)>,
    /// Waiting entries that these frames contain already: the seqs that they had, and the answers that are due.
    pub repeats: Vec<(Seq, Answer)>,
    /// Waiting entries that are no longer allowed, and why.
    pub refused: Vec<(Answer, Refusal)>,
}
