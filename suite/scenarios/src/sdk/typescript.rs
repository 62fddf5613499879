//! One client of the TypeScript SDK, in the driver's process.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use agentbench_client::{
    AckLevel, ConnectionEvent, Disconnected, Ended, Epoch, Error, ErrorData, GaveUp, NewSession, Outcome,
    Position, Seq, SessionId, Warning,
};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::{broadcast, mpsc, oneshot};

use super::driver::{Answer, Driver};
use super::{Counts, Step};

/// Capacity of the queue of connection events.
const EVENTS: usize = 64;
/// Items of a follow that may be in flight, by default.
const CREDIT: u64 = 1024;

/// The state of a client's connection.
#[derive(Debug)]
pub(super) struct ConnectionState {
    is_connected: AtomicBool,
    events: broadcast::Sender<ConnectionEvent>,
}

impl ConnectionState {
    /// Handles a connection event.
    pub(super) fn handle(&self, event: &Value) {
        let text = |name: &str| event[name].as_str().unwrap_or_default().to_owned();
        let event = match event["type"].as_str() {
            Some("connected") => {
                self.is_connected.store(true, Ordering::Release);
                let attempt = event["attempt"].as_u64().and_then(|it| u32::try_from(it).ok()).unwrap_or(1);
                ConnectionEvent::Connected { client_id: text("clientId"), node: text("node"), attempt }
            }
            Some("disconnected") => {
                self.is_connected.store(false, Ordering::Release);
                let code = event["code"].as_u64().and_then(|code| u16::try_from(code).ok());
                ConnectionEvent::Disconnected(Disconnected { code, detail: text("detail") })
            }
            Some("ended") => return self.lost(),
            _ => return,
        };
        // There may be no receiver.
        let _ = self.events.send(event);
    }

    /// Marks the connection as lost for good.
    pub(super) fn lost(&self) {
        self.is_connected.store(false, Ordering::Release);
        let _ = self.events.send(ConnectionEvent::Failed(Ended::Closed));
    }
}

/// A client of the TypeScript SDK.
#[derive(Clone)]
pub(crate) struct TsClient {
    driver: Arc<Driver>,
    number: u64,
    credit: u64,
    state: Arc<ConnectionState>,
}

impl TsClient {
    pub(super) async fn connect(driver: &Arc<Driver>, options: Value) -> Result<Self, Error> {
        let number = driver.number();
        let state = Arc::new(ConnectionState {
            is_connected: AtomicBool::new(false),
            events: broadcast::channel(EVENTS).0,
        });
        driver.watch(number, Arc::clone(&state));
        let credit = options["followBuffer"].as_u64().unwrap_or(CREDIT);
        let client = Self { driver: Arc::clone(driver), number, credit, state };
        match client.request("connect", json!({"options": options})).await {
            Ok(_) => Ok(client),
            Err(error) => {
                driver.forget_client(number);
                Err(error)
            }
        }
    }

    async fn request(&self, what: &str, mut fields: Value) -> Result<Value, Error> {
        fields["client"] = self.number.into();
        match self.driver.request(what, fields).await {
            Ok(Answer::Ok(value)) => Ok(value),
            Ok(Answer::Error(error)) => Err(error_of(&error)),
            Err(_) => Err(has_ended()),
        }
    }

    pub(super) async fn create_session(&self, new: &NewSession) -> Result<SessionId, Error> {
        let (project, test, agent) = (&new.project_id, &new.test_id, &new.agent_name);
        let asked = json!({"projectId": project, "testId": test, "agentName": agent});
        let reply = self.request("create", asked).await?;
        read(&reply["session"])
    }

    pub(super) async fn follow(&self, session: SessionId) -> Result<TsFollow, Error> {
        let number = self.driver.number();
        let steps = self.driver.expect_steps(number);
        let asked = json!({"follow": number, "session": session, "from": "start", "credit": self.credit});
        // From here on, dropping it cancels the follow.
        let mut follow = TsFollow {
            driver: Arc::clone(&self.driver),
            number,
            steps,
            taken: 0,
            refill: (self.credit / 2).max(1),
            began: Position { epoch: Epoch::from_u64(0), seq: 0, last_id: None },
        };
        follow.began = read(&self.request("follow", asked).await?["from"])?;
        Ok(follow)
    }

    pub(super) fn publish(&self, session: SessionId, id: &str, data: &str) -> TsTicket {
        let asked = json!({"client": self.number, "session": session, "eventId": id});
        TsTicket(self.driver.request_with("publish", asked, Some(data)))
    }

    pub(super) fn is_connected(&self) -> bool {
        self.state.is_connected.load(Ordering::Acquire)
    }

    pub(super) fn events(&self) -> broadcast::Receiver<ConnectionEvent> {
        self.state.events.subscribe()
    }

