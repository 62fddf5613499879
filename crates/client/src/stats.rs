//! Counters of one client since its creation.

/// What a client has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Attempts to connect.
    pub attempts: u64,
    /// Connections established after the first one.
    pub reconnects: u64,
    /// Events accepted into the outbox.
    pub published: u64,
    /// Events handed to a connection, counting each send.
    pub sent: u64,
    /// Repeated sends among those.
    pub retried: u64,
    /// Acks for events in the outbox.
    pub acked: u64,
    /// Acks for events that were already in the log.
    pub duplicates: u64,
    /// Events whose outcome is `Refused`, and refusals of events without an ack.
    pub refused: u64,
    /// Events whose outcome is `Unknown`.
    pub unknown: u64,
    /// Refusals after which an event was sent again.
    pub held_back: u64,
    /// Commands handed to a connection, including joins.
    pub commands: u64,
    /// Entries of logs passed to follows.
    pub delivered: u64,
    /// Entries dropped because the follow already had them.
    pub repeats: u64,
    /// Entries that arrived after later ones, out of order.
    pub late: u64,
    /// Entries dropped because no follow exists for their session.
    pub unexpected: u64,
    /// Holes in the order that nothing explained.
    pub violations: u64,
    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes handed to connections.
    pub bytes_out: u64,
}
