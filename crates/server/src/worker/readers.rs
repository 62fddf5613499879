//! The slowest readers of a worker.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

use agentbench_protocol::SessionId;

use crate::delivery::streams::Stream;
use crate::ops::readers::{SHOWN, SlowReader, slowest_of};
use crate::worker::connection::Connection;

/// The slowest of this worker's readers, each with the session in which it is furthest behind.
pub(super) fn slow_readers(connections: &[Rc<Connection>], streams: &[Arc<Stream>]) -> Vec<SlowReader> {
    let mut behind: Vec<(u64, SessionId, &Rc<Connection>)> = connections
        .iter()
        .filter_map(|connection| {
            connection.reader.furthest_behind().map(|(session, lag)| (lag, session, connection))
        })
        .collect();
    behind.sort_by_key(|(lag, _, connection)| (Reverse(*lag), connection.reader.key));
    let name = |(behind, session_id, connection): &(u64, SessionId, &Rc<Connection>)| SlowReader {
        client_id: connection.reader.who.client_id.clone(),
        user_id: connection.reader.who.user_id.clone(),
        session_id: *session_id,
        behind: *behind,
    };
    let mut slowest: Vec<_> = behind.iter().take(SHOWN).map(name).collect();
    slowest.extend(streams.iter().filter(|stream| stream.lag() > 0).map(|stream| SlowReader {
        client_id: stream.who.client_id.clone(),
        user_id: stream.who.user_id.clone(),
        session_id: stream.session,
        behind: stream.lag(),
    }));
    slowest_of(slowest)
}
