//! Counters of one client, since it was made.

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts to connect.
    pub attempts: u64,
    /// Connections that came about after the first one.
    pub reconnects: u64,
    /// Events accepted into the outbox.
    pub published: u64,
    /// Events handed to a connection, each time.
    pub sent: u64,
    /// Of those, the ones that had been sent before.
    pub retried: u64,
    /// Acks for events in the outbox.
    pub acked: u64,
    /// Of those, the ones for events that the log had already.
    pub duplicates: u64,
    /// Events whose outcome is `Refused`, and refusals of events without an ack.
    pub refused: u64,
    /// Events whose outcome is `Unknown`.
    pub unknown: u64,
    /// Refusals after which an event was to be sent again.
    pub held_back: u64,
    /// Commands handed to a connection, joins included.
    pub commands: u64,
    /// Entries of logs given to follows.
    pub delivered: u64,
    /// Entries dropped since the follow had them already.
    pub repeats: u64,
    /// Entries that came after later ones, against the order.
    pub late: u64,
    /// Entries dropped since nobody follows their session.
    pub unexpected: u64,
    /// Holes in the order that nothing explained.
    pub violations: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to connections.
    pub bytes_out: u64,
}
