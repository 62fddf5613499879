//! The API's description (OpenAPI 3.1), made from the list of routes, the operations here and the types that handlers read and
//! write.
//!
//! Written to `docs/openapi.json` by `cargo xtask codegen`, which is what the server serves. A test asks for every operation
//! of it, and `cargo xtask openapi-check` tries what it promises against a running server.

use agentbench_evidence::MediaType;
use agentbench_protocol::limits::{
    MAX_BATCH, MAX_ID_CHARS, MAX_LIST_PAGE, MAX_PRODUCER_CHARS, MAX_TEXT_CHARS,
};
use agentbench_protocol::message::Transition;
use agentbench_protocol::session::Outcome;
use agentbench_protocol::{Priority, SessionInfo, Status};
use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::answer::ErrorBody;
use super::commands::STEPS;
use super::connections::{Closing, ConnectionPage};
use super::control::{Done, RevokeAnswer, RevokeBody};
use super::events::NDJSON;
use super::evidence::{Received, StoredBody};
use super::publish::Published;
use super::sessions::SessionPage;
use super::{OPENAPI_PATH, routes};
use crate::alerts::AlertsInfo;
use crate::letters::connections::ConnectionInfo;
use crate::ops::farewell::CloseRecord;
use crate::ops::stats::StatsInfo;

/// Collects the schemas of named types.
struct Book {
    generator: SchemaGenerator,
}

/// One operation before it is written down.
struct Operation {
    id: &'static str,
    tag: &'static str,
    summary: &'static str,
    parameters: Vec<Value>,
    body: Option<Value>,
    /// A body that is not JSON: its media types.
    content: Option<Value>,
    answers: Vec<(u16, Value)>,
    /// Statuses of refusals beside 400, 401 and 403.
    refusals: &'static [u16],
}

/// The whole description.
pub fn document() -> Value {
    // As they are written: what is left out at times is not required.
    let mut settings = SchemaSettings::draft2020_12().for_serialize();
    settings.definitions_path = "/components/schemas".into();
    settings.meta_schema = None;
    let mut book = Book { generator: settings.into_generator() };
    let mut paths: Map<String, Value> = Map::new();
    let mut operations = book.operations();
    for route in routes() {
        let Some(id) = route.operation else { continue };
        let at = operations.iter().position(|operation| operation.id == id);
        let operation = operations.swap_remove(at.unwrap_or_else(|| panic!("{id} is not described")));
        let entry = paths.entry(route.path).or_insert_with(|| json!({}));
        entry[route.method.as_str().to_ascii_lowercase()] = book.write(operation);
    }
    paths.insert(OPENAPI_PATH.to_owned(), description_of_itself());
    let left: Vec<_> = operations.iter().map(|operation| operation.id).collect();
    assert!(left.is_empty(), "described, but no route: {left:?}");
    let mut schemas = book.generator.take_definitions(true);
    schemas.insert("Event".to_owned(), event());
    schemas.insert("Publish".to_owned(), publish());
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "AgentBench realtime",
            "version": "1",
            "description": "Sessions over HTTP: the fallback where WebSockets are blocked, and what curl can use. Same tokens, permissions and error codes as on the socket (docs/protocol.md). Made from the code by `cargo xtask codegen`.",
            "license": {"name": "MIT", "identifier": "MIT"}
        },
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "query": {"type": "apiKey", "in": "query", "name": "token", "description": "For EventSource, which cannot set headers; it ends up in logs."}
            },
            "schemas": schemas
        }
    })
}

impl Book {
    fn schema<T: JsonSchema>(&mut self) -> Schema {
        self.generator.subschema_for::<T>()
    }

    fn json<T: JsonSchema>(&mut self, description: &str) -> Value {
        let schema = self.schema::<T>();
        json!({"description": description, "content": {"application/json": {"schema": schema}}})
    }

