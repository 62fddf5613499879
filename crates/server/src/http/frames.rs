//! Following the frames of one connection, or of all participants of a session, live: for administrators, and written down.
//!
//! An endless answer of lines (NDJSON), or of Server-Sent Events for those who accept them. It ends when there is nobody left to be
//! looked at, when the token ends, or when the server drains.

use std::sync::Arc;
use std::time::Duration;

use agentbench_audit::Record;
use agentbench_auth::Permission;
use agentbench_protocol::{ErrorCode, Refusal};
use axum::extract::State;
use axum::http::request::Parts;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{BufMut, Bytes, BytesMut};
use serde_json::json;
use tokio::sync::oneshot;

use super::access::Caller;
use super::answer::Answer;
use super::api::{Api, segment};
use super::connections::find;
use super::events::NDJSON;
use super::head;
use super::pipe::{self, Unread, Writer};
use crate::clock;
use crate::inspection::{Filter, Lines, Tap, Target};
use crate::letters::Letter;
use crate::letters::connections::Transport;
use crate::names;
use crate::query::Query;
use crate::rules::parse_session_id;
use crate::shared::Shared;
use crate::transport::plain::Link;

/// Time between looks at the token and the server.
const LOOK: Duration = Duration::from_millis(500);

/// `GET /api/v1/connections/{clientId}/frames`
pub(crate) async fn of_connection(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    api.shared.audit_room().await?;
    let asked = Asked::read(&api, &parts, "inspect_connection")?;
    let (key, info) = find(&api, &parts).await?;
    if !asked.caller.grant.may_access(info.project_id.as_deref().unwrap_or("")) {
        let refusal = Refusal::new(ErrorCode::Forbidden, "the token is held to another project");
        return Err(refusal.into());
    }
    if info.transport != Transport::Websocket {
        let detail = "a stream of Server-Sent Events has no frames; its session's participants may";
        return Err(Refusal::new(ErrorCode::NotFound, detail).into());
    }
    asked.follow(&api, &parts, Target::Connection(key), &info.client_id).await
}

/// `GET /api/v1/sessions/{sessionId}/frames`
pub(crate) async fn of_session(State(api): State<Api>, parts: Parts) -> Answer<Response> {
    api.shared.audit_room().await?;
    let asked = Asked::read(&api, &parts, "inspect_session")?;
    let session = parse_session_id(segment(&parts, 3))?;
    asked.caller.may_read(&api, session)?;
    asked.follow(&api, &parts, Target::Session(session), &session.to_string()).await
}

/// A request to look, from somebody who may.
struct Asked {
    caller: Caller,
    action: &'static str,
    filter: Filter,
    payloads: bool,
}

impl Asked {
    fn read(api: &Api, parts: &Parts, action: &'static str) -> Answer<Self> {
        let query = Query::parse(parts.uri.query())?;
        let caller = Caller::of(api, parts)?;
        let payloads = query.word("payloads", "true, false", |word| word.parse::<bool>().ok())?;
        let payloads = payloads.unwrap_or(false);
        let allowed = caller.needs(Permission::ConnectionList);
        let allowed =
            allowed.and_then(|()| if payloads { caller.needs(Permission::AuditRead) } else { Ok(()) });
        let target = segment(parts, 3);
        if let Err(refused) = allowed {
            let code = ErrorCode::Forbidden.as_str();
            // A name of ours is short; what else stands there is not worth more of the log.
            let named: String = target.chars().take(64).collect();
            api.shared.audit(|| caller.record(Record::refused(api.now(), action, code).detail(named)));
            return Err(refused);
        }
        Ok(Self { caller, action, filter: Filter::parse(query.get("filter").unwrap_or("")), payloads })
    }

