//! The client's relation to the server, and the state of one connection.

use std::time::Duration;

use agentbench_protocol::{Reconnect, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK};
use agentbench_websocket::handshake::{Offer, Opening, OpeningError};
use agentbench_websocket::{Decoder, DeflatePolicy, Limits, Role, encode_close};
use bytes::BytesMut;

use super::outbound::Framing;
use super::verdict::ConnectionLoss;
use crate::address::with_query;
use crate::config::{Format, Settings};

/// Maximum characters of a refused upgrade's body that are kept for the user.
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
    Opening(Opening),
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
        let mut control = BytesMut::new();
        let bearer = token.map(|token| format!("Bearer {token}"));
        let headers: Vec<_> = bearer.as_deref().map(|bearer| ("Authorization", bearer)).into_iter().collect();
        let target = with_query(&settings.target, &settings.producer_id, settings.strict);
        let offer = Offer {
            host: &settings.host,
            target: &target,
            protocols: &[subprotocol(settings.format)],
            deflate: settings.compression.then(DeflatePolicy::default),
            headers: &headers,
        };
        Self {
            phase: Phase::Opening(Opening::new(&mut control, &offer, key)),
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
    ) -> Result<Option<BytesMut>, ConnectionLoss> {
        let Phase::Opening(opening) = &mut self.phase else { return Ok(None) };
        let Some(opened) = opening.feed(bytes).map_err(refused)? else { return Ok(None) };
        if opened.protocol.is_none() {
            return Err(ConnectionLoss::Violation(
                "the server does not speak version 1 of the protocol".into(),
            ));
        }
        self.framing.deflate = opened.deflate;
        let limits = Limits { max_message: settings.max_message };
        self.decoder = Some(Decoder::new(Role::Client, limits, self.framing.deflate.as_ref()));
        self.phase = Phase::Greeting;
        Ok(Some(opened.rest))
    }

    /// Nothing more comes, or too late: a refusal counts although its body is not whole.
    pub(super) fn refusal(&mut self) -> Option<ConnectionLoss> {
        let Phase::Opening(opening) = &mut self.phase else { return None };
        let error = opening.end();
        matches!(error, OpeningError::Refused(_)).then(|| refused(error))
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

fn refused(error: OpeningError) -> ConnectionLoss {
    match error {
        OpeningError::Refused(refusal) => ConnectionLoss::Http {
            status: refusal.status,
            retry_after: refusal.retry_after.map(Duration::from_secs),
            body: refusal.text().chars().take(MAX_BODY).collect(),
        },
        error => ConnectionLoss::Violation(error.to_string()),
    }
}

fn subprotocol(format: Format) -> &'static str {
    match format {
        Format::Json => SUBPROTOCOL_JSON,
        Format::Msgpack => SUBPROTOCOL_MSGPACK,
    }
}
