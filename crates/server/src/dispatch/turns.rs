//! Keeps a producer's order after an event was temporarily refused: later events wait for it.

use agentbench_protocol::envelope::MessageType;
use agentbench_protocol::{Envelope, ErrorCode, Refusal};

use crate::worker::connection::{BlockedSession, Connection};

/// Maximum number of sessions of one connection in which later events wait for a refused one.
const MAX_BLOCKED: usize = 64;

/// Refuses events that arrive before an earlier event of their session that was temporarily refused. Clients of version 1
/// send the refused event again before later ones; those already in transit are refused, too, until it arrives or its
/// `retryAfterMs` is over. This keeps the producer's order.
pub(super) fn check_order(
    connection: &Connection,
    envelope: &Envelope<'_>,
    steady: impl FnOnce() -> u64,
) -> Result<(), Refusal> {
    let mut blocked = connection.blocked_sessions.borrow_mut();
    if blocked.is_empty() || envelope.kind != MessageType::TestEvent {
        return Ok(());
    }
    let steady = steady();
    blocked.retain(|it| it.until > steady);
    let session = envelope.session_id.as_deref().unwrap_or("");
    let Some(place) = blocked.iter().position(|it| *it.session == *session) else { return Ok(()) };
    if *blocked[place].id == *envelope.id {
        blocked.swap_remove(place);
        return Ok(());
    }
    if envelope.metadata.priority > blocked[place].priority { Ok(()) } else { Err(Refusal::out_of_turn()) }
}

pub(super) fn block_session(
    connection: &Connection,
    envelope: &Envelope<'_>,
    refusal: &Refusal,
    steady: u64,
) {
    let for_now = matches!(refusal.code, ErrorCode::RateLimited | ErrorCode::Overloaded);
    let (Some(session), Some(wait)) = (envelope.session_id.as_deref(), refusal.retry_after_ms) else {
        return;
    };
    let mut blocked = connection.blocked_sessions.borrow_mut();
    let new = !blocked.iter().any(|it| *it.session == *session);
    if for_now
        && new
        && connection.reader.wire.versioned
        && envelope.kind == MessageType::TestEvent
        && blocked.len() < MAX_BLOCKED
    {
        let (session, id, priority) = (session.into(), (*envelope.id).into(), envelope.metadata.priority);
        blocked.push(BlockedSession { session, id, priority, until: steady + wait });
    }
}
