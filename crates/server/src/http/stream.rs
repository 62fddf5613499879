//! A session over Server-Sent Events: the same join, positions and gaps as on the socket, for who cannot have a WebSocket.
//!
//! The reader is a cursor in the log: the task looks how far the log has come, reads what lies past the cursor, and waits
//! until the socket has taken it. Nothing is queued for it. Each message is one event of the stream, the envelope in `data`;
//! `id` is the position after it, which a browser sends back as `Last-Event-ID`.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use agentbench_auth::Permission;
use agentbench_event_log::Frame;
use agentbench_protocol::event::write_system;
use agentbench_protocol::{
    CloseCode, ErrorCode, GapCause, Position, Refusal, Seq, SessionId, StartAt, SystemMessage,
};
use agentbench_session::{Owed, owed};
use axum::body::Body;
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};

use super::access::{Caller, address_of};
use super::answer::Answer;
use super::api::{Api, segment};
use super::asking::{ask, one_answer};
use super::head;
use super::pipe::{self, LOOK, MAX_PIECE, Unread, Writer};
use super::range::write_line;
use crate::clock;
use crate::delivery::stream_room::StreamStep;
use crate::delivery::streams::Stream;
use crate::figures::metrics::Metrics;
use crate::gate::places::Place;
use crate::letters::connections::StreamClose;
use crate::letters::exchange::{Exchange, ExchangeReply};
use crate::letters::{Join, OwnerLetter, Request};
use crate::ops::farewell::Limit;
use crate::query::Query;
use crate::rules::parse_session_id;
use crate::session::cursor::{RETRY, ReadOutcome, STEP, interpret};
use crate::session::reading::Step;
use crate::shared::Shared;
use crate::transport::plain::Link;

/// Presence messages that may wait; the last ones are lost by a reader that is slower.
const PRESENCE_ROOM: usize = 32;
/// A stream that is at most this many events behind takes its steps together with the others.
const SHARED_LAG: u64 = 1_024;
/// Time that an expired token is still good for on an open stream; as on the socket.
const TOKEN_GRACE_MS: u64 = 10_000;