    fn operations(&mut self) -> Vec<Operation> {
        let mut all = self.sessions();
        all.extend(self.commands());
        all.extend(self.evidence());
        all.extend(self.connections());
        all.extend(self.control());
        all.extend(looking());
        all
    }

    fn sessions(&mut self) -> Vec<Operation> {
        let operation = |id, summary| Operation::new(id, "sessions", summary);
        let status = json!({"type": "string", "enum": Status::ALL.map(Status::as_str)});
        let page = self.json::<SessionPage>("A page, newest first.");
        let one = self.json::<SessionInfo>("The session, with its participants.");
        let all_acked = self.json::<Published>("The log has every event.");
        let some_refused = self.json::<Published>("Of an array of events some are refused; each says why.");
        vec![
            operation("listSessions", "Sessions that the token may see").taking(vec![
                query("status", status, "Only sessions in this state"),
                query("projectId", json!({"type": "string"}), "Only sessions of this project"),
                query("q", json!({"type": "string", "maxLength": MAX_TEXT_CHARS}), "Only sessions whose agent, test, project or name holds this text, in upper or lower case"),
                query("limit", json!({"type": "integer", "minimum": 1, "maximum": MAX_LIST_PAGE}), "Sessions in the page; 50 if not given"),
                query("cursor", json!({"type": "string"}), "nextCursor of the page before; with q a page may be short or empty and still have one"),
            ]).giving(200, page).refusing(&[429]),
            operation("getSession", "One session").taking(vec![session_id()])
                .giving(200, one).refusing(&[404, 429, 503]),
            operation("readEvents", "Events of a range, one JSON document a line").taking(vec![
                session_id(),
                query("fromSeq", seq(), "First seq; 1 if not given"),
                query("toSeq", seq(), "Last seq; the log's last one if not given"),
                query("limit", seq(), "Events at most"),
            ]).giving(200, lines("Entries of the log in order; a range that cannot be had is a `gap` message.")).refusing(&[404, 429, 503]),
            operation("publishEvents", "Publish one event or several; a repeat is stored once").taking(vec![
                session_id(),
                query("producerId", producer(), "Which of the user's producers this is"),
                query("strict", json!({"type": "string", "enum": ["0", "1"]}), "1: refuse events with fields that readers will not understand"),
                header("Agentbench-Producer", producer(), "The same; goes before producerId"),
            ]).reading(json!({"$ref": "#/components/schemas/Publish"})).giving(200, all_acked).giving(207, some_refused)
                .refusing(&[404, 408, 409, 413, 429, 503]),
            operation("exportSession", "The whole log as a file").taking(vec![
                session_id(),
                query("format", json!({"type": "string", "enum": ["jsonl", "html"]}), "jsonl (the default): one JSON document a line; html: one page with log and evidence that opens without a server"),
            ]).giving(200, exported()).refusing(&[404, 413, 429, 503]),
            operation("streamSession", "Follow a session: Server-Sent Events").taking(vec![
                session_id(),
                query("from", json!({"type": "string"}), "live (the default), start, or a position EPOCH:SEQ:ID"),
                query("stay", json!({"type": "string", "enum": ["0", "1"]}), "1: go on when the session has ended"),
                header("Last-Event-ID", json!({"type": "string"}), "The position to go on from; goes before from"),
            ]).giving(200, json!({"description": "session_joined, then the log's entries, `id` being the position after each; when the session has ended, `event: end`.",
                "content": {"text/event-stream": {"schema": sse()}}}))
                .giving(204, json!({"description": "The session has ended, and Last-Event-ID is its end: nothing will come."}))
                .refusing(&[404, 429, 503]),
        ]
    }

