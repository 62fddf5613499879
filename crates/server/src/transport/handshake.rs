//! From an accepted socket to a connection: the request head, the token, the limits, the 101.
//!
//! The head is read and checked before any response. Plain HTTP requests are passed to the router with the bytes that were
//! read. An invalid token in `Authorization` gets a 401; an invalid token sent another way, or a missing one, gets an upgrade
//! and then a close whose reason a browser can read.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use agentbench_audit::Record;
use agentbench_auth::{AuthError, Grant};
use agentbench_protocol::close::Reconnect;
use agentbench_protocol::event::write_system;
use agentbench_protocol::limits::MAX_PRODUCER_CHARS;
use agentbench_protocol::message::Sender;
use agentbench_protocol::{
    CloseCode, Refusal, SUBPROTOCOL_JSON, SUBPROTOCOL_MSGPACK, SystemMessage, VERSION, envelope,
};
use agentbench_session::ConnectionKey;
use agentbench_tls::Stream;
use agentbench_websocket::handshake::{HandshakeError, Request, Upgrade, write_101, write_response};
use agentbench_websocket::{Decoder, DeflatePolicy, Limits, Negotiated, Role, encode_close, negotiate};
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, timeout, timeout_at};

use super::driver::drive;
use super::peer::Peer;
use super::prefixed::Prefixed;
use crate::clock;
use crate::config::Origins;
use crate::delivery::Delivery;
use crate::delivery::reader::Wire;
use crate::delivery::render::Form;
use crate::gate::places::Place;
use crate::gate::producers::ProducerClaim;
use crate::gate::users::UserPlace;
use crate::letters::Letter;
use crate::names;
use crate::networks::Networks;
use crate::query::Query;
use crate::rules::bearer;
use crate::shared::Shared;
use crate::worker::Worker;
use crate::worker::connection::{Claims, Connection, Identity};
use crate::worker::input::Input;

/// Prefix of a subprotocol that carries a token.
const BEARER: &str = "bearer.";
/// Reconnect delay for clients that are closed with one, ms: the same as for exceeded message rates.
const COME_BACK_MS: u64 = 1_000;
/// Time for a client to read the reason of a refusal.
const LINGER: Duration = Duration::from_secs(1);

/// Serves one admitted socket as a WebSocket connection or as HTTP. The head has to be complete by `deadline`.
pub(crate) async fn serve(worker: Rc<Worker>, mut stream: Stream, peer: Peer, deadline: Instant) {
    let mut head = BytesMut::with_capacity(1024);
    let read = timeout_at(deadline, read_head(&mut stream, &mut head)).await;
    match read {
        Ok(Ok(Some(true))) => {
            let began = deadline - worker.shared.config.auth_timeout;
            upgrade(&worker, stream, head, peer, began).await;
        }
        Ok(Ok(Some(false))) => {
            super::plain::serve(
                &worker.shared,
                worker.router.clone(),
                Prefixed::new(head.freeze(), stream),
                peer,
            )
            .await;
        }
        Ok(Ok(None)) => {}
        Ok(Err(error)) => {
            refuse(&worker.shared, stream, error.status(), &error.to_string(), "bad_request").await;
        }
        Err(_) => {
            worker.shared.metrics.refused("auth_timeout");
            if !head.is_empty() {
                respond(stream, 408, "Request Timeout", &[], "the request head did not arrive in time\n")
                    .await;
            }
        }
    }
}

/// Reads a complete head. Returns whether it requests a WebSocket; `None` if the client disconnected.
async fn read_head(stream: &mut Stream, head: &mut BytesMut) -> Result<Option<bool>, HandshakeError> {
    loop {
        if !matches!(stream.read_buf(head).await, Ok(count) if count > 0) {
            return Ok(None);
        }
        if let Some(request) = Request::parse(head)? {
            return Ok(Some(request.wants_websocket()));
        }
    }
}

/// A WebSocket request, parsed from its head.
pub(super) struct UpgradeRequest {
    upgrade: Upgrade,
    pub(super) size: usize,
    pub(super) token: Option<Token>,
    pub(super) producer: String,
    strict: bool,
    protocol: Option<&'static str>,
    known_path: bool,
    /// The origin of the requesting page, and the host name by which it addresses this server.
    origin: Option<(String, String)>,
    /// The client's address, as reported by trusted proxies.
    pub(super) peer: Peer,
}

/// A token as it was sent.
pub(super) struct Token {
    pub(super) text: String,
    /// It was sent in `Authorization`, so the client is not a browser page and can read an HTTP status.
    in_header: bool,
}

impl UpgradeRequest {
    fn origin_allowed(&self, origins: &Origins) -> bool {
        self.origin.as_ref().is_none_or(|(origin, host)| origins.allow(origin, Some(host)))
    }
}