/// `GET /api/v1/sessions/{sessionId}/stream`
pub(crate) async fn open(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    let query = Query::parse(parts.uri.query())?;
    let caller = Caller::of_event_source(&api, &parts, &query)?;
    let session = parse_session_id(segment(&parts, 3))?;
    let entry = caller.may_read(&api, session)?;
    caller.needs(Permission::Connect)?;
    let from = start_at(&parts, &query)?;
    let stays = query.switch("stay")?;
    let named = match &from {
        StartAt::After(position) => Some(position.clone()),
        StartAt::Live | StartAt::Start => None,
    };
    let id_at_position = id_at(&api.shared, session, &from).await;
    api.shared.intake.may_read_more()?;
    let place = StreamPlace::take(&api.shared)?;
    let mut exchange = Exchange::open(&api.shared.post.exchanges, api.worker, PRESENCE_ROOM);
    let request = Request::Join(Join {
        command: "stream".to_owned(),
        follow: true,
        from,
        id_at_position,
        subscribe: false,
        log_was_read: false,
    });
    // From here on the owner may count it among the participants, so it has to be told when it goes.
    let requester = caller.requester(&api, exchange.key);
    let guard = Membership { shared: Arc::clone(&api.shared), session, exchange_key: exchange.key };
    ask(&api, &caller, &exchange, session, request);
    let (json, gap, after) = match one_answer(&mut exchange).await? {
        ExchangeReply::Joined { json, gap, after, .. } => (json, gap, after),
        ExchangeReply::Refused(refusal) => {
            return Err(Refusal { original_message_id: None, ..refusal }.into());
        }
        other => return Err(Refusal::new(ErrorCode::Internal, format!("an owner answered {other:?}")).into()),
    };
    let comes_back = head::text(&parts.headers, "last-event-id").is_some();
    if comes_back && !stays && entry.summary().status.has_ended() && after >= entry.head().seq {
        // Whoever comes back to a session that it has read to its end: this is what stops an `EventSource`.
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let link = Link::of(&parts);
    let (writer, body) = pipe::body(&api.shared, &link);
    let writer = writer.of_log();
    let stream = Arc::new(Stream::new(
        exchange.key,
        requester.who,
        Arc::clone(&caller.grant),
        entry,
        api.shared.streams.room(session),
        address_of(&parts),
        after + 1,
    ));
    let mut greeting = BytesMut::from("retry: 1000\n");
    // A position that is honoured stays the reader's, with the event's name.
    let last_id = named.filter(|named| named.seq == after).and_then(|named| named.last_id);
    let begin = position(&stream, after, last_id.as_deref().unwrap_or(""));
    write_sse(&mut greeting, Some(&begin), &json);
    if let Some(gap) = gap {
        write_sse(&mut greeting, None, &gap);
    }
    api.shared.streams.insert(Arc::clone(&stream));
    let run = Run { shared: Arc::clone(&api.shared), stream, writer, exchange, ended: None, stays };
    tokio::spawn(run.run(greeting.freeze(), guard, place));
    Ok(head(body))
}

fn head(body: Body) -> Response {
    let headers = [
        (header::CONTENT_TYPE.as_str(), "text/event-stream"),
        (header::CACHE_CONTROL.as_str(), "no-store"),
        // nginx (seen with 1.22) with `gzip on` for event streams holds them back to their end, unless this is sent or
        // `proxy_buffering` is off.
        ("x-accel-buffering", "no"),
    ];
    (StatusCode::OK, headers, body).into_response()
}

/// Where the reader wants to begin: `Last-Event-ID` if there is one, else `from`, else live.
fn start_at(parts: &Parts, query: &Query) -> Answer<StartAt> {
    let last = head::text(&parts.headers, "last-event-id").or_else(|| query.get("lastEventId"));
    let text = last.filter(|text| !text.is_empty()).or_else(|| query.get("from"));
    match text {
        None | Some("live") => Ok(StartAt::Live),
        Some("start") => Ok(StartAt::Start),
        Some(text) => parse_position(text).map(StartAt::After).ok_or_else(|| {
            let detail =
                "a position is EPOCH:SEQ:ID or EPOCH:SEQ, as the stream's ids are; or live, or start";
            Refusal { field: Some("from".to_owned()), ..Refusal::new(ErrorCode::InvalidPosition, detail) }
                .into()
        }),
    }
}

/// `EPOCH:SEQ` or `EPOCH:SEQ:ID`.
fn parse_position(text: &str) -> Option<Position> {
    let (epoch, rest) = text.split_once(':')?;
    let (seq, id) = rest.split_once(':').unwrap_or((rest, ""));
    let digits = !seq.is_empty() && seq.bytes().all(|byte| byte.is_ascii_digit());
    let seq = digits.then(|| seq.parse().ok()).flatten().filter(|seq| *seq < Seq::MAX)?;
    let last_id = Some(id).filter(|id| !id.is_empty()).map(str::to_owned);
    Some(Position { epoch: epoch.parse().ok()?, seq, last_id })
}

fn position(stream: &Stream, seq: Seq, id: &str) -> String {
    let epoch = &stream.entry.epoch_text;
    if id.is_empty() { format!("{epoch}:{seq}") } else { format!("{epoch}:{seq}:{id}") }
}

/// The id of the log's event at the position, if the position names one: the owner does not wait for the disk.
async fn id_at(shared: &Shared, session: SessionId, from: &StartAt) -> Option<String> {
    let StartAt::After(Position { seq, last_id: Some(_), .. }) = from else { return None };
    shared.storage.reader.id_at(session, *seq).await
}

/// Appends one event of the stream (HTML standard, §9.2).
fn write_sse(dst: &mut BytesMut, id: Option<&str>, json: &[u8]) {
    if let Some(id) = id {
        dst.extend_from_slice(b"id: ");
        dst.extend_from_slice(id.as_bytes());
        dst.extend_from_slice(b"\n");
    }
    dst.extend_from_slice(b"data: ");
    write_line(dst, json);
    dst.extend_from_slice(b"\n\n");
}

/// A stream's place under `MAX_CONNECTIONS`, and its part of the figures.
struct StreamPlace {
    _place: Place,
    metrics: Arc<Metrics>,
}

impl StreamPlace {
    fn take(shared: &Shared) -> Answer<Self> {
        let refuse = |cause, detail: &str| {
            shared.metrics.refused(cause);
            Refusal::new(ErrorCode::Overloaded, detail).retry_after(2_000)
        };
        if shared.gate.doors.are_closed() {
            return Err(refuse("draining", "the server is restarting").into());
        }
        let place =
            shared.gate.places.take().ok_or_else(|| {
                refuse("max_connections", "the server has as many connections as it may have")
            })?;
        shared.metrics.connections.inc();
        shared.metrics.connections_total.inc();
        Ok(Self { _place: place, metrics: Arc::clone(&shared.metrics) })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        self.metrics.connections.dec();
    }
}

/// Participation in the session; the owner is told when it ends, however that comes.
struct Membership {
    shared: Arc<Shared>,
    session: SessionId,
    exchange_key: agentbench_session::ConnectionKey,
}

impl Drop for Membership {
    fn drop(&mut self) {
        let (session, connection) = (self.session, self.exchange_key);
        self.shared.streams.remove(connection);
        self.shared.send(
            self.shared.post.names.owner_of(session),
            OwnerLetter::Disconnect { session, connection }.into(),
        );
    }
}

/// A stream that runs.
struct Run {
    shared: Arc<Shared>,
    stream: Arc<Stream>,
    writer: Writer,
    exchange: Exchange,
    ended: Option<StreamClose>,
    /// It goes on when the session has ended.
    stays: bool,
}

impl Run {
    async fn run(mut self, greeting: Bytes, _guard: Membership, _place: StreamPlace) {
        let went = match self.write(greeting).await {
            Ok(()) => self.follow().await,
            Err(unread) => Err(unread),
        };
        if went == Err(Unread::Slow) {
            self.ended = Some(StreamClose {
                code: CloseCode::SlowConsumer,
                detail: "the stream was not read for too long",
                after_ms: None,
            });
        }
        self.remember();
    }

    /// Delivers until something ends it.
    async fn follow(&mut self) -> Result<(), Unread> {
        let (shared, stream) = (Arc::clone(&self.shared), Arc::clone(&self.stream));
        let heartbeat = shared.config.heartbeat_interval;
        let mut heard = clock::instant();
        let mut generation = None;
        loop {
            // Made before the look at the head, so that no commit in between is missed.
            let moved = stream.entry.moved.notified();
            self.check_token(&mut generation);
            if let Some(ending) = stream.ending() {
                return self.say_goodbye(ending).await;
            }
            if stream.next.load(Ordering::Relaxed) <= stream.entry.head().seq {
                self.deliver().await?;
                heard = clock::instant();
                continue;
            }
            // The log has its last entry before the catalog says that the session has ended.
            if !self.stays && stream.entry.summary().status.has_ended() {
                return self.end().await;
            }
            let waiting = heartbeat.saturating_sub(clock::since(heard));
            if waiting.is_zero() {
                self.write(Bytes::from(format!(": heartbeat {}\n\n", clock::now_ms()))).await?;
                heard = clock::instant();
            }
            tokio::select! {
                () = moved => {}
                () = stream.wake.notified() => {}
                () = tokio::time::sleep(LOOK.min(waiting.max(Duration::from_millis(1)))) => {}
                () = self.writer.gone() => return Err(Unread::Gone),
                message = self.exchange.next() => {
                    if let Some(ExchangeReply::Message(json)) = message {
                        let mut bytes = BytesMut::new();
                        write_sse(&mut bytes, None, &json);
                        self.write(bytes.freeze()).await?;
                        heard = clock::instant();
                    }
                }
            }
        }
    }

    /// Ends the stream if its token is no longer good.
    fn check_token(&self, generation: &mut Option<u64>) {
        let (grant, end) = (&self.stream.grant, |detail| {
            self.stream.end(StreamClose { code: CloseCode::TokenExpired, detail, after_ms: None });
        });
        let now = clock::now_ms();
        if grant.expires_at.is_some_and(|until| now > until.saturating_add(TOKEN_GRACE_MS)) {
            end("the token has expired");
        }
        let newest = self.shared.gate.revocations.generation();
        if generation.replace(newest) != Some(newest) && self.shared.gate.revocations.holds(grant) {
            end("the token was revoked");
        }
    }

    /// Writes one step past the cursor: with others that are at the head, or read by itself.
    async fn deliver(&mut self) -> Result<(), Unread> {
        let next = self.stream.next.load(Ordering::Relaxed);
        let step = if self.stream.lag() <= SHARED_LAG {
            self.shared_step(next).await
        } else {
            self.read_step(next).await.map(|(step, _)| step)
        };
        let Some(step) = step else {
            tokio::time::sleep(RETRY).await;
            return Ok(());
        };
        self.write(step.bytes).await?;
        self.stream.next.store(step.reached, Ordering::Relaxed);
        self.shared.metrics.events_delivered.inc_by(step.reached - next);
        Ok(())
    }

    /// The step at `next`, which another stream may have made, or is making.
    async fn shared_step(&self, next: Seq) -> Option<StreamStep> {
        let room = &self.stream.room;
        if let Some(step) = room.take(next) {
            return Some(step);
        }
        let making = room.making.lock().await;
        if let Some(step) = room.take(next) {
            return Some(step);
        }
        if room.is_unshared(next) {
            drop(making);
            return self.read_step(next).await.map(|(step, _)| step);
        }
        let (step, is_same_for_all) = self.read_step(next).await?;
        if is_same_for_all && !self.shared.storage.reader.budget.is_short() {
            // Each stream holds the room once.
            room.keep(&step, Arc::strong_count(room) - 1, clock::instant());
        } else {
            room.leave(next);
        }
        Some(step)
    }

    /// Reads the step at `next`, and whether it is the same for all streams at any time. `None` if nothing can be read yet.
    async fn read_step(&self, next: Seq) -> Option<(StreamStep, bool)> {
        let read = self.shared.storage.reader.step(self.stream.session, next, STEP).await;
        let mut is_same_for_all = false;
        let (bytes, reached) = match interpret(self.stream.session, next, read) {
            ReadOutcome::Frames(step) => {
                let has_ttl = |frame: &Frame| frame.records().any(|(_, record)| record.ttl_ms > 0);
                is_same_for_all = !step.frames.iter().any(has_ttl);
                self.render(step, next)
            }
            ReadOutcome::Gap { to, cause } => self.gap(next, to, cause),
            ReadOutcome::Removed => {
                self.gap(next, self.stream.entry.head().seq.max(next), GapCause::Retention)
            }
            ReadOutcome::NotYet(_) => return None,
        };
        Some((StreamStep { next, reached, bytes }, is_same_for_all))
    }

    /// The frames from `next` on as the stream's events, and the seq after them.
    fn render(&self, step: Step, next: Seq) -> (Bytes, Seq) {
        let Step { frames, permit, .. } = step;
        let (mut bytes, mut reached, now) = (BytesMut::new(), next, clock::now_ms());
        for frame in &frames {
            let runs = owed(frame, reached, now);
            let start = reached;
            let mut records = frame.records().skip_while(|(seq, _)| *seq < start);
            for run in runs {
                match run {
                    Owed::Deliver { from, to } => {
                        for (seq, record) in records.by_ref().take((to - from + 1) as usize) {
                            write_sse(&mut bytes, Some(&position(&self.stream, seq, record.id)), record.body);
                        }
                        reached = to + 1;
                    }
                    Owed::Expired { from, to } => {
                        records.by_ref().take((to - from + 1) as usize).for_each(drop);
                        bytes.extend_from_slice(&self.gap(from, to, GapCause::Expired).0);
                        reached = to + 1;
                    }
                }
            }
        }
        (permit.with(bytes), reached)
    }

    fn gap(&self, from_seq: Seq, to_seq: Seq, cause: GapCause) -> (Bytes, Seq) {
        self.shared.metrics.gap(cause.as_str());
        let session_id = self.stream.session;
        let history = cause == GapCause::Expired;
        let gap = SystemMessage::Gap { session_id, from_seq, to_seq, cause, history };
        let mut bytes = BytesMut::new();
        write_sse(&mut bytes, Some(&position(&self.stream, to_seq, "")), &self.system(&gap));
        (bytes.freeze(), to_seq + 1)
    }

    fn system(&self, message: &SystemMessage) -> BytesMut {
        let mut json = BytesMut::new();
        let (number, now) = (self.shared.post.names.next_number(), clock::now_ms());
        write_system(&mut json, number, now, Some(self.stream.session), message);
        json
    }

    /// The session has ended and all of it was read: nothing will come any more.
    async fn end(&mut self) -> Result<(), Unread> {
        let status = self.stream.entry.summary().status;
        let data = serde_json::json!({"sessionId": self.stream.session, "status": status.as_str()});
        let bytes = format!("event: end\ndata: {data}\n\n");
        self.ended =
            Some(StreamClose { code: CloseCode::Normal, detail: "the session has ended", after_ms: None });
        self.writer.finish(bytes.into()).await
    }

    /// The last message, and the end of the body.
    async fn say_goodbye(&mut self, ending: StreamClose) -> Result<(), Unread> {
        let message = SystemMessage::Disconnecting {
            code: ending.code.as_u16(),
            cause: ending.code.cause().to_owned(),
            detail: ending.detail.to_owned(),
            reconnect: ending.code.reconnect(),
            after_ms: ending.after_ms,
        };
        let mut bytes = BytesMut::new();
        write_sse(&mut bytes, None, &self.system(&message));
        self.ended = Some(ending);
        self.writer.finish(bytes.freeze()).await
    }

    async fn write(&self, mut bytes: Bytes) -> Result<(), Unread> {
        while bytes.len() > MAX_PIECE {
            self.write_piece(bytes.split_to(MAX_PIECE)).await?;
        }
        self.write_piece(bytes).await
    }

    /// Writes one piece. While the socket takes nothing, a token that ends or an administrator still ends the stream.
    async fn write_piece(&self, bytes: Bytes) -> Result<(), Unread> {
        let stream = &self.stream;
        let mut generation = None;
        loop {
            tokio::select! {
                biased;
                open = self.writer.has_room() => {
                    if !open {
                        return Err(Unread::Gone);
                    }
                    break;
                }
                () = tokio::time::sleep(LOOK.min(self.shared.config.slow_consumer_timeout)) => {}
            }
            // Whoever is to go and takes nothing for as long as a look cannot be told any more.
            if stream.ending().is_some() {
                return Err(self.writer.cut());
            }
            let now = self.shared.clock.steady_ms();
            let since = match stream.blocked_since.load(Ordering::Relaxed) {
                0 => now,
                since => since,
            };
            stream.blocked_since.store(since, Ordering::Relaxed);
            self.check_token(&mut generation);
            if now.saturating_sub(since) >= self.writer.patience().as_millis() as u64 {
                return Err(self.writer.cut());
            }
        }
        self.writer.write(bytes).await?;
        stream.blocked_since.store(0, Ordering::Relaxed);
        stream.last_written.store(clock::now_ms(), Ordering::Relaxed);
        Ok(())
    }

    /// Keeps the reason of its end for whoever asks.
    fn remember(&self) {
        // A reader that was cut off although it had been told to go: the first reason counts.
        let ending = self.stream.ending().or_else(|| self.ended.clone());
        let mut farewell = self.stream.farewell(clock::now_ms());
        match ending {
            Some(ending) => {
                farewell.closed_by_server(ending.code, ending.detail, ending.after_ms);
                if ending.code == CloseCode::SlowConsumer {
                    let since = self.stream.blocked_since.load(Ordering::Relaxed);
                    let blocked = self.shared.clock.steady_ms().saturating_sub(since);
                    farewell.evidence.limit = Some(Limit::of_patience(&self.shared.config, blocked));
                }
                self.shared.metrics.closed(ending.code.cause());
            }
            None => self.shared.metrics.closed("client"),
        }
        self.shared.ops.close_records.insert(self.stream.key, farewell);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_read_as_they_are_written() {
        let read = |text| parse_position(text).map(|it| (it.epoch.as_u64(), it.seq, it.last_id));
        assert_eq!(read("000000000000000a:7:e:7"), Some((10, 7, Some("e:7".into()))));
        assert_eq!(read("000000000000000a:7:"), Some((10, 7, None)));
        assert_eq!(read("000000000000000a:0"), Some((10, 0, None)));
        for wrong in ["", ":", "7", "a:7", "000000000000000a:", "000000000000000a:+7", "000000000000000a:-1"]
        {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(read("000000000000000a:18446744073709551615"), None);
    }
}