    fn commands(&mut self) -> Vec<Operation> {
        let operation = |id, summary| Operation::new(id, "sessions", summary);
        let (session, transition) = (self.schema::<SessionInfo>(), self.schema::<Transition>());
        let made = |description: &str| {
            let schema = json!({
                "type": "object",
                "required": ["type", "originalMessageId", "sessionId", "epoch", "session"],
                "properties": {
                    "type": {"const": "session_created"},
                    "originalMessageId": {"type": "string", "description": "The command's id."},
                    "sessionId": {"type": "string", "format": "uuid"},
                    "epoch": {"type": "string", "description": "The life of its log."},
                    "session": session
                }
            });
            json!({"description": description, "content": {"application/json": {"schema": schema}}})
        };
        let kinds = ["session_started", "session_paused", "session_resumed", "session_stopped"];
        let taken = json!({"allOf": [transition, {
            "type": "object", "required": ["type", "originalMessageId"], "properties": {"type": {"enum": kinds}}
        }]});
        let taken = json!({"description": "The step is in the log; `duplicate` if it was before.",
            "content": {"application/json": {"schema": taken}}});
        let create = operation("createSession", "Create a session; needs session:create")
            .reading(create_session())
            .giving(201, made("The session is in the log."))
            .giving(200, made("This user has created it with this id before."))
            .refusing(&[408, 409, 413, 429, 503]);
        let step = operation("commandSession", "Start, pause, resume or stop; needs session:control")
            .taking(vec![session_id()])
            .reading(json!({
                "type": "object",
                "required": ["id", "command"],
                "properties": {
                    "id": command_id(),
                    "command": {"enum": STEPS},
                    "sessionId": {"type": "string", "format": "uuid", "description": "If given, the one of the address."},
                    "outcome": schemars::schema_for!(Outcome),
                    "reason": short_text("Why it stops, for people.")
                }
            }))
            .giving(200, taken)
            .refusing(&[404, 408, 409, 413, 429, 503]);
        vec![create, step]
    }

    fn evidence(&mut self) -> Vec<Operation> {
        let operation = |id, summary| {
            let session = json!({"type": "string", "format": "uuid"});
            let mut of = query("sessionId", session, "The session that it belongs to");
            of["required"] = true.into();
            Operation::new(id, "evidence", summary).taking(vec![evidence_hash(), of])
        };
        let stored = self.json::<StoredBody>("It is stored.");
        let there = self.json::<StoredBody>("It was stored before.");
        let received = self.json::<Received>("The part is received; more has to come.");
        let misplaced = self.json::<Received>("The part does not begin where what is there ends, another request is uploading the same file, or the session has ended.");
        let (placed, closed) = (self.schema::<Received>(), self.schema::<ErrorBody>());
        let misplaced = json!({"description": misplaced["description"],
            "content": {"application/json": {"schema": {"anyOf": [placed, closed]}}}});
        let part = header(
            "Content-Range",
            json!({"type": "string", "pattern": "^bytes [0-9]+-[0-9]+/[0-9]+$"}),
            "Which part of the file the body is; the whole file if not given",
        );
        let range = header("Range", json!({"type": "string"}), "bytes=FIRST-LAST: one range is served");
        let body = || json!({"type": "string", "format": "binary"});
        let kinds = || MediaType::ALL.map(|kind| (kind.as_str().to_owned(), json!({"schema": body()})));
        let content = || Value::Object(kinds().into_iter().collect());
        let offset = json!({"Upload-Offset": {"description": "Bytes that have been received.", "schema": {"type": "integer"}}});
        let mut upload = operation(
            "putEvidence",
            "Upload a screenshot, video or file, whole or in parts; needs session:publish",
        )
        .giving(201, stored)
        .giving(200, there)
        .giving(202, received)
        .giving(409, misplaced)
        .refusing(&[404, 408, 413, 415, 422, 429, 503, 507]);
        upload.parameters.push(part);
        upload.content = Some(content());
        let mut download = operation("getEvidence", "A piece of evidence; needs session:read")
            .giving(200, json!({"description": "The bytes.", "content": content()}))
            .giving(206, json!({"description": "The bytes of the range.", "content": content()}))
            .refusing(&[404, 416, 503]);
        download.parameters.push(range);
        let progress = operation("headEvidence", "How much of a piece of evidence is there")
            .giving(200, json!({"description": "All of it; Content-Length is its size."}))
            .giving(204, json!({"description": "A part of it, from its beginning.", "headers": offset}))
            .refusing(&[404, 503]);
        vec![upload, download, progress]
    }