/// The refusal of a request that cannot be parsed.
pub(super) struct InvalidRequest {
    pub(super) status: u16,
    detail: String,
}

impl From<HandshakeError> for InvalidRequest {
    fn from(error: HandshakeError) -> Self {
        Self { status: error.status(), detail: error.to_string() }
    }
}

impl From<Refusal> for InvalidRequest {
    fn from(refusal: Refusal) -> Self {
        Self { status: 400, detail: refusal.detail }
    }
}

pub(super) fn read_request(
    head: &[u8],
    peer: Peer,
    trusted: &Networks,
) -> Result<UpgradeRequest, InvalidRequest> {
    let request = Request::parse(head)?.ok_or(HandshakeError::Malformed)?;
    let upgrade = request.upgrade()?;
    let target = request.target_parts();
    let query = Query::parse(target.query)?;
    let protocol = chosen_protocol(&upgrade)?;
    let token = token(request.single("Authorization")?, &query, &upgrade);
    let producer = request.single("Agentbench-Producer")?.or_else(|| query.get("producerId"));
    let host = target.authority.or(request.single("Host")?).unwrap_or("").to_owned();
    let origin = request.single("Origin")?.map(|origin| (origin.to_owned(), host));
    Ok(UpgradeRequest {
        size: request.size,
        token,
        producer: producer.unwrap_or_default().to_owned(),
        strict: query.switch("strict")?,
        protocol,
        known_path: matches!(target.path, "/" | "/ws"),
        origin,
        peer: peer.forwarded(trusted, request.headers("x-forwarded-for")),
        upgrade,
    })
}

/// The first supported subprotocol, in the client's order of preference.
fn chosen_protocol(upgrade: &Upgrade) -> Result<Option<&'static str>, InvalidRequest> {
    let known = upgrade.protocols().find_map(|offered| match offered {
        SUBPROTOCOL_JSON => Some(SUBPROTOCOL_JSON),
        SUBPROTOCOL_MSGPACK => Some(SUBPROTOCOL_MSGPACK),
        _ => None,
    });
    // A token is not a protocol, and browsers silently drop a connection if none of their offers was accepted.
    if known.is_none() && upgrade.protocols().any(|offered| offered.starts_with(BEARER)) {
        let detail = format!("offer the subprotocol {SUBPROTOCOL_JSON} beside {BEARER}<token>");
        return Err(InvalidRequest { status: 400, detail });
    }
    Ok(known)
}

/// The token, from the header, the query or a subprotocol, in this order.
fn token(authorization: Option<&str>, query: &Query, upgrade: &Upgrade) -> Option<Token> {
    if let Some(text) = authorization.and_then(bearer) {
        return Some(Token { text: text.to_owned(), in_header: true });
    }
    let offered = || upgrade.protocols().find_map(|offered| offered.strip_prefix(BEARER));
    let text = query.get("token").or_else(offered)?;
    Some(Token { text: text.to_owned(), in_header: false })
}

async fn upgrade(worker: &Rc<Worker>, stream: Stream, mut head: BytesMut, peer: Peer, began: Instant) {
    let shared = &worker.shared;
    let request = match read_request(&head, peer, &shared.config.security.trusted_proxies) {
        Ok(request) => request,
        Err(error) => return refuse(shared, stream, error.status, &error.detail, "bad_request").await,
    };
    let address = request.peer.address;
    if request.peer != peer
        && let Err(retry_after) = shared.gate.addresses.take_connection(address, worker.now())
    {
        return too_many(shared, stream, request.peer, retry_after).await;
    }
    if !request.known_path {
        return refuse(shared, stream, 404, "connect to / or /ws", "not_found").await;
    }
    if !request.origin_allowed(&shared.config.allowed_origins) {
        let detail = "pages of this origin may not connect (ALLOWED_ORIGINS)";
        return refuse(shared, stream, 403, detail, "origin").await;
    }
    if shared.gate.doors.are_closed() {
        return unavailable(shared, stream, "the server is restarting", "draining").await;
    }
    let Some(place) = shared.gate.places.take() else {
        let detail = "the server has as many connections as it may have";
        return unavailable(shared, stream, detail, "max_connections").await;
    };
    if !request.producer.is_empty() && !envelope::is_visible(&request.producer, MAX_PRODUCER_CHARS) {
        let detail = format!("producerId must have at most {MAX_PRODUCER_CHARS} visible characters");
        return refuse(shared, stream, 400, &detail, "bad_request").await;
    }
    let mut verified = match &request.token {
        None => Err(AuthError::Missing),
        Some(token) => shared.gate.authenticate(&token.text, worker.now()),
    };
    if let (Err(error), Some(token)) = (&verified, &request.token)
        && let Some(issuer) = shared.gate.issuer_may_know(*error)
    {
        issuer.refetch_keys().await;
        verified = shared.gate.authenticate(&token.text, worker.now());
    }
    match verified {
        Ok(grant) => {
            if shared.audit_room().await.is_err() {
                let detail = "connections are written down, and the audit log takes no lines now";
                return unavailable(shared, stream, detail, "audit_stuck").await;
            }
            let Some(user) = shared.gate.users.enter(&grant.user_id, worker.now()) else {
                shared.metrics.refused("user_connections");
                shared.ops.auditor.record_stranger(worker.now(), "user_connections", address, &grant.user_id);
                let reason = "The user has as many connections as one may have";
                return reject(&worker.delivery, stream, &request, CloseCode::RateLimited, reason).await;
            };
            let rest = head.split_off(request.size);
            accept(worker, stream, &request, grant, (place, user), rest);
            worker.delivery.meters().connect.add(clock::timer().duration_since(began).as_secs_f64(), 1);
        }
        Err(error) => {
            // A client that waits for its refusal must not hold a place.
            drop(place);
            refuse_token(shared, &worker.delivery, stream, &request, error).await;
        }
    }
}

