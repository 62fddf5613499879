//! What a worker tells of its connections, while they are open and at their end.

use std::rc::Rc;

use agentbench_protocol::CloseCode;
use agentbench_session::ConnectionKey;

use super::Worker;
use crate::config::Config;
use crate::letters::Survey;
use crate::letters::connections::{ConnectionInfo, Transport};
use crate::ops::farewell::{Evidence, Farewell, Limit};
use crate::worker::connection::Connection;

impl Worker {
    /// Lists connections: its own, then the streams that came in here, by key.
    pub(super) fn answer_survey(self: &Rc<Self>, survey: Survey) {
        let Survey { after, only, limit, user, reply } = survey;
        let wanted = |key: ConnectionKey, owner: &str| {
            let placed = if only { Some(key) == after } else { after.is_none_or(|after| key > after) };
            placed && user.as_ref().is_none_or(|user| user == owner)
        };
        let mut found: Vec<(ConnectionKey, ConnectionInfo)> = Vec::new();
        let mut own: Vec<_> = self.connections.all();
        own.retain(|connection| {
            connection.is_open() && wanted(connection.reader.key, &connection.reader.who.user_id)
        });
        own.sort_unstable_by_key(|connection| connection.reader.key);
        found.extend(
            own.iter()
                .take(limit)
                .map(|connection| (connection.reader.key, describe(self.index, connection))),
        );
        let streams = self.shared.streams.of_worker(self.index);
        let streams = streams.iter().filter(|stream| wanted(stream.key, &stream.who.user_id));
        let room = limit - found.len();
        found.extend(streams.take(room).map(|stream| (stream.key, stream.describe())));
        // Whoever asked may have gone.
        let _ = reply.send(found);
    }

    /// The server ends the connection.
    pub(super) fn remember_closed(
        &self,
        connection: &Connection,
        code: CloseCode,
        detail: &str,
        after_ms: Option<u64>,
    ) {
        let mut farewell = farewell(connection, self.now());
        farewell.because(code, detail, after_ms);
        farewell.evidence.limit = limit_behind(&self.shared.config, connection, code, self.steady());
        self.shared.ops.farewells.keep(connection.reader.key, farewell);
    }

    /// The client ends the connection.
    pub(crate) fn remember_left(&self, connection: &Connection, code: Option<u16>) {
        let mut farewell = farewell(connection, self.now());
        farewell.by_client(code);
        self.shared.ops.farewells.keep(connection.reader.key, farewell);
    }

    /// The connection has ended, and perhaps nobody had said so.
    pub(super) fn remember_lost(&self, connection: &Connection) {
        if !self.shared.ops.farewells.has(connection.reader.key) {
            self.shared.ops.farewells.keep(connection.reader.key, farewell(connection, self.now()));
        }
    }
}

fn farewell(connection: &Connection, now: u64) -> Farewell {
    let outbox = connection.reader.outbox.borrow();
    let evidence = Evidence {
        waiting_bytes: outbox.waiting() as u64,
        blocked_since: outbox.blocked_since,
        last_heard_at: connection.heartbeat.last_heard(),
        unanswered_pings: connection.heartbeat.unanswered(),
        pending_commands: connection.requests.pending(),
        token_expires_at: connection.grant.borrow().expires_at,
        lag: lag(&outbox),
        limit: None,
    };
    let since = connection.connected_at;
    Farewell::new(&connection.reader.who, Transport::Websocket, since, now, evidence)
}

/// The setting whose limit a close code stands for.
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

fn lag(outbox: &crate::delivery::outbox::Outbox) -> u64 {
    // A feed that is being filled right now is left out: this may be called from within.
    let behind = |follow: &crate::delivery::outbox::Follow| {
        follow.feed.try_borrow().map_or(0, |feed| (feed.head + 1).saturating_sub(follow.next))
    };
    outbox.follows().map(|(_, follow)| behind(follow)).max().unwrap_or(0)
}

fn describe(worker: usize, connection: &Connection) -> ConnectionInfo {
    let outbox = connection.reader.outbox.borrow();
    let grant = connection.grant.borrow();
    let producer = Some(&*connection.producer).filter(|producer| !producer.is_empty());
    ConnectionInfo {
        client_id: connection.reader.who.client_id.clone(),
        user_id: connection.reader.who.user_id.clone(),
        username: connection.reader.who.username.clone(),
        role: connection.reader.who.role.clone(),
        project_id: grant.project.clone(),
        producer_id: producer.map(str::to_owned),
        transport: Transport::Websocket,
        address: Some(connection.address.to_string()),
        worker,
        connected_at: connection.connected_at,
        last_heard_at: connection.heartbeat.last_heard(),
        token_expires_at: grant.expires_at,
        waiting_bytes: outbox.waiting() as u64,
        blocked_since: outbox.blocked_since,
        unanswered_pings: connection.heartbeat.unanswered(),
        pending_commands: connection.requests.pending(),
        lag: lag(&outbox),
        sessions: connection.reader.sessions.borrow().clone(),
    }
}