    fn connections(&mut self) -> Vec<Operation> {
        let operation = |id, summary| Operation::new(id, "connections", summary);
        let page = self.json::<ConnectionPage>("A page, by worker and age.");
        let one = self.json::<ConnectionInfo>("The connection as it is now.");
        let closing = self.json::<Closing>("It is being told, and closed.");
        let why = self.json::<CloseRecord>("Its end, with what was known of it then.");
        let reconnect = json!({"type": "string", "enum": ["now", "never"]});
        vec![
            operation("listConnections", "Open connections; needs connection:list")
                .taking(vec![
                    query("userId", json!({"type": "string"}), "Only those of this user"),
                    query(
                        "limit",
                        json!({"type": "integer", "minimum": 1, "maximum": 1000}),
                        "Connections in the page; 100 if not given",
                    ),
                    query("cursor", json!({"type": "string"}), "nextCursor of the page before"),
                ])
                .giving(200, page),
            operation("getConnection", "One open connection; needs connection:list")
                .taking(vec![client_id()])
                .giving(200, one)
                .refusing(&[404]),
            operation("closeConnection", "Close a connection; needs connection:close")
                .taking(vec![
                    client_id(),
                    query(
                        "reconnect",
                        reconnect,
                        "What the client is told: never (4403, the default) or now (1001)",
                    ),
                ])
                .giving(202, closing)
                .refusing(&[404]),
            operation("explainConnection", "Why a connection ended, for an hour; needs connection:list")
                .taking(vec![client_id()])
                .giving(200, why)
                .refusing(&[404]),
        ]
    }

    fn control(&mut self) -> Vec<Operation> {
        let operation = |id, summary| Operation::new(id, "server", summary);
        let revoked = self.json::<RevokeAnswer>("In force and stored.");
        let body = schemars::schema_for!(RevokeBody);
        let draining = self.json::<Done>("It has begun.");
        let reloaded = self.json::<Done>("Done.");
        let stats = self.json::<StatsInfo>("The figures.");
        let alerts = self.json::<AlertsInfo>("Every rule, and the last changes.");
        vec![
            operation("revokeTokens", "Revoke tokens by id, user or age; needs token:revoke")
                .reading(json!(body))
                .giving(200, revoked)
                .refusing(&[408, 413, 503]),
            operation("drain", "Send everybody away and stop; needs server:drain")
                .giving(202, draining)
                .refusing(&[503]),
            operation("reload", "Read keys and certificates again, as on SIGHUP; needs server:drain")
                .giving(200, reloaded)
                .refusing(&[409, 503]),
            operation("getStats", "Counts, rates of the last ten seconds, memory; needs connection:list")
                .giving(200, stats),
            operation("getAlerts", "What watches over the server, and what it says; needs connection:list")
                .giving(200, alerts),
        ]
    }

    fn write(&mut self, operation: Operation) -> Value {
        let mut responses = Map::new();
        for (status, answer) in operation.answers {
            responses.insert(status.to_string(), answer);
        }
        for status in [400, 401, 403].iter().chain(operation.refusals) {
            responses.insert(status.to_string(), self.json::<ErrorBody>(refusal(*status)));
        }
        let mut written = json!({
            "operationId": operation.id,
            "tags": [operation.tag],
            "summary": operation.summary,
            "responses": responses,
        });
        if !operation.parameters.is_empty() {
            written["parameters"] = operation.parameters.into();
        }
        if let Some(schema) = operation.body {
            written["requestBody"] =
                json!({"required": true, "content": {"application/json": {"schema": schema}}});
        }
        if let Some(content) = operation.content {
            written["requestBody"] = json!({"required": true, "content": content});
        }
        if operation.id == "streamSession" {
            written["security"] = json!([{"bearer": []}, {"query": []}]);
        }
        written
    }
}

