//! Lists a worker's open connections.

use std::rc::Rc;

use agentbench_session::ConnectionKey;

use super::Worker;
use super::farewells::lag;
use crate::letters::Survey;
use crate::letters::connections::{ConnectionInfo, Transport};
use crate::worker::connection::Connection;

impl Worker {
    /// Lists WebSocket connections, then streams, both by key.
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
        // The requester may have disconnected.
        let _ = reply.send(found);
    }
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
        last_heard_at: connection.heartbeat.last_activity(),
        token_expires_at: grant.expires_at,
        waiting_bytes: outbox.waiting() as u64,
        blocked_since: outbox.blocked_since,
        unanswered_pings: connection.heartbeat.unanswered(),
        pending_commands: connection.requests.pending(),
        lag: lag(&outbox),
        sessions: connection.reader.sessions.borrow().clone(),
    }
}
