//! Records why connections ended, with their state at the end, for an hour.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use agentbench_protocol::CloseCode;
use agentbench_protocol::close::Reconnect;
use agentbench_protocol::message::Sender;
use agentbench_session::ConnectionKey;
use serde::Serialize;

use crate::config::Config;
use crate::letters::connections::Transport;

/// Retention of a record, ms.
const RETENTION_MS: u64 = 3_600_000;
/// Maximum number of records; each takes about half a kilobyte.
const MAX_KEPT: usize = 16_384;

/// The end of one connection.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema), schemars(rename = "Farewell"))]
#[serde(rename_all = "camelCase")]
pub(crate) struct CloseRecord {
    /// The connection.
    client_id: String,
    /// Whose it was.
    user_id: String,
    /// How it was connected.
    transport: Transport,
    /// When it came, ms since 1970.
    connected_at: u64,
    /// When it ended, ms since 1970.
    ended_at: u64,
    /// The close code that was sent, by either side; absent if the connection just broke.
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<u16>,
    /// A short word: that of the close code, `client` (it left by itself) or `lost` (it broke).
    cause: &'static str,
    /// What a person needs to know.
    detail: String,
    /// What the client was told to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    reconnect: Option<Reconnect>,
    /// When, for `after`.
    #[serde(skip_serializing_if = "Option::is_none")]
    after_ms: Option<u64>,
    /// What was known of it at its end.
    pub(crate) evidence: Evidence,
}

/// A connection's state when its end was decided.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "camelCase")]
pub(crate) struct Evidence {
    /// Bytes of replies that waited for its socket.
    pub(crate) waiting_bytes: u64,
    /// Since when its socket took nothing, ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) blocked_since: Option<u64>,
    /// When something last came from it (pongs count), ms since 1970; of a stream: when its socket last took something.
    pub(crate) last_heard_at: u64,
    /// Pings that it had not answered.
    pub(crate) unanswered_pings: u8,
    /// Commands that had not been answered.
    pub(crate) pending_commands: u32,
    /// When its token ended, ms since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) token_expires_at: Option<u64>,
    /// Events between the head and its place in the session where it was furthest behind.
    pub(crate) lag: u64,
    /// The limit that was hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) limit: Option<Limit>,
}

/// A setting and its value.
#[derive(Debug, Clone, Serialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub(crate) struct Limit {
    /// Name of the variable.
    pub(crate) setting: &'static str,
    /// Its value, in the setting's own unit.
    pub(crate) value: u64,
}

impl Limit {
    /// The limit that ended a connection whose socket was blocked for `blocked_ms`: its own, or the read budget's while
    /// others waited for memory.
    pub(crate) fn of_patience(config: &Config, blocked_ms: u64) -> Self {
        let longest = config.slow_consumer_timeout.as_millis() as u64;
        if blocked_ms < longest {
            return Self { setting: "READ_BUDGET", value: config.read_budget as u64 };
        }
        Self { setting: "SLOW_CONSUMER_TIMEOUT", value: longest }
    }
}

impl CloseRecord {
    /// A connection that was lost without a close.
    pub(crate) fn new(
        who: &Sender,
        transport: Transport,
        connected_at: u64,
        ended_at: u64,
        evidence: Evidence,
    ) -> Self {
        Self {
            client_id: who.client_id.clone(),
            user_id: who.user_id.clone(),
            transport,
            connected_at,
            ended_at,
            code: None,
            cause: "lost",
            detail: "the connection ended without a close".to_owned(),
            reconnect: None,
            after_ms: None,
            evidence,
        }
    }

    /// Records a close by the server.
    pub(crate) fn closed_by_server(&mut self, code: CloseCode, detail: &str, after_ms: Option<u64>) {
        self.code = Some(code.as_u16());
        self.cause = code.cause();
        self.detail = detail.to_owned();
        self.reconnect = Some(code.reconnect());
        self.after_ms = after_ms;
    }

    /// Records a close by the client.
    pub(crate) fn closed_by_client(&mut self, code: Option<u16>) {
        self.code = code;
        self.cause = "client";
        self.detail = "the client closed the connection".to_owned();
    }
}

#[derive(Debug, Default)]
struct StoredRecord {
    by_key: HashMap<ConnectionKey, CloseRecord>,
    oldest_first: VecDeque<(u64, ConnectionKey)>,
}

/// The records of the last hour, up to the maximum.
#[derive(Debug, Default)]
pub(crate) struct CloseRecords {
    kept: Mutex<StoredRecord>,
}

impl CloseRecords {
    /// Adds the record of a connection; the first record counts.
    pub(crate) fn insert(&self, key: ConnectionKey, farewell: CloseRecord) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let now = farewell.ended_at;
        if kept.by_key.contains_key(&key) {
            return;
        }
        kept.oldest_first.push_back((now, key));
        kept.by_key.insert(key, farewell);
        while kept.oldest_first.front().is_some_and(|(at, _)| {
            now.saturating_sub(*at) > RETENTION_MS || kept.oldest_first.len() > MAX_KEPT
        }) {
            if let Some((_, oldest)) = kept.oldest_first.pop_front() {
                kept.by_key.remove(&oldest);
            }
        }
    }

    /// The record of a connection that ended within the last hour.
    pub(crate) fn get(&self, key: ConnectionKey, now: u64) -> Option<CloseRecord> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.by_key
            .get(&key)
            .filter(|farewell| now.saturating_sub(farewell.ended_at) <= RETENTION_MS)
            .cloned()
    }

    pub(crate) fn has(&self, key: ConnectionKey) -> bool {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).by_key.contains_key(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn farewell(ended_at: u64) -> CloseRecord {
        let who = Sender {
            client_id: "c".into(),
            user_id: "u".into(),
            username: "u".into(),
            role: "viewer".into(),
        };
        let evidence = Evidence {
            waiting_bytes: 0,
            blocked_since: None,
            last_heard_at: 0,
            unanswered_pings: 0,
            pending_commands: 0,
            token_expires_at: None,
            lag: 0,
            limit: None,
        };
        CloseRecord::new(&who, Transport::Websocket, 0, ended_at, evidence)
    }

    #[test]
    fn an_end_is_kept_for_an_hour_and_the_first_word_counts() {
        let farewells = CloseRecords::default();
        let mut said = farewell(1_000);
        said.closed_by_server(CloseCode::SlowConsumer, "slow", None);
        farewells.insert(ConnectionKey(1), said);
        farewells.insert(ConnectionKey(1), farewell(2_000));
        assert_eq!(
            farewells.get(ConnectionKey(1), 1_000 + RETENTION_MS).map(|it| it.cause),
            Some("slow_consumer")
        );
        assert!(farewells.get(ConnectionKey(1), 1_001 + RETENTION_MS).is_none());
        farewells.insert(ConnectionKey(2), farewell(1_001 + RETENTION_MS));
        assert!(!farewells.has(ConnectionKey(1)) && farewells.has(ConnectionKey(2)));
    }

    #[test]
    fn a_storm_costs_bounded_memory() {
        let farewells = CloseRecords::default();
        for n in 0..(MAX_KEPT as u64 + 10) {
            farewells.insert(ConnectionKey(n), farewell(n));
        }
        assert_eq!(farewells.kept.lock().unwrap().by_key.len(), MAX_KEPT);
        assert!(!farewells.has(ConnectionKey(9)) && farewells.has(ConnectionKey(10)));
    }
}