impl Operation {
    fn new(id: &'static str, tag: &'static str, summary: &'static str) -> Self {
        Self {
            id,
            tag,
            summary,
            parameters: Vec::new(),
            body: None,
            content: None,
            answers: Vec::new(),
            refusals: &[],
        }
    }

    fn taking(self, parameters: Vec<Value>) -> Self {
        Self { parameters, ..self }
    }

    fn reading(self, schema: Value) -> Self {
        Self { body: Some(schema), ..self }
    }

    fn giving(mut self, status: u16, answer: Value) -> Self {
        self.answers.push((status, answer));
        self
    }

    fn refusing(self, refusals: &'static [u16]) -> Self {
        Self { refusals, ..self }
    }
}

fn refusal(status: u16) -> &'static str {
    match status {
        400 => "Something in the request is not as it should be; `field` names it.",
        401 => "There is no token, or it is not accepted.",
        403 => "The token does not permit this, or not in this project.",
        404 => "There is nothing of this name.",
        408 => "The body did not arrive in time.",
        409 => "It does not fit what is there: id_conflict, session_closed, invalid_transition.",
        413 => "The body is too large.",
        415 => "Evidence of this type is not taken.",
        416 => "The range lies outside the file.",
        422 => "The bytes have another hash than the address says; nothing of them is kept.",
        507 => "The disk has no room.",
        429 => "Faster than the limit allows; Retry-After tells when to come back.",
        _ => {
            "Not now: overloaded, restarting, or the log takes nothing; Retry-After tells when to come back."
        }
    }
}

fn parameter(place: &str, name: &str, schema: &Value, description: &str) -> Value {
    json!({"in": place, "name": name, "required": place == "path", "schema": schema, "description": description})
}

#[expect(clippy::needless_pass_by_value, reason = "schemas are written in place")]
fn query(name: &str, schema: Value, description: &str) -> Value {
    parameter("query", name, &schema, description)
}

#[expect(clippy::needless_pass_by_value, reason = "schemas are written in place")]
fn header(name: &str, schema: Value, description: &str) -> Value {
    parameter("header", name, &schema, description)
}

fn session_id() -> Value {
    parameter("path", "sessionId", &json!({"type": "string", "format": "uuid"}), "The session's name")
}

fn client_id() -> Value {
    let schema = json!({"type": "string", "pattern": "^c[0-9a-f]{9,24}$"});
    parameter("path", "clientId", &schema, "The connection's name, as it is told in connection_established")
}

fn evidence_hash() -> Value {
    let schema = json!({"type": "string", "pattern": "^[0-9a-f]{64}$"});
    parameter("path", "hash", &schema, "The BLAKE3 hash of its bytes")
}

fn seq() -> Value {
    json!({"type": "integer", "minimum": 1, "maximum": u64::MAX})
}

fn producer() -> Value {
    json!({"type": "string", "maxLength": MAX_PRODUCER_CHARS, "pattern": "^[!-~]*$"})
}

fn lines(description: &str) -> Value {
    let headers = json!({
        "Agentbench-Epoch": {"description": "The life of the log.", "schema": {"type": "string"}},
        "Agentbench-Head-Seq": {"description": "The log's last seq.", "schema": {"type": "integer"}}
    });
    json!({"description": description, "headers": headers, "content": {NDJSON: {"schema": {"type": "string"}}}})
}

/// The log as lines, or as a page.
fn exported() -> Value {
    let mut answer = lines("Every entry of the log.");
    // Only the lines come with the log's epoch and head: a page has them inside.
    answer["headers"] = json!({});
    answer["content"]["text/html"] = json!({"schema": {"type": "string"}});
    answer
}