    async fn follow(self, api: &Api, parts: &Parts, target: Target, name: &str) -> Answer<Response> {
        let shared = &api.shared;
        let number = shared.ops.inspections.begin().ok_or_else(|| {
            let detail = "there are as many looks at frames as there may be";
            Refusal::new(ErrorCode::Overloaded, detail).retry_after(5_000)
        })?;
        let with = if self.payloads { "with payloads" } else { "without payloads" };
        let record = || Record::allowed(api.now(), self.action).detail(format!("{name}, {with}"));
        shared.audit(|| self.caller.record(record()));
        let (tap, lines) = Tap::new(number, target, self.filter, self.payloads);
        let workers = match target {
            Target::Connection(key) => names::worker_of(key)..names::worker_of(key) + 1,
            Target::Session(_) => 0..shared.config.workers,
        };
        let guard = Guard { shared: Arc::clone(shared), number, workers: workers.clone() };
        begin(shared, workers, tap).await;
        let accepted = head::text(&parts.headers, header::ACCEPT.as_str()).unwrap_or("");
        let form = if accepted.contains("text/event-stream") { Form::Sse } else { Form::Lines };
        let (writer, body) = pipe::body(shared, &Link::of(parts));
        let first = json!({"at": api.now(), "inspecting": name, "payloads": self.payloads}).to_string();
        let follow = Follow { guard, lines, writer, form, caller: self.caller };
        tokio::spawn(follow.run(Bytes::from(first)));
        let kind = if form == Form::Sse { "text/event-stream" } else { NDJSON };
        let headers = [
            (header::CONTENT_TYPE.as_str(), kind),
            (header::CACHE_CONTROL.as_str(), "no-store"),
            ("x-accel-buffering", "no"),
        ];
        Ok((StatusCode::OK, headers, body).into_response())
    }
}

/// Has the workers look, and waits until they do: what comes after the first line is seen.
async fn begin(shared: &Shared, workers: std::ops::Range<usize>, tap: Tap) {
    let tap = Arc::new(tap);
    let mut begun = Vec::new();
    for worker in workers {
        let (sender, answer) = oneshot::channel();
        shared.send(worker, Letter::Inspect { tap: Arc::clone(&tap), begun: sender });
        begun.push(answer);
    }
    drop(tap);
    for answer in begun {
        // A worker that has ended has nothing to be looked at.
        let _ = answer.await;
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Lines,
    Sse,
}

/// A look; it ends with its value.
struct Guard {
    shared: Arc<Shared>,
    number: u64,
    workers: std::ops::Range<usize>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        for worker in self.workers.clone() {
            self.shared.send(worker, Letter::EndInspection { number: self.number });
        }
        self.shared.ops.inspections.end();
    }
}

struct Follow {
    guard: Guard,
    lines: Lines,
    writer: Writer,
    form: Form,
    caller: Caller,
}

impl Follow {
    async fn run(mut self, first: Bytes) {
        // Whoever looked has gone, or is told by the end of the answer.
        let _ = self.write_all(first).await;
    }

    async fn write_all(&mut self, first: Bytes) -> Result<(), Unread> {
        self.write(&first).await?;
        let heartbeat = self.guard.shared.config.heartbeat_interval;
        let mut written = clock::instant();
        loop {
            if !self.may_look() {
                break;
            }
            let line = tokio::select! {
                line = self.lines.next() => line,
                () = self.writer.gone() => return Err(Unread::Gone),
                () = tokio::time::sleep(LOOK) => {
                    if clock::since(written) >= heartbeat {
                        let alive = json!({"at": clock::now_ms(), "heartbeat": true}).to_string();
                        self.write(alive.as_bytes()).await?;
                        written = clock::instant();
                    }
                    continue;
                }
            };
            let Some(line) = line else { break };
            self.write(&line).await?;
            written = clock::instant();
        }
        let last = json!({"at": clock::now_ms(), "ended": true}).to_string();
        let last = self.framed(last.as_bytes());
        self.writer.finish(last).await
    }

    fn may_look(&self) -> bool {
        let (shared, grant) = (&self.guard.shared, &self.caller.grant);
        !shared.gate.doors.is_draining()
            && !grant.has_expired(clock::now_ms())
            && !shared.gate.revocations.holds(grant)
    }

    async fn write(&self, line: &[u8]) -> Result<(), Unread> {
        self.writer.write(self.framed(line)).await
    }

    /// The line as the reader wants it. JSON of ours has no line breaks.
    fn framed(&self, line: &[u8]) -> Bytes {
        let mut bytes = BytesMut::with_capacity(line.len() + 8);
        match self.form {
            Form::Lines => {
                bytes.put_slice(line);
                bytes.put_slice(b"\n");
            }
            Form::Sse => {
                bytes.put_slice(b"data: ");
                bytes.put_slice(line);
                bytes.put_slice(b"\n\n");
            }
        }
        bytes.freeze()
    }
}