    /// All zero if the driver has ended.
    pub(super) async fn counts(&self) -> Counts {
        let stats = self.request("stats", json!({})).await.unwrap_or_default();
        let count = |name: &str| stats[name].as_u64().unwrap_or_default();
        Counts {
            attempts: count("attempts"),
            reconnects: count("reconnects"),
            retried: count("retried"),
            repeats: count("repeats"),
            bytes_in: count("bytesIn"),
            bytes_out: count("bytesOut"),
        }
    }

    pub(super) async fn close(&self) {
        // Fails only if the driver has ended, and the client with it.
        let _ = self.request("close", json!({})).await;
        self.driver.forget_client(self.number);
    }
}

/// A session that a client follows.
pub(crate) struct TsFollow {
    driver: Arc<Driver>,
    number: u64,
    steps: mpsc::UnboundedReceiver<Step>,
    /// Items received since credit was last given.
    taken: u64,
    refill: u64,
    pub(super) began: Position,
}

impl TsFollow {
    pub(super) async fn next(&mut self) -> Option<Step> {
        let step = self.steps.recv().await?;
        self.taken += 1;
        if self.taken >= self.refill {
            self.driver.write(&json!({"do": "more", "follow": self.number, "count": self.taken}));
            self.taken = 0;
        }
        Some(step)
    }
}

impl Drop for TsFollow {
    fn drop(&mut self) {
        self.driver.forget_follow(self.number);
    }
}

/// The pending outcome of an event.
pub(crate) struct TsTicket(oneshot::Receiver<Answer>);

impl Future for TsTicket {
    type Output = Outcome;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Outcome> {
        Pin::new(&mut self.0).poll(context).map(|answer| match answer {
            Ok(Answer::Ok(value)) => outcome_of(&value),
            // It was not accepted into the outbox.
            Ok(Answer::Error(error)) => Outcome::Unknown {
                why: GaveUp::Ended(Ended::Token(error_of(&error).to_string())),
                sent: false,
            },
            Err(_) => Outcome::Unknown { why: GaveUp::Ended(Ended::Closed), sent: true },
        })
    }
}

fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Error> {
    serde_json::from_value(value.clone())
        .map_err(|error| Error::UnexpectedReply(format!("the driver sent {value}: {error}")))
}

fn has_ended() -> Error {
    Error::Connect("the driver of the TypeScript SDK has ended".to_owned())
}

/// The error as one of the Rust SDK.
fn error_of(error: &Value) -> Error {
    let message = error["message"].as_str().unwrap_or("no reason given").to_owned();
    match error["kind"].as_str() {
        Some("refused") => read::<ErrorData>(&error["refusal"]).map_or_else(|other| other, Error::Refused),
        Some("connect") => Error::Connect(message),
        Some("outboxFull") => Error::OutboxFull,
        Some("alreadyFollowing") => Error::AlreadyFollowing,
        Some("ended" | "fenced") => Error::Ended(Ended::Token(message)),
        Some("unexpectedReply") => Error::UnexpectedReply(message),
        _ => Error::Invalid(message),
    }
}

/// An outcome in the TypeScript SDK's form.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "camelCase")]
enum DriverOutcome {
    Stored {
        seq: Seq,
        epoch: Option<Epoch>,
        level: Option<AckLevel>,
        duplicate: bool,
        #[serde(default)]
        warnings: Vec<Warning>,
    },
    Refused {
        refusal: ErrorData,
    },
    Unknown {
        why: Value,
        sent: bool,
    },
}

fn outcome_of(value: &Value) -> Outcome {
    match read(value) {
        Ok(DriverOutcome::Stored { seq, epoch, level, duplicate, warnings }) => {
            Outcome::Stored { seq, epoch, level, duplicate, warnings }
        }
        Ok(DriverOutcome::Refused { refusal }) => Outcome::Refused(refusal),
        Ok(DriverOutcome::Unknown { why, sent }) => Outcome::Unknown { why: gave_up(&why), sent },
        Err(error) => Outcome::Unknown { why: GaveUp::Ended(Ended::Token(error.to_string())), sent: true },
    }
}

fn gave_up(why: &Value) -> GaveUp {
    let refusal = || read::<ErrorData>(&why["refusal"]);
    match (why["kind"].as_str(), refusal()) {
        (Some("ackTimeout"), _) => GaveUp::AckTimeout,
        (Some("breaks"), _) => {
            GaveUp::Breaks { detail: why["detail"].as_str().unwrap_or_default().to_owned() }
        }
        (Some("dropped"), _) => GaveUp::Dropped,
        (Some("left"), _) => GaveUp::Left,
        (Some("retries"), Ok(refusal)) => GaveUp::Retries(refusal),
        (Some("refusedAgain"), Ok(refusal)) => GaveUp::RefusedAgain(refusal),
        _ => GaveUp::Ended(Ended::Closed),
    }
}
