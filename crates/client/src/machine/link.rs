//! The client's relation to the server, and the state of one connection.

use std::time::Duration;

use agentbench_protocol::{Reconnect, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK};
use agentbench_websocket::handshake::{self, Response, accept_key, parse_response, write_request};
use agentbench_websocket::{
    Decoder, DeflatePolicy, Limits, Role, accept_response, encode_close, offer_value,
};
use bytes::BytesMut;

use super::outbound::Framing;
use super::verdict::ConnectionLoss;
use crate::address::with_producer;
use crate::config::{Format, Settings};

/// Maximum bytes of a refused upgrade's body that are kept for the user.
const MAX_BODY: usize = 200;
/// Maximum bytes of a ping, and of the pong that answers it.
const MAX_PING: usize = 125;

/// The client's relation to the server.
#[derive(Debug)]
pub(super) enum Link {
    /// Not started.
    Idle,
    /// Waiting before the next attempt.
    Waiting { until: Duration, fetch_token: bool },
    /// Waiting for the token provider.
    FetchingToken { deadline: Duration },
    /// Waiting for TCP.
    Connecting { deadline: Duration },
    /// Connected.
    Open(Box<Connection>),
    /// Ended for good.
    Ended,
}

/// The phase of a connection.
#[derive(Debug)]
pub(super) enum Phase {
    /// Waiting for the answer to the upgrade.
    Opening { accept: [u8; 28], head: Vec<u8> },
    /// Waiting for the server's first message.
    Greeting,
    /// In use.
    Live { since: Duration },
}

/// What the server announced before it closes.
#[derive(Debug)]
pub(super) struct CloseNotice {
    pub(super) code: u16,
    pub(super) detail: String,
    pub(super) reconnect: Reconnect,
    pub(super) after: Option<Duration>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) phase: Phase,
    /// Used in the phases before the last.
    pub(super) deadline: Duration,
    /// Absent while it is in use.
    pub(super) decoder: Option<Decoder>,
    pub(super) framing: Framing,
    /// The handshake and other bytes to send.
    pub(super) control: BytesMut,
    /// The last unanswered ping; older ones need no answer (RFC 6455 §5.5.3).
    pub(super) ping: Option<([u8; MAX_PING], usize)>,
    pub(super) last_received: Duration,
    /// The server's clock at its last system message, ms since 1970; 0 if not given.
    pub(super) server_time: u64,
    /// Silence after which it counts as dead.
    pub(super) silence: Option<Duration>,
    pub(super) next_heartbeat: Option<Duration>,
    /// Number and time of the last heartbeat.
    pub(super) heartbeat: Option<(u64, Duration)>,
    pub(super) heartbeat_due: bool,
    pub(super) max_payload: u64,
    pub(super) close_notice: Option<CloseNotice>,
}

impl Connection {
    /// Writes the opening handshake. `key` is 16 random bytes.
    pub(super) fn open(
        settings: &Settings,
        token: Option<&str>,
        key: [u8; 16],
        now: Duration,
        deadline: Duration,
    ) -> Self {
        let key = handshake::key(key);
        let mut control = BytesMut::new();
        let protocol = subprotocol(settings.format);
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.as_deref().map(|bearer| ("Authorization", bearer)).into_iter().collect();
        let offer = settings.compression.then(|| offer_value(&DeflatePolicy::default()));
        let target = with_producer(&settings.target, &settings.producer_id);
        write_request(&mut control, &settings.host, &target, &key, &[protocol], offer.as_deref(), &headers);
        Self {
            phase: Phase::Opening { accept: accept_key(&key), head: Vec::new() },
            deadline,
            decoder: None,
            framing: Framing { format: settings.format, deflate: None },
            control,
            ping: None,
            last_received: now,
            server_time: 0,
            silence: None,
            next_heartbeat: None,
            heartbeat: None,
            heartbeat_due: false,
            max_payload: u64::MAX,
            close_notice: None,
        }
    }

    pub(super) fn is_live(&self) -> bool {
        matches!(self.phase, Phase::Live { .. })
    }

    /// Handles bytes of the answer to the upgrade. Returns the first bytes after it, once it is complete.
    pub(super) fn answer(
        &mut self,
        bytes: &[u8],
        settings: &Settings,
    ) -> Result<Option<Vec<u8>>, ConnectionLoss> {
        let Phase::Opening { accept, head } = &mut self.phase else { return Ok(None) };
        head.extend_from_slice(bytes);
        let violation = |error: &dyn std::fmt::Display| ConnectionLoss::Violation(error.to_string());
        match parse_response(head, accept).map_err(|error| violation(&error))? {
            Response::Incomplete => Ok(None),
            Response::Rejected { status, body, retry_after } => {
                let body = String::from_utf8_lossy(&body[..body.len().min(MAX_BODY)]).trim().to_owned();
                Err(ConnectionLoss::Http { status, retry_after: retry_after.map(Duration::from_secs), body })
            }
            Response::Accepted { protocol, extensions, consumed } => {
                if protocol != Some(subprotocol(settings.format)) {
                    return Err(ConnectionLoss::Violation(
                        "the server does not speak version 1 of the protocol".into(),
                    ));
                }
                if !settings.compression && !extensions.is_empty() {
                    return Err(ConnectionLoss::Violation(
                        "the server chose an extension that was not offered".into(),
                    ));
                }
                let agreed = accept_response(&extensions, &DeflatePolicy::default());
                self.framing.deflate = agreed.map_err(|error| violation(&error))?;
                let limits = Limits { max_message: settings.max_message };
                self.decoder = Some(Decoder::new(Role::Client, limits, self.framing.deflate.as_ref()));
                let rest = head.split_off(consumed);
                self.phase = Phase::Greeting;
                Ok(Some(rest))
            }
        }
    }

    pub(super) fn on_ping(&mut self, payload: &[u8]) {
        let mut kept = [0; MAX_PING];
        let size = payload.len().min(MAX_PING);
        kept[..size].copy_from_slice(&payload[..size]);
        self.ping = Some((kept, size));
    }

    /// The server has closed the connection, or the socket has ended: an earlier announcement takes precedence.
    pub(super) fn closed(&mut self, code: Option<u16>, reason: String) -> ConnectionLoss {
        match self.close_notice.take() {
            None => ConnectionLoss::Closed { code, reason, asked: None },
            Some(said) => ConnectionLoss::Closed {
                code: code.or(Some(said.code)),
                reason: said.detail,
                asked: Some((said.reconnect, said.after)),
            },
        }
    }
}

/// A close frame, as the last frame that is written.
pub(super) fn close_frame(code: u16, reason: &str, mask: [u8; 4]) -> BytesMut {
    let mut bytes = BytesMut::new();
    encode_close(&mut bytes, Some((code, reason)), Some(mask));
    bytes
}

fn subprotocol(format: Format) -> &'static str {
    match format {
        Format::Json => SUBPROTOCOL_JSON,
        Format::Msgpack => SUBPROTOCOL_MSGPACK,
    }
}