/// Refuses a token, with the same text wherever it was sent: by HTTP status if it came in a header, else by a close whose
/// reason a browser page can read.
async fn refuse_token(
    shared: &Shared,
    delivery: &Delivery,
    stream: Stream,
    request: &UpgradeRequest,
    error: AuthError,
) {
    let address = request.peer.address;
    tracing::info!(reason = error.as_str(), %address, "refused a connection: {error}");
    shared.metrics.refused(error.as_str());
    shared.ops.auditor.record_stranger(shared.clock.wall_ms(), error.as_str(), address, "");
    shared.gate.penalties.wait(&shared.gate.addresses, address, shared.clock.wall_ms()).await;
    let detail = error.to_string();
    let forbidden = error == AuthError::NotPermitted;
    if request.token.as_ref().is_some_and(|token| token.in_header) {
        let (status, reason) = if forbidden { (403, "Forbidden") } else { (401, "Unauthorized") };
        let headers: &[_] = if forbidden { &[] } else { &[("WWW-Authenticate", "Bearer")] };
        return respond(stream, status, reason, headers, &format!("{detail}\n")).await;
    }
    let code = if forbidden { CloseCode::Forbidden } else { CloseCode::Policy };
    reject(delivery, stream, request, code, &detail).await;
}

fn accept(
    worker: &Rc<Worker>,
    stream: Stream,
    request: &UpgradeRequest,
    grant: Grant,
    places: (Place, UserPlace),
    mut rest: BytesMut,
) {
    let config = &worker.shared.config;
    let extensions = &request.upgrade.extensions;
    let deflate = config.compression.then(|| negotiate(extensions, &DeflatePolicy::default())).flatten();
    let msgpack = request.protocol == Some(SUBPROTOCOL_MSGPACK);
    let full_window = deflate.is_some_and(|agreed| agreed.send_window_bits(Role::Server) == 15);
    let wire = Wire { form: Form { msgpack, deflate: full_window }, versioned: request.protocol.is_some() };
    let decoder = Decoder::new(Role::Server, Limits { max_message: config.max_payload }, deflate.as_ref());
    let expires_at = grant.expires_at;
    let of_user = places.1.account().receiving.share();
    let connection = worker.register(|key| {
        let who = Arc::new(Sender {
            client_id: worker.shared.post.names.client_id(key),
            user_id: grant.user_id.clone(),
            username: grant.username.clone(),
            role: grant.role.as_str().to_owned(),
        });
        let identity = Identity {
            claims: Claims {
                places,
                _producer: claim_producer(&worker.shared, &who.user_id, &request.producer, key),
            },
            who,
            grant: Arc::new(grant),
            producer: request.producer.as_str().into(),
            address: request.peer.address,
            strict: request.strict,
        };
        let input = Input::new(decoder, worker.shared.intake.receive_share(), of_user);
        Connection::new(key, stream, wire, input, identity, config.connection_rate, worker.now())
    });
    worker.shared.audit(|| {
        let token_id = connection.grant.borrow().token_id.clone().unwrap_or_default();
        connection.record(Record::allowed(worker.now(), "connect").detail(token_id))
    });
    write_opening(worker, &connection, request, deflate.as_ref(), expires_at);
    worker.flush(&connection.reader);
    if !rest.is_empty() {
        connection.receive(worker, &mut rest);
    }
    tokio::task::spawn_local(drive(Rc::clone(worker), connection));
}