/// One message of a stream.
fn sse() -> Value {
    json!({
        "type": "object",
        "description": "One event of the stream.",
        "required": ["data"],
        "properties": {
            "id": {"type": "string", "description": "The position after it, EPOCH:SEQ:ID."},
            "data": {"type": "string", "contentMediaType": "application/json", "description": "The message, as on the socket."}
        }
    })
}

/// The id of a command: the same one again has no second effect.
fn command_id() -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[!-~]+$"})
}

fn short_text(description: &str) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": MAX_TEXT_CHARS, "description": description})
}

/// What `create_session` has on the socket, with the command's id.
fn create_session() -> Value {
    json!({
        "type": "object",
        "required": ["id", "projectId", "testId", "agentName"],
        "properties": {
            "id": command_id(),
            "projectId": short_text("The project that the session belongs to."),
            "testId": short_text("The test case that is run."),
            "agentName": short_text("The agent under test."),
            "metadata": {"type": "object", "description": "Anything else; shown in listings."}
        }
    })
}

/// An event as publishers send it; what the socket takes.
fn event() -> Value {
    json!({
        "type": "object",
        "required": ["id", "type", "timestamp", "data"],
        "properties": {
            "id": {"type": "string", "minLength": 1, "maxLength": MAX_ID_CHARS, "pattern": "^[!-~]+$"},
            "type": {"const": "test_event"},
            "timestamp": {"type": "number", "minimum": 0, "description": "The sender's clock, ms since 1970."},
            "sessionId": {"type": "string", "format": "uuid", "description": "If given, the one of the address."},
            "data": {"type": "object"},
            "metadata": {"type": "object", "properties": {
                "priority": schemars::schema_for!(Priority),
                "ttl": {"type": "integer", "minimum": 0, "maximum": agentbench_protocol::limits::MAX_TTL_MS},
                "checksum": {"type": "string", "pattern": "^crc32c:[0-9a-fA-F]{8}$"}
            }}
        }
    })
}

fn publish() -> Value {
    let one = json!({"$ref": "#/components/schemas/Event"});
    json!({"oneOf": [one, {"type": "array", "items": one, "minItems": 1, "maxItems": MAX_BATCH}]})
}

/// What operators look through.
fn looking() -> Vec<Operation> {
    let seconds = json!({"type": "integer", "minimum": 1, "maximum": super::profile::MAX_SECONDS});
    let profile = json!({"description": "A flame graph; the folded stacks for who accepts only text/plain.",
        "content": {"image/svg+xml": {"schema": {"type": "string"}}, "text/plain": {"schema": {"type": "string"}}}});
    let looking = |id, summary, named: Value| {
        let filter = "Words with commas between them that a frame has to have (or not: !word): in, out, its opcode, type or name";
        let parameters = vec![
            named,
            query("filter", json!({"type": "string"}), filter),
            query("payloads", json!({"type": "boolean"}), "Show payloads, too; needs audit:read"),
        ];
        let text = json!({"schema": {"type": "string"}});
        let frames = json!({"description": "Without end: a line for each frame.", "content": {NDJSON: text, "text/event-stream": text}});
        let operation = Operation::new(id, "connections", summary).taking(parameters);
        operation.giving(200, frames).refusing(&[404, 503])
    };
    vec![
        looking(
            "inspectConnection",
            "Frames of a connection as they come and go; needs connection:list",
            client_id(),
        ),
        looking(
            "inspectSession",
            "Frames of all participants as they come and go; needs connection:list and session:read",
            session_id(),
        ),
        Operation::new("takeProfile", "server", "A CPU profile, if ENABLE_PROFILING; needs server:drain")
            .taking(vec![query("seconds", seconds, "Time to look for; 10 if not given")])
            .giving(200, profile)
            .refusing(&[404, 503]),
    ]
}

fn description_of_itself() -> Value {
    let content = json!({"application/json": {"schema": {"type": "object"}}});
    json!({"get": {
        "operationId": "getDescription", "tags": ["server"], "summary": "This description", "security": [],
        "responses": {"200": {"description": "OpenAPI 3.1", "content": content}}
    }})
}
