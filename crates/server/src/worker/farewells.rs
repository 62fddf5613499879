//! Records why connections ended, for operators.

use agentbench_protocol::CloseCode;

use crate::config::Config;
use crate::delivery::outbox::{Follow, Outbox};
use crate::letters::connections::Transport;
use crate::ops::farewell::{CloseRecord, Evidence, Limit};
use crate::shared::Shared;
use crate::worker::connection::Connection;

/// Records a close by the server.
pub(super) fn record_server_close(
    shared: &Shared,
    connection: &Connection,
    code: CloseCode,
    detail: &str,
    after_ms: Option<u64>,
) {
    let mut farewell = farewell(connection, shared.clock.wall_ms());
    farewell.closed_by_server(code, detail, after_ms);
    farewell.evidence.limit = limit_behind(&shared.config, connection, code, shared.clock.steady_ms());
    shared.ops.close_records.insert(connection.reader.key, farewell);
}

/// Records a close by the client.
pub(crate) fn record_client_close(shared: &Shared, connection: &Connection, code: Option<u16>) {
    let mut farewell = farewell(connection, shared.clock.wall_ms());
    farewell.closed_by_client(code);
    shared.ops.close_records.insert(connection.reader.key, farewell);
}

/// Records the end of a connection, unless a close was recorded before.
pub(super) fn record_lost(shared: &Shared, connection: &Connection) {
    if !shared.ops.close_records.has(connection.reader.key) {
        shared.ops.close_records.insert(connection.reader.key, farewell(connection, shared.clock.wall_ms()));
    }
}

fn farewell(connection: &Connection, now: u64) -> CloseRecord {
    let outbox = connection.reader.outbox.borrow();
    let evidence = Evidence {
        waiting_bytes: outbox.waiting() as u64,
        blocked_since: outbox.blocked_since,
        last_heard_at: connection.heartbeat.last_activity(),
        unanswered_pings: connection.heartbeat.unanswered(),
        pending_commands: connection.requests.pending(),
        token_expires_at: connection.grant.borrow().expires_at,
        lag: lag(&outbox),
        limit: None,
    };
    let since = connection.connected_at;
    CloseRecord::new(&connection.reader.who, Transport::Websocket, since, now, evidence)
}

/// The setting whose limit led to the close code.
fn limit_behind(config: &Config, connection: &Connection, code: CloseCode, steady: u64) -> Option<Limit> {
    let blocked_since = connection.reader.outbox.borrow().blocked_since;
    let (setting, value) = match (code, blocked_since) {
        (CloseCode::SlowConsumer, Some(since)) => {
            return Some(Limit::of_patience(config, steady.saturating_sub(since)));
        }
        (CloseCode::SlowConsumer, None) => {
            ("HEARTBEAT_INTERVAL", config.heartbeat_interval.as_millis() as u64)
        }
        (CloseCode::Policy, _) => ("MALFORMED_LIMIT", u64::from(config.malformed_limit)),
        (CloseCode::TooBig, _) => ("MAX_PAYLOAD", config.max_payload as u64),
        (CloseCode::TryLater, _) => ("RECEIVE_BUDGET", config.receive_budget as u64),
        (CloseCode::RateLimited, _) => ("CONNECTION_RATE", config.connection_rate),
        _ => return None,
    };
    Some(Limit { setting, value })
}

/// The connection's lag in events, in the session where it is largest.
pub(super) fn lag(outbox: &Outbox) -> u64 {
    // Skips a feed that is borrowed right now: this may be called during a fan-out.
    let behind = |follow: &Follow| {
        follow.feed.try_borrow().map_or(0, |feed| (feed.head + 1).saturating_sub(follow.next))
    };
    outbox.follows().map(|(_, follow)| behind(follow)).max().unwrap_or(0)
}