/// Claims the producer's name for the connection, if it sent one, and closes the previous holder.
fn claim_producer(
    shared: &Shared,
    user: &str,
    producer: &str,
    connection: ConnectionKey,
) -> Option<ProducerClaim> {
    if producer.is_empty() {
        return None;
    }
    let (claim, before) = shared.gate.producers.claim(user, producer, connection);
    if let Some(connection) = before {
        let detail = "a newer connection of the same producer took over";
        let letter = Letter::Close { connection, code: CloseCode::Replaced, detail };
        shared.send(names::worker_of(connection), letter);
    }
    Some(claim)
}

/// Writes the 101 and the first message, in one write.
fn write_opening(
    worker: &Worker,
    connection: &Connection,
    request: &UpgradeRequest,
    deflate: Option<&Negotiated>,
    token_expires_at: Option<u64>,
) {
    let config = &worker.shared.config;
    let established = SystemMessage::ConnectionEstablished {
        client_id: connection.reader.who.client_id.clone(),
        server: concat!("agentbench/", env!("CARGO_PKG_VERSION")).to_owned(),
        node: config.node_name.clone(),
        protocol_version: VERSION,
        heartbeat_interval: config.heartbeat_interval.as_millis() as u64,
        max_payload: config.max_payload as u64,
        token_expires_at,
        ack_level: config.ack_level,
    };
    let extensions = deflate.map(Negotiated::response_value);
    let mut outbox = connection.reader.outbox.borrow_mut();
    write_101(outbox.control(), &request.upgrade.accept, request.protocol, extensions.as_deref(), &[]);
    let mut json = BytesMut::new();
    write_system(&mut json, worker.delivery.numbers.next(), worker.now(), None, &established);
    worker.delivery.renderer.borrow_mut().message(outbox.control(), &json, connection.reader.wire.form);
}

/// Sends the 101, the reason, and the close.
async fn reject(
    delivery: &Delivery,
    mut stream: Stream,
    request: &UpgradeRequest,
    code: CloseCode,
    reason: &str,
) {
    let farewell = SystemMessage::Disconnecting {
        code: code.as_u16(),
        cause: code.cause().to_owned(),
        detail: reason.to_owned(),
        reconnect: code.reconnect(),
        after_ms: (code.reconnect() == Reconnect::After).then_some(COME_BACK_MS),
    };
    let mut bytes = BytesMut::new();
    write_101(&mut bytes, &request.upgrade.accept, request.protocol, None, &[]);
    let mut json = BytesMut::new();
    write_system(&mut json, delivery.numbers.next(), delivery.now(), None, &farewell);
    let form = Form { msgpack: request.protocol == Some(SUBPROTOCOL_MSGPACK), deflate: false };
    delivery.renderer.borrow_mut().message(&mut bytes, &json, form);
    encode_close(&mut bytes, Some((code.as_u16(), reason)), None);
    if stream.write_all(&bytes).await.is_ok() {
        linger(stream).await;
    }
}

/// Refuses a connection of an address that exceeds its connection rate.
pub(super) async fn too_many(shared: &Shared, stream: Stream, peer: Peer, retry_after_ms: u64) {
    shared.metrics.refused("address_rate");
    shared.ops.auditor.record_stranger(shared.clock.wall_ms(), "address_rate", peer.address, "");
    let seconds = retry_after_ms.div_ceil(1000).to_string();
    let detail = "this address opens connections faster than the limit allows; try again later\n";
    respond(stream, 429, "Too Many Requests", &[("Retry-After", &seconds)], detail).await;
}

async fn unavailable(shared: &Shared, stream: Stream, detail: &str, cause: &'static str) {
    shared.metrics.refused(cause);
    respond(
        stream,
        503,
        "Service Unavailable",
        &[("Retry-After", "2")],
        &format!("{detail}; try again later\n"),
    )
    .await;
}

async fn refuse(shared: &Shared, stream: Stream, status: u16, detail: &str, cause: &'static str) {
    shared.metrics.refused(cause);
    let reason = match status {
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        426 => "Upgrade Required",
        431 => "Request Header Fields Too Large",
        505 => "HTTP Version Not Supported",
        _ => "Bad Request",
    };
    respond(stream, status, reason, &[], &format!("{detail}\n")).await;
}

async fn respond(mut stream: Stream, status: u16, reason: &str, headers: &[(&str, &str)], body: &str) {
    let mut bytes = BytesMut::new();
    write_response(&mut bytes, status, reason, headers, body);
    if stream.write_all(&bytes).await.is_ok() {
        linger(stream).await;
    }
}

/// Shuts down the server's side and reads the rest of the client's, so that a reset does not overtake the response.
async fn linger(mut stream: Stream) {
    let _ = stream.shutdown().await;
    let mut sink = [0; 512];
    let drain = async { while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {} };
    let _ = timeout(LINGER, drain).await;
}
